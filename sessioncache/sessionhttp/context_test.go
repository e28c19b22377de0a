package sessionhttp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

// TestContextEndsAtOnce on the server where the session ends, or its token.
func TestContextEndsAtOnce(t *testing.T) {
	s := setup(t)
	m := s.sessions
	m.SetWatch(time.Hour, time.Hour)
	loginTx := func(session *sessionhttp.Tx[account], user account) error { return session.Login(user) }
	for name, end := range map[string]func(user account, token, other string) (sender string, do func(w http.ResponseWriter, r *http.Request) error){
		"Logout": func(_ account, token, _ string) (string, func(http.ResponseWriter, *http.Request) error) {
			return token, m.Logout
		},
		"Renew": func(_ account, token, _ string) (string, func(http.ResponseWriter, *http.Request) error) {
			return token, m.Renew
		},
		"Reauthenticated": func(_ account, token, _ string) (string, func(http.ResponseWriter, *http.Request) error) {
			return token, m.Reauthenticated
		},
		"LogoutEverywhere": func(_ account, _, other string) (string, func(http.ResponseWriter, *http.Request) error) {
			return other, s.sessionCalls()["LogoutEverywhere"]
		},
		"LogoutOthers": func(_ account, _, other string) (string, func(http.ResponseWriter, *http.Request) error) {
			return other, s.sessionCalls()["LogoutOthers"]
		},
		"LogoutSession": func(_ account, token, other string) (string, func(http.ResponseWriter, *http.Request) error) {
			return other, func(w http.ResponseWriter, r *http.Request) error {
				return m.LogoutSession(w, r, handleOf(t, token).String())
			}
		},
		"Login in its place": func(_ account, token, _ string) (string, func(http.ResponseWriter, *http.Request) error) {
			return token, func(w http.ResponseWriter, r *http.Request) error { return m.Login(w, r, newUser()) }
		},
		"Login in its place in Tx": func(user account, token, _ string) (string, func(http.ResponseWriter, *http.Request) error) {
			return token, func(w http.ResponseWriter, r *http.Request) error {
				return m.Tx(w, r, func(_ pgx.Tx, session *sessionhttp.Tx[account]) error { return loginTx(session, user) })
			}
		},
		"MaxSessions": func(user account, _, _ string) (string, func(http.ResponseWriter, *http.Request) error) {
			return "", func(w http.ResponseWriter, r *http.Request) error {
				return m.Login(w, r, user, sessionhttp.MaxSessions(1))
			}
		},
		"Accept in its place": func(user account, token, _ string) (string, func(http.ResponseWriter, *http.Request) error) {
			return token, func(w http.ResponseWriter, r *http.Request) error {
				issued, err := m.IssueBearer(r.Context(), user)
				if err != nil {
					return err
				}
				return m.Accept(w, r, issued)
			}
		},
		"LogoutOthers in Tx": func(_ account, _, other string) (string, func(http.ResponseWriter, *http.Request) error) {
			return other, s.sessionCalls()["Tx with LogoutOthers"]
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		ed := newUser()
		token, other, somebody := loginTo(t, m, "", ed), loginTo(t, m, "", ed), loginTo(t, m, "", newUser())
		waiting, others := waitWith(ctx, m, token), waitWith(ctx, m, somebody)
		if err := waiting.Err(); err != nil {
			t.Fatalf("%s: the context has ended by %v", name, context.Cause(waiting))
		}
		sender, do := end(ed, token, other)
		if _, _, err := attempt(ctx, m, sender, do); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantEnd(waiting, t, name, sessionhttp.ErrNoSession)
		if others.Err() != nil {
			t.Errorf("%s has ended another user's context by %v", name, context.Cause(others))
		}
		cancel()
	}
}

// TestContextOfNobody: without a login there is nothing to wait for.
func TestContextOfNobody(t *testing.T) {
	s := setup(t)
	expired := loginTo(t, s.sessions, "", newUser())
	s.elapse(t, expired, 100*24*time.Hour)
	renewed := loginTo(t, s.sessions, "", newUser())
	if _, _, err := attempt(t.Context(), s.sessions, renewed, s.sessions.Renew); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		token string
		why   error
	}{
		"none":       {"", sessionhttp.ErrNoCookie},
		"malformed":  {"x", sessionhttp.ErrMalformedCookie},
		"unknown":    {randomToken(), sessionhttp.ErrUnknownSession},
		"visitor":    {beginFor(t, s.sessions, account{}), sessionhttp.ErrAnonymous},
		"expired":    {expired, sessionhttp.ErrExpiredSession},
		"superseded": {renewed, sessioncache.ErrSuperseded},
	} {
		waiting := waitWith(t.Context(), s.sessions, test.token)
		if waiting.Err() == nil || !errors.Is(context.Cause(waiting), test.why) {
			t.Errorf("%s: the context has ended by %v; want %v", name, context.Cause(waiting), test.why)
		}
	}
	var waiting context.Context
	_, _, err := attempt(t.Context(), s.sessions, loginTo(t, s.sessions, "", newUser()), func(w http.ResponseWriter, r *http.Request) error {
		err := s.sessions.Logout(w, r)
		waiting = s.sessions.Context(r)
		return err
	})
	if err != nil || waiting.Err() == nil {
		t.Error("the context of a request that has just logged out goes on")
	}
	suite.Eventually(t, "nobody is watched", func() bool { return s.sessions.Waiting() == 0 })
}

