package changefeed

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrNoFeed is returned by Poll if changes cannot be followed. Migration 3 has not been
// applied, or the role lacks rights, or the server is a standby or read-only, or a
// trigger is not as the migration made it, or something shadows the tables, or the
// table is distributed.
var ErrNoFeed = errors.New("no change feed")

var errMissing = fmt.Errorf("%w (run the migrations: sessionctl migrate up)", ErrNoFeed)

var errIncomplete = errors.New("the tables of migration 3 are shadowed or in several schemas, session_cache is partitioned, " +
	"inherits or has row-level security, or triggers are missing or disabled (migrate down to version 2 and up again)")

// SQLSTATE codes, as PostgreSQL's documentation lists them in appendix A.
const (
	undefinedTable        = "42P01"
	undefinedColumn       = "42703"
	undefinedFunction     = "42883"
	invalidSchemaName     = "3F000"
	insufficientPrivilege = "42501"
	featureNotSupported   = "0A000" // an unlogged table on a standby
	notInPrerequisite     = "55000"
	readOnlyTransaction   = "25006"
)

// interpret is the one place where an error of the driver becomes one of this package.
func interpret(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("%w: session_change_state is empty (migrate down to version 2 and up again)", ErrNoFeed)
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pgErr.Code {
		case undefinedTable, undefinedColumn, undefinedFunction, invalidSchemaName:
			return fmt.Errorf("%w: %w", errMissing, err)
		case insufficientPrivilege:
			return fmt.Errorf("%w (a near cache needs SELECT on session_change, SELECT and INSERT on session_change_epoch, "+
				"SELECT and UPDATE on session_change_state): %w", ErrNoFeed, err)
		case featureNotSupported, notInPrerequisite, readOnlyTransaction:
			return fmt.Errorf("%w (a standby, or default_transaction_read_only): %w", ErrNoFeed, err)
		}
	}
	return err
}

// isMissing tells whether a table of the feed is missing.
func isMissing(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == undefinedTable
}
