package systemtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// Rotate changes two sessions at once, so the ids cannot be checked apart: here
// the model is the whole table, and the histories are short.

const (
	tableKeys    = 3
	tableClients = 5
	tableCalls   = 12

	// A Rotate that moves a session is one step. One that does not takes two, as its
	// two statements do: the session under the old id ends, if there was one, which
	// takes that the new id was there; then whatever is under the new id ends.
	kindRotate kind = "rotate"
	kindMiss   kind = "rotate, and nothing moves"
	kindNone   kind = "delete, and find nothing"
)

// sessions are the states of all ids.
type sessions [tableKeys]string

// move is a call on the table: input.key and to are the numbers of ids.
type move struct {
	input
	from, to int
}

var tableModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{sessions{}} },
	Step: func(state, in, out any) []any {
		return stepTable(state.(sessions), in.(move), out.(output))
	},
	DescribeOperation: func(in, out any) string {
		return fmt.Sprintf("%s(%d, %d, %s) → %+v", in.(move).kind, in.(move).from, in.(move).to, in.(move).value, out)
	},
}).ToModel()

func stepTable(state sessions, in move, out output) []any {
	with := func(key int, value string) sessions {
		after := state
		after[key] = value
		return after
	}
	moved := with(in.to, state[in.from])
	moved[in.from] = none
	canMove := in.from != in.to && state[in.from] != none && state[in.to] == none
	missed := state
	if in.from != in.to {
		missed = with(in.from, none)
	}
	canMiss := !canMove
	switch {
	case in.kind == kindRotate && out.unknown:
		after := []any{state, missed}
		if canMove {
			after = []any{state, moved}
		}
		return after
	case in.kind == kindRotate:
		if canMove {
			return []any{moved}
		}
		return nil
	case in.kind == kindMiss:
		if canMiss {
			return []any{missed}
		}
		return nil
	case in.kind == kindNone:
		if state[in.from] == none {
			return []any{state}
		}
		return nil
	}
	var states []any
	for _, after := range step(state[in.from], in.input, out) {
		states = append(states, with(in.from, after.(string)))
	}
	return states
}

// TestRotateLinearizable has few clients make short histories of everything on
// three ids, calmly and while their connections are killed.
func TestRotateLinearizable(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"calm", "backends killed"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			place := faults[fault](t)
			row := &row{fault: "rotate, " + fault}
			for range 10 * *histories {
				check(t, tableModel, recordTable(t, place), row)
				row.histories++
				if t.Failed() {
					break
				}
			}
			t.Logf("%d histories, %d decided", row.histories, row.decided)
			if row.decided*2 < row.histories {
				t.Error("too few were decided")
			}
		})
	}
}

