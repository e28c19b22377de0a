// Package recipes has programs to copy: package sessionhttp with other routers, behind
// proxies, beside other packages. docs/recipes.md says when each is needed. Each has a test
// that also attacks it.
//
// Nobody imports this package: its requirements are those of all recipes.
package recipes

import (
	"fmt"
	"html"
	"net/http"

	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// Account is the service's own type of a user.
type Account struct {
	ID   string `json:"user_id"`
	Name string
}

// authenticate stands for the service's own check of a password.
func authenticate(r *http.Request) (account Account, ok bool) {
	name := r.PostFormValue("name")
	return Account{ID: name, Name: name}, name != "" && r.PostFormValue("password") == "correct"
}

// logIn answers the form of the login page.
func logIn(sessions *sessionhttp.Manager[Account]) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		account, ok := authenticate(r)
		if !ok {
			http.Error(w, "please try again", http.StatusUnauthorized)
			return
		}
		if err := sessions.Login(w, r, account); err != nil {
			sessions.Error(w, r, err)
			return
		}
		http.Redirect(w, r, sessions.Next(r, "/account"), http.StatusSeeOther)
	}
}

// logOut answers the form that ends the session.
func logOut(sessions *sessionhttp.Manager[Account]) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := sessions.Logout(w, r); err != nil {
			sessions.Error(w, r, err)
			return
		}
		http.Redirect(w, r, "/login", http.StatusSeeOther)
	}
}

// showAccount is a page behind Require.
func showAccount(sessions *sessionhttp.Manager[Account]) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "The account of %s.", html.EscapeString(sessions.MustUser(r.Context()).Name))
	}
}

// changePassword is a page behind RequireFresh. It stands for any that matters.
func changePassword(w http.ResponseWriter, _ *http.Request) {
	_, _ = fmt.Fprint(w, "The password is changed.")
}
