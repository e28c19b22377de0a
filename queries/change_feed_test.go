package queries_test

import (
	"context"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

func poll(t *testing.T, q *db.Queries, since db.PollChangesRow) db.PollChangesRow {
	t.Helper()
	row, err := q.PollChanges(t.Context(), db.PollChangesParams{Xmax: since.Xmax, Xip: since.Xip})
	if err != nil {
		t.Fatal(err)
	}
	return row
}

// pollFirst is a poll that returns no changes.
func pollFirst(t *testing.T, q *db.Queries) db.PollChangesRow {
	t.Helper()
	return poll(t, q, db.PollChangesRow{Xmax: math.MaxInt64})
}

func sorted(ids sid.IDs) sid.IDs {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b sid.ID) int { return strings.Compare(a.String(), b.String()) })
	return ids
}

func wantChanges(t *testing.T, row db.PollChangesRow, want ...sid.ID) {
	t.Helper()
	if row.Everything || !slices.Equal(sorted(row.SessionIDs), sorted(want)) {
		t.Errorf("changes %v, everything %v; want %v", row.SessionIDs, row.Everything, want)
	}
}

// TestPollChanges follows what two transactions change.
func TestPollChanges(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, pool *pgxpool.Pool) {
		ctx := t.Context()
		row := pollFirst(t, q)
		if row.Epoch != (sid.ID{}) || row.Generation != (sid.ID{}) || row.NearCaches != "unused" || row.InRecovery || !row.Complete ||
			row.Horizon != 0 || row.Xmin == 0 || row.Xmax < row.Xmin {
			t.Errorf("of a new feed: %+v", row)
		}
		started := time.UnixMicro(row.ServerStart)
		if time.Since(started) < 0 || time.Since(started) > 24*365*time.Hour {
			t.Errorf("the server was started at %v", started)
		}
		wantChanges(t, row)
		for range 2 {
			if err := q.InsertChangeEpoch(ctx); err != nil {
				t.Fatal(err)
			}
		}
		ids := sid.IDs{insert(t, q, `{}`), insert(t, q, `{}`), insert(t, q, `{}`)}
		base := pollFirst(t, q)
		if base.Epoch == (sid.ID{}) || base.Objects != row.Objects {
			t.Errorf("%+v, and before %+v", base, row)
		}

		// The first transaction commits last.
		early, err := pool.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = early.Rollback(context.WithoutCancel(ctx)) }()
		wantRows(t, "DeleteSession", 1)(q.WithTx(early).DeleteSession(ctx, db.DeleteSessionParams{SessionID: ids[0], Audience: audience}))
		wantRows(t, "DeleteSession", 1)(q.DeleteSession(ctx, db.DeleteSessionParams{SessionID: ids[1], Audience: audience}))
		second := poll(t, q, base)
		wantChanges(t, second, ids[1])
		if len(second.Xip) == 0 {
			t.Errorf("no transaction is under way: %+v", second)
		}
		if err := early.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		third := poll(t, q, second)
		wantChanges(t, third, ids[0])
		wantChanges(t, poll(t, q, base), ids[0], ids[1])
		wantChanges(t, poll(t, q, third))

		wantRows(t, "DeleteAllSessions", 1)(q.DeleteAllSessions(ctx))
		if _, err := pool.Exec(ctx, "TRUNCATE session_cache"); err != nil {
			t.Fatal(err)
		}
		if all := poll(t, q, third); !all.Everything || len(all.SessionIDs) != 0 {
			t.Errorf("after TRUNCATE: %+v", all)
		}
	})
}

func TestNearCacheUse(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, _ *pgxpool.Pool) {
		ctx := t.Context()
		var generation sid.ID
		want := func(state string, used bool) {
			t.Helper()
			row := pollFirst(t, q)
			use, err := q.GetNearCacheUse(ctx)
			if err != nil || row.NearCaches != state || use.Used != used || use.InRecovery {
				t.Errorf("near caches are %s, %+v, %v; want %s, %v", row.NearCaches, use, err, state, used)
			}
			generation = row.Generation
		}
		want("unused", false)
		wantRows(t, "DrainNearCaches of none", 0)(q.DrainNearCaches(ctx))
		wantRows(t, "RegisterNearCache", 1)(q.RegisterNearCache(ctx, false))
		want("used", true)
		first := generation
		wantRows(t, "RegisterNearCache of the second", 0)(q.RegisterNearCache(ctx, true))
		wantRows(t, "ForgetNearCaches in use", 0)(q.ForgetNearCaches(ctx))
		want("used", true)
		if generation != first || generation == (sid.ID{}) {
			t.Errorf("the generation was %v and is %v", first, generation)
		}
		wantRows(t, "DrainNearCaches", 1)(q.DrainNearCaches(ctx))
		want("draining", true)
		wantRows(t, "RegisterNearCache while draining", 0)(q.RegisterNearCache(ctx, true))
		wantRows(t, "ForgetNearCaches", 1)(q.ForgetNearCaches(ctx))
		want("off", false)
		wantRows(t, "RegisterNearCache after off", 0)(q.RegisterNearCache(ctx, false))
		wantRows(t, "RegisterNearCache again", 1)(q.RegisterNearCache(ctx, true))
		want("used", true)
		if generation == first {
			t.Error("the second generation has the id of the first")
		}
	})
}

