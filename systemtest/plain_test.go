package systemtest

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

const keys = 8 // few enough that ids collide

// TestLinearizable checks plain sessions.
func TestLinearizable(t *testing.T) {
	t.Parallel()
	underEachFault(t, model, plainSessions(func(pool *pgxpool.Pool) store {
		return sessioncache.New[json.RawMessage](pool)
	}))
}

// store is what the clients call: a Cache, or one with a bug, to see whether the
// checker finds it.
type store interface {
	Set(ctx context.Context, id string, user json.RawMessage) error
	Get(ctx context.Context, id string) (user json.RawMessage, ok bool, err error)
	Delete(ctx context.Context, id string) error
	Update(ctx context.Context, id string, change func(user *json.RawMessage) error, options ...sessioncache.UpdateOption) (ok bool, err error)
}

// plain is the workload of plain sessions.
type plain struct {
	*history
	stores [servers]store
	ids    [keys]string
	values atomic.Int64 // how many have been written
}

func plainSessions(newStore func(pool *pgxpool.Pool) store) func(pools [servers]*pgxpool.Pool) workload {
	return func(pools [servers]*pgxpool.Pool) workload {
		w := &plain{history: &history{start: time.Now()}}
		for i, pool := range pools {
			w.stores[i] = newStore(pool)
		}
		for i := range w.ids {
			w.ids[i] = sid.New().String()
		}
		return w
	}
}

func (w *plain) step(ctx context.Context, client int, readOnly bool) error {
	in := input{
		key:   w.ids[rand.IntN(keys)],
		kind:  []kind{kindSet, kindGet, kindGet, kindGet, kindDelete, kindUpdate}[rand.IntN(6)],
		value: w.value(),
	}
	if readOnly {
		in.kind = kindGet
	}
	return w.call(ctx, client, in)
}

// value is one that nobody has written before.
func (w *plain) value() string {
	return strconv.FormatInt(w.values.Add(1), 10)
}

func (w *plain) keep(ctx context.Context, client int, end bool) error {
	store, id, value := w.stores[client%servers], sid.New().String(), w.value()
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	if err := store.Set(ctx, id, json.RawMessage(value)); err != nil {
		return err
	}
	if end {
		if err := store.Delete(ctx, id); err != nil {
			return err
		}
	}
	w.acknowledge(func(ctx context.Context) bool {
		got, ok, err := store.Get(ctx, id)
		return err == nil && ok != end && (end || string(got) == value)
	})
	return nil
}

// call makes a call and notes it.
func (w *plain) call(ctx context.Context, client int, in input) error {
	store := w.stores[client%servers]
	var out output
	began, ended, err := w.timed(ctx, in.kind, func(ctx context.Context) (err error) {
		switch in.kind {
		case kindSet:
			err = store.Set(ctx, in.key, json.RawMessage(in.value))
		case kindGet:
			var value json.RawMessage
			value, out.ok, err = store.Get(ctx, in.key)
			out.value = string(value)
		case kindDelete:
			err = store.Delete(ctx, in.key)
		case kindUpdate:
			out.ok, err = store.Update(ctx, in.key, func(value *json.RawMessage) error {
				out.value, *value = string(*value), json.RawMessage(in.value)
				return nil
			})
			if !out.ok { // the change was called, but another change came first
				out.value = none
			}
		}
		return err
	})
	switch {
	case errors.Is(err, sessioncache.ErrConflict):
		w.note(client, input{in.key, kindFind, ""}, output{}, began, ended)
		w.note(client+clients, input{in.key, kindDelete, ""}, output{}, began, ended)
		return nil
	case isUnknown(err) && in.kind != kindGet: // which says nothing, and changes nothing
		w.unknown[client]++
		w.note(client, in, output{unknown: true}, began, never)
	case err == nil:
		w.note(client, in, out, began, ended)
	}
	return err
}

func (w *plain) ping(ctx context.Context, server int) error {
	_, _, err := w.stores[server].Get(ctx, sid.New().String())
	return err
}

func (w *plain) settle(ctx context.Context) error {
	for i, id := range w.ids {
		if err := w.call(ctx, i, input{key: id, kind: kindGet}); err != nil {
			return err
		}
	}
	return nil
}
