package sessioncache_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/rhaptos/sessiondb/internal/suite"
)

func goTool(t *testing.T, dir string, arguments ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", arguments...)
	cmd.Dir = dir
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
	return string(output)
}

func TestLibraryDependsOnNothingOfTheTests(t *testing.T) {
	t.Parallel()
	deps := goTool(t, ".", "list", "-deps", ".", "./sessionhttp", "../db")
	for _, unwanted := range []string{"goose", "dockertest", "docker/", "sessiontest", "\ntesting\n"} {
		if strings.Contains(deps, unwanted) {
			t.Errorf("sessioncache depends on %q", strings.TrimSpace(unwanted))
		}
	}
}

// TestConsumerStaysSmall builds a program that imports the library, as its users
// do, and counts the modules in it.
func TestConsumerStaysSmall(t *testing.T) {
	t.Parallel()
	dir := suite.NewModule(t, "consumer", "..", "main.go", `package main

import (
	"context"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache"
)

func main() {
	pool, err := pgxpool.New(context.Background(), os.Getenv("DATABASE_URL"))
	if err != nil {
		panic(err)
	}
	_ = db.New(pool)
	_, _, _ = sessioncache.New[map[string]any](pool).Get(context.Background(), os.Args[1])
}
`)
	goTool(t, dir, "build", "-mod=mod", "-o", "consumer", ".")
	modules := strings.Count(goTool(t, dir, "version", "-m", "consumer"), "\n\tdep\t")
	const most = 9
	if modules == 0 || modules > most {
		t.Errorf("the binary holds %d modules; want at most %d", modules, most)
	}
	t.Logf("%d modules", modules)
}
