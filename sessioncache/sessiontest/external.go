package sessiontest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sync"

	"github.com/jackc/pgx/v5"
)

const sharesTable = `sessiontest: tests share the table of SESSIONCACHE_DATABASE_URL:
its server does not pass search_path on`

// startExternal uses a server that somebody else runs: a test gets a schema, or
// a share of the one table.
func startExternal(ctx context.Context, connString string) (*Server, error) {
	if err := execute(ctx, connString, "SELECT"); err != nil {
		return nil, fmt.Errorf("SESSIONCACHE_DATABASE_URL: %w", err)
	}
	server := &Server{
		origin: "the server of SESSIONCACHE_DATABASE_URL",
		stop:   func() error { return nil },
	}
	if passesSearchPath(ctx, connString) {
		server.newDatabase = func(ctx context.Context) (*Database, error) {
			return newSchema(ctx, connString)
		}
		return server, nil
	}

	fmt.Fprintln(os.Stderr, sharesTable)
	migrateOnce := sync.OnceValue(func() error {
		return migrateInTurn(context.Background(), connString)
	})
	server.newDatabase = func(context.Context) (*Database, error) {
		return &Database{
			URL:    connString,
			Shared: true,
			drop:   func(context.Context) error { return nil },
		}, migrateOnce()
	}
	return server, nil
}

// newSchema makes a schema and migrates it.
func newSchema(ctx context.Context, connString string) (*Database, error) {
	name := uniqueName()
	if err := execute(ctx, connString, "CREATE SCHEMA "+name); err != nil {
		return nil, err
	}
	database := &Database{
		URL: withSearchPath(connString, name),
		drop: func(ctx context.Context) error {
			return execute(ctx, connString, "DROP SCHEMA "+name+" CASCADE")
		},
	}
	return database, prepare(ctx, database.URL)
}

// passesSearchPath tells whether a connection may choose its schema. A pooler
// that gives one server connection to many clients in turn does not let it:
// PgBouncer refuses the parameter, or ignores it.
func passesSearchPath(ctx context.Context, connString string) bool {
	const probe = "sessiontest_probe"
	conn, err := pgx.Connect(ctx, withSearchPath(connString, probe))
	if err != nil {
		return false
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var path string
	err = conn.QueryRow(ctx, "SELECT current_setting('search_path')").Scan(&path)
	return err == nil && path == probe
}

// withSearchPath adds the parameter to a connection string, of either of the two
// forms that there are.
func withSearchPath(connString, schema string) string {
	u, err := url.Parse(connString)
	if err != nil || u.Scheme == "" {
		return connString + " search_path=" + schema
	}
	query := u.Query()
	query.Set("search_path", schema)
	u.RawQuery = query.Encode()
	return u.String()
}

// migrateInTurn migrates a database that other processes may be migrating at the
// same moment.
func migrateInTurn(ctx context.Context, connString string) error {
	conn, err := pgx.Connect(ctx, connString)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	// The lock is a transaction's, not a connection's: a pooler may change the
	// connection behind this one between two statements.
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtext('sessiontest'))"); err != nil {
			return err
		}
		return prepare(ctx, connString)
	})
}
