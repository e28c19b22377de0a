package sessioncache_test

import (
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

func TestSession(t *testing.T) {
	cache, pool := setup[raw](t)
	me := newID()
	live, nobodys, expired := issue(t, cache, userOf(me)), issue(t, cache, raw(`{}`)), issue(t, cache, userOf(me))
	visitors := issue(t, cache, userOf(me), sessioncache.Anonymous())
	sessiontest.Elapse(t, pool, expired.Handle(), 2*time.Hour)
	for _, test := range []struct {
		handle    sid.Handle
		user      string
		state     sessioncache.State
		anonymous bool
	}{
		{live.Handle(), me, sessioncache.StateLive, false},
		{nobodys.Handle(), "", sessioncache.StateLive, false},
		{expired.Handle(), me, sessioncache.StateExpired, false},
		{visitors.Handle(), "", sessioncache.StateLive, true},
	} {
		session, ok, err := cache.Session(t.Context(), test.handle)
		if err != nil || !ok || session.Handle != test.handle || session.UserID != test.user || session.State != test.state ||
			session.Anonymous() != test.anonymous || (session.TTL >= 0) != (test.state == sessioncache.StateLive) ||
			session.ExpiresAt.Sub(session.CreatedAt) != time.Hour || !session.Deadline.Equal(session.ExpiresAt) {
			t.Errorf("Session = %+v, %v, %v; want %+v", session, ok, err, test)
		}
	}
	plain, err := sid.ParseHandle(set(t, cache, userOf(me)))
	if err != nil {
		t.Fatal(err)
	}
	for name, handle := range map[string]sid.Handle{"an absent session": sid.NewToken().Handle(), "a plain session": plain, "none": {}} {
		if session, ok, err := cache.Session(t.Context(), handle); err != nil || ok {
			t.Errorf("Session of %s = %v, %v, %v", name, session, ok, err)
		}
	}
	session, ok, err := sessioncache.New[int](pool).Session(t.Context(), live.Handle())
	wantError(t, "Session of what is no int", err, sessioncache.ErrUnreadableSession)
	if ok || session.State != sessioncache.StateUnreadable || session.Handle != live.Handle() || session.UserID != me {
		t.Errorf("Session = %+v, %v", session, ok)
	}
}

func TestDeleteSession(t *testing.T) {
	cache, _ := setup[raw](t)
	token, other := issue(t, cache, raw(`{}`)), issue(t, cache, raw(`{"other":1}`))
	for _, want := range []bool{true, false} { // the second time it is absent, which is no error
		if was, err := cache.DeleteSession(t.Context(), token.Handle()); err != nil || was != want {
			t.Errorf("DeleteSession = %v, %v; want %v", was, err, want)
		}
		wantOpensNone(t, cache, token)
	}
	wantOpens(t, cache, other, `{"other":1}`)
	id := set(t, cache, raw(`{}`))
	plain, err := sid.ParseHandle(id)
	if err != nil {
		t.Fatal(err)
	}
	if was, err := cache.DeleteSession(t.Context(), plain); err != nil || was {
		t.Errorf("DeleteSession of a plain session = %v, %v", was, err)
	}
	wantUser(t, cache, id, `{}`)
}

// TestFarDeadline: what is longer than a Duration can say is the longest one.
func TestFarDeadline(t *testing.T) {
	cache, pool := setup[raw](t)
	token := issue(t, cache, raw(`{}`))
	execute(t, pool, `
		UPDATE session_cache SET session_endutc = '9999-12-31 00:00:00+00', session_deadlineutc = '9999-12-31 00:00:00+00'
		WHERE sessionid = $1`, token.Handle().String())
	session, ok, err := cache.Authenticate(t.Context(), token)
	if err != nil || !ok || session.TTL < 290*365*24*time.Hour || session.Deadline.UTC().Year() != 9999 {
		t.Errorf("Authenticate = %+v, %v, %v; want centuries left", session, ok, err)
	}
}

// TestSessionExtendsNothing: a look at a session by its handle is no use of it.
func TestSessionExtendsNothing(t *testing.T) {
	cache, pool := setup[raw](t, sessioncache.WithIdleTimeout(idleTimeout))
	me := newID()
	token := issue(t, cache, userOf(me))
	sessiontest.Elapse(t, pool, token.Handle(), idleTimeout/2)
	unchanged := wantUnchanged(t, pool, token.Handle())
	if _, ok, err := cache.Session(t.Context(), token.Handle()); err != nil || !ok {
		t.Errorf("Session = %v, %v", ok, err)
	}
	wantSessions(t, cache, me, token)
	unchanged("Session and UserSessions")
}

// TestDeleteSessionOfAnyState: a handle ends its session whatever became of the tokens.
func TestDeleteSessionOfAnyState(t *testing.T) {
	cache, pool := setup[raw](t)
	for state, token := range tokensInAllStates(t, cache, pool, userOf(newID())) {
		if was, err := cache.DeleteSession(t.Context(), token.Handle()); err != nil || !was {
			t.Errorf("%s: DeleteSession = %v, %v", state, was, err)
		}
		if row := wholeRow(t, pool, token.Handle()); row != "" {
			t.Errorf("%s: the row is still there: %s", state, row)
		}
	}
}