// elapseHorizon lets eleven minutes pass for the horizon.
func elapseHorizon(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), "UPDATE session_change_state SET candidateutc = candidateutc - interval '11 minutes'"); err != nil {
		t.Fatal(err)
	}
}

// purge lets time pass for the horizon until want changes have been deleted, two or
// fewer transactions' at a time. The tests beside this one have transactions of their own
// under way on the same server, which hold the horizon up.
func purge(t *testing.T, q *db.Queries, pool *pgxpool.Pool, want int64) {
	t.Helper()
	for deleted := int64(0); deleted < want; {
		elapseHorizon(t, pool)
		wantRows(t, "AdvanceChangeHorizon", 1)(q.AdvanceChangeHorizon(t.Context()))
		rows, err := q.DeleteChanges(t.Context(), 2)
		if deleted += rows; err != nil || rows > 2 || deleted > want {
			t.Fatalf("DeleteChanges = %d, %v, together %d; want two at a time and %d", rows, err, deleted, want)
		}
	}
	wantRows(t, "DeleteChanges of none", 0)(q.DeleteChanges(t.Context(), 2))
}

// TestPurgeChanges deletes what is older than the horizon, and nothing that is newer.
func TestPurgeChanges(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, pool *pgxpool.Pool) {
		ctx := t.Context()
		end := func(n int) {
			t.Helper()
			for range n {
				wantRows(t, "DeleteSession", 1)(q.DeleteSession(ctx, db.DeleteSessionParams{SessionID: insert(t, q, `{}`), Audience: audience}))
			}
		}
		end(5)
		wantRows(t, "AdvanceChangeHorizon of a new feed", 0)(q.AdvanceChangeHorizon(ctx))
		elapseHorizon(t, pool)
		stats, err := q.GetChangeFeedStats(ctx)
		// The database is a copy of one that was migrated some time ago.
		age := stats.CandidateAge / minute
		if err != nil || stats.Changes != 5 || stats.Bytes == 0 || age < 11 || age > 20 || stats.NearCaches != "unused" {
			t.Errorf("GetChangeFeedStats = %+v, %v", stats, err)
		}
		wantRows(t, "AdvanceChangeHorizon", 1)(q.AdvanceChangeHorizon(ctx))
		wantRows(t, "AdvanceChangeHorizon at once", 0)(q.AdvanceChangeHorizon(ctx))
		wantRows(t, "DeleteChanges newer than the horizon", 0)(q.DeleteChanges(ctx, 100))

		// What a transaction has done that is under way stays, whatever the time.
		tx, err := pool.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
		slow := insert(t, q, `{}`)
		wantRows(t, "DeleteSession", 1)(q.WithTx(tx).DeleteSession(ctx, db.DeleteSessionParams{SessionID: slow, Audience: audience}))
		var xact int64
		if err := tx.QueryRow(ctx, "SELECT pg_current_xact_id()::text::bigint").Scan(&xact); err != nil {
			t.Fatal(err)
		}
		base := pollFirst(t, q)
		end(3)
		purge(t, q, pool, 5)
		for range 2 {
			elapseHorizon(t, pool)
			wantRows(t, "AdvanceChangeHorizon", 1)(q.AdvanceChangeHorizon(ctx))
			wantRows(t, "DeleteChanges newer than a transaction under way", 0)(q.DeleteChanges(ctx, 100))
		}
		if err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		row := poll(t, q, base)
		if len(row.SessionIDs) != 4 || !slices.Contains(row.SessionIDs, slow) || row.Horizon > xact || row.Horizon == 0 {
			t.Errorf("%+v after %+v, in transaction %d", row, base, xact)
		}
		purge(t, q, pool, 4)
		if row := poll(t, q, base); row.Horizon <= base.Xmin {
			t.Errorf("changes are missing, and %+v after %+v does not tell", row, base)
		}
	})
}

