package systemtest

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// A regular register (Lamport, On Interprocess Communication, 1986): a read sees the
// last write that was over when the read began, or one that was under way meanwhile.
// Which of two writes is the later one, their versions tell: each write of a session
// is made of what the one before has left.

// gone is the version of a session that has ended, the last one of all.
const gone = math.MaxInt64

// written is a change that has stored a version, or may have.
type written struct {
	version    int64
	begin, end instant // end is notOver if nobody knows whether it happened
	what       string
}

// span is a call of which nothing but the times are of interest.
type span struct{ Begin, End instant }

// reads are the calls of one reader that saw the same version. Of these it is enough
// to check two.
type reads struct {
	Version int64
	OrLater bool // they saw that version or a later one
	Count   int
	First   span // the one that ended first
	Last    span // the one that began last
	By      string
}

func (r *reads) add(read span) {
	if r.Count++; r.Count == 1 || read.End < r.First.End {
		r.First = read
	}
	if read.Begin >= r.Last.Begin {
		r.Last = read
	}
}

// checkRegister returns an error that tells of a read that a regular register does not
// allow, or nil.
func checkRegister(writes []written, seen []reads) error {
	// By the ends of the writes: the latest version that was over by then.
	over := slices.Clone(writes)
	slices.SortFunc(over, func(a, b written) int { return cmp.Compare(a.end, b.end) })
	latest := make([]written, len(over))
	for i, w := range over {
		if latest[i] = w; i > 0 && latest[i-1].version > w.version {
			latest[i] = latest[i-1]
		}
	}
	// By version: the write that began first, of those that may have stored it; and of all
	// that have stored one up to it, the write that began last. (What has ended can be
	// ended again.)
	byVersion := slices.Clone(writes)
	slices.SortFunc(byVersion, func(a, b written) int {
		return cmp.Or(cmp.Compare(a.version, b.version), cmp.Compare(a.begin, b.begin))
	})
	certain := make([]instant, len(byVersion))
	for i, w := range byVersion {
		if certain[i] = math.MinInt64; w.end != notOver {
			certain[i] = w.begin
		}
		if i > 0 {
			certain[i] = max(certain[i], certain[i-1])
		}
	}
	earliest := make([]instant, len(byVersion)+1) // of this version and all later ones
	earliest[len(byVersion)] = notOver
	for i := len(byVersion) - 1; i >= 0; i-- {
		earliest[i] = min(byVersion[i].begin, earliest[i+1])
	}

	for _, r := range seen {
		at := sort.Search(len(byVersion), func(i int) bool { return byVersion[i].version >= r.Version })
		if r.OrLater {
			if earliest[at] > r.First.End {
				return fmt.Errorf("%s: %d reads saw that version %s was over before anything had ended it", r.By, r.Count, versionName(r.Version-1))
			}
			continue
		}
		if at == len(byVersion) || byVersion[at].version != r.Version {
			return fmt.Errorf("%s: %d reads saw version %s, which nobody has written", r.By, r.Count, versionName(r.Version))
		}
		if byVersion[at].begin > r.First.End || at > 0 && certain[at-1] > r.First.End {
			return fmt.Errorf("%s: a read saw version %s before it was written", r.By, versionName(r.Version))
		}
		before := sort.Search(len(over), func(i int) bool { return over[i].end >= r.Last.Begin })
		if before > 0 && latest[before-1].version > r.Version {
			w := latest[before-1]
			return fmt.Errorf("%s: STALE: a read that began %s after version %s had been written (%s) saw version %s",
				r.By, time.Duration(r.Last.Begin-w.end), versionName(w.version), w.what, versionName(r.Version))
		}
	}
	return nil
}

func versionName(version int64) string {
	if version == gone {
		return "“ended”"
	}
	return fmt.Sprint(version)
}

