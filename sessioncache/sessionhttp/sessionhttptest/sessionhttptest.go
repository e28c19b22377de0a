// Package sessionhttptest gives a handler's unit test a logged-in request, without a
// database and without logging in.
package sessionhttptest

import (
	"context"
	"net/http"

	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp/internal/fake"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// As returns the request as it is for a user who has just logged in. The handler may
// be called with it directly or through the Manager's middleware. It finds the user
// with User, Visitor, MustUser, Current and Sessions, passes Require and RequireFresh,
// and may call Update, Begin and Logout, which change this request only. Context ends
// with the request. All other calls need a real session, and fail.
//
// The Manager needs a cache, and the cache a pool, which connects to nothing before it
// is used: pgxpool.New(ctx, "") will do.
func As[T any](manager *sessionhttp.Manager[T], r *http.Request, user T) *http.Request {
	login := &fake.Login{Handle: sid.NewToken().Handle(), User: user}
	return r.WithContext(context.WithValue(r.Context(), fake.Key{Manager: manager}, login))
}
