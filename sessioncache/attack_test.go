package sessioncache_test

import (
	"errors"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// TestCarryFromOneHandleTwice: two cookies with one token (two paths, or one that another host of the domain has copied)
// must not make a login with Carry impossible.
func TestCarryFromOneHandleTwice(t *testing.T) {
	cache, _ := setup[raw](t)
	visitor := issue(t, cache, raw(`{"basket":1}`), sessioncache.Anonymous())
	carry := sessioncache.Carry(func(raw, *raw) error { return nil })
	_, err := cache.Issue(t.Context(), userOf("u"), sessioncache.Replacing(visitor, visitor), carry)
	if err != nil {
		t.Errorf("Issue, the same token twice: %v", err)
	}

	old := issue(t, cache, raw(`{"basket":1}`), sessioncache.Anonymous())
	current := renew(t, cache, old)
	_, err = cache.Issue(t.Context(), userOf("u"), sessioncache.Replacing(current, old), carry)
	if err != nil {
		t.Errorf("Issue, the current and a former token: %v", err)
	}
}

// TestCarryOfEndedVisitor: a visitor's session that ends while carry runs must not be carried over.
func TestCarryOfEndedVisitor(t *testing.T) {
	cache, _ := setup[raw](t)
	visitor := issue(t, cache, raw(`{"basket":1}`), sessioncache.Anonymous())
	token, err := cache.Issue(t.Context(), userOf("u"), sessioncache.Replacing(visitor),
		sessioncache.Carry(func(_ raw, user *raw) error {
			*user = raw(`{"user_id":"u","basket":"carried"}`)
			if err := cache.Revoke(t.Context(), visitor); err != nil { // returns nil: the session is gone
				t.Error(err)
			}
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	wantOpens(t, cache, token, string(userOf("u")))
}

// TestUpdateToAndFro: many changes at once that go to and fro are no suppressed change.
func TestUpdateToAndFro(t *testing.T) {
	cache, _ := setup[raw](t)
	token := issue(t, cache, raw(`{"user_id":"u","dark":false}`))
	failed := make(chan error, 1000)
	var callers []func()
	for range 16 {
		callers = append(callers, func() {
			for range 20 {
				_, err := cache.UpdateSession(t.Context(), token, func(user *raw) error {
					if string(*user) == `{"user_id":"u","dark":false}` {
						*user = raw(`{"user_id":"u","dark":true}`)
					} else {
						*user = raw(`{"user_id":"u","dark":false}`)
					}
					return nil
				})
				if err != nil {
					failed <- err
				}
			}
		})
	}
	atOnce(callers...)
	if n := len(failed); n > 0 {
		t.Errorf("%d of 320 updates failed, for example: %v", n, <-failed)
	}
}

// TestRetireSupersededVisitor: a superseded token of a visitor ends the session, as Retire says.
func TestRetireSupersededVisitor(t *testing.T) {
	cache, pool := setup[raw](t)
	old := issue(t, cache, raw(`{"basket":1}`), sessioncache.Anonymous())
	current := renew(t, cache, old)
	sessiontest.Elapse(t, pool, old.Handle(), 11*time.Second)
	if _, err := cache.Issue(t.Context(), userOf("u"), sessioncache.Replacing(old)); err != nil {
		t.Fatal(err)
	}
	wantOpensNone(t, cache, current)
}

// TestCarryOtherUser: carry must not make the login one of another user.
func TestCarryOtherUser(t *testing.T) {
	cache, _ := setup[raw](t)
	visitor := issue(t, cache, raw(`{"user_id":"victim"}`), sessioncache.Anonymous())
	token, err := cache.Issue(t.Context(), userOf("mallory"), sessioncache.Replacing(visitor),
		sessioncache.Carry(func(data raw, user *raw) error { *user = data; return nil }))
	if !errors.Is(err, sessioncache.ErrUserChanged) {
		session, _, _ := cache.Authenticate(t.Context(), token)
		t.Errorf("Issue = %v; the session is that of %q", err, session.UserID)
	}
}
