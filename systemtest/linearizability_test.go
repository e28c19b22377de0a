package systemtest

import (
	"context"
	"encoding/json"
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
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

var histories = flag.Int("histories", 3, "how many histories TestLinearizable records of each fault")

const (
	servers = 3  // caches, each with a pool of its own, as on three machines
	clients = 12 // spread over them: more than there are slots, so that they ride together
	calls   = 80 // of each client
	keys    = 8  // few enough that ids collide

	// A client that has made so many writes of which it does not know whether they
	// happened only reads from then on: each doubles the orders to look through.
	unknownWrites = 2

	// overtime is how much longer than its context a call may take on a busy
	// machine.
	overtime = 10 * time.Second
)

// TestLinearizable records what concurrent clients see while a fault goes on, and
// has porcupine look for an order that explains it. When the fault is over it
// looks for what was acknowledged.
func TestLinearizable(t *testing.T) {
	t.Parallel()
	var table table
	t.Cleanup(func() { t.Log(table.String()) }) // after the subtests
	for name, newFault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := newFault(t)
			row := &row{fault: name}
			for range *histories {
				check(t, model, record(t, place, row), row)
				if t.Failed() {
					break
				}
			}
			table.add(row)
			if row.lost > 0 {
				t.Errorf("%d of %d acknowledged changes are lost", row.lost, row.acknowledged)
			}
			if row.decided*2 < row.histories {
				t.Errorf("only %d of %d histories were decided", row.decided, row.histories)
			}
		})
	}
}

