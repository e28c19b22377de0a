package docker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/internal/pgserver"
	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest/docker"
)

// TestDocker starts a container where a Docker daemon answers.
func TestDocker(t *testing.T) {
	t.Parallel()
	mark := newMark()
	server, err := docker.Start(t.Context(), []string{markSetting(mark)})
	if errors.Is(err, pgserver.ErrNoDaemon) {
		t.Log("no Docker daemon answers here: nothing was run in a container")
		return
	}
	skipWithoutImage(t, err)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), server.URL.JoinPath("postgres").String())
	if err != nil {
		t.Error(err)
	} else {
		_ = conn.Close(t.Context())
	}
	if ids := markedContainers(t, mark); len(ids) != 1 {
		t.Errorf("containers %v run; want one", ids)
	}
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
	if ids := markedContainers(t, mark); len(ids) != 0 {
		t.Errorf("containers %v are left", ids)
	}
	t.Log("ran on", server.Image)
}

// TestDockerOfFailedStart: what the server wrote is in the error, and the container
// is gone.
func TestDockerOfFailedStart(t *testing.T) {
	t.Parallel()
	needDaemon(t)
	mark := newMark()
	_, err := docker.Start(t.Context(), []string{markSetting(mark), "max_connections = none"})
	skipWithoutImage(t, err)
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "max_connections": "none"`) {
		t.Errorf("started with a wrong setting: %v", err)
	}
	waitForNoContainer(t, mark)
}

// TestDockerOfCancelledStart cancels a start whose container runs.
func TestDockerOfCancelledStart(t *testing.T) {
	t.Parallel()
	needDaemon(t)
	mark := newMark()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	started := make(chan error)
	go func() {
		_, err := docker.Start(ctx, []string{markSetting(mark)})
		started <- err
	}()
	for len(markedContainers(t, mark)) == 0 {
		select {
		case err := <-started:
			skipWithoutImage(t, err)
			t.Fatalf("started without a container: %v", err)
		case <-time.After(10 * time.Millisecond): // Docker is asked again
		}
	}
	cancel()
	if err := <-started; !errors.Is(err, context.Canceled) {
		t.Errorf("the cancelled start: %v; want context.Canceled", err)
	}
	waitForNoContainer(t, mark)
}

// TestDockerWithoutImage names an image that no registry has.
func TestDockerWithoutImage(t *testing.T) {
	t.Parallel()
	client := needDaemon(t)
	const image = "localhost:1/sessiontest/none:1"
	if err := docker.Pull(t.Context(), client, image); !errors.Is(err, docker.ErrNoImage) || !strings.Contains(err.Error(), image) {
		t.Errorf("an image that does not exist: %v; want errNoImage and its name", err)
	}
}

func TestOutputFits80Columns(t *testing.T) {
	t.Parallel()
	suite.WantFits80Columns(t, "withpostgres: sessiontest: "+docker.NoImage("postgres:18-alpine", errors.New("cause")).Error())
}
