package sessiontest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"
)

// startDocker runs PostgreSQL's image in a container of its own.
func startDocker(ctx context.Context, settings []string) (*Server, error) {
	pool, err := dockertest.NewPool("")
	if err == nil {
		err = pool.Client.PingWithContext(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%w\n(Docker: %w)", ErrNoServer, err)
	}

	image := cmp.Or(os.Getenv("SESSIONCACHE_TEST_IMAGE"), "postgres:18-alpine")
	repository, tag, _ := strings.Cut(image, ":")
	command := []string{"postgres", "-c", "fsync=off", "-c", "max_connections=300"}
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		command = append(command, "-c", strings.TrimSpace(name)+"="+strings.Trim(value, " '"))
	}
	container, err := pool.RunWithOptions(&dockertest.RunOptions{
		Repository: repository,
		Tag:        cmp.Or(tag, "latest"),
		Env:        []string{"POSTGRES_HOST_AUTH_METHOD=trust"},
		// A process that ends without Close leaves the container to this limit.
		Entrypoint: []string{"timeout", "3600", "docker-entrypoint.sh"},
		Cmd:        command,
	}, func(host *docker.HostConfig) {
		host.AutoRemove = true
	})
	if err != nil {
		return nil, fmt.Errorf("Docker image %s: %w", image, err)
	}

	server := url.URL{
		Scheme:   "postgres",
		User:     url.User("postgres"),
		Path:     "/",
		Host:     container.GetHostPort("5432/tcp"),
		RawQuery: "sslmode=disable",
	}
	err = pool.Retry(func() error {
		return execute(ctx, server.JoinPath("postgres").String(), "SELECT")
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("Docker image %s did not start: %w", image, err), container.Close())
	}
	return own(server, "Docker image "+image, container.Close), nil
}
