package changefeed_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/internal/changefeed"
)

// inRecovery is a server that says that it is a standby.
type inRecovery struct{ *pgxpool.Pool }

func (s inRecovery) QueryRow(ctx context.Context, sql string, arguments ...any) pgx.Row {
	return s.Pool.QueryRow(ctx, strings.ReplaceAll(sql, "pg_is_in_recovery()", "true"), arguments...)
}

// TestStandby polls a server in recovery, which may be behind. (A real one cannot even
// read the epoch.)
func TestStandby(t *testing.T) {
	b := setup(t)
	if poll, err := changefeed.New(db.New(inRecovery{b.pool})).Poll(t.Context()); !errors.Is(err, changefeed.ErrNoFeed) {
		t.Errorf("Poll = %+v, %v; want ErrNoFeed", poll, err)
	}
}
