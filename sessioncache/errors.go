package sessioncache

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// Every error of a [Cache] is one of these four, to errors.Is, but for an error
// that the function given to [Cache.Update] returned, which comes back as it is.
// The cause stays wrapped inside. None of them shows a session id.
var (
	// ErrMalformedID is returned by every call that takes an id, for one that is
	// not a UUID in its 36-character form. Such an id never reaches the database.
	ErrMalformedID = sid.ErrMalformed

	// ErrConflict is returned by Set and Rotate when the new id exists already. An
	// id is used once, so this is an attack or a bug, and nobody can tell which of
	// the two users is real: both are logged out.
	ErrConflict = errors.New("session id exists already: the session was deleted")

	// ErrInvalidUser is returned by Set and Update for a user that cannot be stored:
	// encoding/json cannot encode it, it encodes to null, or it holds what
	// PostgreSQL's json cannot (the \u0000 escape, a lone surrogate, a user_id of
	// more than 2,600 bytes). Get and Update return it for a stored user that T
	// cannot decode, UserSessions and DeleteUser for a user id that no text column
	// can hold.
	ErrInvalidUser = errors.New("invalid user")

	// ErrUnavailable is returned by every call that the database did not answer:
	// it could not be reached, was too slow for the context, refused, or lacks the
	// table. It says nothing about the session: never take it for "logged out".
	// A change that ended this way may have happened or not.
	ErrUnavailable = errors.New("session database unavailable")
)

var errNotText = errors.New("the user id is not text in UTF-8, or has a NUL in it")

// SQLSTATE codes, as PostgreSQL's documentation lists them in appendix A.
const (
	undefinedTable    = "42P01"
	undefinedColumn   = "42703"
	undefinedFunction = "42883"

	featureNotSupported = "0A000"
	deadlockDetected    = "40P01"

	tooManyConnections = "53300"
	adminShutdown      = "57P01"
	crashShutdown      = "57P02"
	cannotConnectNow   = "57P03"

	classDataException        = "22"
	classProgramLimitExceeded = "54"
)

// kindOf is the one place where an error of the driver becomes an error of this
// package.
func kindOf(err error) error {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pgErr.Code[:min(2, len(pgErr.Code))] {
		case classDataException, classProgramLimitExceeded:
			return ErrInvalidUser
		}
	}
	return ErrUnavailable
}

// interpret says what failed, of what kind it is and what can be done about it.
// op is the call that failed.
func interpret(op string, err error) error {
	if err == nil {
		return nil
	}
	hint := ""
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pgErr.Code {
		case undefinedTable, undefinedColumn, undefinedFunction:
			hint = ` (run the migrations: goose -dir schema postgres "$DATABASE_URL" up)`
		}
	}
	return fmt.Errorf("sessioncache: %s: %w%s: %w", op, kindOf(err), hint, err)
}

// checkUserID refuses what no text of PostgreSQL's can be, and what one exec mode
// would report in other words than the next.
func checkUserID(op, userID string) error {
	if strings.ContainsRune(userID, 0) || !utf8.ValidString(userID) {
		return invalidUser(op, errNotText)
	}
	return nil
}

// invalidUser is the error of a user that never reached the database, or came
// from it and cannot be used.
func invalidUser(op string, cause error) error {
	return fmt.Errorf("sessioncache: %s: %w: %w", op, ErrInvalidUser, cause)
}

// parseID reads an id as it arrived in a request.
func parseID(op, id string) (sid.ID, error) {
	sessionID, err := sid.Parse(id)
	if err != nil {
		return sid.ID{}, fmt.Errorf("sessioncache: %s: %w", op, err)
	}
	return sessionID, nil
}
