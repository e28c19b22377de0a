package sessioncache_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

// TestRenewRacingEnd: a call that ends a session has ended it once it returns nil,
// whatever is under way.
func TestRenewRacingEnd(t *testing.T) {
	t.Parallel()
	type cache = sessioncache.Cache[raw]
	for name, end := range map[string]func(t *testing.T, cache *cache, token sid.Token, user string) error{
		"Revoke": func(t *testing.T, cache *cache, token sid.Token, _ string) error {
			return cache.Revoke(t.Context(), token)
		},
		"DeleteSession": func(t *testing.T, cache *cache, token sid.Token, _ string) error {
			return second(cache.DeleteSession(t.Context(), token.Handle()))
		},
		"DeleteUserSessions": func(t *testing.T, cache *cache, _ sid.Token, user string) error {
			return second(cache.DeleteUserSessions(t.Context(), user))
		},
	} {
		t.Run(name, func(t *testing.T) {
			cache, _ := setupRace[raw](t)
			var renewals atomic.Int64
			var lag lag
			rounds(1000, func() {
				user := newID()
				token := issue(t, cache, userOf(user))
				tokens := []sid.Token{token}
				atOnce(func() {
					lag.wait()
					renewed, ok, err := cache.Renew(t.Context(), token)
					if err != nil && !errors.Is(err, sessioncache.ErrSuperseded) {
						t.Errorf("Renew: %v", err)
					}
					if ok {
						renewals.Add(1)
						tokens = append(tokens, renewed)
					}
				}, func() {
					defer lag.measure(time.Now())
					if err := end(t, cache, token, user); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				})
				wantDead(t, cache, tokens...)
			})
			n := renewals.Load()
			t.Logf("%d of 1000 renewals came first", n)
			if n == 0 || n == 1000 {
				t.Errorf("%d of 1000 renewals came first: it was no race", n)
			}
		})
	}
}

func TestRenewRacingRenew(t *testing.T) {
	cache, _ := setupRace[raw](t)
	rounds(1000, func() {
		user := string(userOf(newID()))
		token := issue(t, cache, raw(user))
		var winners []sid.Token
		var mu sync.Mutex
		try := func() {
			renewed, ok, err := cache.Renew(t.Context(), token)
			mu.Lock()
			defer mu.Unlock()
			if ok && err == nil {
				winners = append(winners, renewed)
			} else if ok || !errors.Is(err, sessioncache.ErrSuperseded) || !renewed.IsZero() {
				t.Errorf("the loser's Renew = %v, %v; want ErrSuperseded", ok, err)
			}
		}
		atOnce(try, try)
		if len(winners) != 1 {
			t.Errorf("%d of two who renew one token at once succeed; want one", len(winners))
			return
		}
		wantOpens(t, cache, winners[0], user)
		wantDead(t, cache, token)
	})
}

// TestUpdateSessionRacingRenew: an increment that was answered with ErrSuperseded has
// not happened, and one that was answered with nil has.
func TestUpdateSessionRacingRenew(t *testing.T) {
	cache, _ := setupRace[counter](t)
	const callers, increments = 16, 200
	var current atomic.Pointer[sid.Token]
	token := issue(t, cache, counter{})
	current.Store(&token)
	var done, renewals, superseded atomic.Int64

	renewCurrent := func() {
		token := current.Load()
		renewed, ok, err := cache.Renew(t.Context(), *token)
		switch {
		case ok: // only one succeeds for each token
			renewals.Add(1)
			current.Store(&renewed)
		case err != nil && !errors.Is(err, sessioncache.ErrSuperseded),
			err == nil && current.Load() == token: // not even superseded: it is older than that
			t.Errorf("Renew = %v, %v", ok, err)
		}
	}
	update := func() bool {
		for {
			token := current.Load()
			ok, err := cache.UpdateSession(t.Context(), *token, increment)
			switch {
			case ok && err == nil:
				return true
			case errors.Is(err, sessioncache.ErrSuperseded):
				superseded.Add(1)
			case err != nil || current.Load() == token:
				t.Errorf("UpdateSession = %v, %v", ok, err)
				return false
			}
		}
	}
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range increments {
				if !update() {
					return
				}
				// Seldom: no caller may fall four renewals behind, like a thief.
				if done.Add(1)%256 == 0 {
					renewCurrent()
				}
			}
		})
	}
	all.Wait()
	session, ok, err := cache.Authenticate(t.Context(), *current.Load())
	if err != nil || !ok || session.User.N != callers*increments {
		t.Errorf("Authenticate = %+v, %v, %v; want %d", session, ok, err, callers*increments)
	}
	if renewals.Load() == 0 || superseded.Load() == 0 {
		t.Errorf("%d renewals and %d superseded updates: it was no race", renewals.Load(), superseded.Load())
	}
}

// TestUpdateSessionRacingRevoke checks that nothing brings a revoked session back, while
// callers update it one time after the other.
func TestUpdateSessionRacingRevoke(t *testing.T) {
	cache, pool := setupRace[counter](t)
	rounds(300, func() {
		token := issue(t, cache, counter{})
		var first sync.Once
		updated := make(chan struct{})
		update := func() {
			for ok := true; ok; {
				var err error
				if ok, err = cache.UpdateSession(t.Context(), token, increment); err != nil {
					t.Error(err)
				} else if ok {
					first.Do(func() { close(updated) })
				}
			}
		}
		atOnce(update, update, update, func() {
			<-updated
			if err := cache.Revoke(t.Context(), token); err != nil {
				t.Error(err)
			}
			wantDead(t, cache, token)
		})
		if row := wholeRow(t, pool, token.Handle()); row != "" {
			t.Errorf("the row is back: %s", row)
		}
	})
}

// TestRenewRacingAuthenticate: from one instant to the next the old token opens
// nothing and the new one opens the session. A request with the old one is let in or
// told to ask again, and never told that there is no session.
func TestRenewRacingAuthenticate(t *testing.T) {
	cache, _ := setupRace[raw](t)
	rounds(300, func() {
		user := string(userOf(newID()))
		token := issue(t, cache, raw(user))
		authenticate := func() {
			session, ok, err := cache.Authenticate(t.Context(), token)
			if ok && (err != nil || string(session.User) != user) || !ok && !errors.Is(err, sessioncache.ErrSuperseded) {
				t.Errorf("Authenticate = %+v, %v, %v", session, ok, err)
			}
		}
		atOnce(authenticate, authenticate, authenticate, func() {
			renewed := renew(t, cache, token)
			_, ok, err := cache.Authenticate(t.Context(), token)
			if ok {
				t.Error("the old token opens the session after the renewal")
			}
			wantErrorIs(t, "Authenticate", err, sessioncache.ErrSuperseded)
			wantOpens(t, cache, renewed, user)
		})
	})
}
