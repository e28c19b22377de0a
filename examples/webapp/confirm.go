package main

import (
	"errors"
	"net/http"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// confirmPage asks for the current password, before the user can change it.
func (a *app) confirmPage(w http.ResponseWriter, r *http.Request) error {
	a.showConfirm(w, r, http.StatusOK, "")
	return nil
}

func (a *app) showConfirm(w http.ResponseWriter, r *http.Request, status int, alert string) {
	a.show(w, status, "confirm.html", view{
		User: a.sessions.MustUser(r.Context()), Alert: alert, Data: a.sessions.Next(r, "/password"),
	})
}

func (a *app) confirm(w http.ResponseWriter, r *http.Request) error {
	u := a.sessions.MustUser(r.Context())
	verified, err := a.accounts.verifyID(r.Context(), u.ID, r.PostFormValue("password"))
	if err == nil {
		err = a.sessions.Tx(w, r, func(tx pgx.Tx, session *sessionhttp.Tx[user]) error {
			if err := verified.checkUnchanged(r.Context(), tx); err != nil {
				return err
			}
			return session.Reauthenticated()
		})
	}
	if errors.Is(err, errWrongPassword) {
		a.logger.WarnContext(r.Context(), "re-authentication failed", "user", u.ID, "remote", r.RemoteAddr)
		a.showConfirm(w, r, http.StatusUnauthorized, "The password is wrong.")
		return nil
	}
	return redirect(w, r, a.sessions.Next(r, "/password"), err)
}
