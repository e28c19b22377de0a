package sessioncache_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

// renewals issues a session and renews it n times, the last time with options. It returns
// all its tokens, the current one last.
func renewals(t *testing.T, cache *sessioncache.Cache[raw], n int, options ...sessioncache.RenewOption) (tokens []sid.Token) {
	t.Helper()
	tokens = []sid.Token{issue(t, cache, userOf("u"))}
	for i := range n {
		if i < n-1 {
			tokens = append(tokens, renew(t, cache, tokens[i]))
		} else {
			tokens = append(tokens, renew(t, cache, tokens[i], options...))
		}
	}
	return tokens
}

// uses are the calls that a token is shown to.
func uses(t *testing.T, cache *sessioncache.Cache[raw]) map[string]func(token sid.Token) answer {
	t.Helper()
	renew := func(options ...sessioncache.RenewOption) func(token sid.Token) answer {
		return func(token sid.Token) (a answer) {
			var renewed sid.Token
			renewed, a.ok, a.err = cache.Renew(t.Context(), token, options...)
			a.ok = a.ok || !renewed.IsZero()
			return a
		}
	}
	return map[string]func(token sid.Token) answer{
		"Authenticate": func(token sid.Token) (a answer) {
			a.session, a.ok, a.err = cache.Authenticate(t.Context(), token)
			if a.session.State != sessioncache.StateSuperseded || a.session.Handle != token.Handle() ||
				a.session.UserID != "u" || a.session.User != nil {
				t.Errorf("Authenticate = %+v; want it superseded, without its user", a.session)
			}
			return a
		},
		"UpdateSession": func(token sid.Token) (a answer) {
			a.ok, a.err = cache.UpdateSession(t.Context(), token, func(*raw) error {
				t.Error("UpdateSession has called the change")
				return nil
			})
			return a
		},
		"Renew":                  renew(),
		"Renew, reauthenticated": renew(sessioncache.Reauthenticated()),
		"RevokeOthers": func(token sid.Token) (a answer) {
			_, a.ok, a.err = cache.RevokeOthers(t.Context(), token)
			return a
		},
		"RevokeAll": func(token sid.Token) (a answer) {
			_, a.ok, a.err = cache.RevokeAll(t.Context(), token)
			return a
		},
		"RevokeSession": func(token sid.Token) (a answer) {
			_, a.ok, a.err = cache.RevokeSession(t.Context(), token, token.Handle())
			return a
		},
	}
}

// TestSupersededToken: a token that was renewed lets nobody in. Within ten seconds of the
// last renewal, and up to three renewals old, it was in flight. Otherwise somebody has kept
// it, and the session ends unless the last renewal tells who the user is.
func TestSupersededToken(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t)
	reauthenticated := []sessioncache.RenewOption{sessioncache.Reauthenticated()}
	for _, test := range []struct {
		name     string
		renewals int // since the token
		last     []sessioncache.RenewOption
		age      time.Duration // of the last renewal
		inFlight bool
		ends     bool
	}{
		{"bare, at once", 1, nil, 0, true, false},
		{"bare, 9 s", 1, nil, 9 * time.Second, true, false},
		{"bare, 11 s", 1, nil, 11 * time.Second, false, true},
		{"re-authenticated, at once", 1, reauthenticated, 0, true, false},
		{"re-authenticated, 11 s", 1, reauthenticated, 11 * time.Second, false, false},
		{"the third, 9 s", 3, nil, 9 * time.Second, true, false},
		{"the fourth, at once", 4, nil, 0, false, true},
		{"the fourth, re-authenticated", 4, reauthenticated, 0, false, false},
		{"the twentieth, 9 s", 20, nil, 9 * time.Second, false, true},
		{"the twentieth, 11 s", 20, nil, 11 * time.Second, false, true},
	} {
		for call := range uses(t, sessioncache.New[raw](pool)) {
			t.Run(test.name+"/"+call, func(t *testing.T) {
				var log suite.Log
				cache := sessioncache.New[raw](pool, sessioncache.WithLogger(log.Logger(slog.LevelInfo)))
				tokens := renewals(t, cache, test.renewals, test.last...)
				token, renewed := tokens[0], tokens[test.renewals]
				sessiontest.Elapse(t, pool, token.Handle(), test.age)
				unchanged := wantUnchanged(t, pool, token.Handle())

				got := uses(t, cache)[call](token)
				if got.ok {
					t.Error("it was admitted")
				}
				want := ""
				if test.inFlight {
					wantError(t, "in flight", got.err, sessioncache.ErrSuperseded)
				} else {
					want = fmt.Sprintf(`level=WARN msg="superseded token used again" ended=%v session=%s`, test.ends, token.Handle())
					if got.err != nil {
						t.Errorf("%v; want no error", got.err)
					}
				}
				if test.ends {
					wantOpensNone(t, cache, renewed)
				} else {
					unchanged("it")
					wantOpens(t, cache, renewed, string(userOf("u")))
				}
				if n := cache.Metrics().Superseded; n != 1 {
					t.Errorf("Metrics count %d superseded tokens; want 1", n)
				}
				_, line, _ := strings.Cut(strings.TrimSuffix(log.String(), "\n"), " ") // without the time
				if line != want {
					t.Errorf("the log is %q; want %q", line, want)
				}
			})
		}
	}
}

