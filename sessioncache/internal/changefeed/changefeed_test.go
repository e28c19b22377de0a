package changefeed_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/schema"
	"github.com/rhaptos/sessiondb/sessioncache/internal/changefeed"
	"github.com/rhaptos/sessiondb/sid"
)

// TestCursor repeats a poll that was not applied, and no other.
func TestCursor(t *testing.T) {
	b := setup(t)
	ids := b.insert(t, 2)
	execute(t, b.pool, ids, "DELETE FROM session_cache WHERE sessionid = {0}")
	first, err := b.feed.Poll(t.Context())
	if err != nil || first.Reset || len(first.Changed) != 1 || first.Identity.ServerStart != first.ServerStart || first.ServerStart == 0 {
		t.Errorf("Poll = %+v, %v", first, err)
	}
	execute(t, b.pool, ids, "DELETE FROM session_cache WHERE sessionid = {1}")
	second, err := b.feed.Poll(t.Context())
	if err != nil || second.Reset || len(second.Changed) != 2 || second.Identity != first.Identity {
		t.Errorf("Poll = %+v, %v; want both changes", second, err)
	}
	b.feed.Applied(first)
	b.wantChanged(t, ids[1])
	b.wantChanged(t)

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.feed.Poll(cancelled); !errors.Is(err, context.Canceled) || errors.Is(err, changefeed.ErrNoFeed) {
		t.Errorf("Poll = %v; want that its context was canceled", err)
	}
	b.wantChanged(t)
}

// TestResets does between two polls what makes the second one miss a change, without
// telling.
func TestResets(t *testing.T) {
	t.Parallel()
	const unseen = "DELETE FROM session_cache"
	function := func(name, body string) string {
		return "CREATE OR REPLACE FUNCTION " + name + "() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN " + body + " RETURN NULL; END $$"
	}
	for name, statements := range map[string][]string{
		"crash recovery": {"TRUNCATE session_change_epoch", unseen}, // which empties an unlogged table
		"trigger disabled": {
			"ALTER TABLE session_cache DISABLE TRIGGER session_cache_deleted", unseen, "ALTER TABLE session_cache ENABLE ALWAYS TRIGGER session_cache_deleted",
		},
		"trigger of rows disabled": {
			"ALTER TABLE session_cache DISABLE TRIGGER session_cache_row_updated", "ALTER TABLE session_cache ENABLE REPLICA TRIGGER session_cache_row_updated",
		},
		"function replaced": {
			function("session_cache_deleted", ""), unseen,
			function("session_cache_deleted", "INSERT INTO public.session_change (sessionid) SELECT sessionid FROM gone;"),
		},
		"trigger made anew": {
			"DROP TRIGGER session_cache_truncated ON session_cache", "TRUNCATE session_cache",
			"CREATE TRIGGER session_cache_truncated AFTER TRUNCATE ON session_cache EXECUTE FUNCTION session_cache_truncated()",
			"ALTER TABLE session_cache ENABLE ALWAYS TRIGGER session_cache_truncated",
		},
		"near caches off and on": {
			"UPDATE session_change_state SET near_caches = 'off'", unseen, "UPDATE session_change_state SET near_caches = 'used', generation = gen_random_uuid()",
		},
		"purged": {
			unseen, "UPDATE session_change_state SET horizon = pg_snapshot_xmax(pg_current_snapshot())", "DELETE FROM session_change",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := setup(t)
			ids := b.insert(t, 1)
			b.wantChanged(t)
			execute(t, b.pool, ids, statements...)
			b.wantReset(t)
			if name != "purged" { // its horizon is ahead of the next base, too
				b.wantChanged(t)
			}
		})
	}
}

