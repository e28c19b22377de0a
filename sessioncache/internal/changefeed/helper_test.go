package changefeed_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache/internal/changefeed"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

// bundle is a feed that has been polled once.
type bundle struct {
	pool *pgxpool.Pool
	feed *changefeed.Feed
}

func setup(t *testing.T, configure ...func(*pgxpool.Config)) bundle {
	t.Helper()
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	t.Parallel()
	pool := sessiontest.NewPool(t, configure...)
	b := bundle{pool, changefeed.New(db.New(pool))}
	if first := b.poll(t); !first.Reset || len(first.Changed) != 0 {
		t.Fatalf("the first poll is %+v; want a reset", first)
	}
	return b
}

// poll polls and applies.
func (b bundle) poll(t *testing.T) changefeed.Poll {
	t.Helper()
	poll, err := b.feed.Poll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.feed.Applied(poll)
	return poll
}

func (b bundle) wantReset(t *testing.T) {
	t.Helper()
	if poll := b.poll(t); !poll.Reset || len(poll.Changed) != 0 {
		t.Errorf("Poll = %+v; want a reset", poll)
	}
}

func (b bundle) wantChanged(t *testing.T, want ...sid.ID) {
	t.Helper()
	poll := b.poll(t)
	if poll.Reset || !slices.Equal(set(poll.Changed), set(want)) {
		t.Errorf("Poll = %v, reset %v; want %v", poll.Changed, poll.Reset, want)
	}
}

// set is ids in order, each once.
func set(ids []sid.ID) []sid.ID {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b sid.ID) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(ids)
}

// insert stores n sessions that end in an hour.
func (b bundle) insert(t *testing.T, n int) []sid.ID {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), `
		INSERT INTO session_cache (sessionid, userdict, session_startutc, session_endutc, session_deadlineutc, session_idle)
		SELECT gen_random_uuid(), '{"user_id": "u"}', now() - interval '3 days', now() + interval '1 hour', now() + interval '5 hours', 7200000000
		FROM generate_series(1, $1::int)
		RETURNING sessionid`, n)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[sid.ID])
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// executor is a pool, a connection or a transaction.
type executor interface {
	db.DBTX
}

// execute runs statements, in which {0} stands for the first of the ids.
func execute(t *testing.T, on executor, ids []sid.ID, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		for i, id := range ids[:min(len(ids), 10)] {
			statement = strings.ReplaceAll(statement, fmt.Sprintf("{%d}", i), "'"+id.String()+"'")
		}
		if _, err := on.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// connect returns a connection of its own, which others do not get.
func (b bundle) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), b.pool.Config().ConnConfig.Copy())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
