package suite

import (
	"testing"
	"time"
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
