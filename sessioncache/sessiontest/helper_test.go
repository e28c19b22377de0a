package sessiontest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ory/dockertest/v3/docker"
)

// needDocker skips a test where no daemon answers.
func needDocker(t *testing.T) *docker.Client {
	t.Helper()
	client, err := dockerClient(t.Context())
	if err != nil {
		t.Skip("no Docker daemon answers here:", err)
	}
	return client
}

// skipWithoutImage skips a test where a daemon answers that has no network.
func skipWithoutImage(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, errNoImage) {
		t.Skip("nothing was run in a container:", err)
	}
}

// markSetting is a setting by which markedContainers knows a server's container.
func markSetting(mark string) string {
	return "sessiontest.mark = '" + mark + "'"
}

// markedContainers returns the ids of the containers of servers with the mark,
// running or not.
func markedContainers(t *testing.T, mark string) (ids []string) {
	t.Helper()
	client, err := dockerClient(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all, err := client.ListContainers(docker.ListContainersOptions{All: true, Context: t.Context()})
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		container, err := client.InspectContainerWithContext(one.ID, t.Context())
		if _, gone := errors.AsType[*docker.NoSuchContainer](err); gone {
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
