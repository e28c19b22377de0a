package systemtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

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
