package main

import (
	"errors"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// A remembered login lasts a month, or two weeks if it is not used.
const (
	rememberedFor  = 30 * 24 * time.Hour
	rememberedIdle = 14 * 24 * time.Hour
)

// loginForm is the data of the login page.
type loginForm struct {
	Email string // as the user typed it
	Next  string // the page to return to
	Demo  []demoUser
}

func (a *app) loginPage(w http.ResponseWriter, r *http.Request) error {
	_, err := a.sessions.Current(r.Context())
	notice := ""
	switch {
	case err == nil:
		return redirect(w, r, a.sessions.Next(r, "/"), nil)
	case errors.Is(err, sessionhttp.ErrExpiredSession):
		notice = "Your login has expired."
	case errors.Is(err, sessionhttp.ErrUnknownSession):
		notice = "You have been logged out, perhaps on another device."
	case errors.Is(err, sessionhttp.ErrMalformedCookie):
		notice = "Your browser sent a login cookie that is not valid."
	case !errors.Is(err, sessionhttp.ErrNoSession):
		return err
	}
	a.show(w, http.StatusOK, "login.html", view{Notice: notice, Data: loginForm{Next: a.sessions.Next(r, "/"), Demo: demo}})
	return nil
}

// login first verifies the password, in no transaction because that is slow. The
// transaction that stores the session then checks that the password has not changed
// since. A password change logs out all sessions that exist: it either finds the new
// session or prevents it.
func (a *app) login(w http.ResponseWriter, r *http.Request) error {
	email := r.PostFormValue("email")
	verified, err := a.accounts.verify(r.Context(), email, r.PostFormValue("password"))
	if err == nil {
		err = a.sessions.Tx(w, r, func(tx pgx.Tx, session *sessionhttp.Tx[user]) error {
			if err := verified.checkUnchanged(r.Context(), tx); err != nil {
				return err
			}
			options := []sessionhttp.LoginOption{sessionhttp.Carry(carryBasket)}
			if r.PostFormValue("remember") != "" {
				options = append(options, sessionhttp.Remember(rememberedFor, rememberedIdle))
			}
			return session.Login(user{ID: verified.id, Email: verified.email, Name: verified.name}, options...)
		})
	}
	if errors.Is(err, errWrongPassword) {
		a.logger.WarnContext(r.Context(), "login failed", "remote", r.RemoteAddr)
		a.show(w, http.StatusUnauthorized, "login.html", view{
			Alert: "The email address or the password is wrong.", Data: loginForm{email, a.sessions.Next(r, "/"), demo},
		})
		return nil
	}
	return redirect(w, r, a.sessions.Next(r, "/"), err)
}

func (a *app) logout(w http.ResponseWriter, r *http.Request) error {
	return redirect(w, r, "/login", a.sessions.Logout(w, r))
}
