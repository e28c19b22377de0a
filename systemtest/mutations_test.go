package systemtest

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var allMutations = flag.Bool("mutations", false, "break the near cache in every way, not only in those that are found at once")

// edit replaces a text of a file, which must have it once.
type edit struct{ file, old, new string }

// mutation breaks a rule of the near cache, which the tests of a package must find.
type mutation struct {
	name  string
	quick bool   // it is made by default, too
	dir   string // of the package
	tests string // which of them, as for -run
	edits []edit
}

const (
	memory = "./sessioncache/internal/nearcache"
	cursor = "./sessioncache/internal/changefeed"
	facade = "./sessioncache"
)

var mutations = []mutation{
	{
		"no overlap check", true, memory, "TestRegister|TestPollWhileLookupIsUnderWay",
		[]edit{{memory + "/keep.go", "!c.history.unchanged(t.poll, id)", "false"}},
	},
	{
		"no overlap check, on a database", false, facade, "TestLookupUnderWay",
		[]edit{{memory + "/keep.go", "!c.history.unchanged(t.poll, id)", "false"}},
	},
	{
		"check and insertion not one step", true, memory, "TestPollIsAppliedWhileKeeping",
		[]edit{{
			memory + "/keep.go", "	base.memory.Set(", `	c.mu.Unlock()
	time.Sleep(20 * time.Millisecond)
	defer c.mu.Lock()
	base.memory.Set(`,
		}},
	},
	{
		"a reset is no change for a lookup under way", false, memory, "TestRegister|TestPollWhileLookupIsUnderWay",
		[]edit{{memory + "/history.go", "if since < h.start {", "if since < h.start && h.ids > 0 {"}},
	},
	{
		"freshness published before the removals", true, memory, "TestRemovalsComeBeforeFreshness",
		[]edit{{
			memory + "/apply.go", "	switch {\n", "	c.base.Store(&base[V]{poll: poll, start: start, memory: c.memory})\n	switch {\n",
		}},
	},
	{
		"entry read before freshness", true, memory, "TestPollIsAppliedWhileGetReads|TestRegister",
		[]edit{
			{memory + "/get.go", "	base := c.base.Load() // What", `	early := c.base.Load()
	if early == nil {
		return nil, Instant{}, nil
	}
	e, ok := early.memory.GetIfPresent(id)
	_ = c.now()
	base := c.base.Load() // What`},
			{memory + "/get.go", "	e, ok := base.memory.GetIfPresent(id) // then", "	// then"},
		},
	},
	{
		"freshness measured at the poll's end", false, memory, "TestClocks",
		[]edit{{memory + "/apply.go", "start: start,", "start: c.now(),"}},
	},
	{
		"a clock that lags", false, memory, "TestHitCountsFor200ms|TestClocks",
		[]edit{{memory + "/get.go", "	now := c.now()  ", `	now := c.now()
	now.Mono -= now.Mono % int64(90*time.Millisecond)
	now.Wall -= now.Wall % int64(90*time.Millisecond)
	`}},
	},
	{
		"no margin for clock rates", false, memory, "TestClocks",
		[]edit{{memory + "/nearcache.go", "Fresh = 200 *", "Fresh = 250 *"}},
	},
	{
		"no margin for clock rates, in what a change waits", false, facade, "TestStalenessCoversClockRates",
		[]edit{{facade + "/propagate.go", "nearcache.Fresh + 50*time.Millisecond", "nearcache.Fresh"}},
	},
	{
		"only the monotonic clock", false, memory, "TestHitCountsFor200ms",
		[]edit{{memory + "/instant.go", "int64(d) && 0 <= wall && wall < int64(d)", "int64(d) && wall == wall"}},
	},
	{
		"only the wall clock", false, memory, "TestHitCountsFor200ms",
		[]edit{{memory + "/instant.go", "0 <= mono && mono < int64(d) && ", "mono == mono && "}},
	},
	{
		"a wall clock that was set back counts", false, memory, "TestHitCountsFor200ms",
		[]edit{{memory + "/instant.go", "0 <= wall && ", ""}},
	},
	{
		"only the monotonic clock, in every way to be wrong", true, memory, "TestClocks",
		[]edit{{memory + "/instant.go", "int64(d) && 0 <= wall && wall < int64(d)", "int64(d) && wall == wall"}},
	},
	{
		"only the wall clock, in every way to be wrong", false, memory, "TestClocks",
		[]edit{{memory + "/instant.go", "0 <= mono && mono < int64(d) && ", "mono == mono && "}},
	},
	{
		"a hit counts as long as a change waits", false, memory, "TestClocks",
		[]edit{{memory + "/nearcache.go", "Fresh = 200 *", "Fresh = 230 *"}},
	},
	{
		"a call counts a poll that began before it", false, memory, "TestPollUnderWay",
		[]edit{{memory + "/get.go", "base.poll > called", "base.poll >= called"}},
	},
	{
		"an abandoned poll is applied", false, memory, "TestAbandonedPoll",
		[]edit{{memory + "/poller.go", `		pause = p.fail(ctx.Err())
		<-answer // one poll at a time
		return pause
`, `		<-answer
`}},
	},
	{
		"negative caching", false, memory, "TestKeepRefuses",
		[]edit{{memory + "/keep.go", "value == nil || ttl <= 0", "ttl < 0"}},
	},
	{
		"a lookup's server is not checked", false, memory, "TestKeepRefuses",
		[]edit{{memory + "/keep.go", "server != c.server", "false"}},
	},
	{
		"a lookup of a standby is kept", false, memory, "TestKeepRefuses",
		[]edit{{memory + "/keep.go", "case inRecovery:", "case inRecovery && false:"}},
	},
	{
		"early return without quarantine", true, memory, "TestQuarantine",
		[]edit{{memory + "/keep.go", "!c.quarantine.over(t.at)", "!c.quarantine.over(t.at) && false"}},
	},
	{
		"early return without quarantine, on a database", false, facade, "TestTurnedOffAndOn",
		[]edit{{memory + "/keep.go", "!c.quarantine.over(t.at)", "!c.quarantine.over(t.at) && false"}},
	},
	{
		"no quarantine after near caches were turned off and on", false, facade, "TestTurnedOffAndOn",
		[]edit{{facade + "/nearcache.go", "Quarantine: poll.Identity != f.applied", "Quarantine: f.applied == changefeed.Identity{}"}},
	},
	{
		"the flag read before the change counts however long ago", false, facade, "TestFlagReadLongAgo",
		[]edit{{facade + "/propagate.go", "notUsedFor = nearcache.Quarantine * 4 / 5", "notUsedFor = nearcache.Quarantine * 100"}},
	},
	{
		"early return however long the change took", false, facade, "TestFlagReadLongAgo",
		[]edit{
			{facade + "/delete.go", "	err := c.deletePlain(ctx, id)\n", `	sent := nearcache.Now()
	err := c.deletePlain(ctx, id)
	u := &c.shared.use
	u.mu.Lock()
	notUsed := sent.Within(u.notUsed, notUsedFor)
	u.mu.Unlock()
	if notUsed {
		return err
	}
`},
			{facade + "/delete.go", `	"github.com/rhaptos/sessiondb/db"
`, `	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
`},
		},
	},
	{
		"wait from before the commit", false, facade, "TestChangeThatWaitedForALock",
		[]edit{
			{facade + "/delete.go", "	err := c.deletePlain(ctx, id)\n", `	sent := nearcache.Now()
	err := c.deletePlain(ctx, id)
	if err == nil && !c.inCallersTx() {
		return c.awaitNearCaches(ctx, sent)
	}
`},
			{facade + "/delete.go", `	"github.com/rhaptos/sessiondb/db"
`, `	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
`},
		},
	},
	{
		"a Delete that finds nothing does not wait", false, facade, "TestDeleteThatFindsNothing",
		[]edit{
			{facade + "/delete.go", "	_, err := retryWrite", "	n, err := retryWrite"},
			{facade + "/delete.go", "	})\n	return err\n", "	})\n	if n == 0 && err == nil {\n		err = errNothing\n	}\n	return err\n"},
			{facade + "/delete.go", "	return c.propagate(ctx, err)\n", "	if errors.Is(err, errNothing) {\n		return nil\n	}\n	return c.propagate(ctx, err)\n"},
			{facade + "/delete.go", "// delete removes", "var errNothing = errors.New(\"nothing was deleted\")\n\n// delete removes"},
			{facade + "/delete.go", "	\"context\"\n", "	\"context\"\n	\"errors\"\n"},
		},
	},
	{
		"joins a reading of the flag already sent", false, facade, "TestFlagBeingRead",
		[]edit{
			{facade + "/propagate.go", "	used, err := u.ask.Do(ctx, struct{}{})\n	return used || err != nil\n", `	f := &asked{done: make(chan struct{})}
	if sent, ok := asks.LoadOrStore(u, f); ok {
		<-sent.(*asked).done
		return sent.(*asked).used
	}
	used, err := u.ask.Do(ctx, struct{}{})
	f.used = used || err != nil
	asks.Delete(u)
	close(f.done)
	return f.used
`},
			{facade + "/propagate.go", "// shareUse sets up", `type asked struct {
	done chan struct{}
	used bool
}

var asks sync.Map

// shareUse sets up`},
		},
	},
	{
		"joins a lookup already sent", false, facade, "TestLookupUnderWay",
		[]edit{
			{facade + "/lookup.go", "	if c.gets == nil {\n", `	f := &flight{done: make(chan struct{})}
	if sent, ok := flights.LoadOrStore(id, f); ok {
		<-sent.(*flight).done
		return sent.(*flight).row, sent.(*flight).err
	}
	f.row, f.err = c.lookUpNow(ctx, id)
	flights.Delete(id)
	close(f.done)
	return f.row, f.err
}

type flight struct {
	done chan struct{}
	row  *row
	err  error
}

var flights sync.Map

func (c *Cache[T]) lookUpNow(ctx context.Context, id sid.ID) (*row, error) {
	if c.gets == nil {
`},
			{facade + "/lookup.go", "	\"slices\"\n", "	\"slices\"\n	\"sync\"\n"},
		},
	},
	{
		"the ticket is taken when the answer has come", false, facade, "TestLookupUnderWay",
		[]edit{{facade + "/nearcache.go", "n.memory.Keep(r.ticket,", "n.memory.Keep(n.memory.Begin(),"}},
	},
	{
		"feed purged without a horizon", false, cursor, "TestResets",
		[]edit{{cursor + "/changefeed.go", "			row.Horizon > f.base.xmin ||\n", ""}},
	},
	{
		"feed purged without a horizon, while the reader is suspended", false, cursor, "TestSuspendedBeforeAPollIsSent",
		[]edit{{cursor + "/changefeed.go", "			row.Horizon > f.base.xmin ||\n", ""}},
	},
	{
		"purge does not move the horizon", false, cursor, "TestSuspendedBeforeAPollIsSent",
		[]edit{{"./db/change_feed.sql.go", "WHERE oldest.xact < (SELECT horizon FROM session_change_state WHERE horizon <= pg_snapshot_xmin(pg_current_snapshot()))",
			"WHERE oldest.xact < pg_snapshot_xmin(pg_current_snapshot())"}, {"./db/change_feed.sql.go", "THEN candidate\n", "THEN horizon\n"}},
	},
	{
		"no overlap check, while the reader is suspended", false, cursor, "TestSuspendedBeforeALookupIsKept",
		[]edit{{memory + "/keep.go", "!c.history.unchanged(t.poll, id)", "false"}},
	},
	{
		"entry read before the clock, while the reader is suspended", false, cursor, "TestSuspendedInAHit",
		[]edit{
			{memory + "/get.go", "	now := c.now()  ", "	e, ok := base.memory.GetIfPresent(id)\n	now := c.now()  "},
			{memory + "/get.go", "	e, ok := base.memory.GetIfPresent(id) // then", "	// then"},
		},
	},
	{
		"identity is only the server's start", false, cursor, "TestResets",
		[]edit{{cursor + "/changefeed.go", "Identity{Epoch: row.Epoch, ServerStart: row.ServerStart, Objects: row.Objects, Generation: row.Generation}", "Identity{ServerStart: row.ServerStart}"}},
	},
	{
		"generation ignored", false, cursor, "TestResets",
		[]edit{{cursor + "/changefeed.go", "Objects: row.Objects, Generation: row.Generation}", "Objects: row.Objects}"}},
	},
	{
		"epoch ignored", false, cursor, "TestResets",
		[]edit{{cursor + "/changefeed.go", "Identity{Epoch: row.Epoch, ", "Identity{"}},
	},
	{
		"a copy of the database has its identity", false, cursor, "TestCopyOfTheDatabase",
		[]edit{{"./db/change_feed.sql.go", "database.oid, relation.objects", "relation.objects"}},
	},
	{
		"a near cache that was turned off goes on", false, cursor, "TestTurnedOff",
		[]edit{{cursor + "/changefeed.go", "		if f.used {\n			f.turnedOff = true\n			return false, ErrTurnedOff\n		}\n", ""}, {cursor + "/changefeed.go", "(ctx, !f.used)", "(ctx, true)"}},
	},
	{
		"a standby may answer polls", false, cursor, "TestStandby",
		[]edit{{cursor + "/changefeed.go", "case row.InRecovery:", "case row.InRecovery && false:"}},
	},
	{
		"only xmax bounds a poll", false, cursor, "TestCommitsOutOfOrder",
		[]edit{{cursor + "/changefeed.go", "Xmax: f.base.xmax, Xip: f.base.xip}", "Xmax: f.base.xmax}"}},
	},
}

