package systemtest

import (
	"fmt"
	"testing"

	"github.com/anishathalye/porcupine"
)

// The sequential model of one session id, as porcupine takes it: what each call
// may answer in which state, and the states it may leave behind. A history of
// concurrent calls is linearizable if some order of them, in which no call comes
// before one that had ended when it began, fits the model.

type kind string

const (
	kindSet    kind = "set"
	kindGet    kind = "get"
	kindDelete kind = "delete"
	kindUpdate kind = "update"

	// A Set that ends with ErrConflict does two things, one after the other: it
	// finds that the id exists, and deletes the session. Of several at once, each
	// may find the same session. They stand in a history as kindFind and
	// kindDelete. (One step would be the stricter model. It would have the third
	// of three Sets succeed when the second has just ended the session of the
	// first; the store refuses all but the first, which fails closed.)
	kindFind kind = "find"
)

// input is a call. Every call that writes writes a value of its own, so that
// whoever reads one knows whose it is.
type input struct {
	key   string
	kind  kind
	value string
}

// output is how it came back.
type output struct {
	value   string // what Get or Update has read
	ok      bool   // of Get and Update
	unknown bool   // ErrUnavailable: it may have happened or not
}

// none is the state of an id without a session.
const none = ""

var model = (&porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, operation := range history {
			key := operation.Input.(input).key
			byKey[key] = append(byKey[key], operation)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() []any { return []any{none} },
	Step: func(state, in, out any) []any {
		return step(state.(string), in.(input), out.(output))
	},
	DescribeOperation: func(in, out any) string {
		return fmt.Sprintf("%s(%s) → %+v", in.(input).kind, in.(input).value, out)
	},
}).ToModel()

// step returns the states that a call may leave behind, none if it could not have
// answered so.
func step(state string, in input, out output) []any {
	after := state // when it happens
	switch in.kind {
	case kindSet:
		if after = in.value; state != none {
			after = none // a conflict ends the session
		}
		if !out.unknown && state != none {
			return nil
		}
	case kindFind:
		if state == none {
			return nil
		}
	case kindDelete:
		after = none
	case kindGet, kindUpdate:
		if in.kind == kindUpdate && state != none {
			after = in.value
		}
		if !out.unknown && (out.ok != (state != none) || out.value != state) {
			return nil
		}
	}
	if out.unknown && after != state {
		return []any{state, after}
	}
	return []any{after}
}

// TestCheckerCanFail gives the checker histories that a broken store would make.
func TestCheckerCanFail(t *testing.T) {
	t.Parallel()
	// Calls one after the other, unless told otherwise.
	sequence := func(calls ...porcupine.Operation) []porcupine.Operation {
		for i := range calls {
			calls[i].ClientId, calls[i].Call, calls[i].Return = i, int64(10*i), int64(10*i+5)
		}
		return calls
	}
	call := func(kind kind, value string, out output) porcupine.Operation {
		return porcupine.Operation{Input: input{"id", kind, value}, Output: out}
	}
	set := call(kindSet, "a", output{})
	getA := call(kindGet, "", output{ok: true, value: "a"})
	getB := call(kindGet, "", output{ok: true, value: "b"})
	getNone := call(kindGet, "", output{})
	found := call(kindFind, "", output{})
	deleted := call(kindDelete, "", output{})
	update := call(kindUpdate, "b", output{ok: true, value: "a"})
	unknownSet := call(kindSet, "a", output{unknown: true})
	unknownDelete := call(kindDelete, "", output{unknown: true})

	for name, test := range map[string]struct {
		history []porcupine.Operation
		want    bool
	}{
		"a session's life":                     {sequence(getNone, set, getA, update, getB, deleted, getNone), true},
		"a second Set ends it":                 {sequence(set, found, deleted, getNone), true},
		"unknown, and it happened":             {sequence(unknownSet, getA, unknownDelete, getNone), true},
		"unknown, and it did not":              {sequence(unknownSet, getNone, set, unknownDelete, getA), true},
		"a stale read":                         {sequence(set, deleted, getA), false},
		"a lost write":                         {sequence(set, getNone), false},
		"another caller's answer":              {sequence(set, getB), false},
		"a conflict that lets somebody stay":   {sequence(set, found, deleted, getA), false},
		"a conflict that lets the second in":   {sequence(set, found, deleted, getB), false},
		"a second Set that succeeds":           {sequence(set, call(kindSet, "b", output{})), false},
		"a conflict with nobody":               {sequence(found, deleted), false},
		"an Update that revives":               {sequence(set, deleted, update, getB), false},
		"an Update that is lost":               {sequence(set, update, getA), false},
		"unknown that happens and unhappens":   {sequence(unknownSet, getA, getNone), false},
		"a logout that is undone by a failure": {sequence(set, deleted, unknownSet, getA, unknownDelete, getB), false},
	} {
		if got := porcupine.CheckOperations(model, test.history); got != test.want {
			t.Errorf("%s: the checker says %v; want %v", name, got, test.want)
		}
	}
}