// TestContextAfterLogout: a session that has ended before, or at the same moment, has
// ended, whatever the request had found.
func TestContextAfterLogout(t *testing.T) {
	s := setup(t)
	m := s.sessions
	m.SetWatch(time.Hour, time.Hour)
	token := loginTo(t, m, "", newUser())
	send(t.Context(), m, token, func(_ http.ResponseWriter, r *http.Request) {
		if _, ok, err := m.User(r.Context()); !ok {
			t.Fatal(err)
		}
		if _, _, err := attempt(t.Context(), m, token, m.Logout); err != nil {
			t.Fatal(err)
		}
		wantEnd(m.Context(r), t, "after a logout", sessionhttp.ErrNoSession)
	})

	inParallel(300, func(int) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		token := loginTo(t, m, "", newUser())
		var logout sync.WaitGroup
		var waiting context.Context
		send(ctx, m, token, func(_ http.ResponseWriter, r *http.Request) {
			if _, ok, err := m.User(r.Context()); !ok {
				t.Errorf("User: %v", err)
			}
			logout.Go(func() {
				if _, _, err := attempt(t.Context(), m, token, m.Logout); err != nil {
					t.Errorf("Logout: %v", err)
				}
			})
			waiting = m.Context(r)
		})
		logout.Wait()
		wantEnd(waiting, t, "during a logout", sessionhttp.ErrNoSession)
	})
}

// TestContextElsewhere: what ends a session on one server ends the contexts on others
// the next time that they ask.
func TestContextElsewhere(t *testing.T) {
	t.Parallel()
	database := sessiontest.NewDatabase(t)
	var servers [2]*sessionhttp.Manager[account]
	var pool *pgxpool.Pool
	for i := range servers {
		var err error
		if pool, err = pgxpool.New(t.Context(), database.URL); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		servers[i] = sessionhttp.New(sessioncache.New[account](pool, sessioncache.WithLifetime(24*time.Hour), sessioncache.WithIdleTimeout(time.Hour)))
		servers[i].SetWatch(100*time.Millisecond, time.Hour)
	}
	here, there := servers[0], servers[1]
	for name, end := range map[string]func(handle sid.Handle, token, other string) error{
		"Logout": func(_ sid.Handle, token, _ string) error {
			_, _, err := attempt(t.Context(), there, token, there.Logout)
			return err
		},
		"Renew": func(_ sid.Handle, token, _ string) error {
			_, _, err := attempt(t.Context(), there, token, there.Renew)
			return err
		},
		"LogoutEverywhere": func(_ sid.Handle, _, other string) error {
			_, _, err := attempt(t.Context(), there, other, func(w http.ResponseWriter, r *http.Request) error {
				return second(there.LogoutEverywhere(w, r))
			})
			return err
		},
		"the idle timeout": func(handle sid.Handle, _, _ string) error {
			sessiontest.Elapse(t, pool, handle, 61*time.Minute)
			return nil
		},
		"the deadline": func(handle sid.Handle, _, _ string) error {
			sessiontest.Elapse(t, pool, handle, 400*24*time.Hour)
			return nil
		},
		"raw SQL": func(handle sid.Handle, _, _ string) error {
			return second(pool.Exec(t.Context(), "DELETE FROM session_cache WHERE sessionid = $1::text::uuid", handle.String()))
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		ed := newUser()
		token, other, somebody := loginTo(t, here, "", ed), loginTo(t, here, "", ed), loginTo(t, here, "", newUser())
		waiting, others := waitWith(ctx, here, token), waitWith(ctx, here, somebody)
		if waiting.Err() != nil {
			t.Fatalf("%s: the context has ended by %v", name, context.Cause(waiting))
		}
		if err := end(handleOf(t, token), token, other); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		began := time.Now()
		wantEnd(waiting, t, name, sessionhttp.ErrNoSession)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: the context has ended after %s", name, took)
		}
		if others.Err() != nil {
			t.Errorf("%s has ended another user's context by %v", name, context.Cause(others))
		}
		cancel()
	}
}

