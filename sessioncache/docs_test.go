package sessioncache_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// TestDocsNameTestsThatExist keeps the promises in docs/ to the tests that prove
// them.
func TestDocsNameTestsThatExist(t *testing.T) {
	t.Parallel()
	exists := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, match := range function.FindAllSubmatch(source, -1) {
			exists[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages, %v", err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile("`((?:Test|Fuzz|Benchmark)\\w+)`").FindAllSubmatch(text, -1) {
			if name := string(match[1]); !exists[name] {
				t.Errorf("%s names %s, which is no test", page, name)
			}
		}
	}
}

// TestEveryCallHasAnExample: the examples are the documentation that is known to work.
func TestEveryCallHasAnExample(t *testing.T) {
	t.Parallel()
	examples, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for method := range reflect.TypeFor[*sessioncache.Cache[Account]]().Methods() {
		if !strings.Contains(string(examples), "\nfunc ExampleCache_"+method.Name+"() {") {
			t.Errorf("Cache.%s has no example", method.Name)
		}
	}
}
