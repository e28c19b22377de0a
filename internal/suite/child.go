package suite

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// childVariable makes a test binary the program that [EndChild] ends. It holds a mark.
const childVariable = "SESSIONTEST_CHILD"

// ChildMain is the TestMain of tests that call [EndChild]. In the child it calls start with
// the mark, and prints the connection string that start returns.
func ChildMain(m *testing.M, start func(ctx context.Context, mark string) (url string, err error)) {
	mark, child := os.LookupEnv(childVariable)
	if !child {
		os.Exit(m.Run())
	}
	url, err := start(context.Background(), mark)
	if err != nil {
		panic(err)
	}
	fmt.Println(url)
	select {}
}

// EndChild ends a process that has started a server, and waits for the server to end. It
// returns the server's connection string.
func EndChild(t *testing.T, mark string, signal os.Signal) (url string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), self)
	child.Env = append(os.Environ(), childVariable+"="+mark, "SESSIONCACHE_DATABASE_URL=", "SESSIONCACHE_TEST_AFTER_MIGRATE=")
	child.Stderr = os.Stderr
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	url, err = bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url = strings.TrimSuffix(url, "\n")
	conn, err := pgx.Connect(t.Context(), url)
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
	return url
}