// TestChangesOfAnotherServer restores a dump of a server that had run more transactions
// than this one.
func TestChangesOfAnotherServer(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	t.Parallel()
	pool := sessiontest.NewPool(t)
	q, ctx := db.New(pool), t.Context()
	for _, statement := range []string{
		"UPDATE session_change_state SET horizon = '1000000000001', candidate = '1000000000002'",
		"INSERT INTO session_change SELECT (1000000000000 + n)::text::xid8, gen_random_uuid() FROM generate_series(1, 5) AS n",
	} {
		if _, err := pool.Exec(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	ended := insert(t, q, `{}`)
	base := pollFirst(t, q)

	// In the transaction that has made a change, its own is not taken for one of
	// another server's.
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		q := q.WithTx(tx)
		wantRows(t, "DeleteSession", 1)(q.DeleteSession(ctx, db.DeleteSessionParams{SessionID: ended, Audience: audience}))
		wantRows(t, "DeleteChanges", 3)(q.DeleteChanges(ctx, 3))
		wantRows(t, "DeleteChanges", 2)(q.DeleteChanges(ctx, 3))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	row := poll(t, q, base)
	wantChanges(t, row, ended)
	if row.Horizon <= base.Xmin {
		t.Errorf("the horizon is %d", row.Horizon)
	}
	wantRows(t, "AdvanceChangeHorizon", 1)(q.AdvanceChangeHorizon(ctx))
	row = poll(t, q, base)
	wantChanges(t, row, ended)
	if row.Horizon > base.Xmin {
		t.Errorf("the horizon is %d still", row.Horizon)
	}
	wantRows(t, "AdvanceChangeHorizon at once", 0)(q.AdvanceChangeHorizon(ctx))
}

// TestFeedPlans has the statements that run often walk the index, with the generic plan,
// which a connection that polls comes to after a while.
func TestFeedPlans(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	t.Parallel()
	pool := sessiontest.NewPool(t)
	ctx := t.Context()
	for _, statement := range []string{
		"INSERT INTO session_change SELECT (n / 3 + 10)::text::xid8, gen_random_uuid() FROM generate_series(1, 100000) AS n",
		"UPDATE session_change_state SET horizon = '5000'",
		"VACUUM ANALYZE session_change",
	} {
		if _, err := pool.Exec(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		types, arguments string
		scans            int
	}{
		"PollChanges":   {"(bigint, bigint[])", "(33000, '{32000,32010}')", 2},
		"DeleteChanges": {"(bigint)", "(100)", 3},
	} {
		conn, err := pool.Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
		statement := statements(t)[name]
		for name, parameter := range map[string]string{"@xmax": "$1", "@xip": "$2", "@batch_size": "$1"} {
			statement = strings.ReplaceAll(statement, name, parameter)
		}
		for _, setup := range []string{"SET plan_cache_mode = force_generic_plan", "PREPARE feed " + test.types + " AS " + statement} {
			if _, err := conn.Exec(ctx, setup); err != nil {
				t.Fatal(err)
			}
		}
		var text string
		if err := conn.QueryRow(ctx, "EXPLAIN (FORMAT JSON) EXECUTE feed "+test.arguments).Scan(&text); err != nil {
			t.Fatal(err)
		}
		if strings.Count(text, `"Index Name": "session_change_xact_idx"`) != test.scans ||
			regexp.MustCompile(`"Node Type": "Seq Scan"[^{}]*"Relation Name": "session_change",`).MatchString(text) {
			t.Errorf("%s does not walk the index %d times:\n%s", name, test.scans, text)
		}
	}
}

// TestPollsAreNotPlannedAnew: to plan one takes longer than to run it.
func TestPollsAreNotPlannedAnew(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	t.Parallel()
	pool := newPool(t, sessiontest.NewDatabase(t).URL, func(c *pgxpool.Config) { c.MaxConns = 1 })
	q, ctx := db.New(pool), t.Context()
	for _, statement := range []string{
		"INSERT INTO session_change SELECT (n + 10)::text::xid8, gen_random_uuid() FROM generate_series(1, 60000) AS n",
		"VACUUM ANALYZE session_change",
	} {
		if _, err := pool.Exec(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		poll(t, q, db.PollChangesRow{Xmax: 60_000})
	}
	var generic, custom int
	err := pool.QueryRow(ctx, "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE '-- name: PollChanges %'").Scan(&generic, &custom)
	if err != nil || generic < 15 {
		t.Errorf("polls were planned %d times, and not %d times, %v", custom, generic, err)
	}
}
