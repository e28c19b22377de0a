package sessiontest

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/rhaptos/sessiondb/internal/pgserver"
	"github.com/rhaptos/sessiondb/schema"
)

// ErrNoServer is returned by [Start] if there is no PostgreSQL to use. The error that
// wraps it says what to install.
var ErrNoServer = errors.New("no PostgreSQL server found")

// noServer says what to do on this machine. docker says how to get a server from Docker.
func noServer(docker string) error {
	return fmt.Errorf(`%w; do one of these:
	%s
	export SESSIONCACHE_DATABASE_URL=postgres://user:password@host/database
	%s`, ErrNoServer, pgserver.InstallAdvice(), docker)
}

const importDocker = `start Docker, with this import in the test or the program:
	import _ "github.com/rhaptos/sessiondb/sessioncache/sessiontest/docker"`

// Server is a PostgreSQL server for tests. Its methods are safe for concurrent use.
type Server struct {
	origin      string
	newDatabase func(context.Context) (*Database, error)
	stop        func() error
}

// Database is a place with a migrated session_cache table: a database, or a schema on the
// server of SESSIONCACHE_DATABASE_URL.
type Database struct {
	// URL is the connection string.
	URL string

	// Shared is true if other tests use the table, too, because the server offers no way
	// to separate them. Then use random ids only, and do not touch other rows.
	Shared bool

	drop func(context.Context) error
}

// Start finds or starts a server, in the order of the package documentation. Close it
// when done.
//
// The settings are added to the configuration of a server that it starts. Each is a line
// as in postgresql.conf, for example "fsync = on". With "listen_addresses = '127.0.0.1'"
// the server listens on the TCP port that a [Database]'s URL names. The server of
// SESSIONCACHE_DATABASE_URL keeps its own settings.
func Start(ctx context.Context, settings ...string) (*Server, error) {
	server, err := start(ctx, settings, external(), local(), container())
	if err != nil {
		return nil, fmt.Errorf("sessiontest: %w", err)
	}
	return server, nil
}

// starter starts a server. A nil starter stands for a kind of server that is not there.
type starter func(ctx context.Context, settings []string) (*Server, error)

// start uses the first starter that is there.
func start(ctx context.Context, settings []string, starters ...starter) (*Server, error) {
	for _, start := range starters {
		if start != nil {
			return start(ctx, settings)
		}
	}
	return nil, noServer(importDocker)
}

// Use starts a server, calls do with a new database on it, and removes both.
func Use(ctx context.Context, do func(server *Server, database *Database) error) (err error) {
	server, err := Start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	database, err := server.NewDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Drop(context.WithoutCancel(ctx))) }()
	return do(server, database)
}

// String describes the server.
func (s *Server) String() string {
	return s.origin
}

// NewDatabase returns a database with a migrated, empty session_cache table. No other
// test uses it, unless [Database] says that it is Shared.
func (s *Server) NewDatabase(ctx context.Context) (*Database, error) {
	database, err := s.newDatabase(ctx)
	if err != nil {
		return nil, fmt.Errorf("sessiontest: new database on %s: %w", s, err)
	}
	return database, nil
}

// Close stops the server if Start has started it. Its databases are then gone, too.
func (s *Server) Close() error {
	return s.stop()
}

// Drop removes the database, and closes connections to it.
func (d *Database) Drop(ctx context.Context) error {
	return d.drop(ctx)
}

// Migrate migrates the database at url to the newest version, as "goose up" does.
func Migrate(ctx context.Context, url string) error {
	_, err := migrate(ctx, url)
	return err
}

// migrate reports whether there was anything to do.
func migrate(ctx context.Context, url string) (did bool, err error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return false, err
	}
	db := stdlib.OpenDB(*config)
	defer db.Close()
	migrations, err := schema.NewProvider(db)
	if err != nil {
		return false, err
	}
	results, err := migrations.Up(ctx)
	return len(results) > 0, err
}

// prepare migrates a database for tests. It then executes the statement in
// SESSIONCACHE_TEST_AFTER_MIGRATE, for example to distribute the table.
func prepare(ctx context.Context, url string) error {
	did, err := migrate(ctx, url)
	if statement := os.Getenv("SESSIONCACHE_TEST_AFTER_MIGRATE"); err == nil && did && statement != "" {
		err = execute(ctx, url, statement)
	}
	return err
}

// execute executes one statement on a new connection.
func execute(ctx context.Context, url, statement string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, statement)
	return err
}
