package systemtest

import (
	"bytes"
	"flag"
	"os/exec"
	"path/filepath"
	"testing"
)

var runMutations = flag.Bool("mutations", false, "have TestMutations run the tests on the broken near cache")

// mutation breaks a rule of the near cache, which the tests of a package must find.
type mutation struct {
	name  string
	dir   string // of the package
	tests string // which of them, as for -run
	edits []edit
}

const (
	memory = "./sessioncache/internal/nearcache"
	facade = "./sessioncache"
	system = "./systemtest"
)

var mutations = []mutation{
	{
		"the lease counted from the answer", memory, "TestLeaseBeginsWhenTheLookupIsSent",
		[]edit{{memory + "/nearcache.go", "Entry{sent: sent,", "Entry{sent: c.now(),"}},
	},
	{
		"the lease counted from the answer, in a database", facade, "TestLookupUnderWay",
		[]edit{{facade + "/nearcache.go", "n.memory.Keep(r.sent,", "n.memory.Keep(n.memory.Begin(),"}},
	},
	{
		"only the monotonic clock", memory, "TestLease$",
		[]edit{{memory + "/instant.go", "int64(d) && 0 <= wall && wall < int64(d)", "int64(d) && wall == wall"}},
	},
	{
		"only the wall clock", memory, "TestLease$",
		[]edit{{memory + "/instant.go", "0 <= mono && mono < int64(d) && ", "mono == mono && "}},
	},
	{
		"a wall clock that was set back counts", memory, "TestLease$",
		[]edit{{memory + "/instant.go", "0 <= wall && ", ""}},
	},
	{
		"an entry counts as long as a change waits", memory, "TestRegister",
		[]edit{{memory + "/nearcache.go", "Lease = 200 *", "Lease = 250 *"}},
	},
	{
		"a wait of 100 ms", facade, "TestEveryChangeWaits",
		[]edit{{facade + "/await.go", "time.NewTimer(NearCacheStaleness)", "time.NewTimer(100 * time.Millisecond)"}},
	},
	{
		"a wait of 100 ms, between processes", system, "TestLease/no_fault",
		[]edit{{facade + "/await.go", "time.NewTimer(NearCacheStaleness)", "time.NewTimer(100 * time.Millisecond)"}},
	},
	{
		"no wait after ErrConflict", facade, "TestEveryChangeWaits",
		[]edit{{facade + "/set.go", "errors.Is(err, ErrConflict) || errors.Is(err, ErrUnavailable)", "errors.Is(err, ErrUnavailable)"}},
	},
	{
		"no wait after finding nothing", facade, "TestEveryChangeWaits", deleteThatFindsNothing,
	},
	{
		"no wait after finding nothing, between processes", system, "TestLease/answers_cut", deleteThatFindsNothing,
	},
	{
		"no wait at ok == false", facade, "TestEveryChangeWaits",
		[]edit{{
			facade + "/update.go", "	return ok, c.awaitUpdate(ctx, err, k, options)\n}\n\n// UpdateSession is",
			"	if !ok && err == nil {\n		return false, nil\n	}\n	return ok, c.awaitUpdate(ctx, err, k, options)\n}\n\n// UpdateSession is",
		}},
	},
	{
		"no wait in a Tx whose delete found nothing", facade, "TestEveryChangeWaits",
		append([]edit{{
			facade + "/delete.go", "	return s.await(ctx, err, sessionID)\n", `	if errors.Is(err, errNothing) && s.inCallersTx() {
		return nil
	}
	if errors.Is(err, errNothing) {
		err = nil
	}
	return s.await(ctx, err, sessionID)
`,
		}}, errNothing...),
	},
	{
		"no wait in a Tx", facade, "TestEveryChangeWaits|TestNearCacheSeesEveryChange",
		[]edit{{facade + "/tx.go", "	return awaitNearCaches(ctx)\n", "	return nil\n"}},
	},
	{
		"a savepoint that forgets that there was a change", facade, "TestNearCacheSeesEveryChange",
		[]edit{{facade + "/internal/savepoint/savepoint.go", "Changes: t.Changes, nested", "Changes: new(Changes), nested"}},
	},
	{
		"an own change that does not mark", facade, "TestNearCacheSeesOwnChangesAtOnce|TestLookupUnderWay",
		[]edit{{facade + "/await.go", "s.shared.near.Mark(ids...)", "_ = ids"}},
	},
	{
		"a mark that the wall clock ends", memory, "TestMarkOutlivesTheWallClock",
		[]edit{{memory + "/nearcache.go", "	now := c.now().Mono\n	for", "	now := c.now().Wall\n	for"},
			{memory + "/nearcache.go", "c.marks.has(id, sent.Mono)", "c.marks.has(id, sent.Wall)"},
			{memory + "/marks.go", "		m.old, m.young, m.since =", "		if now-m.since >= 2*int64(Lease) {\n			m.young = nil\n		}\n		m.old, m.young, m.since ="}},
	},
	{
		"a late answer kept over a mark", memory, "TestMark$",
		[]edit{{memory + "/nearcache.go", " || c.marks.has(id, sent.Mono)", ""}},
	},
	{
		"marks dropped before their lease", memory, "TestMark$",
		[]edit{{memory + "/marks.go", ", m.old}", "}"}},
	},
	{
		"a late answer kept over a mark of every id", memory, "TestMark$",
		[]edit{{memory + "/nearcache.go", "sent.Mono <= c.all.Load() || c.marks.has", "c.marks.has"},
			{memory + "/nearcache.go", " || e.sent.Mono <= c.all.Load()", ""}},
	},
	{
		"a late answer kept over a newer one", memory, "TestNewestLookupStays",
		[]edit{{memory + "/nearcache.go", "; ok && stored", "; ok && false && stored"}},
	},
	{
		"absence kept", system, "TestLease/no_fault",
		[]edit{
			{facade + "/lookup.go", "	if s.lookups == nil {\n", `	if at, ok := absent.Load(id); ok && time.Since(at.(time.Time)) < 200*time.Millisecond {
		return nil, nil
	}
	sent := time.Now()
	r, err := s.lookUpPresent(ctx, id)
	if r == nil && err == nil {
		absent.Store(id, sent)
	}
	return r, err
}

var absent sync.Map

func (s *store) lookUpPresent(ctx context.Context, id sid.ID) (*row, error) {
	if s.lookups == nil {
`},
			{facade + "/lookup.go", "	\"slices\"\n", "	\"slices\"\n	\"sync\"\n	\"time\"\n"},
		},
	},
	{
		"a lookup that joins a statement already sent", facade, "TestLookupUnderWay",
		[]edit{
			{facade + "/lookup.go", "	return s.lookups.Do(ctx, id)\n}\n", `	select {
	case found := <-flights.DoChan(id.String(), func() (any, error) { return s.lookups.Do(ctx, id) }):
		return found.Val.(*row), found.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var flights singleflight.Group
`},
			{facade + "/lookup.go", "	\"github.com/jackc/pgx/v5\"\n", "	\"github.com/jackc/pgx/v5\"\n	\"golang.org/x/sync/singleflight\"\n"},
		},
	},
	{
		"an entry past its end", memory, "TestEntryEndsWithItsSession",
		[]edit{{memory + "/nearcache.go", "min(ttl, Lease)", "Lease"}},
	},
}

