package sessionhttp

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// Why there is no session: [Manager.User] and all calls that need one return one
// of the four that follow. Each of them is [ErrNoSession], too: "please log in".
// When the database does not answer they return [sessioncache.ErrUnavailable]
// instead, which is none of these.
var (
	ErrNoSession = errors.New("no session")

	// ErrNoCookie: the request carries no session cookie, or its session has just
	// been logged out.
	ErrNoCookie = fmt.Errorf("%w: no session cookie", ErrNoSession)

	// ErrMalformedCookie: the session cookie holds no token, or there are several. It
	// never reached the database.
	ErrMalformedCookie = fmt.Errorf("%w: malformed session cookie", ErrNoSession)

	// ErrUnknownSession: the database knows no session of this token. It was logged
	// out, has expired and been purged, or never was.
	ErrUnknownSession = fmt.Errorf("%w: unknown session", ErrNoSession)

	// ErrExpiredSession: its time is over.
	ErrExpiredSession = fmt.Errorf("%w: the session has expired", ErrNoSession)
)

var (
	// ErrNoUserID is returned by the calls about all sessions of a user, when the
	// stored user has no user_id at the top level of its JSON, or an empty one.
	ErrNoUserID = errors.New("the user of the session has no user_id")

	// ErrUnknownHandle is returned by [Manager.Revoke] for a handle that is not one of
	// this user's sessions. Whether it is somebody else's it does not say.
	ErrUnknownHandle = errors.New("no such session of this user")

	// ErrNoMiddleware is returned when the request has not come through
	// [Manager.Middleware] of this Manager: a mistake in the program.
	ErrNoMiddleware = errors.New("the request has not come through the Manager's middleware")
)

// failed says which call an error is of.
func failed(op string, err error) error {
	return fmt.Errorf("sessionhttp: %s: %w", op, err)
}

// Error answers a request that failed: by default with 503 when the database does
// not answer, 403 when there is no session and 500 for everything else.
// [WithErrorHandler] changes that. What the client reads does not tell the cause.
func (m *Manager[T]) Error(w http.ResponseWriter, r *http.Request, err error) {
	m.config.fail(w, r, err)
}

func answer(w http.ResponseWriter, _ *http.Request, err error) {
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, sessioncache.ErrUnavailable):
		status = http.StatusServiceUnavailable
	case errors.Is(err, ErrNoSession):
		status = http.StatusForbidden
	}
	http.Error(w, http.StatusText(status), status)
}
