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

// Elapse makes a session as much older as if d had passed: a test of what expires
// needs no waiting. A negative d makes it younger. Session is its id or its handle,
// database where it is stored. The test fails if there is no such session.
func Elapse(tb testing.TB, database sessioncache.DB, session fmt.Stringer, d time.Duration) {
	tb.Helper()
	// Through UTC: a distributed table refuses to add to a timestamptz column.
	const statement = `
		UPDATE session_cache
		SET session_startutc = (session_startutc AT TIME ZONE 'UTC' - $1::interval) AT TIME ZONE 'UTC',
		    session_endutc = (session_endutc AT TIME ZONE 'UTC' - $1::interval) AT TIME ZONE 'UTC',
		    session_deadlineutc = (session_deadlineutc AT TIME ZONE 'UTC' - $1::interval) AT TIME ZONE 'UTC',
		    supersededutc = (supersededutc AT TIME ZONE 'UTC' - $1::interval) AT TIME ZONE 'UTC',
		    authenticatedutc = (authenticatedutc AT TIME ZONE 'UTC' - $1::interval) AT TIME ZONE 'UTC'
		WHERE sessionid = $2::text::uuid`
	tag, err := database.Exec(context.Background(), statement, d, session.String())
	for range 9 { // at isolation level serializable others may be in the way
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "40001" {
			break
		}
		tag, err = database.Exec(context.Background(), statement, d, session.String())
	}
	if err != nil || tag.RowsAffected() != 1 {
		tb.Fatalf("sessiontest: Elapse: %d sessions, %v; want one", tag.RowsAffected(), err)
	}
}
