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

// ErrNoServer is returned by [Start] on a machine that has no PostgreSQL to
// offer. The error that wraps it says what to install.
var ErrNoServer = errors.New("no PostgreSQL to test against")

// noServer says what to do on this machine, where Docker does not answer either.
func noServer(docker error) error {
	return fmt.Errorf(`%w; do one of these:
	%s
	start Docker
	export SESSIONCACHE_DATABASE_URL=postgres://user:password@host/database
(Docker: %w)`, ErrNoServer, pgserver.InstallAdvice(), docker)
}

// Server is a PostgreSQL server to test against. Its methods may be called from
// several goroutines at once.
type Server struct {
	origin      string
	newDatabase func(context.Context) (*Database, error)
	stop        func() error
}

// Database is a place with a migrated session_cache table: a database of its
// own, or a schema on a server that is not ours.
type Database struct {
	// URL is the connection string.
	URL string

	// Shared says that others use the table too, because the server gives no
	// other way: keep to random ids, and leave other rows alone.
	Shared bool

	drop func(context.Context) error
}

// Start finds a server, or starts one, in the order that the package
// documentation gives. Close it when done.
//
// A server that it starts has the settings added to its configuration, each a
// line as in postgresql.conf: "fsync = on". One that somebody else runs has its
// own. With "listen_addresses = '127.0.0.1'" it listens on the TCP port that a
// [Database]'s URL names.
func Start(ctx context.Context, settings ...string) (*Server, error) {
	var server *Server
	var err error
	if url := os.Getenv("SESSIONCACHE_DATABASE_URL"); url != "" {
		server, err = startExternal(ctx, url)
	} else if bin, ok := pgserver.Binaries(); ok {
		server, err = startLocal(ctx, bin, settings)
	} else {
		server, err = startDocker(ctx, settings)
	}
	if err != nil {
		return nil, fmt.Errorf("sessiontest: %w", err)
	}
	return server, nil
}

// Use starts a server, has do work on a database of its own, and throws both away:
// what a program with a throwaway database does.
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

// String tells which server it is.
func (s *Server) String() string {
	return s.origin
}

// NewDatabase returns a database whose session_cache table is migrated and
// empty, and nobody else's unless it says that it is [Database.Shared].
func (s *Server) NewDatabase(ctx context.Context) (*Database, error) {
	database, err := s.newDatabase(ctx)
	if err != nil {
		return nil, fmt.Errorf("sessiontest: new database on %s: %w", s, err)
	}
	return database, nil
}

// Close stops the server if Start started it, and throws its databases away.
func (s *Server) Close() error {
	return s.stop()
}

// Drop throws the database away, with whoever is still connected to it.
func (d *Database) Drop(ctx context.Context) error {
	return d.drop(ctx)
}

// Migrate brings the database at url up to the newest schema, as "goose up" does.
func Migrate(ctx context.Context, url string) error {
	_, err := migrate(ctx, url)
	return err
}

// migrate tells whether there was anything to do.
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

// prepare migrates a database for tests, and does to it what whoever runs them
// wants done: distribute the table, for one.
func prepare(ctx context.Context, url string) error {
	did, err := migrate(ctx, url)
	if statement := os.Getenv("SESSIONCACHE_TEST_AFTER_MIGRATE"); err == nil && did && statement != "" {
		err = execute(ctx, url, statement)
	}
	return err
}

// execute runs one statement on a connection of its own.
func execute(ctx context.Context, url, statement string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, statement)
	return err
}