// describeRegister prints a history, with times in milliseconds since its beginning.
func describeRegister(writes []written, seen []reads) string {
	start := notOver
	for _, w := range writes {
		start = min(start, w.begin)
	}
	ms := func(at instant) string {
		if at == notOver {
			return "?"
		}
		return fmt.Sprintf("%.3f", float64(at-start)/1e6)
	}
	type line struct {
		at   instant
		text string
	}
	var lines []line
	for _, w := range writes {
		lines = append(lines, line{w.begin, fmt.Sprintf("[%s, %s] write %s by %s", ms(w.begin), ms(w.end), versionName(w.version), w.what)})
	}
	for _, r := range seen {
		later := ""
		if r.OrLater {
			later = " or later"
		}
		lines = append(lines, line{r.First.Begin, fmt.Sprintf("[%s, %s] … [%s, %s] %d reads of %s%s by %s", ms(r.First.Begin), ms(r.First.End),
			ms(r.Last.Begin), ms(r.Last.End), r.Count, versionName(r.Version), later, r.By)})
	}
	slices.SortFunc(lines, func(a, b line) int { return cmp.Compare(a.at, b.at) })
	var text strings.Builder
	for _, l := range lines {
		text.WriteString("\t" + l.text + "\n")
	}
	return text.String()
}

// registerModel is a register whose versions only grow; the same may be stored again. A history of all writes and one
// read is linearizable if and only if a regular register allows that read.
var registerModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{int64(0)} },
	Step: func(state, in, out any) []any {
		current, w := state.(int64), in.(written)
		switch {
		case w.what == "read" && current == w.version:
			return []any{current}
		case w.what == "read":
			return nil
		case out.(bool) && w.version <= current:
			return []any{current} // one that did not happen
		case out.(bool):
			return []any{current, w.version}
		case w.version < current:
			return nil
		}
		return []any{w.version}
	},
}).ToModel()

// TestRegisterChecker compares the checker with porcupine, on small histories of which
// about half are none of a regular register.
func TestRegisterChecker(t *testing.T) {
	t.Parallel()
	allowed := 0
	const histories = 3000
	for seed := range uint64(histories) {
		random := rand.New(rand.NewPCG(seed, 0))
		var writes []written
		at := instant(0)
		for version := range int64(1 + random.IntN(6)) {
			// One after the other takes effect, while they overlap.
			at += instant(1 + random.IntN(20))
			w := written{version + 1, at - instant(random.IntN(15)), at + instant(random.IntN(15)), "write"}
			if version == 0 {
				w.begin, w.end = at, at
			} else if random.IntN(4) == 0 {
				w.end = notOver
			}
			writes = append(writes, w)
		}
		if random.IntN(2) == 0 { // what has ended is ended again
			again := writes[len(writes)-1]
			again.begin += instant(random.IntN(30))
			again.end = max(again.begin, at) + instant(random.IntN(15))
			writes = append(writes, again)
		}
		begin := instant(random.IntN(int(at) + 20))
		read := span{begin, begin + instant(random.IntN(10))}
		version := writes[random.IntN(len(writes))].version
		random.Shuffle(len(writes), func(i, j int) { writes[i], writes[j] = writes[j], writes[i] })

		var operations []porcupine.Operation
		for i, w := range writes {
			// porcupine takes calls that touch for concurrent: so does "over when it began".
			operations = append(operations, porcupine.Operation{ClientId: i, Input: w, Output: w.end == notOver, Call: int64(w.begin), Return: int64(w.end)})
		}
		operations = append(operations, porcupine.Operation{
			ClientId: len(writes), Input: written{version: version, what: "read"}, Output: false, Call: int64(read.Begin), Return: int64(read.End),
		})
		want := porcupine.CheckOperations(registerModel, operations)
		seen := []reads{{Version: version, Count: 1, First: read, Last: read, By: "reader"}}
		err := checkRegister(writes, seen)
		if (err == nil) != want {
			t.Fatalf("seed %d: checkRegister: %v; porcupine: %v\n%s", seed, err, want, describeRegister(writes, seen))
		}
		if want {
			allowed++
		}
	}
	t.Logf("%d of %d histories are those of a regular register", allowed, histories)
	if allowed < histories/5 || allowed > histories*4/5 {
		t.Error("too few of one kind")
	}
}
