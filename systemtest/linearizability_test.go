package systemtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

const (
	servers = 3   // caches, each with a pool of its own, as on three machines
	clients = 12  // spread over them: more than there are slots, so that they ride together
	calls   = 100 // of each client
	keys    = 6   // few enough that ids collide
)

// TestLinearizable records what concurrent clients see, and has porcupine look
// for an order that explains it: on a calm day, and while a fault goes on.
func TestLinearizable(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(ctx context.Context, pool *pgxpool.Pool) error{
		"calm": func(context.Context, *pgxpool.Pool) error { return nil },
		"backends killed": func(ctx context.Context, pool *pgxpool.Pool) error {
			_, err := pool.Exec(ctx, `
				SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid()`)
			return err
		},
		"statements cancelled": func(ctx context.Context, pool *pgxpool.Pool) error {
			_, err := pool.Exec(ctx, `
				SELECT pg_cancel_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid()`)
			return err
		},
		"table locked": func(ctx context.Context, pool *pgxpool.Pool) error {
			_, err := pool.Exec(ctx, `DO $$ BEGIN LOCK TABLE session_cache; PERFORM pg_sleep(0.005); END $$`)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const histories = 10
			decided := 0
			for range histories {
				history := record(t, fault)
				result, info := porcupine.CheckOperationsVerbose(model, history, 20*time.Second)
				switch result {
				case porcupine.Ok:
					decided++
				case porcupine.Unknown: // many calls that may have happened make many orders
					t.Log("not decided in time")
				case porcupine.Illegal:
					picture := filepath.Join(os.TempDir(), fmt.Sprintf("history-%d.html", time.Now().UnixNano()))
					t.Fatalf("not linearizable: see %s, %v", picture, porcupine.VisualizePath(model, info, picture))
				}
			}
			if decided < histories/2 {
				t.Errorf("only %d of %d histories were decided", decided, histories)
			}
		})
	}
}

// record runs the clients, and the fault again and again until they are done.
func record(t *testing.T, fault func(context.Context, *pgxpool.Pool) error) []porcupine.Operation {
	t.Helper()
	url := sessiontest.NewDatabase(t).URL
	newPool := func() *pgxpool.Pool {
		config, err := pgxpool.ParseConfig(url)
		if err != nil {
			t.Fatal(err)
		}
		config.MaxConns = 2
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		return pool
	}
	var caches [servers]*sessioncache.Cache[json.RawMessage]
	for i := range caches {
		pool := newPool()
		defer pool.Close()
		caches[i] = sessioncache.New[json.RawMessage](pool)
	}
	var ids [keys]string
	for i := range ids {
		ids[i] = sid.New().String()
	}

	h := history{start: time.Now()}
	var all sync.WaitGroup
	for client := range clients {
		all.Go(func() {
			cache := caches[client%servers]
			for n := range calls {
				in := input{
					key:   ids[rand.IntN(keys)],
					kind:  []kind{kindSet, kindGet, kindGet, kindGet, kindDelete, kindUpdate}[rand.IntN(6)],
					value: fmt.Sprintf(`"%d-%d"`, client, n),
				}
				if err := h.call(t.Context(), client, cache, in); err != nil {
					t.Error(err)
				}
			}
		})
	}

	administrator := newPool()
	defer administrator.Close()
	done := make(chan struct{})
	var disturbed sync.WaitGroup
	disturbed.Go(func() {
		for pause := time.NewTicker(20 * time.Millisecond); ; <-pause.C {
			select {
			case <-done:
				return
			default:
			}
			if err := fault(t.Context(), administrator); err != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
	close(done)
	disturbed.Wait()
	t.Logf("%d calls, %d of them unknown", len(h.operations), h.unknown.Load())
	return h.operations
}

// history is what the clients have seen.
type history struct {
	start      time.Time
	unknown    atomic.Int64
	mu         sync.Mutex
	operations []porcupine.Operation
}

// call makes a call and notes it. The error is one that no call may end with.
func (h *history) call(ctx context.Context, client int, cache *sessioncache.Cache[json.RawMessage], in input) error {
	var out output
	var err error
	began := time.Since(h.start)
	switch in.kind {
	case kindSet:
		err = cache.Set(ctx, in.key, json.RawMessage(in.value))
	case kindGet:
		var value json.RawMessage
		value, out.ok, err = cache.Get(ctx, in.key)
		out.value = string(value)
	case kindDelete:
		err = cache.Delete(ctx, in.key)
	case kindUpdate:
		out.ok, err = cache.Update(ctx, in.key, func(value *json.RawMessage) error {
			out.value, *value = string(*value), json.RawMessage(in.value)
			return nil
		})
	}
	ended := time.Since(h.start).Nanoseconds()
	note := func(client int, in input) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.operations = append(h.operations, porcupine.Operation{
			ClientId: client, Input: in, Call: began.Nanoseconds(), Output: out, Return: ended,
		})
	}
	switch {
	case errors.Is(err, sessioncache.ErrConflict):
		note(client, input{in.key, kindFind, ""})
		note(client+clients, input{in.key, kindDelete, ""})
		return nil
	case errors.Is(err, sessioncache.ErrUnavailable):
		h.unknown.Add(1)
		if in.kind != kindGet { // which says nothing, and changes nothing
			out, ended = output{unknown: true}, math.MaxInt64 // as late as it likes
			note(client, in)
		}
		return nil
	}
	note(client, in)
	return err
}
