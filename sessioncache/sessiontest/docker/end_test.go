package docker_test

import (
	"context"
	"os"
	"testing"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest/docker"
)

func TestMain(m *testing.M) {
	suite.ChildMain(m, func(ctx context.Context, mark string) (url string, err error) {
		server, err := docker.Start(ctx, []string{markSetting(mark)})
		if err != nil {
			return "", err
		}
		return server.URL.JoinPath("postgres").String(), nil
	})
}

func TestContainerEndsWithItsProcess(t *testing.T) {
	t.Parallel()
	skipWithoutImage(t, docker.Pull(t.Context(), needDaemon(t), docker.ImageName()))
	for _, signal := range []os.Signal{os.Kill, os.Interrupt} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			mark := newMark()
			suite.EndChild(t, mark, signal)
			waitForNoContainer(t, mark)
		})
	}
}
