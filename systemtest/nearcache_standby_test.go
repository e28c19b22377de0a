package systemtest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

// TestNearCacheOnAStandby has a near cache on a pool of a standby, which has no feed. The
// log says so once, and the standby answers every lookup.
func TestNearCacheOnAStandby(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	p := newPair(t)
	// What a change has committed, the standby shows.
	primaryPool := newPool(t, p.primary.url("sessions")+"&synchronous_commit=remote_apply")
	defer primaryPool.Close()
	standbyPool := newPool(t, p.standby.url("sessions"))
	defer standbyPool.Close()
	var log suite.Log
	primary := sessioncache.New[json.RawMessage](primaryPool)
	near := sessioncache.New[json.RawMessage](standbyPool, sessioncache.WithNearCache(10),
		sessioncache.WithLogger(log.Logger(slog.LevelInfo)))

	id := sid.New().String()
	if err := primary.Set(ctx, id, json.RawMessage(`{}`)); err != nil {
		t.Fatal(err)
	}
	token, err := primary.Issue(ctx, json.RawMessage(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	want := func(live bool) {
		t.Helper()
		if _, ok, err := near.Get(ctx, id); ok != live || err != nil {
			t.Errorf("Get = %v, %v; want %v", ok, err, live)
		}
		if _, ok, err := near.Authenticate(ctx, token); ok != live || err != nil {
			t.Errorf("Authenticate = %v, %v; want %v", ok, err, live)
		}
	}
	eventually(t, "three polls have failed", func() bool {
		want(true)
		return near.Metrics().NearCache.FailedPolls >= 3
	})
	if m := near.Metrics().NearCache; m.Hits != 0 || m.Entries != 0 {
		t.Errorf("%+v: memory was used without a feed", m)
	}
	if err := primary.Delete(ctx, id); err != nil {
		t.Error(err)
	}
	if err := primary.Revoke(ctx, token); err != nil {
		t.Error(err)
	}
	want(false)
	var use string // which changes on the primary wait for
	if err := primaryPool.QueryRow(ctx, "SELECT near_caches FROM session_change_state").Scan(&use); err != nil || use != "unused" {
		t.Errorf("near caches are %s, %v; want unused", use, err)
	}
	said := log.String()
	if strings.Count(said, "\n") != 1 || !strings.Contains(said, "near cache without a change feed") {
		t.Errorf("the log says: %s", said)
	}
	t.Logf("%s", said)
}

// nearFailover promotes a standby that lacks the primary's last transactions: their ids
// are used again, by logouts.
func nearFailover(t *testing.T) nearEnvironment {
	p := newPair(t)
	url := multiHost("sessions", p.primary, p.standby)
	return nearEnvironment{
		admin: url, readers: []string{url}, timeout: 2 * time.Second, pause: 300 * time.Millisecond,
		disturb: func(ctx context.Context, r *nearRun) error {
			sessions := r.createHot(5)
			defer r.retireSoon(sessions...)
			if err := p.failBehind(ctx, t, r, sessions); err != nil {
				return err
			}
			p.attach(t)
			return nil
		},
	}
}

func (p *pair) failBehind(ctx context.Context, t *testing.T, r *nearRun, sessions []*hotSession) error {
	r.quiet.Lock() // a change that is lost is none that near caches could see
	defer r.quiet.Unlock()
	if err := p.detach(ctx, t); err != nil {
		return err
	}
	var last int64
	for range 30 {
		err := r.admin.QueryRow(ctx, `
			INSERT INTO session_change (sessionid) VALUES (gen_random_uuid()) RETURNING xact::text::bigint`).Scan(&last)
		if err != nil {
			return err
		}
		sleep(ctx, 10*time.Millisecond) // for near caches to see it
	}
	p.fail(t, func() {})
	r.admin.Reset()
	return r.endWithUsedIDs(ctx, sessions, last)
}

// detach has the standby receive nothing any more, and the primary not wait for it.
func (p *pair) detach(ctx context.Context, t *testing.T) error {
	p.primary.configure(t)
	if err := p.primary.postmaster.Process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	if err := p.standby.sql(ctx, "ALTER SYSTEM SET primary_conninfo = ''"); err != nil {
		return err
	}
	if err := p.standby.sql(ctx, "SELECT pg_reload_conf()"); err != nil {
		return err
	}
	for server, until := range map[*cluster]string{
		p.primary: "SELECT current_setting('synchronous_standby_names') = ''",
		p.standby: "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)",
	} {
		conn, err := server.connect()
		if err != nil {
			return err
		}
		for done := false; !done && err == nil; {
			err = conn.QueryRow(ctx, until).Scan(&done)
		}
		_ = conn.Close(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

// nearReplica has the pools of the readers mix connections to the primary and to a
// standby, whose replay is paused now and then. What that one answers is old: of the
// reads only those from memory are checked.
func nearReplica(t *testing.T) nearEnvironment {
	p := newPair(t)
	primary, standby := p.primary.url("sessions"), p.standby.url("sessions")
	env := nearEnvironment{
		admin: primary, readers: []string{primary, standby, primary, primary}, // a poll on the standby fails
		changes: []string{primary}, timeout: 2 * time.Second, pause: 300 * time.Millisecond,
		renewal:  500 * time.Millisecond, // or a pool may use one place for long
		hitsOnly: true, plain: true,      // memory has the database check a token that it does not know
	}
	env.disturb = func(ctx context.Context, _ *nearRun) error {
		conn, err := pgx.Connect(ctx, standby)
		if err != nil {
			return err
		}
		defer conn.Close(context.WithoutCancel(ctx))
		if _, err := conn.Exec(ctx, "SELECT pg_wal_replay_pause()"); err != nil {
			return err
		}
		sleep(ctx, 300*time.Millisecond+rand.N(700*time.Millisecond))
		if _, err := conn.Exec(ctx, "SELECT pg_wal_replay_resume()"); err != nil {
			return fmt.Errorf("resume: %w", err)
		}
		return nil
	}
	return env
}