// TestDownAndUp migrates down and up again between two polls.
func TestDownAndUp(t *testing.T) {
	b := setup(t)
	migrations := suite.Migrations(t, b.pool)
	ids := b.insert(t, 1)
	b.wantChanged(t)
	if _, err := migrations.DownTo(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if _, err := b.feed.Poll(t.Context()); !errors.Is(err, changefeed.ErrNoFeed) || !strings.Contains(err.Error(), "migrate up") {
		t.Errorf("Poll = %v; want ErrNoFeed", err)
	}
	execute(t, b.pool, ids, "DELETE FROM session_cache")
	if _, err := migrations.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.wantReset(t)
	b.wantChanged(t)
	b.wantUse(t, "used")
}

// TestDownMeetsPolls migrates down while a feed is being polled, without a pause and with
// each kind of plan: nobody deadlocks.
func TestDownMeetsPolls(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"force_generic_plan", "force_custom_plan"} {
		t.Run(mode, func(t *testing.T) {
			b := setup(t, func(config *pgxpool.Config) { config.ConnConfig.RuntimeParams["plan_cache_mode"] = mode })
			var pollers sync.WaitGroup
			for range 4 {
				pollers.Go(func() {
					feed := changefeed.New(db.New(b.pool))
					for {
						poll, err := feed.Poll(t.Context())
						if err != nil {
							if !errors.Is(err, changefeed.ErrNoFeed) {
								t.Error(err)
							}
							return
						}
						feed.Applied(poll)
					}
				})
			}
			text, err := schema.FS.ReadFile("00003_session_change_feed.sql")
			if err != nil {
				t.Fatal(err)
			}
			_, down, _ := strings.Cut(string(text), "-- +goose Down")
			if _, err := b.connect(t).Exec(t.Context(), down); err != nil {
				t.Error(err)
			}
			pollers.Wait()
		})
	}
}

func (b bundle) wantNoFeed(t *testing.T, says string) {
	t.Helper()
	if _, err := b.feed.Poll(t.Context()); !errors.Is(err, changefeed.ErrNoFeed) || !strings.Contains(err.Error(), says) {
		t.Errorf("Poll = %v; want ErrNoFeed with %q", err, says)
	}
}

// TestNoFeed takes away what a feed needs.
func TestNoFeed(t *testing.T) {
	suite.Require(t, suite.OwnDatabase)
	t.Parallel()
	for name, test := range map[string]struct {
		statement, says string
	}{
		"trigger disabled":      {"ALTER TABLE session_cache DISABLE TRIGGER session_cache_updated", "disabled"},
		"trigger of the origin": {"ALTER TABLE session_cache ENABLE TRIGGER session_cache_updated", "disabled"},
		"trigger missing":       {"DROP TRIGGER session_cache_row_deleted ON session_cache", "missing"},
		"TRUNCATE not refused":  {"DROP TRIGGER session_change_refuse_truncate ON session_change", "missing"},
		"trigger with a condition": {
			`DROP TRIGGER session_cache_row_deleted ON session_cache; CREATE TRIGGER session_cache_row_deleted AFTER DELETE ON session_cache
			FOR EACH ROW WHEN (false) EXECUTE FUNCTION session_cache_row_deleted(); ALTER TABLE session_cache ENABLE REPLICA TRIGGER session_cache_row_deleted`, "missing",
		},
		"another function": {
			`DROP TRIGGER session_cache_deleted ON session_cache; CREATE TRIGGER session_cache_deleted AFTER DELETE ON session_cache
			FOR EACH STATEMENT EXECUTE FUNCTION session_cache_truncated(); ALTER TABLE session_cache ENABLE ALWAYS TRIGGER session_cache_deleted`, "missing",
		},
		"table missing":       {"DROP TABLE session_change", "migrate up"},
		"state missing":       {"DELETE FROM session_change_state", "session_change_state is empty"},
		"another schema":      {"CREATE SCHEMA s; ALTER TABLE session_change_state SET SCHEMA s; ALTER ROLE CURRENT_USER IN DATABASE %s SET search_path = public, s", "schemas"},
		"a child":             {"CREATE TABLE child () INHERITS (session_cache)", "inherits"},
		"row-level security":  {"ALTER TABLE session_change ENABLE ROW LEVEL SECURITY", "row-level"},
		"a view in its place": {"ALTER TABLE session_change_epoch RENAME TO e; CREATE VIEW session_change_epoch AS SELECT * FROM e", "shadowed"},
	} {
		t.Run(name, func(t *testing.T) {
			b := setup(t)
			statement := test.statement
			if strings.Contains(statement, "%s") {
				statement = strings.ReplaceAll(statement, "%s", b.pool.Config().ConnConfig.Database)
			}
			execute(t, b.connect(t), nil, statement)
			b.pool.Reset()
			b.wantNoFeed(t, test.says)
		})
	}
}

// TestShadowed has a connection of the pool make temporary tables of the names of ours.
// The polls before have a plan for ours, and keep it.
func TestShadowed(t *testing.T) {
	suite.Require(t, suite.OwnDatabase)
	t.Parallel()
	for _, table := range []string{"session_change", "session_change_epoch", "session_change_state", "session_cache"} {
		t.Run(table, func(t *testing.T) {
			b := setup(t, func(config *pgxpool.Config) { config.MaxConns = 1 })
			ids := b.insert(t, 1)
			execute(t, b.pool, ids, "DISCARD PLANS", "CREATE TEMPORARY TABLE "+table+" (LIKE "+table+" INCLUDING ALL)",
				"DELETE FROM public.session_cache")
			if table == "session_change_state" {
				execute(t, b.pool, nil, "INSERT INTO pg_temp.session_change_state SELECT * FROM public.session_change_state")
			}
			if poll, err := b.feed.Poll(t.Context()); err == nil {
				t.Errorf("Poll = %+v; want ErrNoFeed", poll)
			}
			b.wantNoFeed(t, "shadowed")
			execute(t, b.pool, nil, "DROP TABLE pg_temp."+table)
			b.wantChanged(t, ids...)
		})
	}
}