func TestRevokeSupersededToken(t *testing.T) {
	cache, pool := setup[raw](t)
	reauthenticated := []sessioncache.RenewOption{sessioncache.Reauthenticated()}
	for _, test := range []struct {
		name     string
		renewals int
		last     []sessioncache.RenewOption
		age      time.Duration
		ends     bool
	}{
		{"in flight, bare", 1, nil, 0, true},
		{"11 s, bare", 1, nil, 11 * time.Second, true},
		{"in flight, re-authenticated", 1, reauthenticated, 9 * time.Second, true},
		{"11 s, re-authenticated", 1, reauthenticated, 11 * time.Second, false},
		{"the fourth, re-authenticated", 4, reauthenticated, 0, false},
		{"the fifth", 5, nil, 0, true},
		{"the second", 2, nil, 11 * time.Second, true},
		{"the twentieth, in flight", 20, nil, 0, true},
		{"the 200th", 200, nil, 11 * time.Second, true},
		{"the 300th, in flight", 300, nil, 0, true},
	} {
		for call, end := range map[string]func(token sid.Token) error{
			"Revoke": func(token sid.Token) error { return cache.Revoke(t.Context(), token) },
			"Retire": func(token sid.Token) error { return second(cache.Retire(t.Context(), token)) },
			"Issue, replacing": func(token sid.Token) error {
				return second(cache.Issue(t.Context(), userOf(newID()), sessioncache.Replacing(token)))
			},
		} {
			tokens := renewals(t, cache, test.renewals, test.last...)
			sessiontest.Elapse(t, pool, tokens[0].Handle(), test.age)
			unchanged := wantUnchanged(t, pool, tokens[0].Handle())
			if err := end(tokens[0]); err != nil {
				t.Errorf("%s, %s: %v", test.name, call, err)
			}
			if test.ends {
				wantOpensNone(t, cache, tokens[test.renewals])
			} else {
				unchanged(test.name + ", " + call)
			}
		}
	}
}

// TestTokenAheadOfItsRow: a row may be older than the token, read from a server that lags
// behind or restored from a backup. Such a token, and one that was made up from a former
// one, is unknown and ends nothing.
func TestTokenAheadOfItsRow(t *testing.T) {
	cache, pool := setup[raw](t)
	tokens := renewals(t, cache, 5)
	current := tokens[5]
	sessiontest.Elapse(t, pool, current.Handle(), time.Minute)
	unchanged := wantUnchanged(t, pool, current.Handle())
	for name, token := range map[string]sid.Token{
		"one ahead":               current.Renewed(),
		"two ahead":               current.Renewed().Renewed(),
		"of its number, made up":  tokens[4].Renewed(),
		"of its number, long ago": tokens[0].Renewed().Renewed().Renewed().Renewed().Renewed(),
	} {
		for i, got := range answers(t, cache, token) {
			if got.ok || got.err != nil {
				t.Errorf("%s: call %d = %v, %v; want the answer to an unknown token", name, i, got.ok, got.err)
			}
		}
		if err := cache.Revoke(t.Context(), token); err != nil {
			t.Errorf("%s: Revoke: %v", name, err)
		}
		unchanged(name)
	}
	if n := cache.Metrics().Superseded; n != 0 {
		t.Errorf("%d uses count as superseded", n)
	}
	wantOpens(t, cache, current, string(userOf("u")))
}

