package pgserver

import (
	"context"
	"errors"
	"net/url"
)

// StartContainer runs PostgreSQL in a container. Package sessiontest/docker sets it when it
// is imported. It is nil in a program that does not import that package.
var StartContainer func(ctx context.Context, settings []string) (*Container, error)

// ErrNoDaemon is returned by [StartContainer] if no Docker daemon answers.
var ErrNoDaemon = errors.New("no Docker daemon answers")

// Container is a PostgreSQL server in a container.
type Container struct {
	URL   url.URL // of its superuser, without a database
	Image string
	Stop  func() error
}
