package systemtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"

	"github.com/rhaptos/sessiondb/internal/pgserver"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// faults are what can happen to a database and the way to it, each in an environment
// of its own.
var faults = map[string]func(t *testing.T) environment{
	"no fault": func(t *testing.T) environment {
		return environment{
			url: sessiontest.NewDatabase(t).URL, timeout: 10 * time.Second, pause: time.Second,
			disturb: func(context.Context, func()) error { return nil },
		}
	},
	"backends killed": byStatement(`
		SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid()`),
	"statements cancelled": byStatement(`
		SELECT pg_cancel_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid()`),
	"table locked": byStatement(`DO $$ BEGIN LOCK TABLE session_cache; PERFORM pg_sleep(0.005); END $$`),

	"connections reset": byToxic(`{"type": "reset_peer", "stream": "upstream"}`),
	"answers delayed":   byToxic(`{"type": "latency", "attributes": {"latency": 20, "jitter": 20}}`),
	"answers cut short": byToxic(`{"type": "limit_data", "attributes": {"bytes": 700}}`),
	"network black hole": func(t *testing.T) environment {
		env := byToxic(`{"type": "timeout", "attributes": {"timeout": 0}}`)(t)
		env.timeout = 50 * time.Millisecond // it lasts longer than callers wait
		return env
	},

	"slots exhausted": slotsExhausted,
	"kill -9":         byRestart(func(c *cluster) { c.kill() }),
	"fast shutdown":   byRestart(func(c *cluster) { c.end(syscall.SIGINT) }),
	"crash shutdown":  byRestart(func(c *cluster) { c.end(syscall.SIGQUIT) }),
	"server paused":   serverPaused,
	"disk full":       diskFull,
	"failover":        failover,
	"mixed":           mixed,
}

