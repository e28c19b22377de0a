package sessioncache

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// An error of a [Cache] matches exactly one of these. Update and UpdateSession
// return an error of their callback unchanged. The cause stays wrapped inside. None
// shows an id, a token or a user.

// ErrMalformedID is returned by every call that takes an id, for one that is not a
// UUID in its 36-character form, and by every call that takes a token, for the zero
// Token. Neither reaches the database.
var ErrMalformedID = sid.ErrMalformed

// ErrConflict is returned by Set when the id exists already. An id is used once, so
// this is an attack or a bug, and nobody can tell which of the two users is real:
// both are logged out.
var ErrConflict = errors.New("session id exists already")

// ErrInvalidUser is returned by Set, Issue, Update and UpdateSession for a user that
// cannot be stored: encoding/json cannot encode it, it encodes to null, or it holds
// what PostgreSQL's json cannot (the \u0000 escape, a lone surrogate, a user_id of
// more than 2,600 bytes), or a constraint, a unique index or a trigger of the
// application's own rejects the row. UserSessions and DeleteUserSessions return it for a user
// id that is empty or that a text column cannot store, and Issue with [MaxSessions]
// for a user without one.
var ErrInvalidUser = errors.New("invalid user")

// ErrUnreadableSession is returned by Get, GetAll, Authenticate, Session, Update and
// UpdateSession for a stored user that T does not decode: T has changed since, or
// another program has written the row. The session stays as it is. A service asks
// the user to log in again.
var ErrUnreadableSession = errors.New("the stored user does not fit the type")

// ErrSuperseded is returned by Authenticate, UpdateSession and Renew for a token
// that Renew or Retire has replaced in the last ten seconds: the request was in flight
// meanwhile.
// Nobody is let in. A service answers 503 with Retry-After and touches no cookie;
// asked again with the new token it succeeds.
var ErrSuperseded = errors.New("the token was renewed a moment ago")

// ErrUserChanged is returned by Update and UpdateSession when the change replaces
// the user_id. A session never changes its user: a login is a new session.
var ErrUserChanged = errors.New("a session cannot change its user")

// ErrIsolation is returned by DeleteUserSessions, and by Issue with [MaxSessions],
// in a caller's transaction above isolation level read committed, which does not see
// what others have committed since it began. Nothing has changed.
var ErrIsolation = errors.New("the transaction's isolation level is not read committed")

// ErrUnavailable is returned by every call that the database did not answer: it
// could not be reached, was too slow for the context, refused, or lacks the table.
// It says nothing about the session: never take it for "logged out". A change that
// ended this way may have happened or not.
var ErrUnavailable = errors.New("session database unavailable")

// ErrNotAwaited is returned by every call that changes sessions, and by AwaitNearCaches,
// when its context ends while it waits for near caches. The change has happened, but
// others may still see what was before it, for [NearCacheStaleness] at most.
var ErrNotAwaited = errors.New("the change has happened, but near caches may not have seen it yet")

var (
	errNotText  = errors.New("the user id is not text in UTF-8, or has a NUL in it")
	errNoUserID = fmt.Errorf("%w: it has no user_id", ErrInvalidUser)
)

// SQLSTATE codes, as PostgreSQL's documentation lists them in appendix A.
const (
	undefinedTable    = "42P01"
	undefinedColumn   = "42703"
	undefinedFunction = "42883"

	insufficientPrivilege = "42501"

	featureNotSupported  = "0A000"
	readOnlyTransaction  = "25006"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"

	tooManyConnections = "53300"
	adminShutdown      = "57P01"
	crashShutdown      = "57P02"
	cannotConnectNow   = "57P03"

	raiseException = "P0001" // what a trigger's RAISE says by default

	classDataException        = "22"
	classIntegrityViolation   = "23"
	classProgramLimitExceeded = "54"
)

// kindOf is the one place where an error of the driver becomes an error of this
// package. One of this package's stays what it is.
func kindOf(err error) error {
	for _, kind := range []error{ErrConflict, ErrInvalidUser} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch class(pgErr) {
		case classDataException, classProgramLimitExceeded:
			return ErrInvalidUser
		}
	}
	return ErrUnavailable
}

// rejected tells whether the server refuses to store a user: as no json, or by a
// constraint, an index or a trigger of the application's own.
func rejected(err error) bool {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return class(pgErr) == classIntegrityViolation || pgErr.Code == raiseException || errors.Is(kindOf(err), ErrInvalidUser)
	}
	return false
}

func class(err *pgconn.PgError) string {
	return err.Code[:min(2, len(err.Code))]
}

// interpretStore is interpret for a call that stores a user.
func interpretStore(op string, err error) error {
	if rejected(err) {
		return invalidUser(op, withoutValues(err))
	}
	return interpret(op, err)
}

// withoutValues returns an error of the server without the parts that show a row, a
// parameter or the text of a statement.
func withoutValues(err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pgErr.Detail == "" && pgErr.Where == "" && pgErr.InternalQuery == "" {
		return err
	}
	shown := *pgErr
	shown.Detail, shown.Where, shown.InternalQuery = "", "", ""
	return &shown
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
			hint = " (run the migrations: sessionctl migrate up)"
		case readOnlyTransaction:
			hint = " (a standby, or default_transaction_read_only)"
		}
	}
	return fmt.Errorf("sessioncache: %s: %w%s: %w", op, kindOf(err), hint, withoutValues(err))
}

// checkUserID refuses what a text column cannot store, which one exec mode would
// report in other words than the next, and the empty id, which everybody has who
// has none: they are not one user.
func checkUserID(op, userID string) error {
	if userID == "" {
		return fmt.Errorf("sessioncache: %s: %w", op, errNoUserID)
	}
	if strings.ContainsRune(userID, 0) || !utf8.ValidString(userID) {
		return invalidUser(op, errNotText)
	}
	return nil
}

// invalidUser is the error of a user that never reached the database.
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
