//go:build !unix

package sessiontest

import "context"

// startLocal is for Unix: elsewhere there are no private sockets to run on, and
// Docker has the server.
func startLocal(ctx context.Context, _ string, settings []string) (*Server, error) {
	return startDocker(ctx, settings)
}
