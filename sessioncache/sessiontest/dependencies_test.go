package sessiontest_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/rhaptos/sessiondb/internal/suite"
)

const (
	self   = "github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	docker = self + "/docker"
)

// goList runs go list and returns its lines.
func goList(t *testing.T, dir string, arguments ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, arguments...)...)
	cmd.Dir = dir
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v", strings.Join(arguments, " "), err)
	}
	return strings.Split(strings.TrimSpace(string(output)), "\n")
}

// TestOnlyDockerImportsDockertest: who imports another package does not get the
// requirements of Docker's client.
func TestOnlyDockerImportsDockertest(t *testing.T) {
	t.Parallel()
	for _, line := range goList(t, "../..", "-test", "-f", "{{.ImportPath}} {{.Imports}}", "./...") {
		importer, imports, _ := strings.Cut(line, " ")
		if strings.Contains(imports, "ory/dockertest") && !strings.HasPrefix(importer, docker) {
			t.Errorf("%s imports dockertest; only %s may", importer, docker)
		}
	}
}

// TestProjectRunsWithDockerAlone: every test and every program of this module that uses
// package sessiontest also links package docker.
func TestProjectRunsWithDockerAlone(t *testing.T) {
	t.Parallel()
	users := 0
	for _, line := range goList(t, "../..", "-test", "-f", `{{if eq .Name "main"}}{{.ImportPath}} {{join .Deps " "}}{{end}}`, "./...") {
		fields := strings.Fields(line)
		if len(fields) == 0 || !slices.Contains(fields[1:], self) {
			continue
		}
		users++
		if !slices.Contains(fields[1:], docker) {
			t.Errorf("%s uses sessiontest, but does not import %s", fields[0], docker)
		}
	}
	if users < 10 {
		t.Errorf("%d programs and tests use sessiontest; were they found?", users)
	}
}

// TestImporterStaysSmall is a module whose test calls NewPool. It counts the modules that
// go mod tidy would require there.
func TestImporterStaysSmall(t *testing.T) {
	t.Parallel()
	dir := suite.NewModule(t, "importer", "../..", "login_test.go", `package importer

import (
	"testing"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

func TestLogin(t *testing.T) {
	_ = sessioncache.New[sessiontest.User](sessiontest.NewPool(t))
}
`)
	modules := goList(t, dir, "-mod=mod", "-test", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".")
	slices.Sort(modules)
	modules = slices.DeleteFunc(slices.Compact(modules), func(module string) bool {
		return module == "" || module == "importer" || module == "github.com/rhaptos/sessiondb"
	})
	const most = 12
	if len(modules) == 0 || len(modules) > most {
		t.Errorf("it has %d indirect requirements; want at most %d:\n%s", len(modules), most, strings.Join(modules, "\n"))
	}
	t.Logf("%d modules", len(modules))
}