// TestContextIsNoUse: a page that waits starts no idle timeout anew.
func TestContextIsNoUse(t *testing.T) {
	s := setupCache(t, []sessioncache.Option{sessioncache.WithLifetime(24 * time.Hour), sessioncache.WithIdleTimeout(time.Hour)})
	s.sessions.SetWatch(5*time.Millisecond, time.Hour)
	token := loginTo(t, s.sessions, "", newUser())
	waiting := waitWith(t.Context(), s.sessions, token)
	s.elapse(t, token, 50*time.Minute) // a use would extend it
	before := s.statements.Load()
	stored := dump(t, s.pool)
	suite.Eventually(t, "the session is asked for", func() bool { return s.statements.Load() > before+10 })
	if waiting.Err() != nil {
		t.Errorf("the context has ended by %v", context.Cause(waiting))
	}
	if now := dump(t, s.pool); now != stored {
		t.Errorf("the session was\n%s\nand is\n%s", stored, now)
	}
}

// TestContextsShareStatements: one statement asks for a thousand sessions.
func TestContextsShareStatements(t *testing.T) {
	s := setup(t)
	m := s.sessions
	const every = 100 * time.Millisecond
	m.SetWatch(every, time.Hour)
	const requests, sessions = 1000, 50
	tokens := make([]string, sessions)
	for i := range tokens {
		tokens[i] = loginTo(t, m, "", newUser())
	}
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make([]context.Context, requests)
	inParallel(requests, func(i int) { waiting[i-1] = waitWith(ctx, m, tokens[i%sessions]) })
	if n := m.Waiting(); n != requests {
		t.Errorf("%d contexts are watched; want %d", n, requests)
	}

	began, before := time.Now(), s.statements.Load()
	suite.Eventually(t, "ten ticks", func() bool { return s.statements.Load() >= before+10 })
	n, ticks := s.statements.Load()-before, int64(time.Since(began)/every)+2
	if n > ticks {
		t.Errorf("%d statements in %d ticks", n, ticks)
	}
	if _, _, err := attempt(t.Context(), m, tokens[7], m.Logout); err != nil {
		t.Error(err)
	}
	for i := range waiting {
		if (i+1)%sessions == 7 {
			wantEnd(waiting[i], t, "the one that was logged out", sessionhttp.ErrNoSession)
		} else if waiting[i].Err() != nil {
			t.Errorf("another has ended by %v", context.Cause(waiting[i]))
		}
	}
	cancel()
	suite.Eventually(t, "nobody is watched", func() bool { return m.Waiting() == 0 })
}

