// Package sessionhttptest gives the unit test of a handler a request of a user who is
// logged in, without a database.
package sessionhttptest

import (
	"context"
	"net/http"

	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp/internal/fake"
	"github.com/rhaptos/sessiondb/sid"
)

// As returns a copy of the request in which the user has just logged in, for the lifetime
// of the Manager's cache and without an idle timeout. Pass it to the handler directly or
// through the Manager's middleware. User, Visitor, MustUser, Current and Sessions return the
// user. Require and RequireFresh let the request pass. Update, Begin and Logout change this
// request only. Context ends with the request. All other calls need a real session and
// return an error.
//
// The Manager needs a cache, and the cache needs a pool. pgxpool.New(ctx, "") is enough,
// because a pool does not connect before it is used.
func As[T any](manager *sessionhttp.Manager[T], r *http.Request, user T) *http.Request {
	login := &fake.Login{Handle: sid.NewToken().Handle(), User: user, Request: r}
	return r.WithContext(context.WithValue(r.Context(), fake.Key{Manager: manager}, login))
}
