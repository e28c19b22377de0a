package main

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
)

// useNearCache starts a process with a near cache, which answers from memory.
func (o operator) useNearCache() (near *sessioncache.Cache[json.RawMessage], id string) {
	o.t.Helper()
	pool, err := pgxpool.New(o.t.Context(), o.url)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(pool.Close)
	near = sessioncache.New[json.RawMessage](pool, sessioncache.WithNearCache(10))
	id = strings.TrimSpace(o.do(0, "set", "--user", "{}"))
	suite.Eventually(o.t, "the near cache answers", func() bool {
		if _, ok, err := near.Get(o.t.Context(), id); !ok || err != nil {
			o.t.Fatal(ok, err)
		}
		return near.Metrics().NearCache.Hits > 0
	})
	return near, id
}

func (o operator) execute(conn *pgx.Conn, statement string) {
	o.t.Helper()
	if _, err := conn.Exec(o.t.Context(), statement); err != nil {
		o.t.Fatal(err)
	}
}

func TestNearCacheOff(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	o := start(t)
	const nothing = "nothing to turn off: no near cache is in use\n"
	if out := o.do(0, "near-cache", "off", "--yes"); out != nothing {
		t.Errorf("near-cache off of none: %q", out)
	}
	o.terminal = true
	if out := o.do(0, "near-cache", "off"); out != nothing { // it does not ask
		t.Errorf("near-cache off of none: %q", out)
	}
	near, id := o.useNearCache()
	o.want("near caches            used", "stats")

	o.terminal, o.input = false, "y\n"
	_, errOut := o.both(exitUsage, "near-cache", "off")
	if !strings.Contains(errOut, "--yes") {
		t.Errorf("near-cache off without a terminal: %q", errOut)
	}
	o.terminal, o.input = true, "n\n"
	o.do(exitFailed, "near-cache", "off")
	o.want("near caches            used", "stats")

	o.input = "y\n"
	begun := time.Now()
	const done = "Turn near caches off on all servers? Every lookup will ask the database. [y/N] near caches turned off\n"
	if out := o.do(0, "near-cache", "off"); out != done {
		t.Errorf("near-cache off: %q", out)
	}
	if took := time.Since(begun); took < sessioncache.NearCacheStaleness {
		t.Errorf("near-cache off took %s: a near cache may show what it knew", took)
	}
	o.want("near caches            off", "stats")
	hits := near.Metrics().NearCache.Hits
	o.do(0, "delete", id)
	if _, ok, err := near.Get(t.Context(), id); ok || err != nil || near.Metrics().NearCache.Hits != hits {
		t.Errorf("Get after near-cache off = %v, %v", ok, err)
	}
	if out := o.do(0, "near-cache", "off", "--yes"); out != nothing {
		t.Errorf("near-cache off a second time: %q", out)
	}

	o.useNearCache() // a process that starts
	o.want("near caches            used", "stats")
}

// TestNearCacheOffInterrupted ends it between its two halves.
func TestNearCacheOffInterrupted(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	o := start(t)
	o.useNearCache()
	conn := o.connect()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	ended := make(chan string)
	go func() {
		var out, errOut bytes.Buffer
		code := run(ctx, []string{"--database-url", o.url, "near-cache", "off", "--yes"}, strings.NewReader(""), &out, &errOut, false)
		if code != exitFailed || out.Len() != 0 {
			t.Errorf("exit code %d\n%s", code, &out)
		}
		ended <- errOut.String()
	}()
	for state := ""; state != "draining"; {
		if err := conn.QueryRow(t.Context(), "SELECT near_caches FROM session_change_state").Scan(&state); err != nil {
			t.Fatal(err)
		}
	}
	interrupt()
	if errOut := <-ended; !strings.Contains(errOut, "run it again") {
		t.Errorf("near-cache off, interrupted: %q", errOut)
	}
	o.want("near caches            draining", "stats")
	begun := time.Now()
	o.want("near caches turned off", "near-cache", "off", "--yes")
	if took := time.Since(begun); took < sessioncache.NearCacheStaleness {
		t.Errorf("near-cache off took %s: a near cache may show what it knew", took)
	}
	o.want("near caches            off", "stats")
}

func TestNearCacheOffJSON(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	o := start(t)
	check := func(want map[string]any) {
		t.Helper()
		if got := document[map[string]any](o, "near-cache", "off", "--yes"); !reflect.DeepEqual(got, want) {
			t.Errorf("near-cache off --json: %v; want %v", got, want)
		}
	}
	conn := o.connect()
	check(map[string]any{"turned_off": false, "reason": "no near cache is in use"})
	o.execute(conn, "UPDATE session_change_state SET near_caches = 'used'")
	check(map[string]any{"turned_off": true})
	o.execute(conn, "ALTER TABLE session_change_state RENAME TO gone")
	check(map[string]any{"turned_off": false, "reason": "there is no change feed, and so no near cache"})
}

// TestChangeFeedInStats: it is shown where there is one, and to who may read it.
func TestChangeFeedInStats(t *testing.T) {
	suite.Require(t, suite.OwnDatabase, suite.Undistributed)
	o := start(t)
	conn := o.connect()
	o.execute(conn, "UPDATE session_change_state SET candidateutc = statement_timestamp() - interval '1 hour'")
	for range 3 {
		o.do(0, "delete", strings.TrimSpace(o.do(0, "set", "--user", "{}")))
	}
	want := func(feed ...string) {
		t.Helper()
		out := o.do(0, "stats")
		lines := strings.SplitAfter(out, "\n")
		if len(lines) != 5+len(feed) || !strings.HasPrefix(strings.Join(lines[4:], ""), strings.Join(feed, "")) {
			t.Errorf("stats prints\n%swant\n%s", out, strings.Join(feed, ""))
		}
	}
	want("near caches            unused\n", "changes in the feed    3 (24 kB)\n", "feed purged            1h0m") // and a moment
	got := document[struct {
		Feed *feedJSON `json:"change_feed"`
		statsJSON
	}](o, "stats")
	if got.Feed == nil || got.Feed.NearCaches != "unused" || got.Feed.Changes != 3 || got.Feed.Bytes != 24<<10 || got.Feed.Age < 3600 || got.Feed.Age > 3700 {
		t.Errorf("stats --json: %+v", got.Feed)
	}
	owner := o.url
	role := suite.NewRole(t, conn)
	o.execute(conn, "GRANT SELECT ON session_cache TO "+role)
	o.url = withRole(t, owner, role)
	want("change feed            none, or not readable\n")
	if _, errOut := o.both(exitFailed, "near-cache", "off", "--yes"); !strings.Contains(errOut, "needs SELECT and UPDATE on session_change_state") {
		t.Errorf("near-cache off without the right: %q", errOut)
	}
	o.url = owner
	o.execute(conn, "ALTER TABLE session_change_state RENAME TO gone")
	want("change feed            none, or not readable\n")
	fields(t, document[map[string]any](o, "stats"), "live", "expired", "oldest_expired", "most_of_one_user", "change_feed")
}
