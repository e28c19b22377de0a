package recipes_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPage: docs/recipes.md links every recipe, and stays short.
func TestPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/recipes.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(bytes.Fields(page)); n > 500 {
		t.Errorf("the page has %d words; want 500 at most", n)
	}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recipes, %v", err)
	}
	recipes := 0
	for _, file := range files {
		if file == "recipes.go" || strings.HasSuffix(file, "_test.go") {
			continue
		}
		recipes++
		if !bytes.Contains(page, []byte("](../systemtest/recipes/"+file+")")) {
			t.Errorf("the page does not link %s", file)
		}
		if _, err := os.Stat(strings.TrimSuffix(file, ".go") + "_test.go"); err != nil {
			t.Errorf("%s has no test beside it: %v", file, err)
		}
	}
	if links := bytes.Count(page, []byte("](../systemtest/recipes/")); links != recipes {
		t.Errorf("the page has %d links to %d recipes", links, recipes)
	}
}
