// Package schema holds the goose migrations of the session_cache table.
//
// They do not conflict with an application's own migrations, because goose keeps their
// versions in a separate table, [VersionTable]. Run them from a program:
//
//	provider, err := schema.NewProvider(db)
//	if err != nil { … }
//	_, err = provider.Up(ctx)
//
// or with sessionctl migrate up, or with the goose CLI and a copy of this folder:
//
//	goose -table session_cache_version -dir schema postgres "$DATABASE_URL" up
package schema

import (
	"database/sql"
	"embed"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// FS holds the migrations, at its root.
//
//go:embed *.sql
var FS embed.FS

// VersionTable is the table in which goose records which of these migrations have been
// applied. Goose's default table belongs to the application. If both used one table,
// goose would skip the migrations that run second.
const VersionTable = "session_cache_version"

// lockID is the advisory lock of these migrations: a random number, so that they and an
// application's own goose do not wait for each other.
const lockID = 0x6746b0be2e81385f

// NewProvider returns goose's provider of the migrations, for PostgreSQL. Several
// processes may migrate at once: one migrates, and the others wait for it, for at most
// five minutes. They use an advisory lock of the connection: connect to the server
// itself, not to a pooler in transaction mode.
func NewProvider(db *sql.DB) (*goose.Provider, error) {
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(lockID), lock.WithLockTimeout(1, 300))
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, db, FS,
		goose.WithTableName(VersionTable),
		goose.WithSessionLocker(locker),
		// Not the Go migrations that an application has registered.
		goose.WithDisableGlobalRegistry(true),
	)
}
