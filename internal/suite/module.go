package suite

import (
	"os"
	"path/filepath"
	"testing"
)

// NewModule makes a module that requires this one, as its users do, and returns its folder.
// root is the folder of this module; the new one has one Go file.
func NewModule(t *testing.T, name, root, file, program string) (dir string) {
	t.Helper()
	root, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for path, content := range map[string]string{
		"go.mod": "module " + name + "\n\ngo 1.26\n\n" +
			"require github.com/rhaptos/sessiondb v0.0.0\n\n" +
			"replace github.com/rhaptos/sessiondb => " + root + "\n",
		"go.sum": string(sum),
		file:     program,
	} {
		if err := os.WriteFile(filepath.Join(dir, path), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
