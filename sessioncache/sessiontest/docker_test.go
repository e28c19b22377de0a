package sessiontest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/internal/pgserver"
)

// TestDocker starts a container where a Docker daemon answers, and checks what
// Start says where there is neither that nor anything else.
func TestDocker(t *testing.T) {
	t.Parallel()
	mark := uniqueName()
	server, err := startDocker(t.Context(), []string{markSetting(mark)})
	if errors.Is(err, ErrNoServer) {
		if !strings.Contains(err.Error(), pgserver.InstallAdvice()) {
			t.Errorf("without a daemon: %v; want what to install", err)
		}
		t.Log("no Docker daemon answers here: nothing was run in a container")
		return
	}
	skipWithoutImage(t, err)
	if err != nil {
		t.Fatal(err)
	}
	database, err := server.NewDatabase(t.Context())
	if err != nil {
		t.Error(err)
	} else if err := execute(t.Context(), database.URL, "SELECT FROM session_cache"); err != nil {
		t.Error(err)
	}
	if ids := markedContainers(t, mark); len(ids) != 1 {
		t.Errorf("containers %v run; want one", ids)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if ids := markedContainers(t, mark); len(ids) != 0 {
		t.Errorf("containers %v are left", ids)
	}
	t.Log("ran on", server)
}

// TestDockerOfFailedStart: what the server wrote is in the error, and the container
// is gone.
func TestDockerOfFailedStart(t *testing.T) {
	t.Parallel()
	needDocker(t)
	mark := uniqueName()
	_, err := startDocker(t.Context(), []string{markSetting(mark), "max_connections = none"})
	skipWithoutImage(t, err)
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "max_connections": "none"`) {
		t.Errorf("started with a wrong setting: %v", err)
	}
	waitForNoContainer(t, mark)
}

// TestDockerOfCancelledStart cancels a start whose container runs.
func TestDockerOfCancelledStart(t *testing.T) {
	t.Parallel()
	needDocker(t)
	mark := uniqueName()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	started := make(chan error)
	go func() {
		_, err := startDocker(ctx, []string{markSetting(mark)})
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
	client := needDocker(t)
	const image = "localhost:1/sessiontest/none:1"
	if err := pull(t.Context(), client, image); !errors.Is(err, errNoImage) || !strings.Contains(err.Error(), image) {
		t.Errorf("an image that does not exist: %v; want errNoImage and its name", err)
	}
}
