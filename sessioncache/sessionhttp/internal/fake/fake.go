// Package fake lets package sessionhttptest give a request a login without a
// database.
package fake

import (
	"sync"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// Key is the key of a [Login] in a request's context.
type Key struct {
	Manager any // the *sessionhttp.Manager that the login is for
}

// Login is a login that is in no database.
type Login struct {
	Handle sid.Handle
	User   any // of the Manager's type

	// What the handler has made of it, where it is called without the middleware.
	Once    sync.Once
	Session any
}
