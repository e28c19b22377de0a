package recipes

import (
	"errors"
	"log/slog"
	"net/http"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// LostRenew is a service that renews tokens, and says what becomes of a browser that the
// answer to a Renew does not reach. The database has the new token, the browser has the old
// one. Nobody can send the new one again: the database has only its digest.
//
//   - In the next ten seconds each request is answered 503 with Retry-After, because the new
//     cookie may still be on its way. Nothing happens twice: a POST sent again is refused, too.
//   - After that, the first request with the old token ends the session: a thief may have
//     the other one. The user sees the login page.
//   - A login helps at any time, and leaves no second session.
//
// So a page that gets the 503 asks again by itself. It ends at the page that was asked for,
// or at the login page.
func LostRenew(cache *sessioncache.Cache[Account]) http.Handler {
	sessions := sessionhttp.New(cache, sessionhttp.WithLoginPage("/login"), sessionhttp.WithErrorHandler(answer))

	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", logIn(sessions))
	mux.Handle("GET /account", sessions.Require(showAccount(sessions)))
	mux.Handle("POST /promote", sessions.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := sessions.Renew(w, r); err != nil {
			sessions.Error(w, r, err)
		}
	})))
	return sessions.Middleware(mux)
}

// answer replaces the Manager's default answer, and gives the same statuses.
func answer(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, sessioncache.ErrSuperseded):
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "2")
		if r.Method == http.MethodGet {
			w.Header().Set("Refresh", "2") // browsers do not obey Retry-After
		}
	case errors.Is(err, sessioncache.ErrUnavailable), errors.Is(err, sessioncache.ErrNotAwaited):
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "2")
	case errors.Is(err, sessionhttp.ErrNoSession), errors.Is(err, sessionhttp.ErrNotFresh):
		status = http.StatusUnauthorized
	case errors.Is(err, sessionhttp.ErrUnknownHandle):
		status = http.StatusNotFound
	}
	if status >= http.StatusInternalServerError && !errors.Is(err, sessioncache.ErrSuperseded) {
		slog.ErrorContext(r.Context(), "request failed", "error", err, "method", r.Method, "path", r.URL.Path)
	}
	http.Error(w, http.StatusText(status), status)
}
