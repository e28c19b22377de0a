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

// TestReadme pastes the programs of the README into empty modules and runs them as a
// newcomer would, with nothing of this repository but the module itself.
func TestReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(readme), "```go\n")[1:]
	if len(blocks) != 2 {
		t.Fatalf("the README has %d programs; want two", len(blocks))
	}
	database := sessiontest.NewDatabase(t)
	address := fmt.Sprintf("localhost:%d", freePort(t))
	quickStart, service := build(t, blocks[0]), build(t, strings.Replace(blocks[1], "localhost:8080", address, 1))

	command := exec.CommandContext(t.Context(), quickStart)
	command.Env = append(os.Environ(), "DATABASE_URL="+database.URL)
	output, err := command.CombinedOutput()
	if err != nil || string(output) != "Ed true\n" {
		t.Errorf("the quick start prints %q, %v; want Ed true", output, err)
	}

	command = exec.CommandContext(t.Context(), service)
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

// build compiles a program of the README in a module of its own.
func build(t *testing.T, block string) (path string) {
	t.Helper()
	program, _, _ := strings.Cut(block, "```")
	folder := t.TempDir()
	module, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, "main.go"), program)
	write(t, filepath.Join(folder, "go.mod"), fmt.Sprintf(`module newcomer
go 1.26
require github.com/rhaptos/sessiondb v0.0.0
replace github.com/rhaptos/sessiondb => %s
`, module))
	for _, arguments := range [][]string{{"mod", "tidy"}, {"vet", "."}, {"build", "-o", "program", "."}} {
		command := exec.CommandContext(t.Context(), "go", arguments...)
		command.Dir = folder
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(arguments, " "), err, output)
		}
	}
	return filepath.Join(folder, "program")
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
