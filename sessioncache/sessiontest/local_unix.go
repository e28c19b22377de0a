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

// cluster is a script that creates a cluster, runs it until its standard input ends, and
// removes it.
//
//go:embed cluster.sh
var cluster string

// local runs a server with the binaries on this machine, if there are any.
func local() starter {
	bin, ok := pgserver.Binaries()
	if !ok {
		return nil
	}
	return func(ctx context.Context, settings []string) (*Server, error) {
		return startLocal(ctx, bin, settings)
	}
}

// startLocal runs a new cluster with the binaries on this machine. When this process
// ends, however it ends, the script's standard input ends. That stops the cluster a
// moment later.
func startLocal(ctx context.Context, bin string, settings []string) (*Server, error) {
	// The port is also part of the socket's name. The server listens on the port only if
	// the settings say so.
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
	// In a process group of its own, so that Ctrl-C does not reach the script. It ends
	// when its standard input ends.
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

	stopOnCancel := context.AfterFunc(ctx, func() { _ = stop() })
	defer stopOnCancel()
	version, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil { // the script ended before the server had started
		err = stop()
		return nil, fmt.Errorf("PostgreSQL from %s did not start: %w\n%s", bin, cmp.Or(ctx.Err(), err), &log)
	}
	server := url.URL{
		Scheme:   "postgres",
		User:     url.User("postgres"),
		Path:     "/",
		RawQuery: url.Values{"host": {folder}, "port": {port}}.Encode(),
	}
	return dedicated(server, version[:len(version)-1], stop), nil
}
