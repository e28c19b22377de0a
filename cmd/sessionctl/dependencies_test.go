package main

import (
	"os/exec"
	"strings"
	"testing"
)

func TestLinksNothingOfTheTests(t *testing.T) {
	t.Parallel()
	deps, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, unwanted := range []string{"dockertest", "docker/", "sessiontest", "internal/demo", "\ntesting\n", "httptest"} {
		if strings.Contains(string(deps), unwanted) {
			t.Errorf("sessionctl links %q", strings.TrimSpace(unwanted))
		}
	}
}
