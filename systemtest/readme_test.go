package systemtest

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	_ "github.com/rhaptos/sessiondb/sessioncache/sessiontest/docker"
)

// TestReadme pastes the program of the README into an empty module and runs it as a
// newcomer would, with nothing of this repository but the module itself. It also compares
// the SQL that the README shows with queries/, and compiles the call.
func TestReadme(t *testing.T) {
	t.Parallel()
	program, call := twoBlocks(t, "../README.md", "go")
	t.Run("typed layer", func(t *testing.T) {
		t.Parallel()
		queries, err := os.ReadFile("../queries/user.sql")
		if err != nil {
			t.Fatal(err)
		}
		name, statement, _ := strings.Cut(blocks(t, "../README.md", "sql")[0], "\n")
		if !strings.Contains(string(queries), name+"\n") || !strings.Contains(string(queries), "\n"+statement) {
			t.Errorf("queries/user.sql has another %s", name)
		}
		build(t, `package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/db"
)

func main() {}

func typed(ctx context.Context, tx pgx.Tx) error {
`+call+`
	return err
}
`)
	})
	database := sessiontest.NewDatabase(t)
	address := fmt.Sprintf("localhost:%d", freePort(t))
	service := build(t, strings.Replace(program, "localhost:8080", address, 1))

	command := exec.CommandContext(t.Context(), service)
	command.Env = append(os.Environ(), "DATABASE_URL="+database.URL)
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	}()
	v := newcomer{"http://" + address, map[string]string{}}
	eventually(t, "the service answers", func() bool {
		response, err := http.Get(v.origin + "/login")
		if err == nil {
			_ = response.Body.Close()
		}
		return err == nil
	})
	v.want(t, "GET", "/", "/login", "Log in")
	v.want(t, "POST", "/login", "/login", "please try again")
	v.want(t, "POST", "/login?name=Ed", "/", "Hello Ed")
	v.want(t, "GET", "/", "/", "Hello Ed")
	v.want(t, "POST", "/logout", "/login", "Log in")
	v.want(t, "GET", "/", "/login", "Log in")
}

// blocks returns the code of a language that a page shows.
func blocks(t *testing.T, page, language string) (code []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(text), "```"+language+"\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		code = append(code, block)
	}
	return code
}

func twoBlocks(t *testing.T, page, language string) (first, second string) {
	t.Helper()
	code := blocks(t, page, language)
	if len(code) != 2 {
		t.Fatalf("%s has %d blocks of %s; want 2", page, len(code), language)
	}
	return code[0], code[1]
}

// build compiles a program in a module of its own.
func build(t *testing.T, program string) (path string) {
	t.Helper()
	folder := t.TempDir()
	write(t, filepath.Join(folder, "main.go"), program)
	newModule(t, folder, "newcomer")
	for _, arguments := range []string{"mod tidy", "vet .", "build -o program ."} {
		mustRun(t, folder, nil, "go", strings.Fields(arguments)...)
	}
	return filepath.Join(folder, "program")
}

// newModule makes a folder a module of this name that requires this one.
func newModule(t *testing.T, folder, name string) {
	t.Helper()
	module, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, "go.mod"), fmt.Sprintf(`module %s
go 1.26
require github.com/rhaptos/sessiondb v0.0.0
replace github.com/rhaptos/sessiondb => %s
`, name, module))
}

// mustRun runs a command in a folder and returns what it prints.
func mustRun(t *testing.T, folder string, environment []string, name string, arguments ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, arguments...)
	command.Dir = folder
	command.Env = append(os.Environ(), environment...)
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, output)
	}
	return string(output)
}

// newcomer is a browser that takes http://localhost for secure, which Go's cookie jar
// does not.
type newcomer struct {
	origin  string
	cookies map[string]string
}

// want makes a request, follows redirects, and looks at the page in the end.
func (v newcomer) want(t *testing.T, method, path, at, text string) {
	t.Helper()
	for range 5 {
		request, err := http.NewRequestWithContext(t.Context(), method, v.origin+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", "text/html")
		for name, value := range v.cookies {
			request.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		if kind := response.Header.Get("Content-Type"); response.StatusCode == http.StatusOK && !strings.HasPrefix(kind, "text/html") {
			t.Errorf("%s %s: %s: a browser shows the page as text", method, path, kind)
		}
		page, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		for _, cookie := range response.Cookies() {
			v.cookies[cookie.Name] = cookie.Value
			if cookie.MaxAge < 0 {
				delete(v.cookies, cookie.Name)
			}
		}
		if response.StatusCode != http.StatusSeeOther {
			path, _, _ = strings.Cut(path, "?")
			if err != nil || path != at || !strings.Contains(string(page), text) {
				t.Errorf("%s leads to %s and shows %q, %v; want %q at %s", method, path, page, err, text, at)
			}
			return
		}
		method, path = http.MethodGet, response.Header.Get("Location")
	}
	t.Errorf("%s %s does not end", method, path)
}
