package sessioncache_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

// tokenFor is a token with a random secret for whatever has this id.
func tokenFor(t *testing.T, id string) sid.Token {
	t.Helper()
	sessionID, err := sid.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	return withHandle(t, sid.Handle(sessionID), sid.NewToken())
}

// withHandle is a token with the secret of one token and another handle.
func withHandle(t *testing.T, handle sid.Handle, secret sid.Token) sid.Token {
	t.Helper()
	token, err := sid.ParseToken(base64.RawURLEncoding.EncodeToString(append(handle[:], secretOf(t, secret)...)))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func secretOf(t *testing.T, token sid.Token) []byte {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(token.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	return data[len(sid.Handle{}):]
}

// answer is what a call says to whoever has a token.
type answer struct {
	session sessioncache.Session[raw]
	ok      bool
	err     error
}

// answers are those of all calls by token that answer, in order. None may call change.
func answers(t *testing.T, cache *sessioncache.Cache[raw], token sid.Token) []answer {
	t.Helper()
	all := make([]answer, 5)
	all[0].session, all[0].ok, all[0].err = cache.Authenticate(t.Context(), token)
	all[1].ok, all[1].err = cache.UpdateSession(t.Context(), token, func(*raw) error {
		t.Error("UpdateSession has called the change")
		return nil
	})
	for i, options := range [][]sessioncache.RenewOption{nil, {sessioncache.Reauthenticated()}} {
		renewed, ok, err := cache.Renew(t.Context(), token, options...)
		all[2+i].ok, all[2+i].err = ok || !renewed.IsZero(), err
	}
	alive, err := cache.Alive(t.Context(), token)
	all[4].ok, all[4].err = len(alive) != 1 || alive[0], err
	return all
}

func TestIssueAuthenticateRevoke(t *testing.T) {
	cache, pool := setup[raw](t, sessioncache.WithIdleTimeout(idleTimeout))
	token := issue(t, cache, userOf("u"))
	session, ok, err := cache.Authenticate(t.Context(), token)
	if err != nil || !ok {
		t.Fatalf("Authenticate = %v, %v", ok, err)
	}
	if session.Handle != token.Handle() || string(session.User) != string(userOf("u")) || session.UserID != "u" ||
		session.State != sessioncache.StateLive || session.Anonymous() || !session.AuthenticatedAt.Equal(session.CreatedAt) ||
		session.ExpiresAt.Sub(session.CreatedAt) != idleTimeout || session.Deadline.Sub(session.CreatedAt) != time.Hour ||
		session.TTL <= 0 || session.TTL > idleTimeout || session.SinceAuthenticated() != idleTimeout-session.TTL {
		t.Errorf("Authenticate = %+v", session)
	}
	for _, instant := range []time.Time{session.CreatedAt, session.AuthenticatedAt, session.ExpiresAt, session.Deadline} {
		if instant.Location() != time.UTC {
			t.Errorf("%v is not in UTC", instant)
		}
	}
	if err := cache.Revoke(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	wantOpensNone(t, cache, token)
	if row := wholeRow(t, pool, token.Handle()); row != "" {
		t.Errorf("after Revoke the row is %s", row)
	}
	if err := cache.Revoke(t.Context(), token); err != nil {
		t.Errorf("Revoke of a session that is absent: %v", err)
	}
}

func TestAuthenticateExpired(t *testing.T) {
	cache, pool := setup[raw](t)
	token := issue(t, cache, userOf("u"))
	sessiontest.Elapse(t, pool, token.Handle(), time.Hour+time.Second)
	unchanged := wantUnchanged(t, pool, token.Handle())
	session, ok, err := cache.Authenticate(t.Context(), token)
	if err != nil || ok || session.State != sessioncache.StateExpired || session.Handle != token.Handle() ||
		session.UserID != "u" || session.User != nil || session.TTL >= 0 {
		t.Errorf("Authenticate = %+v, %v, %v; want it expired, without its user", session, ok, err)
	}
	for i, answer := range answers(t, cache, token) {
		if answer.ok || answer.err != nil {
			t.Errorf("call %d = %v, %v", i, answer.ok, answer.err)
		}
	}
	unchanged("calls with an expired token")
	if err := cache.Revoke(t.Context(), token); err != nil {
		t.Error(err)
	}
	if row := wholeRow(t, pool, token.Handle()); row != "" {
		t.Errorf("after Revoke the row is %s", row)
	}
}

func TestAliveEndsNothing(t *testing.T) {
	var log suite.Log
	cache, pool := setup[raw](t, sessioncache.WithLogger(log.Logger(slog.LevelInfo)))
	states := tokensInAllStates(t, cache, pool, userOf("u"))
	var tokens []sid.Token
	var handles []sid.Handle
	var want []bool
	for state, token := range states {
		tokens, handles, want = append(tokens, token), append(handles, token.Handle()), append(want, state != "expired")
		tokens, want = append(tokens, token.Renewed(), sid.NewToken()), append(want, false, false)
	}
	for _, age := range []time.Duration{0, 9 * time.Second, 11 * time.Second} {
		superseded := issue(t, cache, userOf("u"))
		tokens, want = append(tokens, superseded, renew(t, cache, superseded)), append(want, false, true)
		sessiontest.Elapse(t, pool, superseded.Handle(), age)
		handles = append(handles, superseded.Handle())
	}
	tokens, want = append(tokens, tokens[0]), append(want, want[0]) // one twice
	unchanged := wantUnchanged(t, pool, handles...)
	alive, err := cache.Alive(t.Context(), tokens...)
	if err != nil || !reflect.DeepEqual(alive, want) {
		t.Errorf("Alive = %v, %v; want %v", alive, err, want)
	}
	unchanged("Alive")
	if metrics := cache.Metrics(); metrics.Superseded != 0 || log.String() != "" {
		t.Errorf("Alive counts as %d uses, and logs %q", metrics.Superseded, &log)
	}
	if alive, err := cache.Alive(t.Context()); err != nil || len(alive) != 0 {
		t.Errorf("Alive of no token = %v, %v", alive, err)
	}
}

// TestHandleIsNoID: a handle may be shown, so the calls for plain sessions find nothing
// under it.
func TestHandleIsNoID(t *testing.T) {
	cache, pool := setup[raw](t)
	for state, token := range tokensInAllStates(t, cache, pool, userOf("u")) {
		unchanged := wantUnchanged(t, pool, token.Handle())
		for _, id := range []string{token.Handle().String(), strings.ToUpper(token.Handle().String())} {
			wantError(t, state+": Set", cache.Set(t.Context(), id, raw(`{}`)), sessioncache.ErrConflict)
			unchanged("Set")
			user, ok, err := cache.Get(t.Context(), id)
			if err != nil || ok || user != nil {
				t.Errorf("%s: Get = %s, %v, %v", state, user, ok, err)
			}
			unchanged("Get")
			ok, err = cache.Update(t.Context(), id, func(*raw) error {
				t.Errorf("%s: Update has called the change", state)
				return nil
			})
			if err != nil || ok {
				t.Errorf("%s: Update = %v, %v", state, ok, err)
			}
			unchanged("Update")
			if err := cache.Delete(t.Context(), id); err != nil {
				t.Errorf("%s: Delete = %v", state, err)
			}
			unchanged("Delete")
		}
	}
}

// TestIDIsNoHandle: a plain session has no token and no handle.
func TestIDIsNoHandle(t *testing.T) {
	cache, pool := setup[raw](t)
	id := set(t, cache, userOf("u"))
	unchanged := wantUnchanged(t, pool, named(id))
	token := tokenFor(t, id)
	if session, ok, err := cache.Session(t.Context(), token.Handle()); err != nil || ok || !reflect.DeepEqual(session, sessioncache.Session[raw]{}) {
		t.Errorf("Session = %+v, %v, %v", session, ok, err)
	}
	if was, err := cache.DeleteSession(t.Context(), token.Handle()); err != nil || was {
		t.Errorf("DeleteSession = %v, %v", was, err)
	}
	if got := answers(t, cache, token); !reflect.DeepEqual(got, make([]answer, len(got))) {
		t.Errorf("the answers are %+v; want those to an unknown token", got)
	}
	if err := cache.Revoke(t.Context(), token); err != nil {
		t.Error(err)
	}
	if was, err := cache.Retire(t.Context(), token); err != nil || was {
		t.Errorf("Retire = %v, %v", was, err)
	}
	unchanged("calls for sessions with tokens")
	wantUser(t, cache, id, string(userOf("u")))
}

// TestWrongSecretLearnsNothing: whatever is behind a handle, a wrong secret is answered
// as for an absent session, and changes nothing.
func TestWrongSecretLearnsNothing(t *testing.T) {
	var log suite.Log
	cache, pool := setup[raw](t, sessioncache.WithLogger(log.Logger(slog.LevelInfo)))
	wrong := map[string]sid.Token{"plain": tokenFor(t, set(t, cache, userOf("u")))}
	for state, token := range tokensInAllStates(t, cache, pool, userOf("u")) {
		wrong[state] = token.Renewed()
	}
	unreadable := issue(t, cache, userOf("u"))
	execute(t, pool, `UPDATE session_cache SET userdict = 'null' WHERE sessionid = $1`, unreadable.Handle().String())
	wrong["unreadable"] = unreadable.Renewed()
	absent := answers(t, cache, sid.NewToken())
	if !reflect.DeepEqual(absent, make([]answer, len(absent))) {
		t.Errorf("the answers to an unknown token are %+v", absent)
	}
	for state, token := range wrong {
		unchanged := wantUnchanged(t, pool, token.Handle())
		if got := answers(t, cache, token); !reflect.DeepEqual(got, absent) {
			t.Errorf("%s: the answers are %+v; want %+v", state, got, absent)
		}
		if err := cache.Revoke(t.Context(), token); err != nil {
			t.Errorf("%s: Revoke = %v", state, err)
		}
		if was, err := cache.Retire(t.Context(), token); err != nil || was {
			t.Errorf("%s: Retire = %v, %v", state, was, err)
		}
		unchanged("calls with a wrong secret: " + state)
	}
	if n := cache.Metrics().Superseded; n != 0 || log.String() != "" {
		t.Errorf("%d wrong secrets count as superseded, and the log is %q", n, &log)
	}
}

// TestDigestIsOfOneRow: whoever can write the table cannot make a token open another
// session with it, or its own one in another application.
func TestDigestIsOfOneRow(t *testing.T) {
	shop, pool := setup[raw](t, sessioncache.WithAudience(newID()))
	admin := sessioncache.New[raw](pool, sessioncache.WithAudience(newID()))
	mine, victims := issue(t, shop, userOf("me")), issue(t, shop, userOf("victim"))
	digest := mine.Digest(shop.Audience())
	execute(t, pool, `UPDATE session_cache SET secret = $1 WHERE sessionid = $2`, digest[:], victims.Handle().String())
	wantDead(t, shop, victims, withHandle(t, victims.Handle(), mine))
	wantOpens(t, shop, mine, string(userOf("me")))

	execute(t, pool, `UPDATE session_cache SET audience = $1 WHERE sessionid = $2`, admin.Audience(), mine.Handle().String())
	wantDead(t, admin, mine)
	wantDead(t, shop, mine)
	wantOpensNone(t, admin, mine)
}

// TestTokenScope: within an audience, a token opens a session in its own scope only.
func TestTokenScope(t *testing.T) {
	cache, pool := setup[raw](t)
	web, api := cache.WithTokenScope("web"), cache.WithTokenScope("api")
	me := newID()
	token := issue(t, web, userOf(me))
	unchanged := wantUnchanged(t, pool, token.Handle())
	for name, other := range map[string]*sessioncache.Cache[raw]{"another scope": api, "no scope": cache} {
		if got := answers(t, other, token); !reflect.DeepEqual(got, make([]answer, len(got))) {
			t.Errorf("in %s the answers are %+v; want those to an unknown token", name, got)
		}
		if err := other.Revoke(t.Context(), token); err != nil {
			t.Error(err)
		}
	}
	unchanged("calls in another scope")
	wantOpens(t, web, token, string(userOf(me)))
	wantSessions(t, api, me, token)
	if was, err := api.DeleteSession(t.Context(), token.Handle()); err != nil || !was {
		t.Errorf("DeleteSession in another scope = %v, %v", was, err)
	}
}

// shopUser and adminUser do not decode each other's JSON.
type shopUser struct {
	ID   string `json:"user_id"`
	Data []string
}

type adminUser struct {
	ID   string `json:"user_id"`
	Data int
}

// TestAudiences: applications that share the table do not find, list or end each
// other's sessions, whatever they know of them.
func TestAudiences(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t)
	for name, audiences := range map[string][2]string{
		"two names": {newID(), newID()}, "none and a name": {"", newID()}, "a name and none": {newID(), ""},
		"a name and its beginning": {"shop:admin " + newID(), "shop:"},
	} {
		t.Run(name, func(t *testing.T) {
			me := newID()
			shop := sessioncache.New[shopUser](pool, sessioncache.WithAudience(audiences[0]))
			admin := sessioncache.New[adminUser](pool, sessioncache.WithAudience(audiences[1]))
			shops, admins := shopUser{me, []string{"a"}}, adminUser{me, 1}

			token := issue(t, shop, shops)
			visitors := issue(t, shop, shops, sessioncache.Anonymous())
			superseded := issue(t, shop, shops)
			renewed := renew(t, shop, superseded)
			sessiontest.Elapse(t, pool, superseded.Handle(), time.Minute)
			id := set(t, shop, shops)
			unchanged := wantUnchanged[fmt.Stringer](t, pool, token.Handle(), visitors.Handle(), superseded.Handle(), named(id))
			own := issue(t, admin, admins)

			for _, token := range []sid.Token{token, visitors, superseded, renewed} {
				session, ok, err := admin.Authenticate(t.Context(), token)
				if err != nil || ok || session != (sessioncache.Session[adminUser]{}) {
					t.Errorf("Authenticate = %+v, %v, %v", session, ok, err)
				}
				ok, err = admin.UpdateSession(t.Context(), token, func(*adminUser) error {
					t.Error("UpdateSession has called the change")
					return nil
				})
				if err != nil || ok {
					t.Errorf("UpdateSession = %v, %v", ok, err)
				}
				if renewed, ok, err := admin.Renew(t.Context(), token); err != nil || ok || !renewed.IsZero() {
					t.Errorf("Renew = %v, %v", ok, err)
				}
				wantDead(t, admin, token)
				if err := admin.Revoke(t.Context(), token); err != nil {
					t.Errorf("Revoke = %v", err)
				}
				if was, err := admin.Retire(t.Context(), token); err != nil || was {
					t.Errorf("Retire = %v, %v", was, err)
				}
				session, ok, err = admin.Session(t.Context(), token.Handle())
				if err != nil || ok || session != (sessioncache.Session[adminUser]{}) {
					t.Errorf("Session = %+v, %v, %v", session, ok, err)
				}
				if was, err := admin.DeleteSession(t.Context(), token.Handle()); err != nil || was {
					t.Errorf("DeleteSession = %v, %v", was, err)
				}
			}
			unchanged("calls by token and by handle")

			sessions, err := admin.UserSessions(t.Context(), me)
			if err != nil || len(sessions) != 1 || sessions[0].Handle != own.Handle() || sessions[0].User != admins ||
				sessions[0].State != sessioncache.StateLive {
				t.Errorf("UserSessions = %+v, %v; want the own one", sessions, err)
			}
			sessiontest.Elapse(t, pool, own.Handle(), 10*time.Minute) // the shop's are newer
			older := issue(t, admin, admins, sessioncache.MaxSessions(2))
			if alive, err := admin.Alive(t.Context(), own, older); err != nil || !alive[0] || !alive[1] {
				t.Errorf("Alive = %v, %v; want both of two", alive, err)
			}
			newer := issue(t, admin, admins, sessioncache.MaxSessions(1))
			wantDead(t, admin, own, older)
			if n, err := admin.DeleteUserSessions(t.Context(), me, newer.Handle()); err != nil || n != 0 {
				t.Errorf("DeleteUserSessions but the own one = %d, %v", n, err)
			}
			if n, err := admin.DeleteUserSessions(t.Context(), me); err != nil || n != 1 {
				t.Errorf("DeleteUserSessions = %d, %v; want the own one", n, err)
			}
			unchanged("calls by user")

			if user, ok, err := admin.Get(t.Context(), id); err != nil || ok || user != (adminUser{}) {
				t.Errorf("Get = %v, %v, %v", user, ok, err)
			}
			if ok, err := admin.Update(t.Context(), id, func(*adminUser) error { return nil }); err != nil || ok {
				t.Errorf("Update = %v, %v", ok, err)
			}
			if err := admin.Delete(t.Context(), id); err != nil {
				t.Errorf("Delete = %v", err)
			}
			wantError(t, "Set", admin.Set(t.Context(), id, admins), sessioncache.ErrConflict)
			unchanged("calls by id")
		})
	}
}

func TestDeleteAudience(t *testing.T) {
	shop, pool := setup[raw](t, sessioncache.WithAudience(newID()))
	admin := sessioncache.New[raw](pool, sessioncache.WithAudience(newID()))
	nobodys := sessioncache.New[raw](pool)
	own, others, shared := issue(t, shop, raw(`{}`)), issue(t, admin, raw(`{}`)), issue(t, nobodys, raw(`{}`))
	id, othersID := set(t, shop, raw(`{}`)), set(t, admin, raw(`{}`))
	if n, err := shop.DeleteAudience(t.Context()); err != nil || n != 2 {
		t.Errorf("DeleteAudience = %d, %v; want 2", n, err)
	}
	wantOpensNone(t, shop, own)
	wantNone(t, shop, id)
	wantOpens(t, admin, others, `{}`)
	wantOpens(t, nobodys, shared, `{}`)
	wantUser(t, admin, othersID, `{}`)
}

// TestAnonymous: a visitor has proved nothing, whomever the session names.
func TestAnonymous(t *testing.T) {
	cache, pool := setup[raw](t)
	me := newID()
	owners := issue(t, cache, userOf(me))
	visitors := issue(t, cache, userOf(me), sessioncache.Anonymous())
	session, ok, err := cache.Authenticate(t.Context(), visitors)
	if err != nil || !ok || !session.Anonymous() || !session.AuthenticatedAt.IsZero() || session.UserID != "" ||
		session.SinceAuthenticated() != 1<<63-1 {
		t.Errorf("Authenticate = %+v, %v, %v; want it anonymous", session, ok, err)
	}
	wantSessions(t, cache, me, owners)

	unchanged := wantUnchanged(t, pool, visitors.Handle())
	renewed, ok, err := cache.Renew(t.Context(), visitors, sessioncache.Reauthenticated())
	if err != nil || ok || !renewed.IsZero() {
		t.Errorf("Renew, re-authenticated = %v, %v", ok, err)
	}
	unchanged("Renew with Reauthenticated")
	renewed = renew(t, cache, visitors)
	session, ok, err = cache.Authenticate(t.Context(), renewed)
	if err != nil || !ok || !session.Anonymous() {
		t.Errorf("Authenticate = %+v, %v, %v; want it anonymous after a renewal, too", session, ok, err)
	}

	newer := issue(t, cache, userOf(me), sessioncache.MaxSessions(2))
	wantSessions(t, cache, me, newer, owners)
	wantOpens(t, cache, renewed, string(userOf(me)))
	if n, err := cache.DeleteUserSessions(t.Context(), me, newer.Handle()); err != nil || n != 1 {
		t.Errorf("DeleteUserSessions = %d, %v; want 1", n, err)
	}
	wantOpens(t, cache, renewed, string(userOf(me)))
}

// TestAnonymousSessionsEndNone: whoever begins a session in somebody's name can do
// nothing to that user's sessions with it.
func TestAnonymousSessionsEndNone(t *testing.T) {
	cache, _ := setup[raw](t)
	me := newID()
	owners := issue(t, cache, userOf(me))
	if _, err := cache.Issue(t.Context(), userOf(me), sessioncache.Anonymous(), sessioncache.MaxSessions(1)); err != nil {
		t.Logf("Issue of an anonymous session with a limit: %v", err)
	}
	wantSessions(t, cache, me, owners)
}

// TestRenewTimes: a renewal alone prolongs nothing, and a re-authentication restarts
// what the session was issued with, however often.
func TestRenewTimes(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t)
	const lifetime = 90*time.Minute + 123457*time.Microsecond
	for name, test := range map[string]struct {
		cache          []sessioncache.Option
		session        []sessioncache.SessionOption
		lifetime, idle time.Duration
	}{
		"by default":                       {nil, nil, time.Hour, time.Hour},
		"with a lifetime":                  {[]sessioncache.Option{sessioncache.WithLifetime(lifetime)}, nil, lifetime, lifetime},
		"with an idle timeout":             {[]sessioncache.Option{sessioncache.WithIdleTimeout(idleTimeout)}, nil, time.Hour, idleTimeout},
		"with an idle timeout beyond that": {[]sessioncache.Option{sessioncache.WithIdleTimeout(2 * time.Hour)}, nil, time.Hour, time.Hour},
		"with timeouts of its own": {nil, []sessioncache.SessionOption{
			sessioncache.Lifetime(30 * 24 * time.Hour), sessioncache.IdleTimeout(14 * 24 * time.Hour),
		}, 30 * 24 * time.Hour, 14 * 24 * time.Hour},
		"without the idle timeout": {
			[]sessioncache.Option{sessioncache.WithIdleTimeout(idleTimeout), sessioncache.WithLifetime(lifetime)},
			[]sessioncache.SessionOption{sessioncache.IdleTimeout(0)}, lifetime, lifetime,
		},
	} {
		t.Run(name, func(t *testing.T) {
			cache := sessioncache.New[raw](pool, test.cache...)
			times := func(token sid.Token) sessioncache.Session[raw] {
				t.Helper()
				session, ok, err := cache.Session(t.Context(), token.Handle())
				if err != nil || !ok || session.State != sessioncache.StateLive {
					t.Fatalf("Session = %+v, %v, %v", session, ok, err)
				}
				session.TTL = 0 // it passes
				return session
			}
			restarted := func(session sessioncache.Session[raw]) {
				t.Helper()
				if session.Deadline.Sub(session.AuthenticatedAt) != test.lifetime || session.ExpiresAt.Sub(session.AuthenticatedAt) != test.idle {
					t.Errorf("%+v; want a lifetime of %s and a timeout of %s", session, test.lifetime, test.idle)
				}
			}
			token := issue(t, cache, raw(`{}`), test.session...)
			restarted(times(token))
			for range 3 {
				sessiontest.Elapse(t, pool, token.Handle(), test.idle/2)
				before := times(token)
				token = renew(t, cache, token)
				if after := times(token); !reflect.DeepEqual(after, before) {
					t.Errorf("Renew has made %+v of %+v", after, before)
				}
				token = renew(t, cache, token, sessioncache.Reauthenticated())
				after := times(token)
				restarted(after)
				if age := after.AuthenticatedAt.Sub(before.AuthenticatedAt); age < test.idle/2 || age > test.idle/2+time.Minute ||
					!after.CreatedAt.Equal(before.CreatedAt) {
					t.Errorf("Renew, re-authenticated, has made %+v of %+v", after, before)
				}
				// Twice in a row, the second long after the first.
				sessiontest.Elapse(t, pool, token.Handle(), test.idle/4)
				token = renew(t, cache, token, sessioncache.Reauthenticated())
				restarted(times(token))
			}
		})
	}
}

// TestUpdateSessionCannotChangeTheUser looks at whole rows: nothing is stored of a
// change that makes a session another's.
func TestUpdateSessionCannotChangeTheUser(t *testing.T) {
	cache, pool := setup[raw](t)
	mine, nobodys := issue(t, cache, userOf("me")), issue(t, cache, raw(`{"n":1}`))
	id := set(t, cache, raw(`{"n":1}`))
	unchanged := wantUnchanged[fmt.Stringer](t, pool, mine.Handle(), nobodys.Handle(), named(id))
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		for _, cache := range []*sessioncache.Cache[raw]{cache, cache.WithTx(tx)} {
			for name, test := range map[string]struct {
				token sid.Token
				user  string
			}{
				"replaced": {mine, `{"user_id":"you"}`}, "in another case": {mine, `{"user_id":"ME"}`},
				"removed": {mine, `{"n":1}`}, "null": {mine, `{"user_id":null}`},
				"no object": {mine, `["user_id","me"]`}, "added": {nobodys, `{"user_id":"me"}`},
			} {
				change := func(stored *raw) error { *stored = raw(test.user); return nil }
				ok, err := cache.UpdateSession(t.Context(), test.token, change)
				wantError(t, name, notOK(ok, err), sessioncache.ErrUserChanged)
			}
			ok, err := cache.Update(t.Context(), id, func(stored *raw) error { *stored = userOf("me"); return nil })
			wantError(t, "added to a plain session", notOK(ok, err), sessioncache.ErrUserChanged)
		}
		unchanged("changes of the user")
		ok, err := cache.WithTx(tx).UpdateSession(t.Context(), mine, func(stored *raw) error {
			*stored = raw(`{"n":1,"user_id":"me"}`)
			return nil
		})
		if err != nil || !ok {
			t.Errorf("UpdateSession after refusals in the transaction = %v, %v", ok, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantOpens(t, cache, mine, `{"n":1,"user_id":"me"}`)
	wantOpens(t, cache, nobodys, `{"n":1}`)
}

// TestUnreadableSessionStays: a stored user that T does not decode logs nobody out.
func TestUnreadableSessionStays(t *testing.T) {
	rawCache, pool := setup[raw](t)
	cache := sessioncache.New[shopUser](pool)
	me := newID()
	unreadable := raw(`{"user_id":"` + me + `","Data":1}`)
	token, id := issue(t, rawCache, unreadable), set(t, rawCache, unreadable)
	unchanged := wantUnchanged[fmt.Stringer](t, pool, token.Handle(), named(id))

	_, ok, err := cache.Get(t.Context(), id)
	wantError(t, "Get", notOK(ok, err), sessioncache.ErrUnreadableSession)
	for call, look := range map[string]func() (sessioncache.Session[shopUser], bool, error){
		"Authenticate": func() (sessioncache.Session[shopUser], bool, error) { return cache.Authenticate(t.Context(), token) },
		"Session": func() (sessioncache.Session[shopUser], bool, error) {
			return cache.Session(t.Context(), token.Handle())
		},
	} {
		session, ok, err := look()
		wantError(t, call, err, sessioncache.ErrUnreadableSession)
		if ok || session.Handle != token.Handle() || session.UserID != me || session.User.ID != "" || session.CreatedAt.IsZero() ||
			session.State != sessioncache.StateUnreadable {
			t.Errorf("%s = %+v, %v; want all but its user", call, session, ok)
		}
	}
	never := func(*shopUser) error {
		t.Error("the change was called")
		return nil
	}
	ok, err = cache.Update(t.Context(), id, never)
	wantError(t, "Update", notOK(ok, err), sessioncache.ErrUnreadableSession)
	ok, err = cache.UpdateSession(t.Context(), token, never)
	wantError(t, "UpdateSession", notOK(ok, err), sessioncache.ErrUnreadableSession)
	sessions, err := cache.UserSessions(t.Context(), me)
	if err != nil || len(sessions) != 1 || sessions[0].Handle != token.Handle() || sessions[0].State != sessioncache.StateUnreadable ||
		sessions[0].User.ID != "" {
		t.Errorf("UserSessions = %+v, %v; want it unreadable", sessions, err)
	}
	unchanged("calls that cannot read it")
	wantOpens(t, rawCache, token, string(unreadable))
}

// needles are the ways in which the secret of a token could be shown, each a part long
// enough to be no accident.
func needles(t *testing.T, token sid.Token) map[string]string {
	t.Helper()
	secret := secretOf(t, token)
	all := map[string]string{
		"text":              token.Reveal()[24:48],
		"end of the text":   token.Reveal()[44:],
		"raw":               string(secret[:8]),
		"hex":               hex.EncodeToString(secret[:8]),
		"base64":            base64.StdEncoding.EncodeToString(secret)[:16],
		"base64url":         base64.URLEncoding.EncodeToString(secret)[:16],
		"quoted":            strings.Trim(fmt.Sprintf("%q", secret[:8]), `"`),
		"quoted, ASCII":     strings.Trim(fmt.Sprintf("%+q", secret[:8]), `"`),
		"hex in upper case": strings.ToUpper(hex.EncodeToString(secret[:8])),
	}
	for _, verb := range []string{"%d", "%x", "%X", "%#x", "%#v", "%o", "%O", "%b", "%c", "%U", "%q", "%e", "%t"} {
		for _, separator := range []string{" ", ", ", ","} {
			var items []string
			for _, b := range secret[:8] {
				items = append(items, fmt.Sprintf(verb, b))
			}
			all[verb+" with "+separator] = strings.Join(items, separator)
		}
	}
	return all
}

// wantNoSecret expects text to show nothing of a token's secret.
func wantNoSecret(t *testing.T, what, text string, needles map[string]string) {
	t.Helper()
	if form := shown(text, needles); form != "" {
		t.Errorf("%s shows the token's secret, %s: %.300s", what, form, text)
	}
}

func shown(text string, needles map[string]string) (form string) {
	for form, needle := range needles {
		if strings.Contains(text, needle) {
			return form
		}
	}
	return ""
}

// inside has tokens in all places of a struct that a package may print.
type inside struct {
	Token   sid.Token
	Pointer *sid.Token
	token   sid.Token
	pointer *sid.Token
	any     any
	nested  struct{ token sid.Token }
	list    []sid.Token
	byName  map[string]sid.Token
	Any     any
	List    []sid.Token
	ByName  map[string]*sid.Token
}

func TestTokenIsNotPrinted(t *testing.T) {
	t.Parallel()
	var bits [48]byte
	for i := range bits {
		bits[i] = 0x80 + byte(i)%0x40 // which are no UTF-8, wherever they are cut
	}
	token, err := sid.ParseToken(base64.RawURLEncoding.EncodeToString(bits[:]))
	if err != nil {
		t.Fatal(err)
	}
	secret := needles(t, token)
	holder := inside{
		token, &token, token, &token, token, struct{ token sid.Token }{token}, []sid.Token{token}, map[string]sid.Token{"t": token},
		token, []sid.Token{token}, map[string]*sid.Token{"t": &token},
	}
	_ = []any{holder.token, holder.pointer, holder.any, holder.nested, holder.list, holder.byName} // which only fmt reads
	values := map[string]any{
		"Token": token, "*Token": &token, "struct": holder, "*struct": &holder, "embedded": struct{ sid.Token }{token},
		"slice": []sid.Token{token}, "slice of pointers": []*sid.Token{&token}, "array": [1]sid.Token{token},
		"slice of structs": []inside{holder}, "map": map[string]sid.Token{"t": token}, "map of structs": map[string]inside{"t": holder},
		"error": fmt.Errorf("%v %+v %#v", token, holder, &holder), "session": sessioncache.Session[inside]{User: holder},
		"any": []any{token, &token, holder},
	}
	const verbs = "vTtbcdoOqxXUeEfFgGsp"
	for name, value := range values {
		for _, verb := range verbs {
			for _, flags := range []string{"", "+", "#", " ", "# ", "+#", "0", "-", "80", ".3", "-80.60"} {
				format := "%" + flags + string(verb)
				wantNoSecret(t, name+" in "+format, fmt.Sprintf(format, value), secret)
			}
		}
		wantNoSecret(t, name+" in Sprint", fmt.Sprint(value), secret)
		wantNoSecret(t, name+" as an error", fmt.Errorf("%w %v", errors.New("cause"), value).Error(), secret)
		var text, asJSON bytes.Buffer
		for handler, log := range map[slog.Handler]*bytes.Buffer{
			slog.NewTextHandler(&text, nil): &text, slog.NewJSONHandler(&asJSON, nil): &asJSON,
		} {
			slog.New(handler).With("with", value).Info(fmt.Sprint(value), "value", value, slog.Group("group", "value", value))
			wantNoSecret(t, name+" in a log", log.String(), secret)
		}
		data, err := json.Marshal(value) // some cannot be, and the error shows nothing either
		wantNoSecret(t, name+" in JSON", string(data)+fmt.Sprint(err), secret)
	}
	if got := fmt.Sprintf("%v %s %d %x", token, &token, token, []sid.Token{token}); !strings.HasPrefix(got, strings.Repeat("[redacted token] ", 3)) {
		t.Errorf("a token prints as %q", got)
	}

	// What would be found, if it were there.
	data := secretOf(t, token)
	for _, verb := range "vdboOqxXUscet" {
		for _, value := range []any{data, [32]byte(data), &data, struct{ secret [32]byte }{[32]byte(data)}} {
			if text := fmt.Sprintf("%"+string(verb), value); shown(text, secret) == "" {
				t.Errorf("the secret as a %T in %%%c is not found: %s", value, verb, text)
			}
		}
	}
	if shown(token.Reveal(), secret) == "" {
		t.Error("the text of the token is not found")
	}
}

// printed is an error with all that its causes hold.
func printed(err error) string {
	text := fmt.Sprintf("%v %+v %#v", err, err, err)
	switch wrapper := err.(type) { //nolint:errorlint // it walks the causes itself
	case interface{ Unwrap() error }:
		text += printed(wrapper.Unwrap())
	case interface{ Unwrap() []error }:
		for _, cause := range wrapper.Unwrap() {
			text += printed(cause)
		}
	}
	if pgErr, ok := err.(*pgconn.PgError); ok { //nolint:errorlint // the same
		text += fmt.Sprintf("%+v", *pgErr)
	}
	return text
}

// TestErrorsShowNoToken has the server reject a row, which it shows then, and every
// call fail in other ways.
func TestErrorsShowNoToken(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	var log suite.Log
	logger := log.Logger(slog.LevelDebug)
	cache, pool := setup[raw](t, sessioncache.WithLogger(logger))
	token := issue(t, cache, userOf("u"))
	secret, digest := needles(t, token), token.Digest("")
	bytea := regexp.MustCompile(`\\x[0-9a-f]{32}`) // the server cuts long values off
	check := func(call string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: no error", call)
			return
		}
		text := printed(err)
		wantNoSecret(t, call, text, secret)
		if strings.Contains(text, hex.EncodeToString(digest[:16])) || bytea.MatchString(text) {
			t.Errorf("%s shows a digest: %s", call, text)
		}
	}
	rejected := func(call string, err error) {
		t.Helper()
		pgErr, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || pgErr.Code[:2] != "23" {
			t.Errorf("%s: %v; want the server's error of class 23", call, err)
		}
		check(call, err)
	}
	for _, constraint := range []string{"no_renewal CHECK (renewals = 0)", "no_bad_user CHECK ((userdict ->> 'bad') IS NULL)"} {
		if _, err := pool.Exec(t.Context(), "ALTER TABLE session_cache ADD CONSTRAINT "+constraint); err != nil {
			t.Fatal(err)
		}
	}
	bad := raw(`{"user_id":"u","bad":1}`)
	rejected("Issue", second(cache.Issue(t.Context(), bad)))
	rejected("Issue, limited", second(cache.Issue(t.Context(), bad, sessioncache.MaxSessions(1))))
	rejected("UpdateSession", second(cache.UpdateSession(t.Context(), token, func(user *raw) error { *user = bad; return nil })))
	for _, options := range [][]sessioncache.RenewOption{nil, {sessioncache.Reauthenticated()}} {
		_, ok, err := cache.Renew(t.Context(), token, options...)
		if ok {
			t.Error("Renew succeeded")
		}
		rejected("Renew", err)
	}

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for call, do := range tokenCalls(cache) {
		check(call+" without time", do(cancelled, token))
	}
	if _, err := pool.Exec(t.Context(), `DROP TABLE session_cache`); err != nil {
		t.Fatal(err)
	}
	for call, do := range tokenCalls(cache) {
		check(call+" without the table", do(t.Context(), token))
	}
	wantNoSecret(t, "the log", log.String(), secret)
	for _, mangled := range []string{token.Reveal() + "A", token.Reveal()[1:], token.Reveal()[:63] + "!", token.Reveal()[:63] + "\n"} {
		check("ParseToken", second(sid.ParseToken(mangled)))
	}
}

// TestEveryExecMode makes every call in each of pgx's ways to pass arguments, with a
// server that prints everything in other styles than usual. All times are exact.
func TestEveryExecMode(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	t.Parallel()
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			pool := sessiontest.NewPool(t, func(c *pgxpool.Config) {
				c.ConnConfig.DefaultQueryExecMode = mode
				for name, value := range map[string]string{
					"DateStyle": "German, DMY", "IntervalStyle": "sql_standard", "bytea_output": "escape",
					"TimeZone": "Asia/Kathmandu", "extra_float_digits": "-15",
				} {
					c.ConnConfig.RuntimeParams[name] = value
				}
			})
			everyCall(t, pool)
		})
	}
}

