package changefeed_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sid"
)

// TestCopyOfTheDatabase puts a copy in the place of a database, in which a session ended
// before that. The copy has the same epoch and objects, and transaction ids are the
// server's.
func TestCopyOfTheDatabase(t *testing.T) {
	suite.Require(t, suite.OwnDatabase) // it renames the database
	b := setup(t)
	id := b.insert(t, 1)[0]
	config := b.pool.Config()
	name := config.ConnConfig.Database
	admin := config.ConnConfig.Copy()
	admin.Database = "postgres"
	conn, err := pgx.ConnectConfig(t.Context(), admin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	do := func(statement string) {
		t.Helper()
		execute(t, conn, nil, strings.ReplaceAll(statement, "{name}", name))
	}
	disconnect := func() {
		b.pool.Reset()
		do("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname IN ('{name}', '{name}_copy')")
	}

	disconnect()
	do("CREATE DATABASE {name}_copy TEMPLATE {name}")
	config.ConnConfig.Database = name + "_copy"
	copied, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	execute(t, copied, []sid.ID{id}, "DELETE FROM session_cache WHERE sessionid = {0}")
	copied.Close()
	b.wantChanged(t) // of the original: the cursor moves past what the copy has
	disconnect()
	do("ALTER DATABASE {name} RENAME TO {name}_old")
	do("ALTER DATABASE {name}_copy RENAME TO {name}")
	t.Cleanup(func() {
		if _, err := conn.Exec(context.Background(), "DROP DATABASE "+name+"_old"); err != nil {
			t.Error(err)
		}
	})
	b.wantReset(t)
}
