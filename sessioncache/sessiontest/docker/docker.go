// Package docker makes package sessiontest start PostgreSQL in a container, if it finds no
// other server. It is for its import only:
//
//	import _ "github.com/rhaptos/sessiondb/sessioncache/sessiontest/docker"
//
// It is a package of its own because Docker's client has many requirements. Only the
// go.mod of who imports it gets them.
package docker

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"

	"github.com/rhaptos/sessiondb/internal/pgserver"
)

func init() {
	pgserver.StartContainer = start
}

// containerScript runs PostgreSQL in a container until its standard input ends.
//
//go:embed container.sh
var containerScript string

// start runs PostgreSQL's image in a new container. When this process ends, however
// it ends, the container's standard input ends. That stops the container a moment later,
// and Docker removes it. Only if the process is killed while Docker creates the container
// is the container left behind, not started.
func start(ctx context.Context, settings []string) (*pgserver.Container, error) {
	client, err := newClient(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", pgserver.ErrNoDaemon, err)
	}
	image := imageName()
	if err := pull(ctx, client, image); err != nil {
		return nil, err
	}
	failed := func(err error) error { return fmt.Errorf("Docker image %s did not start: %w", image, err) }

	password := uuid.NewString()
	command := []string{"postgres", "-c", "fsync=off", "-c", "max_connections=300"}
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		command = append(command, "-c", strings.TrimSpace(name)+"="+strings.Trim(value, " '"))
	}
	// Without ctx, as with StartContainer below: a cancelled call could leave a container
	// behind.
	container, err := client.CreateContainer(docker.CreateContainerOptions{
		Config: &docker.Config{
			Image:      image,
			Env:        []string{"POSTGRES_PASSWORD=" + password},
			Entrypoint: []string{"/bin/sh", "-c", containerScript, "sessiontest"},
			Cmd:        command,
			OpenStdin:  true,
			StdinOnce:  true,
		},
		HostConfig: &docker.HostConfig{AutoRemove: true, PublishAllPorts: true},
	})
	if err != nil {
		return nil, failed(err)
	}
	remove := func() error {
		return client.RemoveContainer(docker.RemoveContainerOptions{ID: container.ID, Force: true, RemoveVolumes: true})
	}

	// Before the start, so that the container ends with this process from its first
	// moment.
	var log bytes.Buffer
	input, ended, err := attach(client, container.ID, &log)
	if err != nil {
		return nil, errors.Join(failed(err), remove())
	}
	if err := client.StartContainer(container.ID, nil); err != nil {
		_ = remove() // Docker may have removed it already
		return nil, failed(err)
	}
	server, err := waitForServer(ctx, client, container.ID, password, ended)
	if err != nil {
		input.Close()
		<-ended
		return nil, failed(fmt.Errorf("%w\n%s", cmp.Or(ctx.Err(), err), &log))
	}
	stop := sync.OnceValue(func() error {
		defer input.Close()
		return remove()
	})
	return &pgserver.Container{URL: *server, Image: image, Stop: stop}, nil
}

// newClient returns a client of a Docker daemon that answers.
func newClient(ctx context.Context) (*docker.Client, error) {
	pool, err := dockertest.NewPool("")
	if err != nil {
		return nil, err
	}
	return pool.Client, pool.Client.PingWithContext(ctx)
}

func imageName() string {
	return cmp.Or(os.Getenv("SESSIONCACHE_TEST_IMAGE"), "postgres:18-alpine")
}

// errNoImage is returned if a Docker daemon answers, but has no image and cannot download
// it.
var errNoImage = errors.New("Docker cannot download the image")

// pull makes Docker download the image, if it does not have it.
func pull(ctx context.Context, client *docker.Client, image string) error {
	_, err := client.InspectImage(image)
	if !errors.Is(err, docker.ErrNoSuchImage) {
		return err
	}
	fmt.Fprintln(os.Stderr, "sessiontest: Docker downloads the image", image)
	repository, tag := docker.ParseRepositoryTag(image)
	err = client.PullImage(docker.PullImageOptions{
		Repository: repository,
		Tag:        cmp.Or(tag, "latest"),
		Context:    ctx,
	}, docker.AuthConfiguration{})
	if err != nil {
		return noImage(image, err)
	}
	return nil
}

func noImage(image string, err error) error {
	return fmt.Errorf("%w %s;\nto use another: export SESSIONCACHE_TEST_IMAGE=name:tag\n(%w)", errNoImage, image, err)
}

// attach returns the container's standard input, and a channel that is closed when the
// container has ended and its output is in log.
func attach(client *docker.Client, id string, log io.Writer) (io.Closer, <-chan struct{}, error) {
	reader, writer := io.Pipe()
	attached := make(chan struct{})
	output, err := client.AttachToContainerNonBlocking(docker.AttachToContainerOptions{
		Container:    id,
		InputStream:  reader,
		OutputStream: log,
		ErrorStream:  log,
		Stdin:        true,
		Stdout:       true,
		Stderr:       true,
		Stream:       true,
		Success:      attached,
	})
	if err != nil {
		return nil, nil, err
	}
	<-attached
	attached <- struct{}{}

	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = output.Wait() // the error does not matter: the container has ended
	}()
	return writer, ended, nil
}

// waitForServer returns the address of a container's server once the server answers.
func waitForServer(ctx context.Context, client *docker.Client, id, password string, ended <-chan struct{}) (*url.URL, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		server, err := address(ctx, client, id, password)
		if err == nil {
			err = ping(ctx, server.JoinPath("postgres").String())
		}
		if err == nil {
			return server, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ended:
			return nil, errors.New("the server in the container ended")
		case <-ctx.Done():
			return nil, err
		}
	}
}

func ping(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return conn.Ping(ctx)
}

// address returns the address at which Docker has published a container's server.
func address(ctx context.Context, client *docker.Client, id, password string) (*url.URL, error) {
	container, err := client.InspectContainerWithContext(id, ctx)
	if err != nil {
		return nil, err
	}
	host := (&dockertest.Resource{Container: container}).GetHostPort("5432/tcp")
	if host == "" { // pgx would connect to a default host
		return nil, errors.New("port 5432 is not published")
	}
	return &url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword("postgres", password),
		Path:     "/",
		Host:     host,
		RawQuery: "sslmode=disable",
	}, nil
}
