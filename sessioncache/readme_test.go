package sessioncache_test

import (
	"os"
	"strings"
	"testing"
)

// TestReadmeShowsTheExamples keeps the README's code to what is compiled and run
// in the examples.
func TestReadmeShowsTheExamples(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(readme), "```go\n")[1:]
	examples := []string{"example_test.go", "sessionhttp/example_test.go"}
	if len(blocks) != len(examples) {
		t.Fatalf("the README has %d blocks of Go; want one for each of %q", len(blocks), examples)
	}
	for i, block := range blocks {
		example, err := os.ReadFile(examples[i])
		if err != nil {
			t.Fatal(err)
		}
		code, _, _ := strings.Cut(block, "```")
		for line := range strings.Lines(code) {
			if line != "\n" && !strings.Contains(string(example), "\t"+line) {
				t.Errorf("the README shows %q, which %s lacks", line, examples[i])
			}
		}
	}
}
