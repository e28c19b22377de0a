//go:build !unix

package sessiontest

import "context"

// startLocal is only for Unix, because the server runs on a private Unix socket. Other
// systems use Docker.
func startLocal(ctx context.Context, _ string, settings []string) (*Server, error) {
	return startDocker(ctx, settings)
}
