package sessioncache_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
)

func TestRotate(t *testing.T) {
	cache, pool := setup[raw](t)
	me := newID()
	oldID, newID := set(t, cache, userOf(me)), newID()
	shift(t, pool, oldID, -time.Minute)
	before, err := cache.UserSessions(t.Context(), me)
	if err != nil {
		t.Fatal(err)
	}
	ok, err := cache.Rotate(t.Context(), oldID, newID)
	if err != nil || !ok {
		t.Fatalf("Rotate = %v, %v", ok, err)
	}
	wantNone(t, cache, oldID)
	wantUser(t, cache, newID, string(userOf(me)))
	after, err := cache.UserSessions(t.Context(), me)
	if err != nil || len(after) != 1 || after[0].Start != before[0].Start || after[0].End != before[0].End {
		t.Errorf("the times were %v and are %v, %v", before, after, err)
	}
}

func TestRotateAbsent(t *testing.T) {
	cache, pool := setup[raw](t)
	expired := set(t, cache, raw(`{}`))
	shift(t, pool, expired, -2*time.Hour)
	for name, id := range map[string]string{"absent": newID(), "expired": expired} {
		there := newID()
		ok, err := cache.Rotate(t.Context(), id, there)
		if err != nil || ok {
			t.Errorf("%s: Rotate = %v, %v; want false, nil", name, ok, err)
		}
		wantNone(t, cache, there)
	}
}

func TestRotateToAnIDThatExists(t *testing.T) {
	cache, pool := setup[raw](t)
	expired := set(t, cache, raw(`{}`))
	shift(t, pool, expired, -2*time.Hour)
	itself := set(t, cache, raw(`{}`))
	for name, ids := range map[string][2]string{
		"live":                    {set(t, cache, raw(`{}`)), set(t, cache, raw(`{}`))},
		"expired":                 {set(t, cache, raw(`{}`)), expired},
		"from one that is absent": {newID(), set(t, cache, raw(`{}`))},
		"itself":                  {itself, itself},
	} {
		ok, err := cache.Rotate(t.Context(), ids[0], ids[1])
		if ok {
			t.Errorf("%s: Rotate succeeded", name)
		}
		wantError(t, name, err, sessioncache.ErrConflict)
		wantNone(t, cache, ids[0])
		wantNone(t, cache, ids[1])
	}
}

func TestRotateRacingRotate(t *testing.T) {
	cache, _ := setup[raw](t)
	const callers = 8
	for range 300 {
		oldID := set(t, cache, raw(`{}`))
		ids := [callers]string{}
		var won atomic.Int32
		var winner atomic.Value
		var all sync.WaitGroup
		start := make(chan struct{})
		for i := range ids {
			ids[i] = newID()
			all.Go(func() {
				<-start
				ok, err := cache.Rotate(t.Context(), oldID, ids[i])
				if err != nil {
					t.Error(err)
				}
				if ok {
					won.Add(1)
					winner.Store(ids[i])
				}
			})
		}
		close(start)
		all.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d of %d rotations won; want 1", won.Load(), callers)
		}
		wantNone(t, cache, oldID)
		for _, id := range ids {
			if id == winner.Load() {
				wantUser(t, cache, id, `{}`)
			} else {
				wantNone(t, cache, id)
			}
		}
	}
}

// TestRotateRacingUpdate checks that an update is not lost on the way to the new
// id.
func TestRotateRacingUpdate(t *testing.T) {
	cache, _ := setup[counter](t)
	for range 300 {
		oldID, newID := set(t, cache, counter{}), newID()
		updated := make(chan bool)
		go func() {
			ok, err := cache.Update(t.Context(), oldID, increment)
			if err != nil {
				t.Error(err)
			}
			updated <- ok
		}()
		ok, err := cache.Rotate(t.Context(), oldID, newID)
		if err != nil || !ok {
			t.Fatalf("Rotate = %v, %v", ok, err)
		}
		want := counter{}
		if <-updated {
			want.N = 1
		}
		got, ok, err := cache.Get(t.Context(), newID)
		if err != nil || !ok || got != want {
			t.Fatalf("Get = %v, %v, %v; want %v", got, ok, err, want)
		}
	}
}
