package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRun runs the benchmark for a moment: every target is measured and reported. It
// says nothing about how fast they are.
func TestRun(t *testing.T) {
	t.Parallel()
	o := options{
		callers: []int{1, 8}, hot: []int{10, hotSessions}, rounds: 1, sample: 20 * time.Millisecond,
		sessions: 1000, payload: 570, pool: 4, out: t.TempDir(), name: "latest",
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
		"| Get, raw JSON |", "| Authenticate, raw JSON |", "| ParseToken and Authenticate, raw JSON |",
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

// TestResultName keeps the results of other settings from taking the place of those
// that are kept.
func TestResultName(t *testing.T) {
	t.Parallel()
	for arguments, want := range map[string]string{
		"":                               "latest",
		"-rounds 9":                      "latest",
		"-delay 500us":                   "latest-delay-500us",
		"-callers 1,64 -pool 16":         "latest-callers-1-64-pool-16",
		"-only get":                      "get",
		"-only get -delay 2ms -rounds 3": "get-delay-2ms",
	} {
		flags := flag.NewFlagSet("bench", flag.ContinueOnError)
		only := flags.String("only", "", "")
		flags.Duration("delay", 0, "")
		flags.Int("rounds", 5, "")
		flags.Int("pool", 4, "")
		flags.String("callers", "1", "")
		if err := flags.Parse(strings.Fields(arguments)); err != nil {
			t.Fatal(err)
		}
		if got := resultName(*only, flags); got != want {
			t.Errorf("bench %s writes to %s; want %s", arguments, got, want)
		}
	}
}
