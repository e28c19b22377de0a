package suite

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/rhaptos/sessiondb/schema"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

// Migrations returns goose's provider of the migrations for a pool.
func Migrations(t *testing.T, pool *pgxpool.Pool) *goose.Provider {
	t.Helper()
	db := stdlib.OpenDBFromPool(pool)
	t.Cleanup(func() { _ = db.Close() })
	migrations, err := schema.NewProvider(db)
	if err != nil {
		t.Fatal(err)
	}
	return migrations
}

// NewRole returns a new role without rights. The role and what it has got are dropped
// when the test is over.
func NewRole(t *testing.T, database sessioncache.DB) (role string) {
	t.Helper()
	role = "r" + strings.ReplaceAll(sid.New().String(), "-", "")
	if _, err := database.Exec(t.Context(), "CREATE ROLE "+role); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, statement := range []string{"DROP OWNED BY " + role, "DROP ROLE " + role} {
			if _, err := database.Exec(context.Background(), statement); err != nil {
				t.Error(err)
			}
		}
	})
	return role
}

// SetTimes sets when a session starts, ends and has its deadline, each from now on the
// server's clock: in an [OneClock], to the microsecond. It was last authenticated when
// it started, if ever.
func SetTimes(t *testing.T, database sessioncache.DB, session fmt.Stringer, start, end, deadline time.Duration) {
	t.Helper()
	tag, err := database.Exec(t.Context(), `
		UPDATE session_cache
		SET session_startutc = now() + $1::interval, session_endutc = now() + $2::interval, session_deadlineutc = now() + $3::interval,
		    authenticatedutc = CASE WHEN authenticatedutc IS NOT NULL THEN now() + $1::interval END
		WHERE sessionid = $4::text::uuid`, start, end, deadline, session.String())
	if err != nil || tag.RowsAffected() != 1 {
		t.Fatalf("%d sessions, %v; want one", tag.RowsAffected(), err)
	}
}

// OneClock is a transaction in which all statements run at one instant, now(). It is for
// tests of the very instants at which something begins or ends.
type OneClock struct{ pgx.Tx }

// Begin begins a savepoint at the same instant.
func (tx OneClock) Begin(ctx context.Context) (pgx.Tx, error) {
	savepoint, err := tx.Tx.Begin(ctx)
	return OneClock{Tx: savepoint}, err
}

// Exec runs a statement at now().
func (tx OneClock) Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error) {
	return tx.Tx.Exec(ctx, atNow(sql), arguments...)
}

// Query runs a query at now().
func (tx OneClock) Query(ctx context.Context, sql string, arguments ...any) (pgx.Rows, error) {
	return tx.Tx.Query(ctx, atNow(sql), arguments...)
}

// QueryRow runs a query at now().
func (tx OneClock) QueryRow(ctx context.Context, sql string, arguments ...any) pgx.Row {
	return tx.Tx.QueryRow(ctx, atNow(sql), arguments...)
}

func atNow(sql string) string {
	return strings.ReplaceAll(sql, "statement_timestamp()", "now()")
}

// WaitsFor waits until another transaction waits for one.
func WaitsFor(t *testing.T, pool *pgxpool.Pool, tx pgx.Tx) {
	t.Helper()
	var pid int
	if err := tx.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "another transaction waits for this one", func() (waits bool) {
		if err := pool.QueryRow(t.Context(), `
			SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE wait_event_type = 'Lock' AND $1 = ANY (pg_blocking_pids(pid)))`, pid).Scan(&waits); err != nil {
			t.Fatal(err)
		}
		return waits
	})
}
