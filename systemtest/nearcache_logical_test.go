package systemtest

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// nearLogicalReplication has a subscription apply to the table what happens to the table
// of another database.
func nearLogicalReplication(t *testing.T) nearEnvironment {
	c := startWithTable(t, "wal_level = logical")
	execute := func(database string, statements ...string) {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), c.url(database))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		for _, statement := range statements {
			if _, err := conn.Exec(t.Context(), statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
	}
	execute("postgres", "CREATE DATABASE source")
	if err := sessiontest.Migrate(t.Context(), c.url("source")); err != nil {
		t.Fatal(err)
	}
	// Without inserts: the sessions are there already. On one server the slot has to be
	// made beforehand.
	execute("source", "CREATE PUBLICATION changes FOR TABLE session_cache WITH (publish = 'update, delete, truncate')",
		"SELECT pg_create_logical_replication_slot('changes', 'pgoutput')")
	execute("sessions", fmt.Sprintf(`
		CREATE SUBSCRIPTION changes CONNECTION 'host=127.0.0.1 port=%d user=postgres dbname=source' PUBLICATION changes
		WITH (create_slot = false, copy_data = false)`, c.port))

	// applied makes a change in the source, and returns when all of those sessions have
	// ended here.
	applied := func(statement string) func(ctx context.Context, r *nearRun) error {
		return func(ctx context.Context, r *nearRun) error {
			sessions := r.createHot(3)
			defer r.retireSoon(sessions...)
			source, err := pgx.Connect(ctx, c.url("source"))
			if err != nil {
				return err
			}
			defer source.Close(context.WithoutCancel(ctx))
			if err := copySessions(ctx, r, source, sessions); err != nil {
				return err
			}
			change := func() error {
				if _, err := source.Exec(ctx, statement); err != nil {
					return err
				}
				if err := awaitEnded(ctx, r, sessions); err != nil {
					return err
				}
				return r.execute(ctx, r.admin, nil)
			}
			what := "replicated " + statement
			if statement == "TRUNCATE session_cache" {
				return r.endAll(what, change)
			}
			return r.endBy(what, sessions, change)
		}
	}
	return nearOn(c).inTurn(
		applied("DELETE FROM session_cache"),
		applied("UPDATE session_cache SET session_endutc = now() - interval '1 second', session_startutc = now() - interval '1 hour'"),
		applied("UPDATE session_cache SET sessionid = gen_random_uuid()"),
		applied("TRUNCATE session_cache"),
	)
}

// copySessions copies the rows of sessions to the table on another connection, which is
// emptied of those that were copied before.
func copySessions(ctx context.Context, r *nearRun, to *pgx.Conn, sessions []*hotSession) error {
	const columns = `sessionid, userdict, session_startutc, session_endutc, session_deadlineutc,
		session_idle, audience, secret, superseded, supersededutc, authenticatedutc`
	if _, err := to.Exec(ctx, "DELETE FROM session_cache"); err != nil {
		return err
	}
	for _, s := range sessions {
		var row json.RawMessage
		if err := r.admin.QueryRow(ctx, "SELECT to_jsonb(s) FROM session_cache AS s WHERE sessionid = $1", s.id).Scan(&row); err != nil {
			return err
		}
		_, err := to.Exec(ctx, "INSERT INTO session_cache ("+columns+") SELECT "+columns+" FROM jsonb_populate_record(NULL::session_cache, $1)", row)
		if err != nil {
			return err
		}
	}
	return nil
}

// awaitEnded waits until none of the sessions is there and live.
func awaitEnded(ctx context.Context, r *nearRun, sessions []*hotSession) error {
	var ids []string
	for _, s := range sessions {
		ids = append(ids, s.id)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		var live int
		err := r.admin.QueryRow(ctx, "SELECT count(*) FROM session_cache WHERE sessionid = ANY ($1::text[]::uuid[]) AND session_endutc > now()", ids).Scan(&live)
		if err != nil || live == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d sessions are still live: the subscription does not apply the change", live, len(ids))
		}
		sleep(ctx, time.Millisecond) // nobody is told when it has
	}
}
