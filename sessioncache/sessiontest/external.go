package sessiontest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sync"

	"github.com/jackc/pgx/v5"
)

const sharesTable = `sessiontest: all tests share one table, because the server of
SESSIONCACHE_DATABASE_URL does not pass search_path on`

// external uses the server in SESSIONCACHE_DATABASE_URL, if it is set.
func external() starter {
	url := os.Getenv("SESSIONCACHE_DATABASE_URL")
	if url == "" {
		return nil
	}
	return func(ctx context.Context, _ []string) (*Server, error) { return startExternal(ctx, url) }
}

// startExternal uses the server at a connection string. Each test gets a schema, or
// all tests share one table.
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
		return migrateLocked(context.Background(), connString)
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

// newSchema creates a schema and migrates it.
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

// passesSearchPath reports whether a connection can choose its schema. With a pooler that
// shares server connections between clients it cannot: PgBouncer refuses the parameter
// search_path or ignores it.
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

// withSearchPath adds the parameter search_path to a connection string, in either of its
// two forms.
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

// migrateLocked migrates a database that other processes may migrate at the same time.
func migrateLocked(ctx context.Context, connString string) error {
	conn, err := pgx.Connect(ctx, connString)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	// The lock belongs to a transaction, not to a connection: a pooler may use another
	// connection for the next statement.
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtext('sessiontest'))"); err != nil {
			return err
		}
		return prepare(ctx, connString)
	})
}
