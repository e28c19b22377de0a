// Package schema holds the goose migrations of the session_cache table.
//
// They live beside an application's own: their versions are in a table of their own,
// [VersionTable]. Run them from a program:
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

// VersionTable is where goose keeps which of these migrations have been applied. Its
// default table belongs to the application: with one for both, goose skips the
// migrations of whoever comes second.
const VersionTable = "session_cache_version"

// lockID is the advisory lock of these migrations, a random number of their own: an
// application's goose must not wait for them, nor they for it.
const lockID = 0x6746b0be2e81385f

// NewProvider returns goose's provider of the migrations, for PostgreSQL. Any number of
// processes may migrate at once: one does, the others wait for it, for five minutes at
// most. The lock is a connection's, so connect to the server itself, not to a pooler in
// transaction mode.
func NewProvider(db *sql.DB) (*goose.Provider, error) {
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(lockID), lock.WithLockTimeout(1, 300))
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, db, FS,
		goose.WithTableName(VersionTable),
		goose.WithSessionLocker(locker),
		// The migrations in Go that an application has registered are not these.
		goose.WithDisableGlobalRegistry(true),
	)
}
