package sessiontest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// Elapse makes a session older by d, so that a test of its expiry, or of
// sessionhttp's RequireFresh, need not wait: all its times move. A negative d makes it
// younger. session is the session's id or handle, a sid.ID or sid.Handle
// (sid.ParseHandle reads one that is a string), and database is where it is stored. The
// test fails if there is no such session.
func Elapse(tb testing.TB, database sessioncache.DB, session fmt.Stringer, d time.Duration) {
	tb.Helper()
	// Through UTC, because a distributed table allows no addition to a timestamptz
	// column.
	const statement = `
		UPDATE session_cache
		SET session_startutc = (session_startutc AT TIME ZONE 'UTC' - $1::interval) AT TIME ZONE 'UTC',
		    session_endutc = (session_endutc AT TIME ZONE 'UTC' - $1::interval) AT TIME ZONE 'UTC',
		    session_deadlineutc = (session_deadlineutc AT TIME ZONE 'UTC' - $1::interval) AT TIME ZONE 'UTC',
		    session_usedutc = (session_usedutc AT TIME ZONE 'UTC' - $1::interval) AT TIME ZONE 'UTC',
		    renewedutc = (renewedutc AT TIME ZONE 'UTC' - $1::interval) AT TIME ZONE 'UTC',
		    authenticatedutc = (authenticatedutc AT TIME ZONE 'UTC' - $1::interval) AT TIME ZONE 'UTC'
		WHERE sessionid = $2::text::uuid`
	tag, err := database.Exec(context.Background(), statement, d, session.String())
	for range 9 { // at isolation level serializable, other transactions may conflict
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "40001" {
			break
		}
		tag, err = database.Exec(context.Background(), statement, d, session.String())
	}
	if err != nil || tag.RowsAffected() != 1 {
		tb.Fatalf("sessiontest: Elapse: changed %d sessions, error %v; want one session", tag.RowsAffected(), err)
	}
}
