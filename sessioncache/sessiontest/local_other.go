//go:build !unix

package sessiontest

import (
	"context"
	"errors"
)

// startLocal is for Unix: elsewhere there are no private sockets to run on.
func startLocal(context.Context, string, []string) (*Server, error) {
	return nil, errors.New("PostgreSQL's binaries are started on Unix only: set SESSIONCACHE_DATABASE_URL")
}