func check(t *testing.T, model porcupine.Model, history []porcupine.Operation, row *row) {
	t.Helper()
	result, info := porcupine.CheckOperationsVerbose(model, history, 20*time.Second)
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

// place is where a fault happens.
type place struct {
	url     string        // for the clients
	timeout time.Duration // of each call
	pause   time.Duration // between one disturbance and the next

	// disturb makes the fault once, from beginning to end. It calls back when the
	// database could answer again, if that is before it returns.
	disturb func(ctx context.Context, back func()) error
}

// store is what the clients call: a Cache, or one with a bug, to see whether the
// checker finds it.
type store interface {
	Set(ctx context.Context, id string, user json.RawMessage) error
	Get(ctx context.Context, id string) (user json.RawMessage, ok bool, err error)
	Delete(ctx context.Context, id string) error
	Update(ctx context.Context, id string, change func(user *json.RawMessage) error) (ok bool, err error)
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
func record(t *testing.T, place place, row *row) []porcupine.Operation {
	t.Helper()
	var stores [servers]store
	for i := range stores {
		pool := newPool(t, place.url)
		defer func() {
			// A connection that broke is given back a moment after its caller has gone.
			eventually(t, "every connection is given back", func() bool { return pool.Stat().AcquiredConns() == 0 })
			pool.Close()
		}()
		stores[i] = sessioncache.New[json.RawMessage](pool)
	}
	return recordStores(t, place, stores, row)
}

func recordStores(t *testing.T, place place, stores [servers]store, row *row) []porcupine.Operation {
	t.Helper()
	h := &history{start: time.Now(), timeout: place.timeout}
	for i := range h.ids {
		h.ids[i] = sid.New().String()
	}
	var all, disturbed sync.WaitGroup
	var disturbances atomic.Int64
	done := make(chan struct{})
	for i := range clients {
		all.Go(func() {
			c := client{history: h, number: i, store: stores[i%servers]}
			for n := 0; n < calls || disturbances.Load() == 0; n++ {
				if err := c.step(t.Context(), n); err != nil {
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
				measured.Go(func() { row.recovered(recovery(t, stores)) })
			})
			if err := place.disturb(t.Context(), restored); err != nil {
				t.Error(err)
			}
			restored()
			measured.Wait()
			disturbances.Add(1)
			select {
			case <-done:
				return
			case <-time.After(place.pause):
			}
		}
	})
	all.Wait()
	close(done)
	disturbed.Wait()
	h.settle(t, stores)
	row.count(h)
	return h.operations
}

// eventually waits for what nobody announces.
func eventually(t *testing.T, what string, happens func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !happens(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("half a minute, and not yet: %s", what)
			return
		}
	}
}

// recovery is how long it takes, from now, until every store answers again.
func recovery(t *testing.T, stores [servers]store) time.Duration {
	t.Helper()
	began := time.Now()
	id := sid.New().String()
	for _, store := range stores {
		for {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, _, err := store.Get(ctx, id)
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
	timeout time.Duration
	ids     [keys]string

	mu         sync.Mutex
	operations []porcupine.Operation
	unknown    int
	stored     map[string]string // sessions that nobody else touches, whose Set returned nil
	ended      []string          // and those whose Delete did
	lost       int               // of the two
}

// client calls one of the stores.
type client struct {
	history *history
	number  int
	store   store
	unknown int
}

// step makes a call or two. The error is one that no call may end with.
func (c *client) step(ctx context.Context, n int) error {
	in := input{
		key:   c.history.ids[rand.IntN(keys)],
		kind:  []kind{kindSet, kindGet, kindGet, kindGet, kindDelete, kindUpdate}[rand.IntN(6)],
		value: fmt.Sprintf(`"%d-%d"`, c.number, n),
	}
	if c.unknown >= unknownWrites || n >= calls {
		in.kind = kindGet
	}
	if n >= calls { // only waiting for the fault
		time.Sleep(10 * time.Millisecond)
	}
	if n%10 == 0 && n < calls {
		if err := c.keep(ctx, in.value, n%20 == 0); err != nil {
			return err
		}
	}
	err := c.call(ctx, in)
	if errors.Is(err, sessioncache.ErrUnavailable) {
		if in.kind != kindGet {
			c.unknown++
		}
		time.Sleep(rand.N(20 * time.Millisecond)) // as a client that tries again would
		return nil
	}
	return err
}

// keep stores a session that nobody else knows, and ends it again or not.
func (c *client) keep(ctx context.Context, value string, end bool) error {
	id := sid.New().String()
	ctx, cancel := context.WithTimeout(ctx, c.history.timeout)
	defer cancel()
	err := c.store.Set(ctx, id, json.RawMessage(value))
	if err == nil && end {
		if err = c.store.Delete(ctx, id); err == nil {
			c.history.mu.Lock()
			c.history.ended = append(c.history.ended, id)
			c.history.mu.Unlock()
		}
	} else if err == nil {
		c.history.mu.Lock()
		if c.history.stored == nil {
			c.history.stored = map[string]string{}
		}
		c.history.stored[id] = value
		c.history.mu.Unlock()
	}
	if errors.Is(err, sessioncache.ErrUnavailable) {
		return nil
	}
	return err
}

// call makes a call and notes it.
func (c *client) call(ctx context.Context, in input) error {
	h := c.history
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	var out output
	var err error
	began := time.Since(h.start)
	switch in.kind {
	case kindSet:
		err = c.store.Set(ctx, in.key, json.RawMessage(in.value))
	case kindGet:
		var value json.RawMessage
		value, out.ok, err = c.store.Get(ctx, in.key)
		out.value = string(value)
	case kindDelete:
		err = c.store.Delete(ctx, in.key)
	case kindUpdate:
		out.ok, err = c.store.Update(ctx, in.key, func(value *json.RawMessage) error {
			out.value, *value = string(*value), json.RawMessage(in.value)
			return nil
		})
	}
	took := time.Since(h.start) - began
	if took > h.timeout+overtime {
		return fmt.Errorf("%s took %s, with a context of %s", in.kind, took, h.timeout)
	}
	switch {
	case errors.Is(err, sessioncache.ErrConflict):
		h.note(c.number, input{in.key, kindFind, ""}, output{}, began, began+took)
		h.note(c.number+clients, input{in.key, kindDelete, ""}, output{}, began, began+took)
		return nil
	case errors.Is(err, sessioncache.ErrUnavailable):
		h.mu.Lock()
		h.unknown++
		h.mu.Unlock()
		if in.kind != kindGet { // which says nothing, and changes nothing
			h.note(c.number, in, output{unknown: true}, began, math.MaxInt64) // as late as it likes
		}
		return err
	}
	h.note(c.number, in, out, began, began+took)
	return err
}

func (h *history) note(client int, in input, out output, began, ended time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, porcupine.Operation{
		ClientId: client, Input: in, Call: began.Nanoseconds(), Output: out, Return: ended.Nanoseconds(),
	})
}

// settle reads everything once more, when the fault is over: what was
// acknowledged is there, and what was ended is not.
func (h *history) settle(t *testing.T, stores [servers]store) {
	t.Helper()
	h.timeout = 10 * time.Second
	for i, id := range h.ids {
		c := client{history: h, number: 2*clients + i, store: stores[i%servers]}
		if err := c.call(t.Context(), input{key: id, kind: kindGet}); err != nil {
			t.Errorf("the fault is over: %v", err)
		}
	}
	for id, value := range h.stored {
		if got, ok, err := stores[0].Get(t.Context(), id); err != nil || !ok || string(got) != value {
			h.lost++ // a session that was stored
		}
	}
	for _, id := range h.ended {
		if _, ok, err := stores[1].Get(t.Context(), id); err != nil || ok {
			h.lost++ // the end of a session
		}
	}
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
	r.unknown += h.unknown
	r.acknowledged += len(h.stored) + len(h.ended)
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
