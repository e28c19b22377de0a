package sessiontest

import (
	"context"
	"errors"
	"fmt"

	"github.com/rhaptos/sessiondb/internal/pgserver"
)

// container runs a server in a container, if package docker is imported.
func container() starter {
	if pgserver.StartContainer == nil {
		return nil
	}
	return func(ctx context.Context, settings []string) (*Server, error) {
		container, err := pgserver.StartContainer(ctx, settings)
		if errors.Is(err, pgserver.ErrNoDaemon) {
			return nil, fmt.Errorf("%w\n(%w)", noServer("start Docker"), err)
		}
		if err != nil {
			return nil, err
		}
		return dedicated(container.URL, "Docker image "+container.Image, container.Stop), nil
	}
}
