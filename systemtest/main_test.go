package systemtest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"runtime/pprof"
	"testing"
	"time"
)

// TestMain looks for goroutines that the store has left behind, once all tests are
// over and all pools closed.
func TestMain(m *testing.M) {
	if config := os.Getenv(processVariable); config != "" {
		if err := runProcess(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	code := m.Run()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var stacks bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		left := bytes.Count(stacks.Bytes(), []byte("rhaptos/sessiondb/sessioncache.")) + bytes.Count(stacks.Bytes(), []byte("internal/coalesce."))
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			fmt.Fprintf(os.Stderr, "goroutines of the store are left:\n%s", &stacks)
			os.Exit(1)
		}
	}
	os.Exit(code)
}
