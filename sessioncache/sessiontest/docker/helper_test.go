package docker_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	client "github.com/ory/dockertest/v3/docker"

	"github.com/rhaptos/sessiondb/sessioncache/sessiontest/docker"
)

// needDaemon skips a test where no daemon answers.
func needDaemon(t *testing.T) *client.Client {
	t.Helper()
	daemon, err := docker.NewClient(t.Context())
	if err != nil {
		t.Skip("no Docker daemon answers here:", err)
	}
	return daemon
}

// skipWithoutImage skips a test where a daemon answers that has no network.
func skipWithoutImage(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, docker.ErrNoImage) {
		t.Skip("nothing was run in a container:", err)
	}
}

// newMark returns a mark that no other test has.
func newMark() string {
	return uuid.NewString()
}

// markSetting is a setting by which markedContainers knows a server's container.
func markSetting(mark string) string {
	return "sessiontest.mark = '" + mark + "'"
}

// markedContainers returns the ids of the containers of servers with the mark,
// running or not.
func markedContainers(t *testing.T, mark string) (ids []string) {
	t.Helper()
	daemon, err := docker.NewClient(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all, err := daemon.ListContainers(client.ListContainersOptions{All: true, Context: t.Context()})
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		container, err := daemon.InspectContainerWithContext(one.ID, t.Context())
		if _, gone := errors.AsType[*client.NoSuchContainer](err); gone {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(container.Config.Cmd, "sessiontest.mark="+mark) {
			ids = append(ids, one.ID)
		}
	}
	return ids
}

// waitForNoContainer waits for Docker to remove the containers with the mark.
func waitForNoContainer(t *testing.T, mark string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		ids := markedContainers(t, mark)
		if len(ids) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a minute later there still are the containers %v", ids)
		}
		time.Sleep(10 * time.Millisecond) // Docker is asked again
	}
}
