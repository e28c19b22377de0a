package sessiontest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// childEnv makes the test binary the program that the tests of this file kill: it
// names one of starts, and a mark for its container.
const childEnv = "SESSIONTEST_CHILD"

var starts = map[string]func(ctx context.Context, mark string) (*Server, error){
	"any server": func(ctx context.Context, mark string) (*Server, error) {
		return Start(ctx, markSetting(mark))
	},
	"container": func(ctx context.Context, mark string) (*Server, error) {
		return startDocker(ctx, []string{markSetting(mark)})
	},
}

func TestMain(m *testing.M) {
	child := os.Getenv(childEnv)
	if child == "" {
		os.Exit(m.Run())
	}
	kind, mark, _ := strings.Cut(child, ":")
	server, err := starts[kind](context.Background(), mark)
	if err != nil {
		panic(err)
	}
	database, err := server.NewDatabase(context.Background())
	if err != nil {
		panic(err)
	}
	fmt.Println(database.URL)
	select {}
}

func TestServerEndsWithItsProcess(t *testing.T) {
	t.Parallel()
	endsWithItsProcess(t, "any server", os.Kill)
}

func TestContainerEndsWithItsProcess(t *testing.T) {
	t.Parallel()
	client := needDocker(t)
	skipWithoutImage(t, pull(t.Context(), client, dockerImage()))
	for _, signal := range []os.Signal{os.Kill, os.Interrupt} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			endsWithItsProcess(t, "container", signal)
		})
	}
}

// endsWithItsProcess ends a process that has started a server, and waits for the
// server to be gone.
func endsWithItsProcess(t *testing.T, kind string, signal os.Signal) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	mark := uniqueName()
	child := exec.CommandContext(t.Context(), self)
	child.Env = append(os.Environ(), childEnv+"="+kind+":"+mark, "SESSIONCACHE_DATABASE_URL=", "SESSIONCACHE_TEST_AFTER_MIGRATE=")
	child.Stderr = os.Stderr
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(line[:len(line)-1])
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())

	if err := child.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.WaitForNotification(t.Context()); err == nil {
		t.Error("a notification came from nowhere")
	}
	if folder := at.Query().Get("host"); folder != "" {
		waitForNoFolder(t, folder)
	} else {
		waitForNoContainer(t, mark)
	}
}

// waitForNoFolder waits for a cluster to remove its folder.
func waitForNoFolder(t *testing.T, folder string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		_, err := os.Stat(folder)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a minute later %s is still there: %v", folder, err)
		}
		time.Sleep(10 * time.Millisecond) // the folder tells nobody when it goes
	}
}
