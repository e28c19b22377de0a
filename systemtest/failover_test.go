package systemtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

// pair is a primary and its synchronous standby.
type pair struct {
	primary, standby *cluster
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{primary: startWithTable(t), standby: newFolder(t)}
	p.attach(t)
	return p
}

const synchronous = "synchronous_standby_names = '*'"

// attach makes a copy of the primary the standby, and has the primary wait for it
// from then on: whatever it acknowledges is in both.
func (p *pair) attach(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(p.standby.data); err != nil {
		t.Fatal(err)
	}
	p.standby.run(t, "pg_basebackup", "-d", p.primary.url("postgres"), "-D", p.standby.data, "-R", "-X", "stream", "-c", "fast", "--no-sync")
	connection, err := os.ReadFile(filepath.Join(p.standby.data, "postgresql.auto.conf"))
	if err != nil {
		t.Fatal(err)
	}
	// -R has put the way to the primary at the end.
	p.standby.configure(t, string(connection), fmt.Sprintf("port = %d", p.standby.port),
		fmt.Sprintf("unix_socket_directories = '%s'", p.standby.folder), "synchronous_standby_names = ''",
		// Or a standby whose primary has just gone may sleep five seconds before it sees
		// that it has been promoted.
		"wal_retrieve_retry_interval = 200ms")
	p.standby.start(t)
	p.primary.configure(t, synchronous)
	_ = p.primary.postmaster.Process.Signal(syscall.SIGHUP)
	conn, err := p.primary.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		var attached bool
		err := conn.QueryRow(t.Context(), `
			SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync' AND flush_lsn >= pg_current_wal_lsn())
			   AND current_setting('synchronous_standby_names') <> ''`).Scan(&attached)
		if err != nil {
			t.Fatal(err)
		}
		if attached {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the standby does not catch up")
		}
	}
}

// fail kills the primary and promotes the standby. The old primary stays down.
func (p *pair) fail(t *testing.T, promoted func()) {
	t.Helper()
	p.primary.kill()
	conn, err := p.standby.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	promoted()
	if _, err := conn.Exec(t.Context(), "SELECT pg_promote()"); err != nil {
		t.Fatal(err)
	}
	p.primary, p.standby = p.standby, p.primary
}

// failover kills the primary under the clients, which find the promoted standby by
// themselves; then the old primary comes back as a standby, read-only, where the
// clients look first.
func failover(t *testing.T) environment {
	p := newPair(t)
	return environment{
		url: multiHost("sessions", p.primary, p.standby), timeout: 5 * time.Second, pause: time.Second,
		disturb: func(_ context.Context, back func()) error {
			time.Sleep(rand.N(100 * time.Millisecond)) // in the middle of something
			p.fail(t, back)
			p.attach(t)
			return nil
		},
	}
}

// TestStalePrimaryIsNotWritten brings the old primary back as it was, cut off from
// the clients and from its standby. It believes to be the primary still, and must
// not acknowledge a session: nobody would find it.
func TestStalePrimaryIsNotWritten(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	stale := p.primary
	pool := newPool(t, multiHost("sessions", p.primary, p.standby))
	defer pool.Close()
	cache := sessioncache.New[json.RawMessage](pool)
	before := sid.New().String()
	if err := cache.Set(t.Context(), before, json.RawMessage(`{"user_id":"before"}`)); err != nil {
		t.Fatal(err)
	}
	p.fail(t, func() {})

	stale.port = freePort(t) // where no client looks
	stale.configure(t, synchronous)
	stale.start(t)
	for range 100 {
		id := sid.New().String()
		for {
			err := cache.Set(t.Context(), id, json.RawMessage(`{"user_id":"after"}`))
			if err == nil {
				break
			}
			if !errors.Is(err, sessioncache.ErrUnavailable) {
				t.Fatal(err)
			}
			id = sid.New().String()
		}
	}
	if err := cache.Delete(t.Context(), before); err != nil {
		t.Error(err)
	}

	conn, err := pgx.Connect(t.Context(), stale.url("sessions"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var written int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM session_cache WHERE user_id = 'after'").Scan(&written); err != nil || written != 0 {
		t.Errorf("the stale primary has %d of the new sessions, %v; want none", written, err)
	}
	// Whoever does reach it gets no session stored: it waits for its standby. (It
	// does show the one that was logged out since: keep clients away from it.)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	err = sessioncache.New[json.RawMessage](conn).Set(ctx, sid.New().String(), json.RawMessage(`{}`))
	if !errors.Is(err, sessioncache.ErrUnavailable) {
		t.Errorf("Set on the stale primary: %v; want %v", err, sessioncache.ErrUnavailable)
	}
}
