package recipes

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v5"

	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// Echo is a service with the router echo, version 5. Version 4 differs in the type of the
// handlers only: echo.Context instead of *echo.Context. A middleware that has answered does not
// call the page, and nothing else has to be done. Middleware may also be in
// e.Use(echo.WrapMiddleware(sessions.Middleware)).
//
// In the handlers pass c.Request().Context() to the Manager.
func Echo(sessions *sessionhttp.Manager[Account]) http.Handler {
	e := echo.New()
	e.POST("/login", echo.WrapHandler(logIn(sessions)))
	e.POST("/logout", echo.WrapHandler(logOut(sessions)))

	private := e.Group("", echo.WrapMiddleware(sessions.Require))
	private.GET("/account", func(c *echo.Context) error {
		return c.String(http.StatusOK, "The account of "+sessions.MustUser(c.Request().Context()).Name+".")
	})
	private.POST("/password", echo.WrapHandler(http.HandlerFunc(changePassword)),
		echo.WrapMiddleware(func(next http.Handler) http.Handler { return sessions.RequireFresh(5*time.Minute, next) }))
	return sessions.Middleware(e)
}
