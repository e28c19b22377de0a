package recipes_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/rhaptos/sessiondb/systemtest/recipes"
)

func init() {
	gin.SetMode(gin.TestMode) // or it prints every route
}

func TestGin(t *testing.T) {
	t.Parallel()
	pool, sessions := setUp(t)
	wantProtected(t, pool, recipes.Gin(sessions))
}

// TestGinMistakes shows what the recipe avoids.
func TestGinMistakes(t *testing.T) {
	t.Parallel()
	_, sessions := setUp(t)
	page := func(c *gin.Context) { c.String(http.StatusOK, "secret") }

	t.Run("no Abort", func(t *testing.T) {
		t.Parallel()
		engine := gin.New()
		engine.GET("/account", gin.WrapH(sessions.Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))), page)
		if a := open(t, sessions.Middleware(engine)).do("GET", "/account", nil); !strings.Contains(a.body, "secret") {
			t.Errorf("%d, %q: gin stops by itself, and the recipe need not", a.status, a.body)
		}
	})
	t.Run("Use after the route", func(t *testing.T) {
		t.Parallel()
		engine := gin.New()
		engine.GET("/account", page)
		engine.Use(func(c *gin.Context) { c.AbortWithStatus(http.StatusUnauthorized) })
		open(t, engine).want("GET", "/account", nil, http.StatusOK, "secret")
	})
	t.Run("Middleware in Use", func(t *testing.T) {
		t.Parallel()
		engine := gin.New()
		engine.Use(func(c *gin.Context) {
			sessions.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				c.Request = r
				c.Next()
			})).ServeHTTP(c.Writer, c.Request)
		})
		engine.GET("/", func(c *gin.Context) {
			_, _, err := sessions.User(c.Request.Context())
			c.String(http.StatusOK, "%v", err)
		})
		if a := open(t, engine).want("GET", "/", nil, http.StatusOK, "<nil>"); a.header.Get("Cache-Control") != "" {
			t.Errorf("Cache-Control %q: it is not too late, and the recipe's comment is wrong", a.header.Get("Cache-Control"))
		}
	})
	t.Run("gin's context", func(t *testing.T) {
		t.Parallel()
		engine := gin.New()
		engine.GET("/", func(c *gin.Context) {
			_, _, err := sessions.User(c)
			c.String(http.StatusOK, "%v", err)
		})
		open(t, sessions.Middleware(engine)).want("GET", "/", nil, http.StatusOK, "did not pass through the Manager's middleware")
	})
}
