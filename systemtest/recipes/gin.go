package recipes

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// Gin is a service with the router gin. Middleware is around the engine, not in engine.Use:
// gin's pages write to gin's own ResponseWriter, and the headers of the Manager, such as
// Cache-Control, would come too late.
//
// In the handlers pass c.Request.Context() to the Manager. The context c itself does not have
// the session.
func Gin(sessions *sessionhttp.Manager[Account]) http.Handler {
	engine := gin.New()
	engine.POST("/login", gin.WrapF(logIn(sessions)))
	engine.POST("/logout", gin.WrapF(logOut(sessions)))

	// Use comes first: gin protects only the routes that are added after it.
	private := engine.Group("/", useInGin(sessions.Require))
	private.GET("/account", func(c *gin.Context) {
		c.String(http.StatusOK, "The account of %s.", sessions.MustUser(c.Request.Context()).Name)
	})
	private.POST("/password",
		useInGin(func(next http.Handler) http.Handler { return sessions.RequireFresh(5*time.Minute, next) }),
		gin.WrapF(changePassword))
	return sessions.Middleware(engine)
}

// useInGin makes a middleware of net/http one of gin.
func useInGin(middleware func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		passed := false
		page := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			passed = true
			c.Request = r
			c.Next()
		})
		middleware(page).ServeHTTP(c.Writer, c.Request)
		if !passed {
			// The middleware has answered. Without Abort, gin goes on to the page, and
			// sends it behind the answer.
			c.Abort()
		}
	}
}
