package systemtest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// leaseEntries is what each process of a run has in WithNearCache.
var leaseEntries = [4]int{10_000, 10_000, 10_000, 0}

// leaseSlots is how many sessions are being changed at any time.
const leaseSlots = 40

// leaseEnvironment is where near caches meet a fault.
type leaseEnvironment struct {
	admin    string   // where the test itself looks at the database
	urls     []string // the connections of the processes go to one after the other
	maxConns int32    // of each process
	timeout  time.Duration
	pause    time.Duration // between one disturbance and the next
	lease    time.Duration // how long an entry counts
	program  string        // what the processes run; "": this program
	clocks   [4]string     // what is wrong with the clocks of each

	// disturb makes the fault once, from beginning to end. It may be nil.
	disturb func(ctx context.Context, r *leaseRun) error
	atLeast int // so many times
}

// leaseOn is an environment on one server.
func leaseOn(c *cluster) leaseEnvironment {
	url := c.url("sessions")
	return leaseEnvironment{admin: patient(url), urls: []string{url}, maxConns: 6, timeout: 2 * time.Second, lease: 200 * time.Millisecond, pause: 300 * time.Millisecond}
}

type disturbance = func(ctx context.Context, r *leaseRun) error

// inTurn makes one fault after another, each at least once.
func (env leaseEnvironment) inTurn(faults ...disturbance) leaseEnvironment {
	var turn atomic.Int64
	turn.Store(rand.Int64N(int64(len(faults))))
	env.atLeast = len(faults)
	env.disturb = func(ctx context.Context, r *leaseRun) error {
		return faults[turn.Add(1)%int64(len(faults))](ctx, r)
	}
	return env
}

// leaseRun is a service of several processes with near caches, whose sessions are read and
// changed.
type leaseRun struct {
	t     *testing.T
	env   leaseEnvironment
	procs []*process
	admin *pgxpool.Pool

	birth sync.RWMutex // held while a session is stored, and by who ends all of them
	quiet sync.RWMutex // held while a change is made, and by who wants none

	mu       sync.Mutex
	sessions map[*hotSession]bool

	retiring                       sync.WaitGroup
	began                          time.Time
	hasRead, hits                  uint64
	changed, unknown, faults       atomic.Int64
	looked, stale                  atomic.Int64 // lookups after a change, and those of them that saw what was before
	histories, impossibleHistories atomic.Int64
}

func startLeaseRun(t *testing.T, env leaseEnvironment) *leaseRun {
	t.Helper()
	r := &leaseRun{t: t, env: env, sessions: map[*hotSession]bool{}, began: time.Now()}
	for i, entries := range leaseEntries {
		r.procs = append(r.procs, startProcess(t, nodeConfig{
			Name: fmt.Sprintf("process %d", i+1), URLs: env.urls, Entries: entries, MaxConns: env.maxConns, Timeout: env.timeout,
			Lease: env.lease, program: env.program, clock: env.clocks[i],
		}))
	}
	config, err := pgxpool.ParseConfig(env.admin)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 12
	admin, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.Close)
	r.admin = admin
	return r
}

// load has sessions read and changed for a while, and the fault happen again and again. In
// the end memory must answer lookups.
func (r *leaseRun) load(d time.Duration) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	var all sync.WaitGroup
	for range leaseSlots {
		all.Go(func() {
			for ctx.Err() == nil && !r.t.Failed() {
				r.live(ctx)
			}
		})
	}
	r.awaitHits("before the fault")
	for end := time.Now().Add(d); r.faults.Load() < int64(r.env.atLeast) || time.Now().Before(end); {
		if r.env.disturb != nil {
			if err := r.env.disturb(ctx, r); err != nil {
				r.t.Error(err)
			}
			r.faults.Add(1)
		}
		sleep(ctx, r.env.pause)
		if r.t.Failed() {
			break
		}
	}
	r.awaitHits("after the fault")
	cancel()
	all.Wait()
	r.retiring.Wait()
	for _, p := range r.procs {
		if answer, ok := p.ask(request{Metrics: true}); ok {
			r.hits += answer.Metrics.NearCache.Hits
			r.hasRead += uint64(answer.HasRead)
		}
	}
}

// any is one of the processes.
func (r *leaseRun) any() *process {
	return r.procs[rand.IntN(len(r.procs))]
}

// keeping are the processes that keep something in memory.
func (r *leaseRun) keeping() (keeping []*process) {
	for i, p := range r.procs {
		if leaseEntries[i] > 0 {
			keeping = append(keeping, p)
		}
	}
	return keeping
}

// awaitHits waits until every process that keeps something answers from memory.
func (r *leaseRun) awaitHits(when string) {
	r.t.Helper()
	for _, p := range r.keeping() {
		before, ok := p.ask(request{Metrics: true})
		if !ok {
			r.t.Errorf("%s has gone", p)
			continue
		}
		eventually(r.t, fmt.Sprintf("%s: %s reads from memory", when, p), func() bool {
			after, ok := p.ask(request{Metrics: true})
			return r.t.Failed() || ok && after.Metrics.NearCache.Hits > before.Metrics.NearCache.Hits+100
		})
	}
}

// live is a session's life, from login to logout and a moment longer.
func (r *leaseRun) live(ctx context.Context) {
	s := r.create(rand.IntN(2) == 0)
	if s == nil {
		sleep(ctx, rand.N(50*time.Millisecond))
		return
	}
	sleep(ctx, rand.N(150*time.Millisecond))
	for range rand.IntN(3) {
		if rand.IntN(4) == 0 {
			atOnce(func() { r.update(s) }, func() { r.update(s) })
		} else {
			r.update(s)
		}
	}
	switch rand.IntN(8) {
	case 0:
		atOnce(func() { r.end(s) }, func() { r.update(s) })
	case 1: // the one that finds nothing has to wait as long
		atOnce(func() { r.end(s) }, func() { r.end(s) })
	default:
		r.end(s)
	}
	r.retireSoon(s)
}

func atOnce(first, second func()) {
	var other sync.WaitGroup
	other.Go(second)
	first()
	other.Wait()
}

// retireSoon has sessions that have ended read a moment longer.
func (r *leaseRun) retireSoon(sessions ...*hotSession) {
	r.retiring.Go(func() {
		time.Sleep(100*time.Millisecond + rand.N(150*time.Millisecond)) // they are read
		for _, s := range sessions {
			r.retire(s)
		}
	})
}

// all are the sessions there are.
func (r *leaseRun) all() []*hotSession {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.sessions))
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// leaseTable is the report of several runs.
type leaseTable struct {
	mu   sync.Mutex
	rows []string
}

func (t *leaseTable) add(name string, r *leaseRun) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, fmt.Sprintf("| %s | %s | %d | %d | %d | %d | %d | %d | %.0f | %d | %d |", name,
		time.Since(r.began).Round(100*time.Millisecond), r.faults.Load(), r.changed.Load(), r.unknown.Load(),
		r.looked.Load(), r.stale.Load(), r.hasRead, 100*float64(r.hits)/max(1, float64(r.hasRead)),
		r.histories.Load(), r.impossibleHistories.Load()))
}

func (t *leaseTable) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.Sort(t.rows)
	return "\n| fault | time | faults | changes | unknown | lookups after a change | stale | other lookups | hits % | histories | impossible |\n" +
		"|---|---|---|---|---|---|---|---|---|---|---|\n" + strings.Join(t.rows, "\n")
}
