package main

import (
	"errors"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// A login that is to be remembered lasts for a month, and for two weeks unused.
const (
	rememberedFor  = 30 * 24 * time.Hour
	rememberedIdle = 14 * 24 * time.Hour
)

// loginForm is what the login page shows.
type loginForm struct {
	Email string // as it was typed
	Demo  []demoUser
}

func (a *app) loginPage(w http.ResponseWriter, r *http.Request) error {
	_, err := a.sessions.Current(r.Context())
	notice := ""
	switch {
	case err == nil:
		return redirect(w, r, "/", nil)
	case errors.Is(err, sessionhttp.ErrExpiredSession):
		notice = "Your login has expired."
	case errors.Is(err, sessionhttp.ErrUnknownSession):
		notice = "You have been logged out, perhaps on another device."
	case errors.Is(err, sessionhttp.ErrMalformedCookie):
		notice = "Your browser sent a login that we cannot read."
	case !errors.Is(err, sessionhttp.ErrNoSession):
		return err
	}
	a.show(w, http.StatusOK, "login.html", view{Notice: notice, Data: loginForm{Demo: demo}})
	return nil
}

// login has the password verified first, which is slow, in no transaction. In the one
// that stores the session it makes sure that the password has not changed since: a
// change logs out the sessions that it finds, and must find this one or stop it.
func (a *app) login(w http.ResponseWriter, r *http.Request) error {
	email := r.PostFormValue("email")
	verified, err := a.accounts.verify(r.Context(), email, r.PostFormValue("password"))
	if err == nil {
		err = a.sessions.Tx(w, r, func(tx pgx.Tx, session *sessionhttp.Tx[user]) error {
			if err := verified.stillHas(r.Context(), tx); err != nil {
				return err
			}
			options := []sessionhttp.LoginOption{sessionhttp.Carry(carryBasket)}
			if r.PostFormValue("remember") != "" {
				options = append(options, sessionhttp.Remember(rememberedFor, rememberedIdle))
			}
			return session.Login(user{ID: verified.id, Name: verified.name, Device: device(r.UserAgent())}, options...)
		})
	}
	if errors.Is(err, errWrongPassword) {
		a.logger.WarnContext(r.Context(), "login failed", "remote", r.RemoteAddr)
		a.show(w, http.StatusUnauthorized, "login.html", view{
			Alert: "The email address or the password is wrong.", Data: loginForm{email, demo},
		})
		return nil
	}
	return redirect(w, r, "/", err)
}

func (a *app) logout(w http.ResponseWriter, r *http.Request) error {
	return redirect(w, r, "/login", a.sessions.Logout(w, r))
}
