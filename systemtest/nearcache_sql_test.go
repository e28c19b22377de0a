package systemtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache"
)

// nearRawSQL changes sessions in every way there is in SQL.
func nearRawSQL(t *testing.T) nearEnvironment {
	many := 5_000
	if *nearFor >= soakFor {
		many = 100_000
	}
	// statements end all of so many sessions, on a connection of their own.
	statements := func(n int, list ...string) func(ctx context.Context, r *nearRun) error {
		return func(ctx context.Context, r *nearRun) error {
			sessions := r.createHot(n)
			err := r.onConnection(ctx, func(conn *pgx.Conn) error {
				return r.endBy(list[len(list)-1], sessions, func() error { return r.execute(ctx, conn, sessions, list...) })
			})
			r.retireSoon(sessions...)
			return err
		}
	}
	return nearOn(startWithTable(t, "max_prepared_transactions = 10")).inTurn(
		func(ctx context.Context, r *nearRun) error {
			return r.endAll("TRUNCATE", func() error { return r.execute(ctx, r.admin, nil, "TRUNCATE session_cache") })
		},
		func(ctx context.Context, r *nearRun) error {
			_, err := r.admin.Exec(ctx, `
				INSERT INTO session_cache (sessionid, userdict, session_startutc, session_endutc, session_deadlineutc)
				SELECT gen_random_uuid(), '{"user_id": "many"}', now(), now() + interval '1 hour', now() + interval '1 hour'
				FROM generate_series(1, $1::int)`, many)
			if err != nil {
				return err
			}
			return r.endAll("mass DELETE", func() error { return r.execute(ctx, r.admin, nil, "DELETE FROM session_cache") })
		},
		statements(3, "SET session_replication_role = replica", "DELETE FROM session_cache WHERE sessionid IN ({0}, {1}, {2})"),
		statements(2, "SET session_replication_role = local", "DELETE FROM session_cache WHERE sessionid IN ({0}, {1})"),
		statements(3, "BEGIN", "SAVEPOINT a", "DELETE FROM session_cache WHERE sessionid = {0}", "SAVEPOINT b",
			"DELETE FROM session_cache WHERE sessionid = {1}", "ROLLBACK TO b", "SAVEPOINT c",
			"DELETE FROM session_cache WHERE sessionid IN ({1}, {2})", "RELEASE c", "RELEASE a", "COMMIT"),
		statements(2, "UPDATE session_cache SET session_endutc = now() - interval '1 second', session_startutc = now() - interval '1 hour' WHERE sessionid IN ({0}, {1})"),
		statements(2, "UPDATE session_cache SET sessionid = gen_random_uuid() WHERE sessionid IN ({0}, {1})"),
		statements(1, "UPDATE session_cache SET audience = 'another' WHERE sessionid IN ({0})"),
		nearLateCommits,
	)
}

