//go:build unix

package sessiontest

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/rhaptos/sessiondb/internal/pgserver"
)

// cluster is the script that makes a cluster, runs it for as long as its
// standard input stays open, and removes it.
//
//go:embed cluster.sh
var cluster string

// startLocal runs a cluster of its own from binaries on this machine. The
// cluster outlives this process by a moment, however the process ends: the end
// of the script's standard input is what stops it.
func startLocal(ctx context.Context, bin string, settings []string) (*Server, error) {
	// It names the private socket, too, and counts only if the settings have the
	// server listen.
	port, err := pgserver.FreePort()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "sessiontest-")
	if err != nil {
		return nil, err
	}
	script := exec.Command("/bin/sh", "-c", cluster, "sessiontest", bin, folder, port, strings.Join(settings, "\n"))
	script.Dir = folder
	script.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	// A group of its own: Ctrl-C is for us, and reaches the script as the end of
	// its input.
	script.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := pgserver.DropPrivileges(script.SysProcAttr, folder); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	stdin, err := script.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := script.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var log bytes.Buffer
	script.Stderr = &log
	if err := script.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	stop := sync.OnceValue(func() error {
		stdin.Close()
		return script.Wait()
	})

	giveUp := context.AfterFunc(ctx, func() { _ = stop() })
	defer giveUp()
	version, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil { // it ended before the server was up
		err = stop()
		return nil, fmt.Errorf("PostgreSQL from %s did not start: %w\n%s", bin, cmp.Or(ctx.Err(), err), &log)
	}
	server := url.URL{
		Scheme:   "postgres",
		User:     url.User("postgres"),
		Path:     "/",
		RawQuery: url.Values{"host": {folder}, "port": {port}}.Encode(),
	}
	return own(server, version[:len(version)-1], stop), nil
}
