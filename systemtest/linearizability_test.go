package systemtest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
)

var histories = flag.Int("histories", 3, "how many histories of each kind of session are recorded and decided under each fault")

const (
	servers = 3  // caches, each with a pool of its own, as on three machines
	clients = 12 // spread over them: more than there are slots, so that they share batches

	calls = 80 // of each client, that are answered

	// A client that has made so many changes of which it does not know whether they
	// happened only reads from then on: each doubles the orders to look through.
	unknownWrites = 2

	// overtime is how much longer than its context a call may take on a busy
	// machine.
	overtime = 10 * time.Second

	// undecided is how long the checker looks at one history.
	undecided = 20 * time.Second
)

// workload is what the clients do with sessions of one kind.
type workload interface {
	// step makes a call of a client, with readOnly one that changes nothing. An error
	// that isUnknown does not take is one that no call may end with, here and below.
	step(ctx context.Context, client int, readOnly bool) error

	// keep stores a session that nobody else knows, and ends it again or not.
	keep(ctx context.Context, client int, end bool) error

	// ping makes a call to a server that changes nothing.
	ping(ctx context.Context, server int) error

	// settle reads everything once more, when the fault is over.
	settle(ctx context.Context) error

	seen() *history
}

// underEachFault records what concurrent clients see while a fault goes on, and
// has porcupine look for an order that explains it. When the fault is over it
// looks for what was acknowledged.
func underEachFault(t *testing.T, model porcupine.Model, start func(pools [servers]*pgxpool.Pool) workload) {
	var table table
	t.Cleanup(func() { t.Log(table.String()) }) // after the subtests
	for name, newFault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := newFault(t)
			row := &row{fault: name}
			for row.decided < *histories && row.histories <= 2**histories && !t.Failed() {
				check(t, model, record(t, env, start, row), row)
			}
			table.add(row)
			if row.lost > 0 {
				t.Errorf("%d of %d acknowledged changes are lost", row.lost, row.acknowledged)
			}
			if row.decided < *histories {
				t.Errorf("%d of %d histories were decided; want %d", row.decided, row.histories, *histories)
			}
		})
	}
}

func check(t *testing.T, model porcupine.Model, history []porcupine.Operation, row *row) {
	t.Helper()
	result, info := porcupine.CheckOperationsVerbose(model, history, undecided)
	switch result {
	case porcupine.Ok:
		row.decided++
	case porcupine.Unknown: // many calls that may have happened make many orders
		t.Log("not decided in time")
	case porcupine.Illegal:
		row.violations++
		picture := filepath.Join(os.TempDir(), fmt.Sprintf("history-%d.html", time.Now().UnixNano()))
		t.Errorf("not linearizable: see %s, %v", picture, porcupine.VisualizePath(model, info, picture))
	}
}

// isUnknown tells whether a call ended without a result. After ErrNotAwaited the change has
// happened, but when is as unknown as after ErrUnavailable.
func isUnknown(err error) bool {
	return errors.Is(err, sessioncache.ErrUnavailable) || errors.Is(err, sessioncache.ErrNotAwaited)
}

// environment is where a fault happens.
type environment struct {
	url     string        // for the clients
	timeout time.Duration // of each call
	pause   time.Duration // between one disturbance and the next

	// disturb makes the fault once, from beginning to end. It calls back when the
	// database could answer again, if that is before it returns.
	disturb func(ctx context.Context, back func()) error
}

