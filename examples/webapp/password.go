package main

import (
	"fmt"
	"net/http"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// shortestPassword is the length that OWASP's ASVS 5.0 recommends in 6.2.1. Your service
// should also refuse passwords that are known from leaks (6.2.12).
const shortestPassword = 15

func (a *app) passwordPage(w http.ResponseWriter, r *http.Request) error {
	a.showPassword(w, r, http.StatusOK, "")
	return nil
}

func (a *app) showPassword(w http.ResponseWriter, r *http.Request, status int, alert string) {
	a.show(w, status, "password.html", view{User: a.sessions.MustUser(r.Context()), Alert: alert, Data: shortestPassword})
}

// changePassword stores the new password, logs the user out on all other devices and
// renews this session's token, in one transaction. Anybody who has logged in with the old
// password on another device is logged out.
func (a *app) changePassword(w http.ResponseWriter, r *http.Request) error {
	password := r.PostFormValue("password")
	if utf8.RuneCountInString(password) < shortestPassword {
		a.showPassword(w, r, http.StatusUnprocessableEntity, fmt.Sprintf("The password needs %d characters or more.", shortestPassword))
		return nil
	}
	hash, err := hashPassword(password, a.accounts.iterations)
	if err != nil {
		return err
	}
	id := a.sessions.MustUser(r.Context()).ID
	err = a.sessions.Tx(w, r, func(tx pgx.Tx, session *sessionhttp.Tx[user]) error {
		if _, err := tx.Exec(r.Context(), "UPDATE webapp_users SET password = $2 WHERE id = $1", id, hash); err != nil {
			return unavailable(err)
		}
		if _, err := session.LogoutOthers(); err != nil {
			return err
		}
		return session.Reauthenticated()
	})
	return redirect(w, r, "/devices?done=password", err)
}