// TestRights runs a near cache with the rights that the migration's comments tell, and
// with each one less.
func TestRights(t *testing.T) {
	suite.Require(t, suite.OwnDatabase)
	t.Parallel()
	rights := []string{
		"SELECT ON session_change", "SELECT ON session_change_epoch", "INSERT ON session_change_epoch",
		"SELECT ON session_change_state", "UPDATE ON session_change_state",
	}
	for _, missing := range append(rights, "") {
		t.Run("without "+missing, func(t *testing.T) {
			b := setup(t)
			role := suite.NewRole(t, b.pool)
			execute(t, b.pool, nil, "REVOKE SELECT ON session_change_state FROM PUBLIC", "UPDATE session_change_state SET near_caches = 'unused'", "DELETE FROM session_change_epoch")
			for _, right := range rights {
				if right != missing {
					execute(t, b.pool, nil, "GRANT "+right+" TO "+role)
				}
			}
			conn := b.connect(t)
			execute(t, conn, nil, "SET ROLE "+role)
			_, err := changefeed.New(db.New(conn)).Poll(t.Context())
			if missing == "" && err != nil || missing != "" && (!errors.Is(err, changefeed.ErrNoFeed) || !strings.Contains(err.Error(), "needs SELECT")) {
				t.Errorf("Poll = %v", err)
			}
		})
	}
}

func TestReadOnly(t *testing.T) {
	b := setup(t)
	execute(t, b.pool, nil, "DELETE FROM session_change_epoch")
	conn := b.connect(t)
	execute(t, conn, nil, "SET default_transaction_read_only = on")
	if _, err := changefeed.New(db.New(conn)).Poll(t.Context()); !errors.Is(err, changefeed.ErrNoFeed) {
		t.Errorf("Poll = %v; want ErrNoFeed", err)
	}
}

func (b bundle) wantUse(t *testing.T, want string) {
	t.Helper()
	var got string
	if err := b.pool.QueryRow(t.Context(), "SELECT near_caches FROM session_change_state").Scan(&got); err != nil || got != want {
		t.Errorf("near caches are %s, %v; want %s", got, err, want)
	}
}

// TestTurnedOff turns near caches off, under a feed that is in use, one that was never
// polled and one that is made later.
func TestTurnedOff(t *testing.T) {
	b := setup(t)
	q := db.New(b.pool)
	b.wantUse(t, "used")
	idle, late := changefeed.New(q), changefeed.New(q)
	asleep := changefeed.New(q)
	if _, err := asleep.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantOff := func(feed *changefeed.Feed) {
		t.Helper()
		if _, err := feed.Poll(t.Context()); !errors.Is(err, changefeed.ErrTurnedOff) {
			t.Errorf("Poll = %v; want ErrTurnedOff", err)
		}
	}
	if n, err := q.DrainNearCaches(t.Context()); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	wantOff(b.feed)
	wantOff(idle)
	if n, err := q.ForgetNearCaches(t.Context()); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	wantOff(b.feed)
	wantOff(asleep)
	b.wantUse(t, "off")
	for _, feed := range []*changefeed.Feed{idle, late} {
		if poll, err := feed.Poll(t.Context()); err != nil || !poll.Reset {
			t.Errorf("Poll = %+v, %v; want a reset", poll, err)
		}
	}
	b.wantUse(t, "used")
	wantOff(b.feed)
	wantOff(asleep)
}

// TestFeedsAtOnce begins with many feeds at the same moment: all have one epoch and one
// generation.
func TestFeedsAtOnce(t *testing.T) {
	b := setup(t)
	execute(t, b.pool, nil, "DELETE FROM session_change_epoch", "UPDATE session_change_state SET near_caches = 'off'")
	var all sync.WaitGroup
	identities := make([]changefeed.Identity, 8)
	for i := range identities {
		all.Go(func() {
			poll, err := changefeed.New(db.New(b.pool)).Poll(t.Context())
			if err != nil {
				t.Error(err)
			}
			identities[i] = poll.Identity
		})
	}
	all.Wait()
	for _, identity := range identities {
		if identity != identities[0] || identity.Epoch == (sid.ID{}) || identity.Generation == (sid.ID{}) {
			t.Errorf("%+v and %+v", identity, identities[0])
		}
	}
}