// byStatement is a fault that a statement makes.
func byStatement(statement string) func(t *testing.T) environment {
	return func(t *testing.T) environment {
		url := sessiontest.NewDatabase(t).URL
		administrator, err := pgxpool.New(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(administrator.Close)
		return environment{
			url: url, timeout: 10 * time.Second, pause: 20 * time.Millisecond,
			disturb: func(ctx context.Context, _ func()) error {
				_, err := administrator.Exec(ctx, statement)
				return err
			},
		}
	}
}

// byToxic is a fault of the network, as toxiproxy makes it, for some moments.
func byToxic(toxic string) func(t *testing.T) environment {
	return func(t *testing.T) environment {
		c := startWithTable(t)
		proxy, url := newProxy(t, c)
		return environment{
			url: url, timeout: time.Second, pause: 200 * time.Millisecond,
			disturb: func(ctx context.Context, _ func()) error { return poison(ctx, proxy, toxic) },
		}
	}
}

func newProxy(t *testing.T, c *cluster) (proxy *toxiproxy.Proxy, url string) {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	proxy = toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", fmt.Sprintf("127.0.0.1:%d", c.port))
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	_, port, err := net.SplitHostPort(proxy.Listen)
	if err != nil {
		t.Fatal(err)
	}
	return proxy, strings.Replace(c.url("sessions"), fmt.Sprint("port=", c.port), "port="+port, 1)
}

func poison(ctx context.Context, proxy *toxiproxy.Proxy, toxic string) error {
	wrapper, err := proxy.Toxics.AddToxicJson(strings.NewReader(toxic))
	if err != nil {
		return err
	}
	time.Sleep(100 * time.Millisecond) // it lasts
	return proxy.Toxics.RemoveToxic(ctx, wrapper.Name)
}

// byRestart ends the server in some way and starts it again.
func byRestart(end func(*cluster)) func(t *testing.T) environment {
	return func(t *testing.T) environment {
		c := startWithTable(t)
		return environment{
			url: c.url("sessions"), timeout: 5 * time.Second, pause: time.Second,
			disturb: func(context.Context, func()) error {
				time.Sleep(rand.N(100 * time.Millisecond)) // in the middle of something
				end(c)
				c.start(t)
				return nil
			},
		}
	}
}

// slotsExhausted has others take all of the server's connections (53300).
func slotsExhausted(t *testing.T) environment {
	c := startWithTable(t, "max_connections = 12", "superuser_reserved_connections = 0", "max_wal_senders = 0")
	return environment{
		url: c.url("sessions"), timeout: 5 * time.Second, pause: 100 * time.Millisecond,
		disturb: func(ctx context.Context, _ func()) error {
			var greedy []*pgx.Conn
			defer func() {
				for _, conn := range greedy {
					_ = conn.Close(ctx)
				}
			}()
			for {
				conn, err := pgx.Connect(ctx, c.url("sessions"))
				if err != nil {
					break // all are taken
				}
				greedy = append(greedy, conn)
			}
			if len(greedy) > 0 { // and have the others ask for new ones
				_, _ = greedy[0].Exec(ctx, `
					SELECT pg_terminate_backend(pid) FROM pg_stat_activity
					WHERE datname = current_database() AND query LIKE '-- name:%'`)
			}
			for range 20 {
				if conn, err := pgx.Connect(ctx, c.url("sessions")); err == nil {
					greedy = append(greedy, conn)
				}
				time.Sleep(5 * time.Millisecond) // it lasts
			}
			return nil
		},
	}
}

// serverPaused stops every process of the server for longer than callers wait.
func serverPaused(t *testing.T) environment {
	c := startWithTable(t)
	return environment{
		url: c.url("sessions"), timeout: 100 * time.Millisecond, pause: 200 * time.Millisecond,
		disturb: func(context.Context, func()) error {
			c.signal(syscall.SIGSTOP)
			time.Sleep(200 * time.Millisecond)
			c.signal(syscall.SIGCONT)
			return nil
		},
	}
}

// diskFull leaves no room for the WAL, on a small file system of its own, until
// the server gives up; then there is room again. Where nobody may mount one, the
// server may not write to the folder instead, which it takes as badly.
func diskFull(t *testing.T) environment {
	c := newFolder(t)
	disk := filepath.Join(c.folder, "disk")
	wal := filepath.Join(disk, "pg_wal")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(disk, "ballast")
	fill, clear := func() error { return fillWith(ballast) }, func() error { return os.Remove(ballast) }
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=24m"); err != nil {
		t.Logf("no file system of its own (%v): the WAL cannot be written instead", err)
		fill, clear = func() error { return os.Chmod(wal, 0o500) }, func() error { return os.Chmod(wal, 0o700) }
	} else {
		t.Cleanup(func() {
			c.kill()
			if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil { // its processes take a moment to go
				t.Error(err)
			}
		})
	}
	if err := os.Mkdir(wal, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := pgserver.DropPrivileges(&syscall.SysProcAttr{}, wal); err != nil {
		t.Fatal(err)
	}
	c.run(t, "initdb", "-D", c.data, "-X", wal, "--wal-segsize=1", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	c.configure(t, "max_wal_size = 6MB", "min_wal_size = 2MB")
	c.start(t)
	c.createTable(t)
	return environment{
		url: c.url("sessions"), timeout: 5 * time.Second, pause: time.Second,
		disturb: func(ctx context.Context, _ func()) error {
			if err := fill(); err != nil {
				return err
			}
			// What makes it need a new segment ends with the server, or by itself.
			_ = c.sql(ctx, "CREATE TABLE IF NOT EXISTS waste (w text); INSERT INTO waste SELECT repeat(md5(n::text), 30) FROM generate_series(1, 20000) AS n")
			if err := clear(); err != nil {
				return err
			}
			for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
				conn, err := c.connect()
				if err == nil {
					_, err = conn.Exec(ctx, "CHECKPOINT")
					_ = conn.Close(ctx)
				}
				if err == nil {
					return nil
				}
				select {
				case <-c.exited: // it gave up for good
					c.start(t)
				case <-time.After(20 * time.Millisecond):
				}
			}
			return errors.New("the server does not come back when there is room")
		},
	}
}

// fillWith writes a file until there is no room for more.
func fillWith(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	for chunk := make([]byte, 64<<10); ; {
		if _, err := file.Write(chunk); err != nil {
			return nil // full
		}
	}
}

// mixed makes one fault after another, of the network and of the server.
func mixed(t *testing.T) environment {
	c := startWithTable(t)
	proxy, url := newProxy(t, c)
	kinds := []func(ctx context.Context) error{
		func(ctx context.Context) error {
			return poison(ctx, proxy, `{"type": "reset_peer", "stream": "upstream"}`)
		},
		func(ctx context.Context) error {
			return poison(ctx, proxy, `{"type": "limit_data", "attributes": {"bytes": 700}}`)
		},
		func(ctx context.Context) error {
			return poison(ctx, proxy, `{"type": "timeout", "attributes": {"timeout": 0}}`)
		},
		func(ctx context.Context) error {
			return c.sql(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()`)
		},
		func(context.Context) error { c.kill(); c.start(t); return nil },
		func(context.Context) error { c.end(syscall.SIGQUIT); c.start(t); return nil },
	}
	return environment{
		url: url, timeout: time.Second, pause: 100 * time.Millisecond,
		disturb: func(ctx context.Context, _ func()) error {
			for range 2 {
				if err := kinds[rand.IntN(len(kinds))](ctx); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