// TestContextAsksForFew: of a thousand requests that wait, a logout has only those of its own
// session checked, and one without a session none. A request that asks for its context many
// times is watched once.
func TestContextAsksForFew(t *testing.T) {
	s := setup(t)
	m := s.sessions
	m.SetWatch(time.Hour, time.Hour)
	var asked atomic.Int64
	m.CountAsked(&asked)
	const requests = 1000
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tokens := make([]string, requests)
	inParallel(requests, func(i int) {
		tokens[i-1] = loginTo(t, m, "", newUser())
		waitWith(ctx, m, tokens[i-1])
	})
	var waiting context.Context
	send(ctx, m, tokens[0], func(_ http.ResponseWriter, r *http.Request) {
		for range 100 {
			waiting = m.Context(r)
		}
	})
	if n := m.Waiting(); n != requests+1 {
		t.Errorf("%d requests are watched; want %d", n, requests+1)
	}
	for _, nobody := range []string{"", randomToken(), loginTo(t, m, "", newUser())} {
		if _, _, err := attempt(t.Context(), m, nobody, m.Logout); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := attempt(t.Context(), m, tokens[0], m.Logout); err != nil {
		t.Error(err)
	}
	wantEnd(waiting, t, "its logout", sessionhttp.ErrNoSession)
	if n := asked.Load(); n != 2 {
		t.Errorf("%d sessions were checked; want the two requests with the one that has logged out", n)
	}
}

// TestContextLeavesNothing: with the last request that waits, the goroutine ends that
// asks for them.
func TestContextLeavesNothing(t *testing.T) {
	s := setup(t)
	// Goroutines have the labels of the one that has started them.
	pprof.Do(t.Context(), pprof.Labels("test", t.Name()), func(labelled context.Context) {
		asking := func() int {
			var all strings.Builder
			if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
				t.Fatal(err)
			}
			n := 0
			for stack := range strings.SplitSeq(all.String(), "\n\n") {
				if strings.Contains(stack, fmt.Sprintf("%q:%q", "test", t.Name())) && strings.Contains(stack, "(*watcher).") {
					n++
				}
			}
			return n
		}
		token := loginTo(t, s.sessions, "", newUser())
		for range 10 {
			ctx, cancel := context.WithCancel(labelled)
			first := waitWith(ctx, s.sessions, token)
			waitWith(ctx, s.sessions, token)
			suite.Eventually(t, "a goroutine asks", func() bool { return asking() > 0 })
			if n := s.sessions.Waiting(); n != 2 {
				t.Errorf("%d contexts are watched; want 2", n)
			}
			cancel() // the requests end
			wantEnd(first, t, "the request", context.Canceled)
			suite.Eventually(t, "nobody is watched", func() bool { return s.sessions.Waiting() == 0 })
			suite.Eventually(t, "the goroutine ends", func() bool { return asking() == 0 })
		}

		// Sessions that end take the requests with them.
		waiting := waitWith(labelled, s.sessions, token)
		if _, _, err := attempt(labelled, s.sessions, token, s.sessions.Logout); err != nil {
			t.Error(err)
		}
		wantEnd(waiting, t, "Logout", sessionhttp.ErrNoSession)
		suite.Eventually(t, "the goroutine ends", func() bool { return asking() == 0 && s.sessions.Waiting() == 0 })
	})
}

// outage is a tracer that lets no statement through while it is on.
type outage struct {
	on         atomic.Bool
	statements atomic.Int64
}

func (o *outage) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	o.statements.Add(1)
	if o.on.Load() {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return ctx
	}
	return ctx
}

func (*outage) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TestContextWithoutDatabase: a short outage ends nobody's context; a long one ends
// them, and says so.
func TestContextWithoutDatabase(t *testing.T) {
	t.Parallel()
	var down outage
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.ConnConfig.Tracer = &down })
	for _, test := range []struct {
		patience time.Duration
		ends     bool
	}{{time.Hour, false}, {300 * time.Millisecond, true}} {
		m := sessionhttp.New(sessioncache.New[account](pool))
		m.SetWatch(5*time.Millisecond, test.patience)
		ctx, cancel := context.WithCancel(t.Context())
		token := loginTo(t, m, "", newUser())
		waiting := waitWith(ctx, m, token)
		before := down.statements.Load()
		suite.Eventually(t, "the session is asked for", func() bool { return down.statements.Load() > before })
		began := time.Now()
		down.on.Store(true)
		if test.ends {
			wantEnd(waiting, t, "a long outage", sessioncache.ErrUnavailable)
			if cause := context.Cause(waiting); errors.Is(cause, sessionhttp.ErrNoSession) {
				t.Errorf("after an outage the user is told to log in: %v", cause)
			}
			if took := time.Since(began); took < test.patience/2 {
				t.Errorf("it has ended after %s; the patience is %s", took, test.patience)
			}
		} else {
			before := down.statements.Load()
			suite.Eventually(t, "the session is asked for in vain", func() bool { return down.statements.Load() > before+20 })
		}
		down.on.Store(false)
		if !test.ends {
			before := down.statements.Load()
			suite.Eventually(t, "the session is asked for", func() bool { return down.statements.Load() > before+3 })
			if waiting.Err() != nil {
				t.Errorf("a short outage has ended the context by %v", context.Cause(waiting))
			}
			if _, _, err := attempt(t.Context(), m, token, m.Logout); err != nil {
				t.Error(err)
			}
			wantEnd(waiting, t, "a logout after the outage", sessionhttp.ErrNoSession)
		}
		cancel()
	}
}
