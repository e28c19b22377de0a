package schema_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pressly/goose/v3"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// setup returns a pool on a database that no migration has touched, and goose
// for it. A table that has been distributed cannot go back there: its key's type
// may not change any more.
func setup(t *testing.T, configure ...func(*pgxpool.Config)) (*pgxpool.Pool, *goose.Provider) {
	t.Helper()
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	t.Parallel()
	pool := sessiontest.NewPool(t, configure...)
	migrations := suite.Migrations(t, pool)
	if _, err := migrations.DownTo(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	return pool, migrations
}

func up(t *testing.T, migrations *goose.Provider) {
	t.Helper()
	if _, err := migrations.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func execute(t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// row is a session as text, so that rows of both schemas can be compared.
type row struct {
	id, dict, start, end string
}

func rows(t *testing.T, pool *pgxpool.Pool) map[string]row {
	t.Helper()
	result, err := pool.Query(t.Context(), `
		SELECT sessionid::text, userdict::text, session_startutc::text, session_endutc::text
		FROM session_cache`)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]row{}
	var r row
	_, err = pgx.ForEachRow(result, []any{&r.id, &r.dict, &r.start, &r.end}, func() error {
		all[r.id] = r
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