// nearLateCommits has transactions that began before others commit after them.
func nearLateCommits(ctx context.Context, r *nearRun) error {
	sessions := r.createHot(6)
	defer r.retireSoon(sessions...)
	var transactions []pgx.Tx
	defer func() {
		for _, tx := range transactions {
			_ = tx.Rollback(ctx) // does nothing after Commit
		}
	}()
	for i, s := range sessions {
		tx, err := r.admin.Begin(ctx)
		if err != nil {
			return err
		}
		transactions = append(transactions, tx)
		if i%2 == 0 { // in a transaction id of its own
			if tx, err = tx.Begin(ctx); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, "DELETE FROM session_cache WHERE sessionid = $1", s.id); err != nil {
			return err
		}
		if i%2 == 0 {
			if err := tx.Commit(ctx); err != nil {
				return err
			}
		}
	}
	for _, i := range rand.Perm(len(sessions)) {
		err := r.endBy("late COMMIT", sessions[i:i+1], func() error {
			return errors.Join(transactions[i].Commit(ctx), r.execute(ctx, r.admin, nil))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// nearPrepared prepares logouts, has the server crash or not, and commits them in another
// order.
func nearPrepared(t *testing.T) nearEnvironment {
	c := startWithTable(t, fastRecovery, "max_prepared_transactions = 10")
	prepared := func(meanwhile func(ctx context.Context, r *nearRun) error) func(ctx context.Context, r *nearRun) error {
		return func(ctx context.Context, r *nearRun) error {
			sessions := r.createHot(4)
			defer r.retireSoon(sessions...)
			err := r.onConnection(ctx, func(conn *pgx.Conn) error {
				for i := range sessions {
					err := r.execute(ctx, conn, sessions, "BEGIN", "SAVEPOINT a",
						fmt.Sprintf("DELETE FROM session_cache WHERE sessionid = {%d}", i), fmt.Sprintf("PREPARE TRANSACTION 'p%d'", i))
					if err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			if err := meanwhile(ctx, r); err != nil {
				return err
			}
			return r.onConnection(ctx, func(conn *pgx.Conn) error {
				for _, i := range rand.Perm(len(sessions)) {
					commit := fmt.Sprintf("COMMIT PREPARED 'p%d'", i)
					if err := r.endBy(commit, sessions[i:i+1], func() error { return r.execute(ctx, conn, nil, commit) }); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	return nearOn(c).inTurn(
		prepared(func(ctx context.Context, _ *nearRun) error { sleep(ctx, 500*time.Millisecond); return nil }),
		prepared(func(ctx context.Context, r *nearRun) error { return r.crash(ctx, nil) }),
		prepared(func(context.Context, *nearRun) error { c.kill(); c.start(t); return nil }),
		prepared(func(_ context.Context, r *nearRun) error {
			c.kill()
			c.start(t)
			r.awaitHits("before the prepared transactions are committed")
			return nil
		}),
	)
}

// nearIDsUsedAgain has the server recover from a crash after transactions that it forgets:
// their ids are used again, by logouts.
func nearIDsUsedAgain(t *testing.T) nearEnvironment {
	env := nearOn(startWithTable(t, fastRecovery, "wal_writer_delay = 10s", "autovacuum = off"))
	env.atLeast = 2
	env.disturb = func(ctx context.Context, r *nearRun) error {
		sessions := r.createHot(5)
		defer r.retireSoon(sessions...)
		r.quiet.Lock()
		defer r.quiet.Unlock()
		var last int64
		err := r.crash(ctx, func(conn *pgx.Conn) error {
			for range 30 {
				tx, err := conn.Begin(ctx)
				if err != nil {
					return err
				}
				if err := tx.QueryRow(ctx, "SELECT pg_current_xact_id()::text::bigint").Scan(&last); err != nil {
					return err
				}
				if err := tx.Rollback(ctx); err != nil {
					return err
				}
				sleep(ctx, 10*time.Millisecond) // for near caches to see it
			}
			return nil
		})
		if err != nil {
			return err
		}
		return r.endWithUsedIDs(ctx, sessions, last)
	}
	return env
}

// endWithUsedIDs ends sessions by transactions whose ids near caches have seen before, up
// to the last one given.
func (r *nearRun) endWithUsedIDs(ctx context.Context, sessions []*hotSession, last int64) error {
	for i, s := range sessions {
		err := r.endBy("a logout with an id used again", sessions[i:i+1], func() error {
			var id int64
			err := r.admin.QueryRow(ctx, `
				WITH ended AS (DELETE FROM session_cache WHERE sessionid = $1 RETURNING sessionid)
				SELECT pg_current_xact_id()::text::bigint FROM ended`, s.id).Scan(&id)
			if err == nil && id > last {
				err = fmt.Errorf("the transaction id is %d, not one of those up to %d", id, last)
			}
			return errors.Join(err, r.execute(ctx, r.admin, nil))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// crash kills a server process after it has done something, and returns when the server
// has recovered.
func (r *nearRun) crash(ctx context.Context, before func(conn *pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, r.env.admin)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if before != nil {
		if err := before(conn); err != nil {
			return err
		}
	}
	witness, err := pgx.Connect(ctx, r.env.admin)
	if err != nil {
		return err
	}
	defer witness.Close(context.WithoutCancel(ctx))
	if err := syscall.Kill(int(conn.PgConn().PID()), syscall.SIGKILL); err != nil {
		return err
	}
	for { // the server takes a moment to notice
		if _, err = witness.Exec(ctx, "SELECT"); err != nil {
			break
		}
	}
	r.admin.Reset()
	for deadline := time.Now().Add(time.Minute); ; {
		conn, err := pgx.Connect(ctx, r.env.admin)
		if err == nil {
			_, err = conn.Exec(ctx, "SELECT pg_current_xact_id_if_assigned()")
			_ = conn.Close(ctx)
		}
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server does not recover: %w", err)
		}
		sleep(ctx, 5*time.Millisecond) // it tells nobody when it is ready
	}
}

// onConnection does something on a connection of its own.
func (r *nearRun) onConnection(ctx context.Context, do func(conn *pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, r.env.admin)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return do(conn)
}

// nearPurge purges the feed while a reader is stopped, or not.
func nearPurge(t *testing.T) nearEnvironment {
	purge := func(ctx context.Context, r *nearRun) error {
		queries := db.New(r.admin)
		for range 2 { // the candidate, and the horizon
			if _, err := r.admin.Exec(ctx, "UPDATE session_change_state SET candidateutc = candidateutc - interval '11 minutes'"); err != nil {
				return err
			}
			if _, err := queries.AdvanceChangeHorizon(ctx); err != nil {
				return err
			}
		}
		for deleted := int64(0); ; {
			n, err := queries.DeleteChanges(ctx, 1000)
			if err != nil {
				return err
			}
			if deleted += n; n < 1000 && deleted == 0 {
				return errors.New("nothing was purged")
			} else if n < 1000 {
				return nil
			}
		}
	}
	return nearOn(startWithTable(t)).inTurn(
		purge,
		func(ctx context.Context, r *nearRun) error {
			sessions := r.createHot(5)
			defer r.retireSoon(sessions...)
			p := r.reader()
			p.signal(syscall.SIGSTOP)
			defer p.signal(syscall.SIGCONT)
			cache := sessioncache.New[nearUser](r.admin)
			err := r.endBy("DELETE, and the feed purged", sessions, func() error {
				return r.execute(ctx, r.admin, sessions, "DELETE FROM session_cache WHERE sessionid IN ({0}, {1}, {2}, {3}, {4})")
			})
			if err != nil {
				return err
			}
			if err := cache.AwaitNearCaches(ctx); err != nil {
				return err
			}
			return purge(ctx, r)
		},
	)
}