// TestMutations breaks the near cache, one rule at a time, and expects that a test finds
// it. The tests themselves are the same, and pass with the code as it is.
func TestMutations(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	unbroken := map[string]string{} // the programs of the packages as they are
	passes := map[string]bool{}
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			overlay := m.overlay(t, root)
			if !m.quick && !*allMutations {
				t.Skip("only with -mutations")
			}
			if which := m.dir + " " + m.tests; !passes[which] {
				if unbroken[m.dir] == "" {
					unbroken[m.dir] = m.compile(t, root, "", folder)
				}
				if output, ok := m.run(t, root, unbroken[m.dir]); !ok || !bytes.Contains(output, []byte("--- PASS")) {
					t.Fatalf("%s fails, or there is none, although nothing is broken:\n%s", m.tests, output)
				}
				passes[which] = true
			}
			if output, ok := m.run(t, root, m.compile(t, root, overlay, t.TempDir())); ok {
				t.Errorf("%s does not find it:\n%s", m.tests, output)
			} else if !bytes.Contains(output, []byte("--- FAIL")) && !bytes.Contains(output, []byte("panic:")) {
				t.Fatalf("%s", output)
			}
		})
	}
}

// compile compiles the tests to a program in a folder.
func (m mutation) compile(t *testing.T, root, overlay, folder string) (binary string) {
	t.Helper()
	binary = filepath.Join(folder, filepath.Base(m.dir)+".test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", overlay, "-o", binary, m.dir)
	build.Dir = root
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return binary
}

// run runs the tests. ok tells whether they pass.
func (m mutation) run(t *testing.T, root, binary string) (output []byte, ok bool) {
	t.Helper()
	run := exec.CommandContext(t.Context(), binary, "-test.run", m.tests, "-test.v", "-test.failfast", "-test.timeout", "5m")
	run.Dir = filepath.Join(root, m.dir)
	output, err := run.CombinedOutput()
	return output, err == nil
}

// overlay writes the changed files, and what has the compiler take them.
func (m mutation) overlay(t *testing.T, root string) string {
	t.Helper()
	folder := t.TempDir()
	texts := map[string]string{}
	for _, e := range m.edits {
		path := filepath.Join(root, e.file)
		if texts[path] == "" {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			texts[path] = string(text)
		}
		if n := strings.Count(texts[path], e.old); n != 1 {
			t.Fatalf("%s has the text %d times, want once: %q", e.file, n, e.old)
		}
		texts[path] = strings.Replace(texts[path], e.old, e.new, 1)
	}
	replace := map[string]string{}
	for path, text := range texts {
		replace[path] = filepath.Join(folder, filepath.Base(path))
		write(t, replace[path], text)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "overlay.json")
	write(t, path, string(overlay))
	return path
}
