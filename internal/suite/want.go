package suite

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// Eventually waits for what nobody announces. The test fails if that has not happened
// after a minute.
func Eventually(t *testing.T, what string, happens func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !happens(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("a minute, and not yet: %s", what)
		}
	}
}

// WantPanic calls a function that has to panic.
func WantPanic(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("it did not panic")
		}
	}()
	f()
}

// WantFits80Columns checks a text that a terminal shows.
func WantFits80Columns(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "\t", strings.Repeat(" ", 8))
		if columns := utf8.RuneCountInString(line); columns > 80 {
			t.Errorf("%d columns: %q", columns, line)
		}
	}
}
