package sessioncache

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/rhaptos/sessiondb/sid"
)

// An error of a [Cache] matches exactly one of these, except that ErrUserTooLarge is an
// ErrInvalidUser, and wraps its cause. Update, UpdateSession and Tx return an error of
// their callback unchanged. No error shows an id, a token or a user.

// ErrMalformedID is returned by every call that takes an id, if it is not a UUID in its
// 36-character form, and by every call that takes a token, if it is the zero Token. The
// database is not asked.
var ErrMalformedID = sid.ErrMalformed

// ErrConflict is returned by Set when the id exists already. An id is used once:
// this is an attack or a bug. Nobody can tell which of the two users is real: Set logs
// out both (see [Cache.Set]).
var ErrConflict = errors.New("session id exists already")

// ErrInvalidUser is returned by Set, Issue, Update and UpdateSession for a user that
// cannot be stored. Either encoding/json cannot encode it, or it encodes to null, or
// PostgreSQL's json cannot hold it (the \u0000 escape, a lone surrogate, a user_id of
// more than 2,600 bytes), or the application's own constraint, unique index or trigger
// rejects the row.
//
// It is also returned for a user whose user_id the database and encoding/json could read
// differently: at the top level of its JSON is user_id twice or in another case, or its
// value is not a string, an integer (without a fraction or an exponent, and not -0) or
// null, or it is a string with U+FFFD, which stands for what was not UTF-8.
//
// UserSessions and DeleteUserSessions return it for a user id that is empty or that a
// text column cannot store. RevokeOthers, RevokeAll, RevokeSession, and Issue with
// [MaxSessions] return it for a user without a user_id.
var ErrInvalidUser = errors.New("invalid user")

// ErrUserTooLarge is returned by Set, Issue, Update and UpdateSession for a user whose
// JSON is longer than [WithMaxUserBytes] allows. It is an [ErrInvalidUser], too.
var ErrUserTooLarge = fmt.Errorf("%w: its JSON is too large", ErrInvalidUser)

// ErrUnreadableSession is returned by Get, Authenticate, Session, Update and
// UpdateSession when T does not decode the stored user: T has changed since, or another
// program has written the row. The session stays as it is. A service asks the user to
// log in again.
var ErrUnreadableSession = errors.New("the stored user does not fit the type")

// ErrSuperseded is returned by Authenticate, UpdateSession, Renew, RevokeOthers, RevokeAll
// and RevokeSession, and by Issue with [Carry], for a token that Renew or Retire has replaced
// while the request was in flight (see [Cache.Authenticate]). It lets nobody in. A service
// answers 503 with Retry-After and leaves the cookie as it is; the request succeeds when it
// is sent again with the new token.
var ErrSuperseded = errors.New("the token was renewed a moment ago")

// ErrUserChanged is returned by Update and UpdateSession when the change replaces the
// user_id. A session never changes its user: a login is a new session.
var ErrUserChanged = errors.New("a session cannot change its user")

// ErrIsolation is returned by DeleteUserSessions, RevokeOthers, RevokeAll and RevokeSession,
// and by Issue with [MaxSessions], in a caller's transaction above isolation level read
// committed. Such a transaction does not see what others have committed since it began.
// Nothing has changed.
var ErrIsolation = errors.New("the transaction's isolation level is not read committed")

// ErrUnavailable is returned by every call that got no usable answer from the database:
// it could not be reached, was too slow for the context, refused the statement, or
// lacks the table. Nothing is known about the session: never treat it as "logged out".
// A change that ended with it may have happened or not.
var ErrUnavailable = errors.New("session database unavailable")

// ErrNotAwaited is returned by AwaitNearCaches and by calls that wait for near caches
// ([NearCacheStaleness]), when their context ends meanwhile. The change has happened, and
// Renew returns the token together with this error. Near caches may show what was before the
// change for at most NearCacheStaleness.
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

	featureNotSupported  = "0A000"
	readOnlyTransaction  = "25006"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"

	tooManyConnections = "53300"
	adminShutdown      = "57P01"
	crashShutdown      = "57P02"
	cannotConnectNow   = "57P03"
	idleSessionTimeout = "57P05"

	raiseException = "P0001" // the default of RAISE, in a trigger

	classDataException        = "22"
	classIntegrityViolation   = "23"
	classProgramLimitExceeded = "54"
)

// kindOf is the one place where an error of the driver becomes an error of this
// package.
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

// rejected reports whether the server refuses to store a user: its JSON, or because of a
// constraint, an index or a trigger of the application.
func rejected(err error) bool {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return class(pgErr) == classIntegrityViolation || pgErr.Code == raiseException || errors.Is(kindOf(err), ErrInvalidUser)
	}
	return false
}

func hasCode(err error, code string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == code
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

// interpret wraps an error of the call op with its kind and with a hint of what to do.
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

// checkUserID refuses a text that a text column cannot store, because each exec mode
// reports it in other words. It refuses the empty id, because users without an id are
// not one user.
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
