package systemtest

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// TestDataLayer makes the application of docs/data-layer.md in an empty folder, from the
// blocks of the page, and runs its commands in the page's order.
func TestDataLayer(t *testing.T) {
	t.Parallel()
	const page = "../docs/data-layer.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	newModule(t, folder, "example")
	environment := []string{
		"DATABASE_URL=" + newSchema(t, "app"),
		"PATH=" + pinnedTools(t, string(text)) + string(os.PathListSeparator) + os.Getenv("PATH"),
	}
	// The files, each with its name before it, and then the commands.
	files := regexp.MustCompile("(?s)\n`([^`\n]+)`:\n\n```[a-z]+\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(files) != 4 {
		t.Fatalf("the page has %d files; want 4", len(files))
	}
	for _, file := range files {
		path := filepath.Join(folder, file[1])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, file[2])
	}
	var output string
	for _, commands := range blocks(t, page, "sh") {
		output = mustRun(t, folder, environment, "sh", "-ec", commands)
	}
	if want := "1 Dear Ada laptop true\n0\n"; !strings.HasSuffix(output, want) {
		t.Errorf("the program prints %q; want %q", output, want)
	}
}

// newSchema returns the connection string of an empty schema.
func newSchema(t *testing.T, name string) string {
	t.Helper()
	database, err := url.Parse(sessiontest.NewDatabase(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), database.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), "CREATE SCHEMA "+name); err != nil {
		t.Fatal(err)
	}
	query := database.Query()
	query.Set("search_path", name)
	database.RawQuery = query.Encode()
	return database.String()
}

// pinnedTools returns a folder with the commands sqlc and goose, in the versions of
// tools.go, which the page has to name.
func pinnedTools(t *testing.T, page string) (folder string) {
	t.Helper()
	tools, err := os.ReadFile("../tools.go")
	if err != nil {
		t.Fatal(err)
	}
	folder = t.TempDir()
	for _, line := range regexp.MustCompile(`(?m)^//go:generate (go run (?:.* )?\S+/(\w+)@\S+)`).FindAllStringSubmatch(string(tools), -1) {
		if install := "go install" + strings.TrimPrefix(line[1], "go run") + "\n"; !strings.Contains(page, install) {
			t.Errorf("the page does not say: %s", install)
		}
		path := filepath.Join(folder, line[2])
		write(t, path, "#!/bin/sh\nexec "+line[1]+" \"$@\"\n")
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}
