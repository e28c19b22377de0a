package sessiontest

import (
	"errors"
	"strings"
	"testing"

	"github.com/ory/dockertest/v3"
)

// TestDocker starts a container where a Docker daemon answers, and checks what
// Start says where there is neither that nor anything else.
func TestDocker(t *testing.T) {
	t.Parallel()
	pool, err := dockertest.NewPool("")
	if err == nil {
		err = pool.Client.PingWithContext(t.Context())
	}
	daemon := err == nil

	server, err := startDocker(t.Context(), nil)
	if !daemon {
		if !errors.Is(err, ErrNoServer) || !strings.Contains(err.Error(), "apt-get install postgresql") {
			t.Errorf("without a daemon: %v; want ErrNoServer with what to install", err)
		}
		t.Log("no Docker daemon answers here: nothing was run in a container")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	database, err := server.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := execute(t.Context(), database.URL, "SELECT FROM session_cache"); err != nil {
		t.Error(err)
	}
	t.Log("ran on", server)
}