// TestThiefIsFound: a thief who renews the token, however often, is found at the victim's
// next request after ten seconds or four renewals.
func TestThiefIsFound(t *testing.T) {
	cache, pool := setup[raw](t)
	for _, every := range []time.Duration{5 * time.Second, 9900 * time.Millisecond, 10500 * time.Millisecond} {
		for _, renewals := range []int{1, 2, 4, 60} {
			victims := issue(t, cache, userOf("u"))
			thiefs := victims
			for range renewals {
				thiefs = renew(t, cache, thiefs)
				sessiontest.Elapse(t, pool, victims.Handle(), every)
			}
			session, ok, err := cache.Authenticate(t.Context(), victims)
			if inFlight := renewals < 4 && every < 10*time.Second; inFlight {
				wantError(t, "Authenticate in flight", err, sessioncache.ErrSuperseded)
				continue
			}
			if ok || err != nil || session.State != sessioncache.StateSuperseded {
				t.Errorf("every %s, %d renewals: Authenticate = %+v, %v, %v", every, renewals, session, ok, err)
			}
			wantOpensNone(t, cache, thiefs)
		}
	}
}

// TestInFlight: a request whose token was live when it began stays in flight, however long
// it takes.
func TestInFlight(t *testing.T) {
	cache, pool := setup[raw](t)
	tokens := renewals(t, cache, 5)
	sessiontest.Elapse(t, pool, tokens[0].Handle(), time.Minute)
	unchanged := wantUnchanged(t, pool, tokens[0].Handle())
	for call, use := range uses(t, cache.WithInFlight()) {
		got := use(tokens[0])
		wantError(t, call, notOK(got.ok, got.err), sessioncache.ErrSuperseded)
	}
	unchanged("calls of a request in flight")
	wantOpens(t, cache.WithInFlight(), tokens[5], string(userOf("u")))
	if err := cache.WithInFlight().Revoke(t.Context(), tokens[0]); err != nil {
		t.Error(err)
	}
	wantOpensNone(t, cache, tokens[5])
}

// TestSupersededInCallersTransaction: a read changes nothing there. The next use ends
// the session.
func TestSupersededInCallersTransaction(t *testing.T) {
	cache, pool := setup[raw](t)
	token := issue(t, cache, userOf("u"))
	renewed := renew(t, cache, token)
	sessiontest.Elapse(t, pool, token.Handle(), time.Minute)
	unchanged := wantUnchanged(t, pool, token.Handle())
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		wantOpensNone(t, cache.WithTx(tx), token)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	unchanged("Authenticate in a transaction")
	wantOpensNone(t, cache, token)
	wantOpensNone(t, cache, renewed)
}

// TestRenewalsWrap: the number of renewals in a token wraps at 65,536.
func TestRenewalsWrap(t *testing.T) {
	cache, pool := setup[raw](t)
	token := issue(t, cache, userOf("u"))
	setRenewals(t, pool, token, 65_535)
	for token.Number() != 65_535 {
		token = token.Renewed()
	}
	digest := token.Digest("")
	execute(t, pool, "UPDATE session_cache SET secret = $2 WHERE sessionid = $1", sid.ID(token.Handle()), digest[:])
	renewed := renew(t, cache, token)
	if renewed.Number() != 0 {
		t.Errorf("the number after 65,535 is %d", renewed.Number())
	}
	_, _, err := cache.Authenticate(t.Context(), token)
	wantError(t, "Authenticate", err, sessioncache.ErrSuperseded)
	wantOpens(t, cache, renewed, string(userOf("u")))
	sessiontest.Elapse(t, pool, token.Handle(), time.Minute)
	wantOpensNone(t, cache, token)
	wantOpensNone(t, cache, renewed)
}

func setRenewals(t *testing.T, pool *pgxpool.Pool, token sid.Token, n int) {
	t.Helper()
	execute(t, pool, "UPDATE session_cache SET renewals = $2, renewedutc = now() - interval '1 minute' WHERE sessionid = $1", sid.ID(token.Handle()), n)
}