func everyCall(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	const lifetime, idle = 90*time.Minute + 123457*time.Microsecond, 20*time.Minute + 7*time.Microsecond
	cache := sessioncache.New[raw](pool, sessioncache.WithLifetime(lifetime), sessioncache.WithIdleTimeout(idle))
	ctx, user := t.Context(), string(userOf(`O\"Brien ß`))
	const userID = `O"Brien ß`
	noError := func(call string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
	did := func(call string, ok bool, err error) {
		t.Helper()
		if err != nil || !ok {
			t.Errorf("%s = %v, %v", call, ok, err)
		}
	}
	keep := func(*raw) error { return nil }

	id := set(t, cache, raw(user))
	wantUser(t, cache, id, user)
	ok, err := cache.Update(ctx, id, keep)
	did("Update", ok, err)
	wantError(t, "Set again", cache.Set(ctx, id, raw(`{}`)), sessioncache.ErrConflict)
	wantNone(t, cache, id)
	id = set(t, cache, raw(user))
	noError("Delete", cache.Delete(ctx, id))
	wantNone(t, cache, id)
	wantError(t, "Set", cache.Set(ctx, newID(), raw(`{"a":"\u0000"}`)), sessioncache.ErrInvalidUser)

	token := issue(t, cache, raw(user))
	wantOpens(t, cache, token, user)
	wantExact := func(authenticated bool) {
		t.Helper()
		wantTimesExact(t, cache, pool, token.Handle(), lifetime, idle, authenticated)
	}
	wantExact(true)
	sessiontest.Elapse(t, pool, token.Handle(), 10*time.Minute+time.Microsecond)
	wantOpens(t, cache, token, user) // and extends it
	session, ok, err := cache.Authenticate(ctx, token)
	did("Authenticate", ok && session.TTL > idle-time.Minute && session.SinceAuthenticated() > 10*time.Minute, err)
	ok, err = cache.UpdateSession(ctx, token, keep)
	did("UpdateSession", ok, err)
	renewed := renew(t, cache, token)
	_, _, err = cache.Authenticate(ctx, token)
	wantError(t, "Authenticate with a superseded token", err, sessioncache.ErrSuperseded)
	token = renew(t, cache, renewed, sessioncache.Reauthenticated())
	wantExact(true)
	alive, err := cache.Alive(ctx, token, renewed, sid.NewToken())
	did("Alive", reflect.DeepEqual(alive, []bool{true, false, false}), err)
	wantSessions := func(call string, n int) {
		t.Helper()
		sessions, err := cache.UserSessions(ctx, userID)
		did(call, len(sessions) == n && string(sessions[0].User) == user && sessions[0].UserID == userID, err)
	}
	wantSessions("UserSessions", 1)
	limited := issue(t, cache, raw(user), sessioncache.MaxSessions(1))
	wantDead(t, cache, token)
	wantSessions("UserSessions with a limit", 1)
	other := issue(t, cache, raw(user))
	deleted, err := cache.DeleteUserSessions(ctx, userID, limited.Handle(), sid.NewToken().Handle())
	did("DeleteUserSessions", deleted == 1, err)
	wantDead(t, cache, other)
	was, err := cache.DeleteSession(ctx, limited.Handle())
	did("DeleteSession", was, err)
	deleted, err = cache.DeleteUserSessions(ctx, userID)
	did("DeleteUserSessions of none", deleted == 0, err)

	token = issue(t, cache, raw(user), sessioncache.Anonymous())
	wantExact(false)
	was, err = cache.Retire(ctx, token)
	did("Retire", was, err)
	_, _, err = cache.Authenticate(ctx, token)
	wantError(t, "Authenticate after Retire", err, sessioncache.ErrSuperseded)
	token = issue(t, cache, raw(user))
	superseded := token
	token = renew(t, cache, token)
	sessiontest.Elapse(t, pool, token.Handle(), 11*time.Second)
	wantOpensNone(t, cache, superseded)
	wantOpensNone(t, cache, token)
	token = issue(t, cache, raw(user))
	noError("Revoke", cache.Revoke(ctx, token))
	wantOpensNone(t, cache, token)

	expired := issue(t, cache, raw(user))
	sessiontest.Elapse(t, pool, expired.Handle(), 2*time.Hour)
	session, ok, err = cache.Session(ctx, expired.Handle())
	did("Session", ok && session.State == sessioncache.StateExpired && session.TTL < idle-2*time.Hour && session.TTL > idle-2*time.Hour-time.Minute, err)
	stats, err := cache.Stats(ctx)
	did("Stats", stats.Expired == 1 && stats.OldestExpired > 2*time.Hour-idle && stats.OldestExpired < 2*time.Hour-idle+time.Minute, err)
	purged, err := cache.Purge(ctx)
	did("Purge", purged == 1, err)
	noError("Reindex", cache.Reindex(ctx))
	noError("Tx", cache.Tx(ctx, func(_ pgx.Tx, inTx *sessioncache.Cache[raw]) error {
		return second(inTx.Issue(ctx, raw(user), sessioncache.MaxSessions(1)))
	}))
	all, err := cache.DeleteAudience(ctx)
	did("DeleteAudience", all == 2, err) // with the one that was retired
}

// wantTimesExact compares a session's times with those in the table, to the
// microsecond, and how long it has to live at the very instant it was issued or
// re-authenticated.
func wantTimesExact(
	t *testing.T, cache *sessioncache.Cache[raw], pool *pgxpool.Pool, handle sid.Handle, lifetime, idle time.Duration, authenticated bool,
) {
	t.Helper()
	var now, created, authenticatedAt, expires, deadline int64
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		err := tx.QueryRow(t.Context(), `
			SELECT (extract(epoch FROM now()) * 1000000)::bigint,
			       (extract(epoch FROM session_startutc) * 1000000)::bigint,
			       coalesce((extract(epoch FROM authenticatedutc) * 1000000)::bigint, 0),
			       (extract(epoch FROM session_endutc) * 1000000)::bigint,
			       (extract(epoch FROM session_deadlineutc) * 1000000)::bigint
			FROM session_cache
			WHERE sessionid = $1`, handle.String()).Scan(&now, &created, &authenticatedAt, &expires, &deadline)
		if err != nil {
			return err
		}
		session, ok, err := cache.WithTx(suite.OneClock{Tx: tx}).Session(t.Context(), handle)
		if err != nil || !ok {
			t.Errorf("Session = %v, %v", ok, err)
		}
		if session.CreatedAt.UnixMicro() != created || session.ExpiresAt.UnixMicro() != expires || session.Deadline.UnixMicro() != deadline ||
			session.Anonymous() == authenticated || authenticated && session.AuthenticatedAt.UnixMicro() != authenticatedAt ||
			session.TTL != micros(expires-now) {
			t.Errorf("%+v; want %d, %d, %d, %d at %d", session, created, authenticatedAt, expires, deadline, now)
		}
		since := session.CreatedAt
		if authenticated {
			since = session.AuthenticatedAt
			if session.SinceAuthenticated() != micros(now-authenticatedAt) {
				t.Errorf("authenticated %s ago; want %s", session.SinceAuthenticated(), micros(now-authenticatedAt))
			}
		}
		if session.Deadline.Sub(since) != lifetime || session.ExpiresAt.Sub(since) != idle {
			t.Errorf("%+v; want a lifetime of %s and an idle timeout of %s", session, lifetime, idle)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestBatchedAuthenticates has callers of both kinds share statements on two
// connections: each gets its own session, and who leaves takes nobody along.
func TestBatchedAuthenticates(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.MaxConns = 2 })
	cache := sessioncache.New[raw](pool)
	var all sync.WaitGroup
	for caller := range 64 {
		all.Go(func() {
			plain, withToken := fmt.Sprintf(`{"plain":%d}`, caller), fmt.Sprintf(`{"token":%d}`, caller)
			id, token := set(t, cache, raw(plain)), issue(t, cache, raw(withToken))
			for round := range 20 {
				ctx, cancel := context.WithCancel(t.Context())
				leaves := caller%4 == 0 && round%2 == 0
				if leaves {
					go cancel()
				}
				session, ok, err := cache.Authenticate(ctx, token)
				left := leaves && errors.Is(err, context.Canceled)
				if !left && (err != nil || !ok || string(session.User) != withToken || session.Handle != token.Handle()) {
					t.Errorf("Authenticate = %+v, %v, %v; want %s", session, ok, err, withToken)
				}
				cancel()
				wantUser(t, cache, id, plain)
				wantOpensNone(t, cache, token.Renewed())
				wantNone(t, cache, token.Handle().String())
			}
		})
	}
	all.Wait()
	if cache.Metrics().GetBatches == 0 {
		t.Error("no batch was made")
	}
}

// TestCancelledAuthenticateLeavesTheBatch is that with certainty: the caller leaves
// while all wait for one statement.
func TestCancelledAuthenticateLeavesTheBatch(t *testing.T) {
	t.Parallel()
	inOneBatch(t, func(t *testing.T, cache *sessioncache.Cache[raw], _ *pgxpool.Pool, g *gate) {
		close(g.open) // not yet
		tokens := make([]sid.Token, 8)
		for i := range tokens {
			tokens[i] = issue(t, cache, raw(fmt.Sprintf(`{"n":%d}`, i)))
		}
		g.statements, g.open = nil, make(chan struct{}) // now
		authenticate := func(ctx context.Context, i int) <-chan error {
			return do(func() error {
				session, ok, err := cache.Authenticate(ctx, tokens[i])
				if want := fmt.Sprintf(`{"n":%d}`, i); err == nil && (!ok || string(session.User) != want) {
					return fmt.Errorf("Authenticate = %+v, %v; want %s", session, ok, want)
				}
				return err
			})
		}
		first := authenticate(t.Context(), 0)
		ctx, leave := context.WithCancel(t.Context())
		left := []<-chan error{authenticate(ctx, 1), authenticate(ctx, 2)} // who would be the first of the batch, and the second
		var stayed []<-chan error
		for i := range tokens {
			stayed = append(stayed, authenticate(t.Context(), i))
		}
		leave()
		for _, result := range left {
			wantErrorIs(t, "the caller who left", <-result, context.Canceled)
		}
		close(g.open)
		for _, result := range append(stayed, first) {
			if err := <-result; err != nil {
				t.Error(err)
			}
		}
		if len(g.statements) != 2 {
			t.Errorf("the statements were %v; want a single lookup and one for all others", g.statements)
		}
	})
}
