package main

import (
	"context"
	"embed"
	"log/slog"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// user is the user as stored in a session, with the basket. A visitor has no id and no
// name.
type user struct {
	ID     string   `json:"user_id,omitempty"`
	Email  string   `json:"email,omitempty"`
	Name   string   `json:"name,omitempty"`
	Basket []string `json:"basket,omitempty"`
}

// profile is what scripts on the page may see of a user.
type profile struct {
	Name string `json:"name"`
}

type config struct {
	lifetime, idle time.Duration
	insecure       bool
	iterations     int // for the hash of a new password
	logger         *slog.Logger
}

type app struct {
	accounts accounts
	sessions *sessionhttp.Manager[user]
	logger   *slog.Logger
	stopping <-chan struct{} // closed when the server stops
}

func newApp(ctx context.Context, pool *pgxpool.Pool, c config) *app {
	a := &app{
		accounts: accounts{pool, c.iterations},
		logger:   c.logger,
		stopping: ctx.Done(),
	}
	// The audience separates these sessions from those of another service in the same
	// table.
	sessions := []sessioncache.Option{sessioncache.WithAudience("webapp"), sessioncache.WithLifetime(c.lifetime)}
	if c.idle > 0 {
		sessions = append(sessions, sessioncache.WithIdleTimeout(c.idle))
	}
	options := []sessionhttp.Option{
		sessionhttp.WithLoginPage("/login"),
		sessionhttp.WithReauthenticationPage("/confirm"),
		sessionhttp.WithBrowserSessionCookie(), // except with "keep me logged in"
		sessionhttp.WithDevice(func(r *http.Request) string { return device(r.UserAgent()) }),
		sessionhttp.WithProfile(func(u user) any { return profile{u.Name} }),
		sessionhttp.WithLogger(c.logger), // the audit log
		sessionhttp.WithErrorHandler(a.showError),
	}
	if c.insecure {
		options = append(options, sessionhttp.WithInsecureCookies())
	}
	a.sessions = sessionhttp.New(sessioncache.New[user](pool, sessions...), options...)
	return a
}

//go:embed static
var static embed.FS

func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, page := range map[string]page{
		"/":                  a.notFound,
		"GET /{$}":           a.shop,
		"POST /basket":       a.addToBasket,
		"POST /basket/empty": a.emptyBasket,
		"GET /login":         a.loginPage,
		"POST /login":        a.login,
		"POST /logout":       a.logout,
	} {
		mux.Handle(pattern, a.handle(page))
	}
	for pattern, page := range map[string]page{
		"GET /devices":                    a.devices,
		"POST /devices/logout":            a.logoutDevice,
		"POST /devices/logout-others":     a.logoutOthers,
		"POST /devices/logout-everywhere": a.logoutEverywhere,
		"GET /confirm":                    a.confirmPage,
		"POST /confirm":                   a.confirm,
	} {
		mux.Handle(pattern, a.sessions.Require(a.handle(page)))
	}
	for pattern, page := range map[string]page{
		"GET /password":  a.passwordPage,
		"POST /password": a.changePassword,
	} {
		mux.Handle(pattern, a.sessions.RequireFresh(maxLoginAge, a.handle(page)))
	}
	mux.HandleFunc("GET /live", a.live)
	mux.Handle("GET /static/", http.FileServerFS(static))
	return secure(http.MaxBytesHandler(a.sessions.Middleware(mux), maxFormSize))
}

const (
	// maxLoginAge is how old a login may be when the user changes the password.
	maxLoginAge = 5 * time.Minute

	// pageTimeout is how long a page may take.
	pageTimeout = 10 * time.Second

	maxFormSize = 64 << 10
)

// page answers a request, or returns an error.
type page func(w http.ResponseWriter, r *http.Request) error

func (a *app) handle(page page) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
		defer cancel()
		r = r.WithContext(ctx)
		if err := page(w, r); err != nil {
			a.sessions.Error(w, r, err)
		}
	})
}

// secure adds security headers to every page: it runs only our own scripts and styles, no
// site can show it in a frame, and no cache stores it.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "+
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