// errNothing tells of a Delete that finds nothing.
var errNothing = []edit{
	{facade + "/delete.go", "	_, err := retryWrite", "	n, err := retryWrite"},
	{facade + "/delete.go", "	})\n	return err\n", "	})\n	if n == 0 && err == nil {\n		return errNothing\n	}\n	return err\n"},
	{facade + "/delete.go", "		err = interpret(op, s.delete(ctx, sessionID))\n",
		"		if err = s.delete(ctx, sessionID); !errors.Is(err, errNothing) {\n			err = interpret(op, err)\n		}\n"},
	{facade + "/delete.go", "// delete removes", "var errNothing = errors.New(\"nothing was deleted\")\n\n// delete removes"},
	{facade + "/delete.go", "	\"context\"\n", "	\"context\"\n	\"errors\"\n"},
}

var deleteThatFindsNothing = append([]edit{
	{facade + "/delete.go", "	return s.await(ctx, err, sessionID)\n",
		"	if errors.Is(err, errNothing) {\n		s.forget([]sid.ID{sessionID})\n		return nil\n	}\n	return s.await(ctx, err, sessionID)\n"},
}, errNothing...)

// TestMutations breaks the near cache, one rule at a time, and expects that a test finds
// it. The tests themselves are the same, and pass with the code as it is. Without -mutations it
// checks that the code can be broken in these ways.
func TestMutations(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	unbroken := map[string]string{} // the programs of the packages as they are
	passes := map[string]bool{}
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			overlay := makeOverlay(t, m.edits)
			if !*runMutations {
				return
			}
			if which := m.dir + " " + m.tests; !passes[which] {
				if unbroken[m.dir] == "" {
					unbroken[m.dir] = compileTests(t, m.dir, "", folder)
				}
				if output, ok := m.run(t, unbroken[m.dir]); !ok || !bytes.Contains(output, []byte("--- PASS")) {
					t.Fatalf("%s fails, or there is none, although nothing is broken:\n%s", m.tests, output)
				}
				passes[which] = true
			}
			if output, ok := m.run(t, compileTests(t, m.dir, overlay, t.TempDir())); ok {
				t.Errorf("%s does not find it:\n%s", m.tests, output)
			} else if !bytes.Contains(output, []byte("--- FAIL")) && !bytes.Contains(output, []byte("panic:")) {
				t.Fatalf("%s", output)
			}
		})
	}
}

// run runs the tests. ok tells whether they pass.
func (m mutation) run(t *testing.T, binary string) (output []byte, ok bool) {
	t.Helper()
	run := exec.CommandContext(t.Context(), binary, "-test.run", m.tests, "-test.v", "-test.failfast", "-test.timeout", "5m")
	run.Dir = filepath.Join(root, m.dir)
	output, err := run.CombinedOutput()
	return output, err == nil
}
