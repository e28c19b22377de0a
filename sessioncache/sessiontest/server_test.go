package sessiontest_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/rhaptos/sessiondb/internal/pgserver"
	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// TestOrder is not parallel: it sets the environment, and what package docker sets.
func TestOrder(t *testing.T) {
	docker := pgserver.StartContainer
	t.Cleanup(func() { pgserver.StartContainer = docker })
	if docker == nil {
		t.Fatal("package docker is imported, but not registered")
	}
	pgserver.StartContainer = func(context.Context, []string) (*pgserver.Container, error) {
		return &pgserver.Container{URL: url.URL{Scheme: "postgres"}, Image: "fake", Stop: func() error { return nil }}, nil
	}
	own, external, container := sessiontest.Local(), sessiontest.External, sessiontest.Container
	t.Setenv("SESSIONCACHE_DATABASE_URL", "")
	if external() != nil {
		t.Error("an empty SESSIONCACHE_DATABASE_URL counts as one")
	}
	server, err := sessiontest.FirstOf(t.Context(), nil, external(), nil, container())
	if err != nil || server.String() != "Docker image fake" {
		t.Errorf("with package docker alone: %v, %v", server, err)
	}
	if own != nil {
		server, err := sessiontest.Start(t.Context())
		if err != nil || strings.HasPrefix(server.String(), "Docker") {
			t.Fatalf("with server binaries and Docker: %v, %v; want the binaries'", server, err)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Setenv("SESSIONCACHE_DATABASE_URL", "postgres://127.0.0.1:1/nowhere?connect_timeout=1")
	if _, err := sessiontest.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "SESSIONCACHE_DATABASE_URL") {
		t.Errorf("with SESSIONCACHE_DATABASE_URL: %v; want that server's error", err)
	}
}

// TestNoServer is not parallel: it sets what package docker sets.
func TestNoServer(t *testing.T) {
	docker := pgserver.StartContainer
	t.Cleanup(func() { pgserver.StartContainer = docker })
	const advice = `import _ "github.com/rhaptos/sessiondb/sessioncache/sessiontest/docker"`
	for name, start := range map[string]func(context.Context, []string) (*pgserver.Container, error){
		"package docker is not imported": nil,
		"no Docker daemon answers": func(context.Context, []string) (*pgserver.Container, error) {
			return nil, fmt.Errorf("%w: cause", pgserver.ErrNoDaemon)
		},
	} {
		pgserver.StartContainer = start
		_, err := sessiontest.FirstOf(t.Context(), nil, sessiontest.Container())
		if !errors.Is(err, sessiontest.ErrNoServer) || !strings.Contains(err.Error(), pgserver.InstallAdvice()) ||
			strings.Contains(err.Error(), advice) != (start == nil) {
			t.Errorf("%s: %v", name, err)
		}
		suite.WantFits80Columns(t, "withpostgres: sessiontest: "+err.Error())
	}
	suite.WantFits80Columns(t, sessiontest.SharesTable)
}
