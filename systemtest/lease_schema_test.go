package systemtest

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
)

// leaseRewritten has the table written anew, in each way.
func leaseRewritten(t *testing.T) leaseEnvironment {
	by := func(statements ...string) disturbance {
		return func(ctx context.Context, r *leaseRun) error {
			return r.execute(ctx, r.admin, nil, statements...)
		}
	}
	return leaseOn(startWithTable(t)).inTurn(
		by("ALTER TABLE session_cache ADD COLUMN random float DEFAULT random()", "ALTER TABLE session_cache DROP COLUMN random"),
		by("VACUUM FULL session_cache"),
		by("CLUSTER session_cache USING session_cache_pkey"),
		by("ALTER TABLE session_cache SET UNLOGGED", "ALTER TABLE session_cache SET LOGGED"),
		by("REINDEX TABLE CONCURRENTLY session_cache"),
	)
}

// leaseSchemaRenamed renames the schema, and makes a new one of the old name.
func leaseSchemaRenamed(t *testing.T) leaseEnvironment {
	env := leaseOn(startWithTable(t))
	renamed := 0
	env.atLeast = 1
	env.disturb = func(ctx context.Context, r *leaseRun) error {
		renamed++
		before := fmt.Sprintf("before_%d", renamed)
		return r.endAll("schema renamed", func() error {
			return r.onConnection(ctx, func(conn *pgx.Conn) error {
				return r.execute(ctx, conn, nil, "BEGIN", "ALTER SCHEMA public RENAME TO "+before, "CREATE SCHEMA public",
					"CREATE TABLE public.session_cache (LIKE "+before+".session_cache INCLUDING ALL)", "COMMIT")
			})
		})
	}
	return env
}

// leaseView puts a view before the table, or takes it away again.
func leaseView(t *testing.T) leaseEnvironment {
	env := leaseOn(startWithTable(t))
	env.atLeast = 2
	there := false
	env.disturb = func(ctx context.Context, r *leaseRun) error {
		statements := []string{"BEGIN", "ALTER TABLE session_cache RENAME TO stored", "CREATE VIEW session_cache AS SELECT * FROM stored", "COMMIT"}
		if there {
			statements = []string{"BEGIN", "DROP VIEW session_cache", "ALTER TABLE stored RENAME TO session_cache", "COMMIT"}
		}
		there = !there
		return r.onConnection(ctx, func(conn *pgx.Conn) error { return r.execute(ctx, conn, nil, statements...) })
	}
	return env
}

// leaseRestored dumps the table and restores it.
func leaseRestored(t *testing.T) leaseEnvironment {
	c := startWithTable(t)
	dump := filepath.Join(c.folder, "dump")
	env := leaseOn(c)
	env.atLeast = 1
	env.disturb = func(_ context.Context, r *leaseRun) error {
		r.quiet.Lock() // a change after the dump would be lost
		defer r.quiet.Unlock()
		c.run(t, "pg_dump", "-Fc", "-t", "session_cache", "-f", dump, c.url("sessions"))
		c.run(t, "pg_restore", "--clean", "--single-transaction", "-d", c.url("sessions"), dump)
		return nil
	}
	return env
}
