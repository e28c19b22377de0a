package systemtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/internal/pgserver"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// races are the tests whose outcome depends on the server alone, for -skip. They come
// first there: what follows a pattern with a slash does not match whole tests.
const races = "Rac(e|ing)|TestNoDeadlocks"

// TestPgBouncer runs the ordinary suite through PgBouncer in transaction mode, in
// each exec mode that works without prepared statements, which PgBouncer carries
// since 1.21 only. Behind the pooler all tests share one table. Tests that need one to
// themselves skip. The tests of sessionhttp are left out, because all its statements are
// sessioncache's. The races, the commands and the examples run in one mode.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	url := startPgBouncer(t)
	for _, mode := range []string{"cache_describe", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			packages, skip := []string{"./queries", "./schema", "./sessioncache"}, "/cache_statement|/describe_exec"
			if mode == "cache_describe" {
				packages = append(packages, "./cmd/...", "./examples/webapp", "./sessioncache/sessiontest/...")
			} else {
				skip = races + "|" + skip
			}
			arguments := []string{"test", "-count=1", "-skip", skip}
			suite := exec.CommandContext(t.Context(), "go", append(arguments, packages...)...)
			suite.Dir = ".."
			suite.Env = append(os.Environ(), "SESSIONCACHE_DATABASE_URL="+url+"&default_query_exec_mode="+mode)
			if output, err := suite.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, output)
			}
		})
	}
}

// startPgBouncer runs PgBouncer before a PostgreSQL of its own, and returns the
// connection string.
func startPgBouncer(t *testing.T) string {
	t.Helper()
	server, err := sessiontest.Start(t.Context(), "listen_addresses = '127.0.0.1'")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	database, err := server.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	upstream, err := pgx.ParseConfig(database.URL)
	if err != nil {
		t.Fatal(err)
	}
	return startPgBouncerOn(t, upstream.Port, upstream.Database)
}

// pgBouncerPath is where PgBouncer is, or would be.
func pgBouncerPath() string {
	if path, err := exec.LookPath("pgbouncer"); err == nil {
		return path
	}
	return "/usr/sbin/pgbouncer" // where Debian has it, and PATH may not
}

// startPgBouncerOn runs PgBouncer before a database of the server on a port. It is started
// again when it ends, as systemd would: 1.18 dies of requests to cancel a statement that meet a
// connection's end (https://github.com/pgbouncer/pgbouncer/issues/822).
func startPgBouncerOn(t *testing.T, upstream uint16, database string) string {
	t.Helper()
	port := freePort(t)
	folder := t.TempDir()
	settings := filepath.Join(folder, "pgbouncer.ini")
	users := filepath.Join(folder, "users.txt")
	write(t, users, `"postgres" ""`)
	write(t, settings, fmt.Sprintf(`
[databases]
sessions = host=127.0.0.1 port=%d dbname=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = transaction
default_pool_size = 20
max_client_conn = 1000
server_login_retry = 1
log_connections = 0
log_disconnections = 0
`, upstream, database, port, users))

	arguments := []string{"-q", settings}
	if os.Getuid() == 0 { // it refuses to run as root, and to read root's files as another
		for _, dir := range []string{folder, filepath.Dir(folder)} {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		arguments = []string{"-q", "-u", "postgres", settings}
	}
	start := func() (*exec.Cmd, error) {
		pgbouncer := exec.Command(pgBouncerPath(), arguments...)
		pgbouncer.Stderr = os.Stderr
		return pgbouncer, pgbouncer.Start()
	}
	pgbouncer, err := start()
	if err != nil {
		t.Fatalf("%v: install it (apt-get install pgbouncer)", err)
	}
	over, stopped := make(chan struct{}), make(chan struct{})
	var ended []error
	go func() {
		defer close(stopped)
		for {
			exited := make(chan struct{})
			var reason error
			go func() {
				defer close(exited)
				reason = pgbouncer.Wait()
			}()
			select {
			case <-exited:
				ended = append(ended, reason)
			case <-over:
				_ = pgbouncer.Process.Kill()
				<-exited
				return
			}
			time.Sleep(100 * time.Millisecond) // not to try again and again
			if pgbouncer, err = start(); err != nil {
				ended = append(ended, err)
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(over)
		if <-stopped; len(ended) > 0 {
			t.Logf("PgBouncer has ended %d times: %v", len(ended), ended)
		}
	})

	url := fmt.Sprintf("postgres://postgres@127.0.0.1:%d/sessions?sslmode=disable", port)
	for deadline := time.Now().Add(30 * time.Second); ; {
		conn, err := pgx.Connect(t.Context(), url)
		if err == nil {
			_ = conn.Close(t.Context())
			return url
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // it tells nobody when it is ready
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// freePort is a TCP port on which nobody listens.
func freePort(t *testing.T) int {
	t.Helper()
	port, err := pgserver.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
