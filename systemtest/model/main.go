package main

import (
	"flag"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"os"
	"strings"
	"time"
	"unsafe"
)

var seed = maphash.MakeSeed()

type explorer struct {
	r       *Rules
	seen    map[uint64]struct{}
	limit   int
	path    []string
	bad     string
	badPath []string
	full    bool
	gets    int
}

func (e *explorer) visit(s *State) {
	if e.bad != "" || e.full {
		return
	}
	h := maphash.Comparable(seed, s.canon(e.r))
	if _, ok := e.seen[h]; ok {
		return
	}
	if len(e.seen) >= e.limit {
		e.full = true
		return
	}
	e.seen[h] = struct{}{}
	next(s, e.r, func(n State, label, bad string) {
		if e.bad != "" || e.full {
			return
		}
		if bad != "" {
			e.bad, e.badPath = bad, append(append([]string(nil), e.path...), label)
			return
		}
		e.path = append(e.path, label)
		e.visit(&n)
		e.path = e.path[:len(e.path)-1]
	})
}

type succ struct {
	s          State
	label, bad string
	w          float64
}

// class tells what kind of thing happens, whoever does it.
func class(label string) int {
	h := uint32(2166136261)
	for _, c := range []byte(label) {
		if c >= '0' && c <= '9' {
			continue
		}
		h = (h ^ uint32(c)) * 16777619
	}
	return int(h>>7) & 63
}

// walk is one random run. It tells what went wrong, if anything, and how.
func walk(r *Rules, rnd *rand.Rand, steps int, hits *int) (string, []string) {
	s := initial(r)
	var path []string
	var all []succ
	// Each walk has its own likes and dislikes ("swarm testing"): what needs a dozen ticks in a row is found, too.
	var likes [64]float64
	for i := range likes {
		likes[i] = [...]float64{0.05, 1, 1, 6}[rnd.IntN(4)]
	}
	if rnd.IntN(2) == 0 { // and some have none
		for i := range likes {
			likes[i] = 1
		}
	}
	for range steps {
		all = all[:0]
		next(&s, r, func(n State, label, bad string) { all = append(all, succ{s: n, label: label, bad: bad}) })
		if len(all) == 0 {
			return "", nil
		}
		for _, x := range all {
			if x.bad != "" {
				return x.bad, append(path, x.label)
			}
		}
		sum := 0.0
		for i := range all {
			all[i].w = likes[class(all[i].label)]
			sum += all[i].w
		}
		pick, at := rnd.Float64()*sum, 0
		for at < len(all)-1 && pick >= all[at].w {
			pick -= all[at].w
			at++
		}
		x := all[at]
		path = append(path, x.label)
		if strings.HasSuffix(x.label, "from memory") {
			*hits++
		}
		s = x.s
	}
	return "", nil
}

func random(r *Rules, seconds float64, wantRed bool) (walks, hits int, bad string, path []string) {
	rnd := rand.New(rand.NewPCG(1, 2))
	end := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	found := time.Time{}
	for time.Now().Before(end) {
		steps := 400
		if bad != "" {
			steps = len(path) - 1
		}
		b, p := walk(r, rnd, steps, &hits)
		walks++
		if b != "" {
			if bad == "" || len(p) < len(path) {
				bad, path = b, append([]string(nil), p...)
			}
			if found.IsZero() {
				found = time.Now()
			}
		}
		if !found.IsZero() && time.Since(found) > 1500*time.Millisecond {
			return
		}
	}
	return
}

func main() {
	secs := flag.Float64("secs", 20, "seconds for each green configuration")
	red := flag.Float64("red", 30, "seconds at most to find a mutation out")
	limit := flag.Int("states", 14_000_000, "states at most in an exhaustive exploration")
	only := flag.String("only", "", "only configurations whose name has this")
	trace := flag.Bool("trace", false, "print how each violation comes about")
	mode := flag.String("mode", "exhaustive,random,mutations", "what to do")
	flag.Parse()
	failed := false
	fmt.Println("bytes a state:", unsafe.Sizeof(State{}))
	if strings.Contains(*mode, "exhaustive") {
		for _, c := range small() {
			if !strings.Contains(c.name, *only) {
				continue
			}
			e := explorer{r: &c.r, seen: map[uint64]struct{}{}, limit: *limit}
			s := initial(&c.r)
			t := time.Now()
			e.visit(&s)
			state := "complete"
			if e.full {
				state = "cut off"
			}
			fmt.Printf("exhaustive %-44s %9d states, %s, %.0fs: %s\n", c.name, len(e.seen), state, time.Since(t).Seconds(), verdict(e.bad, false, &failed))
			if e.bad != "" {
				fmt.Println("   ", strings.Join(e.badPath, "\n    "), "\n   ", e.bad)
			}
		}
	}
	if strings.Contains(*mode, "exhaustive") {
		for _, c := range smallMutations() {
			if !strings.Contains(c.name, *only) {
				continue
			}
			e := explorer{r: &c.r, seen: map[uint64]struct{}{}, limit: *limit}
			s := initial(&c.r)
			e.visit(&s)
			fmt.Printf("exhaustive, broken: %-48s %9d states: %s\n", c.name, len(e.seen), verdict(e.bad, true, &failed))
		}
	}
	if strings.Contains(*mode, "random") {
		for _, c := range large() {
			if !strings.Contains(c.name, *only) {
				continue
			}
			n, hits, bad, path := random(&c.r, *secs, false)
			fmt.Printf("random     %-44s %9d walks, %d hits: %s\n", c.name, n, hits, verdict(bad, false, &failed))
			if bad != "" {
				fmt.Println("   ", strings.Join(path, "\n    "), "\n   ", bad)
			}
		}
	}
	if strings.Contains(*mode, "mutations") {
		for _, c := range mutations() {
			if !strings.Contains(c.name, *only) {
				continue
			}
			t := time.Now()
			n, _, bad, path := random(&c.r, *red, true)
			fmt.Printf("mutation   %-64s %7d walks %3.0fs: %s (%d steps)\n", c.name, n, time.Since(t).Seconds(), verdict(bad, true, &failed), len(path))
			if *trace && bad != "" {
				fmt.Println("   ", strings.Join(path, "\n    "), "\n   ", bad)
			}
		}
	}
	if failed {
		fmt.Println("NOT AS EXPECTED")
		os.Exit(1)
	}
}

func verdict(bad string, wantRed bool, failed *bool) string {
	switch {
	case bad == "" && !wantRed:
		return "green"
	case bad != "" && wantRed:
		return "red, as it must be"
	}
	*failed = true
	if bad == "" {
		return "GREEN, THOUGH BROKEN"
	}
	return "RED: " + bad
}
