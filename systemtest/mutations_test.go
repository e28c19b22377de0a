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
	facade = "./sessioncache"
	system = "./systemtest"
)

var mutations = []mutation{
	{
		"the lease counted from the answer", true, memory, "TestLeaseBeginsWhenTheLookupIsSent",
		[]edit{{memory + "/nearcache.go", "Entry{sent: sent,", "Entry{sent: c.now(),"}},
	},
	{
		"the lease counted from the answer, in a database", false, facade, "TestLookupUnderWay",
		[]edit{{facade + "/nearcache.go", "n.memory.Keep(r.sent,", "n.memory.Keep(n.memory.Begin(),"}},
	},
	{
		"only the monotonic clock", true, memory, "TestLease$",
		[]edit{{memory + "/instant.go", "int64(d) && 0 <= wall && wall < int64(d)", "int64(d) && wall == wall"}},
	},
	{
		"only the wall clock", false, memory, "TestLease$",
		[]edit{{memory + "/instant.go", "0 <= mono && mono < int64(d) && ", "mono == mono && "}},
	},
	{
		"a wall clock that was set back counts", false, memory, "TestLease$",
		[]edit{{memory + "/instant.go", "0 <= wall && ", ""}},
	},
	{
		"an entry counts as long as a change waits", false, memory, "TestRegister",
		[]edit{{memory + "/nearcache.go", "Lease = 200 *", "Lease = 250 *"}},
	},
	{
		"a wait of 100 ms", false, facade, "TestEveryChangeWaits",
		[]edit{{facade + "/await.go", "time.NewTimer(NearCacheStaleness)", "time.NewTimer(100 * time.Millisecond)"}},
	},
	{
		"a wait of 100 ms, between processes", false, system, "TestLease/no_fault",
		[]edit{{facade + "/await.go", "time.NewTimer(NearCacheStaleness)", "time.NewTimer(100 * time.Millisecond)"}},
	},
	{
		"no wait after ErrConflict", true, facade, "TestEveryChangeWaits",
		[]edit{{facade + "/set.go", "errors.Is(err, ErrConflict) || errors.Is(err, ErrUnavailable)", "errors.Is(err, ErrUnavailable)"}},
	},
	{
		"no wait after finding nothing", false, facade, "TestEveryChangeWaits", deleteThatFindsNothing,
	},
	{
		"no wait after finding nothing, between processes", false, system, "TestLease/answers_cut", deleteThatFindsNothing,
	},
	{
		"no wait at ok == false", false, facade, "TestEveryChangeWaits",
		[]edit{{
			facade + "/update.go", "	return ok, c.awaitUpdate(ctx, err, k, options)\n}\n\n// UpdateSession is",
			"	if !ok && err == nil {\n		return false, nil\n	}\n	return ok, c.awaitUpdate(ctx, err, k, options)\n}\n\n// UpdateSession is",
		}},
	},
	{
		"no wait in a Tx whose delete found nothing", false, facade, "TestEveryChangeWaits",
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
		"no wait in a Tx", false, facade, "TestEveryChangeWaits|TestNearCacheSeesEveryChange",
		[]edit{{facade + "/tx.go", "	return awaitNearCaches(ctx)\n", "	return nil\n"}},
	},
	{
		"a savepoint that forgets that there was a change", false, facade, "TestNearCacheSeesEveryChange",
		[]edit{{facade + "/internal/savepoint/savepoint.go", "Changes: t.Changes, nested", "Changes: new(Changes), nested"}},
	},
	{
		"an own change that does not mark", true, facade, "TestNearCacheSeesOwnChangesAtOnce|TestLookupUnderWay",
		[]edit{{facade + "/await.go", "s.shared.near.Mark(ids...)", "_ = ids"}},
	},
	{
		"a mark that the wall clock ends", false, memory, "TestMarkOutlivesTheWallClock",
		[]edit{{memory + "/nearcache.go", "	now := c.now().Mono\n	for", "	now := c.now().Wall\n	for"},
			{memory + "/nearcache.go", "c.marks.has(id, sent.Mono)", "c.marks.has(id, sent.Wall)"},
			{memory + "/marks.go", "		m.old, m.young, m.since =", "		if now-m.since >= 2*int64(Lease) {\n			m.young = nil\n		}\n		m.old, m.young, m.since ="}},
	},
	{
		"a late answer kept over a mark", true, memory, "TestMark$",
		[]edit{{memory + "/nearcache.go", " || c.marks.has(id, sent.Mono)", ""}},
	},
	{
		"marks dropped before their lease", true, memory, "TestMark$",
		[]edit{{memory + "/marks.go", ", m.old}", "}"}},
	},
	{
		"a late answer kept over a mark of every id", false, memory, "TestMark$",
		[]edit{{memory + "/nearcache.go", "sent.Mono <= c.all.Load() || c.marks.has", "c.marks.has"},
			{memory + "/nearcache.go", " || e.sent.Mono <= c.all.Load()", ""}},
	},
	{
		"a late answer kept over a newer one", false, memory, "TestNewestLookupStays",
		[]edit{{memory + "/nearcache.go", "; ok && stored", "; ok && false && stored"}},
	},
	{
		"absence kept", false, system, "TestLease/no_fault",
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
		"an entry past its end", true, memory, "TestEntryEndsWithItsSession",
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
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", overlay, "-o", binary, ".")
	build.Dir = filepath.Join(root, m.dir) // systemtest is another module
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