func newPool(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 3
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

// record runs the clients, and the fault again and again until they are done.
func record(t *testing.T, env environment, start func(pools [servers]*pgxpool.Pool) workload, row *row) []porcupine.Operation {
	t.Helper()
	var pools [servers]*pgxpool.Pool
	for i := range pools {
		pool := newPool(t, env.url)
		defer func() {
			// A connection that broke is given back a moment after its caller has gone.
			eventually(t, "every connection is given back", func() bool { return pool.Stat().AcquiredConns() == 0 })
			pool.Close()
		}()
		pools[i] = pool
	}
	w := start(pools)
	h := w.seen()
	h.timeout = env.timeout
	var all, disturbed sync.WaitGroup
	var disturbances atomic.Int64
	done := make(chan struct{})
	for client := range clients {
		all.Go(func() {
			answered := true
			for n := 0; (n < calls || disturbances.Load() == 0) && !t.Failed(); {
				if n >= calls { // only waiting for the fault
					time.Sleep(10 * time.Millisecond)
				}
				// A client that gets no answer only reads until it does.
				readOnly := n >= calls || !answered || h.unknown[client] >= unknownWrites
				err := w.step(t.Context(), client, readOnly)
				if err == nil && n%10 == 0 && n < calls {
					err = w.keep(t.Context(), client, n%20 == 0)
				}
				answered = err == nil
				switch {
				case answered:
					n++
				case isUnknown(err):
					h.unanswered.Add(1)
					time.Sleep(rand.N(20 * time.Millisecond)) // as a client that tries again would
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	disturbed.Go(func() {
		for {
			var measured sync.WaitGroup
			restored := sync.OnceFunc(func() {
				measured.Go(func() { row.recovered(recovery(t, w)) })
			})
			if err := env.disturb(t.Context(), restored); err != nil {
				t.Error(err)
			}
			restored()
			measured.Wait()
			disturbances.Add(1)
			select {
			case <-done:
				return
			case <-time.After(env.pause):
			}
		}
	})
	all.Wait()
	close(done)
	disturbed.Wait()
	h.timeout = 10 * time.Second
	if err := w.settle(t.Context()); err != nil {
		t.Errorf("the fault is over: %v", err)
	}
	for _, kept := range h.acknowledged {
		if !kept(t.Context()) {
			h.lost++
		}
	}
	row.count(h)
	return h.operations
}

// eventually waits for what nobody announces. Unlike suite.Eventually it does not end the
// test, since a test's goroutines call it, too.
func eventually(t *testing.T, what string, happens func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !happens(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("half a minute, and not yet: %s", what)
			return
		}
	}
}

// recovery is how long it takes, from now, until every server answers again.
func recovery(t *testing.T, w workload) time.Duration {
	t.Helper()
	began := time.Now()
	for server := range servers {
		for {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := w.ping(ctx, server)
			cancel()
			if err == nil {
				break
			}
			if time.Since(began) > time.Minute {
				t.Errorf("no answer a minute after the fault: %v", err)
				return time.Since(began)
			}
			time.Sleep(time.Millisecond) // as often as a busy service asks
		}
	}
	return time.Since(began)
}

// history is what the clients have seen.
type history struct {
	start   time.Time
	timeout time.Duration // of each call

	unknown    [clients]int // changes that may have happened; each client counts its own
	unanswered atomic.Int64 // calls

	mu           sync.Mutex
	operations   []porcupine.Operation
	acknowledged []func(ctx context.Context) bool // changes, and whether they are still there
	lost         int                              // of these
}

func (h *history) seen() *history {
	return h
}

// timed makes a call with the history's timeout, and tells when it began and ended.
func (h *history) timed(ctx context.Context, kind kind, call func(ctx context.Context) error) (began, ended time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	began = time.Since(h.start)
	err = call(ctx)
	ended = time.Since(h.start)
	if took := ended - began; took > h.timeout+overtime {
		err = fmt.Errorf("%s took %s, with a context of %s", kind, took, h.timeout)
	}
	return began, ended, err
}

func (h *history) note(client int, in, out any, began, ended time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, porcupine.Operation{
		ClientId: client, Input: in, Call: began.Nanoseconds(), Output: out, Return: ended.Nanoseconds(),
	})
}

// never is the end of a call that may still happen, as late as it likes.
const never time.Duration = math.MaxInt64

func (h *history) acknowledge(kept func(ctx context.Context) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acknowledged = append(h.acknowledged, kept)
}

// row is what has been seen of one fault.
type row struct {
	mu                                      sync.Mutex
	fault                                   string
	histories, decided, violations          int
	operations, unknown, acknowledged, lost int
	recoveries                              []time.Duration
}

func (r *row) count(h *history) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.histories++
	r.operations += len(h.operations)
	r.unknown += int(h.unanswered.Load())
	r.acknowledged += len(h.acknowledged)
	r.lost += h.lost
}

func (r *row) recovered(after time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recoveries = append(r.recoveries, after)
}

// table is the report.
type table struct {
	mu   sync.Mutex
	rows []*row
}

func (t *table) add(r *row) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, r)
}

func (t *table) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.SortFunc(t.rows, func(a, b *row) int { return len(a.recoveries) - len(b.recoveries) })
	text := "\n| fault | histories | decided | operations | unknown | faults | recovery p50 | max | acknowledged | lost | violations |\n" +
		"|---|---|---|---|---|---|---|---|---|---|---|\n"
	for _, r := range t.rows {
		var median, longest time.Duration
		if slices.Sort(r.recoveries); len(r.recoveries) > 0 {
			median, longest = r.recoveries[len(r.recoveries)/2], r.recoveries[len(r.recoveries)-1]
		}
		text += fmt.Sprintf("| %s | %d | %d | %d | %d | %d | %s | %s | %d | %d | %d |\n", r.fault, r.histories, r.decided,
			r.operations, r.unknown, len(r.recoveries), median.Round(time.Millisecond), longest.Round(time.Millisecond),
			r.acknowledged, r.lost, r.violations)
	}
	return text
}