func recordTable(t *testing.T, place place) []porcupine.Operation {
	t.Helper()
	var ids [tableKeys]string
	for i := range ids {
		ids[i] = sid.New().String()
	}
	start := time.Now()
	var mu sync.Mutex
	var operations []porcupine.Operation
	note := func(client int, in move, out output, began, ended time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		operations = append(operations, porcupine.Operation{
			ClientId: client, Input: in, Call: began.Nanoseconds(), Output: out, Return: ended.Nanoseconds(),
		})
	}
	pool := newPool(t, place.url)
	defer pool.Close()
	cache := sessioncache.New[json.RawMessage](pool)
	single := func(kind kind, key int, value string) move { return move{input{kind: kind, value: value}, key, key} }

	// Each call that may have happened multiplies the orders to look through: the
	// one of them that a client makes is its last change.
	var unknown [tableClients]bool
	call := func(client, n int) error {
		ctx, cancel := context.WithTimeout(t.Context(), place.timeout)
		defer cancel()
		from, to := rand.IntN(tableKeys), rand.IntN(tableKeys)
		value := fmt.Sprintf(`"%d-%d"`, client, n)
		began := time.Since(start)
		choice := rand.IntN(5)
		if unknown[client] {
			choice = 1
		}
		switch choice {
		case 0:
			err := cache.Set(ctx, ids[from], json.RawMessage(value))
			ended := time.Since(start)
			switch {
			case errors.Is(err, sessioncache.ErrConflict):
				note(client, single(kindFind, from, ""), output{}, began, ended)
				note(client+tableClients, single(kindDelete, from, ""), output{}, began, ended)
				return nil
			case errors.Is(err, sessioncache.ErrUnavailable):
				unknown[client] = true
				note(client, single(kindSet, from, value), output{unknown: true}, began, math.MaxInt64)
				return nil
			}
			note(client, single(kindSet, from, value), output{}, began, ended)
			return err
		case 1, 2:
			user, ok, err := cache.Get(ctx, ids[from])
			if errors.Is(err, sessioncache.ErrUnavailable) {
				return nil
			}
			note(client, single(kindGet, from, ""), output{ok: ok, value: string(user)}, began, time.Since(start))
			return err
		default:
			ok, err := cache.Rotate(ctx, ids[from], ids[to])
			ended := time.Since(start)
			rotate := move{input{kind: kindRotate}, from, to}
			switch {
			case errors.Is(err, sessioncache.ErrUnavailable):
				unknown[client] = true
				note(client, rotate, output{unknown: true}, began, math.MaxInt64)
				note(client+tableClients, single(kindDelete, to, ""), output{unknown: true}, began, math.MaxInt64)
				return nil
			case ok:
				note(client, rotate, output{}, began, ended)
				return err
			}
			note(client, move{input{kind: kindMiss}, from, to}, output{}, began, ended)
			if errors.Is(err, sessioncache.ErrConflict) {
				note(client+tableClients, single(kindFind, to, ""), output{}, began, ended)
				note(client+2*tableClients, single(kindDelete, to, ""), output{}, began, ended)
				return nil
			}
			note(client+tableClients, single(kindNone, to, ""), output{}, began, ended)
			return err
		}
	}
	var all sync.WaitGroup
	for client := range tableClients {
		all.Go(func() {
			for n := range tableCalls {
				if err := call(client, n); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	var disturbed sync.WaitGroup
	disturbed.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(place.pause / 4):
				if err := place.disturb(t.Context(), func() {}); err != nil {
					t.Error(err)
				}
			}
		}
	})
	all.Wait()
	close(done)
	disturbed.Wait()
	return operations
}

// TestTableCheckerCanFail gives the checker of whole tables what a broken Rotate
// would make.
func TestTableCheckerCanFail(t *testing.T) {
	t.Parallel()
	single := func(kind kind, key int, value string, out output) porcupine.Operation {
		return porcupine.Operation{Input: move{input{kind: kind, value: value}, key, key}, Output: out}
	}
	set := single(kindSet, 0, "a", output{})
	rotate := porcupine.Operation{Input: move{input{kind: kindRotate}, 0, 1}, Output: output{}}
	missed := porcupine.Operation{Input: move{input{kind: kindMiss}, 0, 1}, Output: output{}}
	get := func(key int, value string) porcupine.Operation {
		return single(kindGet, key, "", output{ok: value != none, value: value})
	}
	for name, test := range map[string]struct {
		history []porcupine.Operation
		want    bool
	}{
		"it moves":                      {[]porcupine.Operation{set, rotate, get(0, none), get(1, "a")}, true},
		"nothing to move":               {[]porcupine.Operation{missed, get(1, none)}, true},
		"both live on":                  {[]porcupine.Operation{set, rotate, get(0, "a")}, false},
		"it is lost":                    {[]porcupine.Operation{set, rotate, get(1, none)}, false},
		"two rotate one session":        {[]porcupine.Operation{set, rotate, rotate}, false},
		"it misses without a reason":    {[]porcupine.Operation{set, missed}, false},
		"it overwrites another session": {[]porcupine.Operation{set, single(kindSet, 1, "b", output{}), rotate}, false},
		"it moves what is not there":    {[]porcupine.Operation{rotate}, false},
	} {
		for i := range test.history {
			test.history[i].ClientId, test.history[i].Call, test.history[i].Return = i, int64(10*i), int64(10*i+5)
		}
		if got := porcupine.CheckOperations(tableModel, test.history); got != test.want {
			t.Errorf("%s: the checker says %v; want %v", name, got, test.want)
		}
	}
}
