package systemtest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// root is the folder of the project.
const root = ".."

// edit replaces a text of a file, which must have it once.
type edit struct{ file, old, new string }

// makeOverlay writes the changed files, and what has the compiler take them.
func makeOverlay(t *testing.T, edits []edit) (path string) {
	t.Helper()
	folder := t.TempDir()
	texts := map[string]string{}
	for _, e := range edits {
		path, err := filepath.Abs(filepath.Join(root, e.file))
		if err != nil {
			t.Fatal(err)
		}
		if texts[path] == "" {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			texts[path] = string(text)
		}
		if n := strings.Count(texts[path], e.old); n != 1 {
			t.Fatalf("%s has the text %d times, want once: %q", e.file, n, e.old)
		}
		texts[path] = strings.Replace(texts[path], e.old, e.new, 1)
	}
	replace := map[string]string{}
	for path, text := range texts {
		replace[path] = filepath.Join(folder, filepath.Base(path))
		write(t, replace[path], text)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(folder, "overlay.json")
	write(t, path, string(overlay))
	return path
}

// compileTests compiles the tests of a package to a program in a folder, with an overlay or
// without ("").
func compileTests(t *testing.T, dir, overlay, folder string) (program string) {
	t.Helper()
	program = filepath.Join(folder, filepath.Base(dir)+".test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", overlay, "-o", program, ".")
	build.Dir = filepath.Join(root, dir) // systemtest is another module
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return program
}