// TestCommitsOutOfOrder has a transaction commit after one that began
// later. A poll in between shows the one, and the next poll the other: its id is less
// than that of a change which has been shown.
func TestCommitsOutOfOrder(t *testing.T) {
	b := setup(t)
	ids := b.insert(t, 4)
	b.wantChanged(t)
	tx, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }() // does nothing after Commit
	execute(t, tx, ids, "DELETE FROM session_cache WHERE sessionid = {0}", "SAVEPOINT a", "DELETE FROM session_cache WHERE sessionid = {1}")
	execute(t, b.pool, ids, "DELETE FROM session_cache WHERE sessionid = {2}")
	b.wantChanged(t, ids[2])
	execute(t, b.pool, ids, "DELETE FROM session_cache WHERE sessionid = {3}")
	b.wantChanged(t, ids[3])
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.wantChanged(t, ids[0], ids[1])
	b.wantChanged(t)
}

// TestRace has 16 writers end sessions in transactions and savepoints, which commit
// in any order, or roll back. A poll that begins after a commit has returned shows what
// it ended, once; none shows what was rolled back.
func TestRace(t *testing.T) {
	const writers, transactions = 16, 25
	b := setup(t, func(config *pgxpool.Config) { config.MaxConns = writers + 1 })
	ids := b.insert(t, writers*transactions*3)
	b.wantChanged(t)

	var mu sync.Mutex
	due := map[sid.ID]bool{}  // committed; the next poll shows them unless one has
	kept := map[sid.ID]bool{} // rolled back
	write := func(ids []sid.ID, random *rand.Rand) error {
		tx, err := b.pool.Begin(t.Context())
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
		var ended, undone []sid.ID
		for _, id := range ids {
			undo := random.IntN(3) == 0
			err := pgx.BeginFunc(t.Context(), tx, func(savepoint pgx.Tx) error {
				if _, err := savepoint.Exec(t.Context(), "DELETE FROM session_cache WHERE sessionid = $1", id); err != nil {
					return err
				}
				if undo {
					return errUndo
				}
				return nil
			})
			if err != nil && !errors.Is(err, errUndo) {
				return err
			}
			if undo {
				undone = append(undone, id)
			} else {
				ended = append(ended, id)
			}
			// Others commit meanwhile.
			if _, err := tx.Exec(t.Context(), "SELECT pg_sleep($1)", random.Float64()/200); err != nil {
				return err
			}
		}
		if random.IntN(4) == 0 {
			mu.Lock()
			for _, id := range ids {
				kept[id] = true
			}
			mu.Unlock()
			return tx.Rollback(t.Context())
		}
		mu.Lock()
		for _, id := range undone {
			kept[id] = true
		}
		mu.Unlock()
		if err := tx.Commit(t.Context()); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, id := range ended {
			due[id] = true
		}
		return nil
	}
	var running sync.WaitGroup
	for w := range writers {
		running.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), uint64(time.Now().UnixNano())))
			for i := range transactions {
				from := (w*transactions + i) * 3
				if err := write(ids[from:from+3], random); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { running.Wait(); close(done) }()

	seen := map[sid.ID]bool{}
	polls := 0
	for last := false; !last; polls++ {
		select {
		case <-done:
			last = true
		default:
		}
		mu.Lock()
		must := make([]sid.ID, 0, len(due))
		for id := range due {
			if !seen[id] {
				must = append(must, id)
			}
		}
		mu.Unlock()
		poll := b.poll(t)
		if poll.Reset {
			t.Fatal("a reset")
		}
		for _, id := range poll.Changed {
			if seen[id] {
				t.Errorf("%v is shown twice", id)
			}
			seen[id] = true
		}
		for _, id := range must {
			if !seen[id] {
				t.Errorf("%v was committed before poll %d, which does not show it", id, polls)
			}
		}
	}
	for id := range seen {
		if kept[id] || !due[id] {
			t.Errorf("%v is shown and was rolled back", id)
		}
	}
	if len(seen) != len(due) || len(due) == 0 || len(kept) == 0 {
		t.Errorf("%d ended, %d kept, %d shown in %d polls", len(due), len(kept), len(seen), polls)
	}
	t.Logf("%d ended, %d kept, %d polls", len(due), len(kept), polls)
}

var errUndo = errors.New("undo")
