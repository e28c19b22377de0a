package sessioncache_test

import (
	"os"
	"strings"
	"testing"
)

// TestReadmeShowsTheExample keeps the README's first code to what is compiled and
// run here.
func TestReadmeShowsTheExample(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	examples, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(readme), "```go\n")
	code, _, found := strings.Cut(code, "```")
	if !found {
		t.Fatal("the README has no Go code")
	}
	for line := range strings.Lines(code) {
		if line != "\n" && !strings.Contains(string(examples), "\t"+line) {
			t.Errorf("the README shows %q, which no example has", line)
		}
	}
}
