package systemtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/internal/pgserver"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// cluster is a PostgreSQL with a data directory that outlives its server, so that
// the server can be ended in every way there is, and started again. It syncs its
// files, as one in production does.
type cluster struct {
	bin, folder, data string
	port              int
	postmaster        *exec.Cmd
	exited            chan struct{} // closed once the postmaster has
}

// newCluster makes a cluster with these settings, and does not start it.
func newCluster(t *testing.T, settings ...string) *cluster {
	t.Helper()
	c := newFolder(t)
	c.run(t, "initdb", "-D", c.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	c.configure(t, settings...)
	return c
}

// newFolder is a cluster without files.
func newFolder(t *testing.T) *cluster {
	t.Helper()
	bin, ok := pgserver.Binaries()
	if !ok {
		t.Fatal("no PostgreSQL server on this machine: install it (apt-get install postgresql)")
	}
	folder, err := os.MkdirTemp("", "systemtest-") //nolint:usetesting // where the server's own user may go, too
	if err != nil {
		t.Fatal(err)
	}
	if err := pgserver.DropPrivileges(&syscall.SysProcAttr{}, folder); err != nil {
		t.Fatal(err)
	}
	c := &cluster{bin: bin, folder: folder, data: filepath.Join(folder, "data"), port: freePort(t)}
	t.Cleanup(func() {
		c.kill()
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *cluster) configure(t *testing.T, settings ...string) {
	t.Helper()
	settings = append([]string{
		fmt.Sprintf("port = %d", c.port),
		"listen_addresses = '127.0.0.1'",
		fmt.Sprintf("unix_socket_directories = '%s'", c.folder),
		"log_min_messages = fatal",
	}, settings...)
	path := filepath.Join(c.data, "postgresql.auto.conf")
	write(t, path, strings.Join(settings, "\n")+"\n")
}

// command is one of the server's programs, as the user that owns the files.
func (c *cluster) command(t *testing.T, program string, arguments ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(filepath.Join(c.bin, program), arguments...)
	cmd.Dir = c.folder
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := pgserver.DropPrivileges(cmd.SysProcAttr, c.folder); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func (c *cluster) run(t *testing.T, program string, arguments ...string) {
	t.Helper()
	if output, err := c.command(t, program, arguments...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, output)
	}
}

// launch starts the server and does not wait for it.
func (c *cluster) launch(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(c.folder, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	c.postmaster = c.command(t, "postgres", "-D", c.data)
	c.postmaster.Stdout, c.postmaster.Stderr = log, log
	c.exited = make(chan struct{})
	if err := c.postmaster.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = c.postmaster.Wait()
		close(c.exited)
	}()
}

// start starts the server, again if it finds what a killed one has left, and
// returns when it takes connections.
func (c *cluster) start(t *testing.T) {
	t.Helper()
	c.launch(t)
	for deadline := time.Now().Add(time.Minute); ; {
		conn, err := c.connect()
		if err == nil {
			_ = conn.Close(context.Background())
			return
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(c.folder, "log"))
			t.Fatalf("%v\n%s", err, log)
		}
		select {
		case <-c.exited:
			c.launch(t)
		case <-time.After(20 * time.Millisecond): // it tells nobody when it is ready
		}
	}
}

// end sends the postmaster one of its signals to stop, and waits until it has.
func (c *cluster) end(signal syscall.Signal) {
	_ = c.postmaster.Process.Signal(signal)
	<-c.exited
}

// kill is kill -9 of every process.
func (c *cluster) kill() {
	if c.postmaster == nil {
		return
	}
	c.signal(syscall.SIGKILL)
	<-c.exited
}

// signal sends a signal to the postmaster and all its children. While they are
// looked for no new ones come.
func (c *cluster) signal(signal syscall.Signal) {
	pid := c.postmaster.Process.Pid
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, child := range strings.Fields(string(children)) {
		if child, err := strconv.Atoi(child); err == nil {
			_ = syscall.Kill(child, signal)
		}
	}
	_ = syscall.Kill(pid, signal)
}

// connect waits longer than the clients do: the machine may be busy.
func (c *cluster) connect() (*pgx.Conn, error) {
	return pgx.Connect(context.Background(), patient(c.url("postgres")))
}

// patient is a connection string that waits longer for a busy machine.
func patient(url string) string {
	return strings.Replace(url, "connect_timeout=2", "connect_timeout=30", 1)
}

// sql runs a statement as the superuser, on the database of the sessions.
func (c *cluster) sql(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, c.url("sessions"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, statement)
	return err
}

func (c *cluster) url(database string) string {
	return multiHost(database, c)
}

// multiHost is a connection string for clients of several servers, of which one
// can be written to.
func multiHost(database string, clusters ...*cluster) string {
	var hosts, ports []string
	for _, c := range clusters {
		hosts = append(hosts, "127.0.0.1")
		ports = append(ports, strconv.Itoa(c.port))
	}
	parameters := url.Values{
		"host": {strings.Join(hosts, ",")}, "port": {strings.Join(ports, ",")}, "sslmode": {"disable"}, "connect_timeout": {"2"},
	}
	if len(clusters) > 1 {
		parameters.Set("target_session_attrs", "read-write")
	}
	return "postgres://postgres@/" + database + "?" + parameters.Encode()
}

// startWithTable starts a cluster and makes the table in it.
func startWithTable(t *testing.T, settings ...string) *cluster {
	t.Helper()
	c := newCluster(t, settings...)
	c.start(t)
	c.createTable(t)
	return c
}

func (c *cluster) createTable(t *testing.T) {
	t.Helper()
	conn, err := c.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE sessions"); err != nil {
		t.Fatal(err)
	}
	if err := sessiontest.Migrate(t.Context(), c.url("sessions")); err != nil {
		t.Fatal(err)
	}
}
