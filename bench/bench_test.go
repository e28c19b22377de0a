package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRun is a moment of the benchmark: everybody takes part and gets into the
// report. It says nothing of how fast they are.
func TestRun(t *testing.T) {
	t.Parallel()
	o := options{
		callers: []int{1, 8}, rounds: 1, turn: 20 * time.Millisecond,
		sessions: 1000, payload: 570, pool: 4, out: t.TempDir(),
	}
	if err := run(o); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile(filepath.Join(o.out, "latest.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"## Get, 8 callers", "## Set, 1 callers", "## Authenticate, 8 callers",
		"| sessioncache, raw JSON |", "| sessioncache, User |", "| db (generated), alone |", "| scs pgxstore |", "| gorilla pgstore |",
		"| Get, raw JSON |", "| Authenticate, raw JSON |",
	} {
		if !strings.Contains(string(table), want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
	for _, name := range []string{"latest.json", "latest.svg"} {
		if info, err := os.Stat(filepath.Join(o.out, name)); err != nil || info.Size() < 1000 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestPayload(t *testing.T) {
	t.Parallel()
	for _, payload := range []int{200, 570, 2000, 20_000} {
		if got := len(newUser(payload, 7)); got != payload {
			t.Errorf("a user of %d bytes has %d", payload, got)
		}
	}
}
