// Package fake passes the logins of package sessionhttptest to package sessionhttp.
package fake

import (
	"net/http"
	"sync"

	"github.com/rhaptos/sessiondb/sid"
)

// Key is the key of a [Login] in a request's context.
type Key struct {
	Manager any // the *sessionhttp.Manager of the login
}

// Login is a login that is not in the database.
type Login struct {
	Handle sid.Handle
	User   any // of the Manager's type

	Request *http.Request // that is logged in

	// The request session, if the handler is called without the middleware.
	Once    sync.Once
	Session any
}
