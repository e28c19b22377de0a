package recipes

import (
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// Chi is a service with the router chi. Middleware is used once, at the root. Require is used
// in the groups whose pages need a login. RequireFresh has the time as its first argument,
// and r.Use needs a function around it.
func Chi(sessions *sessionhttp.Manager[Account]) http.Handler {
	r := chi.NewRouter()
	r.Use(sessions.Middleware) // without it, Require answers 500
	r.Post("/login", logIn(sessions))
	r.Post("/logout", logOut(sessions))

	r.Group(func(r chi.Router) {
		r.Use(sessions.Require)
		r.Get("/account", showAccount(sessions))

		r.Group(func(r chi.Router) { // has Require, too
			r.Use(func(next http.Handler) http.Handler { return sessions.RequireFresh(5*time.Minute, next) })
			r.Post("/password", changePassword)
		})
	})
	return r
}
