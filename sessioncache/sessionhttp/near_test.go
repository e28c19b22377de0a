package sessionhttp_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// changes are the calls that change sessions, by name.
func (s *site) changes() map[string]struct {
	cookies []string // of the request: an own session, others of the same user, and unknown ones
	do      func(w http.ResponseWriter, r *http.Request, user account, other string) error
	kind    sessionhttp.Kind // of the event; none if empty
	waits   bool             // for near caches
} {
	m := s.sessions
	type test = struct {
		cookies []string
		do      func(w http.ResponseWriter, r *http.Request, user account, other string) error
		kind    sessionhttp.Kind
		waits   bool
	}
	login := func(w http.ResponseWriter, r *http.Request, _ account, _ string) error {
		return m.Login(w, r, newUser())
	}
	logout := func(w http.ResponseWriter, r *http.Request, _ account, _ string) error { return m.Logout(w, r) }
	accept := func(w http.ResponseWriter, r *http.Request, user account, _ string) error {
		issued, err := m.IssueBearer(context.WithoutCancel(r.Context()), user)
		if err != nil {
			return err
		}
		return m.Accept(w, r, issued)
	}
	one, four := []string{"own"}, []string{"own", "other", "unknown", "unknown"}
	return map[string]test{
		"Login":                     {one, login, sessionhttp.EventLogin, false},
		"Login in place of several": {four, login, sessionhttp.EventLogin, false},
		"Login in place of none":    {[]string{"unknown"}, login, sessionhttp.EventLogin, false},
		"Login with MaxSessions": {nil, func(w http.ResponseWriter, r *http.Request, user account, _ string) error {
			return m.Login(w, r, user, sessionhttp.MaxSessions(1))
		}, sessionhttp.EventLogin, false},
		"Login in Tx": {one, func(w http.ResponseWriter, r *http.Request, user account, _ string) error {
			return m.Tx(w, r, func(_ pgx.Tx, session *sessionhttp.Tx[account]) error {
				_, err := session.LogoutOthers()
				return errors.Join(err, session.Login(user))
			})
		}, sessionhttp.EventLogin, true},
		"Logout":            {one, logout, sessionhttp.EventLogout, true},
		"Logout of several": {four, logout, sessionhttp.EventLogout, true},
		"LogoutEverywhere": {one, func(w http.ResponseWriter, r *http.Request, _ account, _ string) error {
			n, err := m.LogoutEverywhere(w, r)
			if n != 2 {
				return errors.Join(err, errors.New("LogoutEverywhere has not said that there were two sessions"))
			}
			return err
		}, sessionhttp.EventLogoutEverywhere, true},
		"LogoutOthers": {one, func(_ http.ResponseWriter, r *http.Request, _ account, _ string) error {
			n, err := m.LogoutOthers(r)
			if n != 1 {
				return errors.Join(err, errors.New("LogoutOthers has not said that there was another session"))
			}
			return err
		}, sessionhttp.EventLogoutOthers, true},
		"LogoutSession": {one, func(w http.ResponseWriter, r *http.Request, _ account, other string) error {
			return m.LogoutSession(w, r, other)
		}, sessionhttp.EventLogoutSession, true},
		"Renew": {one, func(w http.ResponseWriter, r *http.Request, _ account, _ string) error { return m.Renew(w, r) }, sessionhttp.EventRenew, true},
		"Reauthenticated": {one, func(w http.ResponseWriter, r *http.Request, _ account, _ string) error {
			return m.Reauthenticated(w, r)
		}, sessionhttp.EventReauthenticate, true},
		"Accept":                     {one, accept, sessionhttp.EventAccept, false},
		"Accept in place of several": {four, accept, sessionhttp.EventAccept, false},
		"Update": {one, func(w http.ResponseWriter, r *http.Request, _ account, _ string) error {
			return m.Update(w, r, func(user *account) error { user.Visits++; return nil })
		}, "", true},
		"Update unawaited": {one, func(w http.ResponseWriter, r *http.Request, _ account, _ string) error {
			return m.Update(w, r, func(user *account) error { user.Visits++; return nil }, sessioncache.Unawaited())
		}, "", false},
		"Begin of a new visitor": {nil, func(w http.ResponseWriter, r *http.Request, _ account, _ string) error {
			return m.Begin(w, r, func(user *account) error { user.Visits++; return nil })
		}, sessionhttp.EventBegin, false},
		"Begin": {one, func(w http.ResponseWriter, r *http.Request, _ account, _ string) error {
			return m.Begin(w, r, func(user *account) error { user.Visits++; return nil })
		}, "", true},
		"IssueBearer": {nil, func(_ http.ResponseWriter, r *http.Request, user account, _ string) error {
			token, err := m.IssueBearer(r.Context(), user, sessioncache.MaxSessions(1))
			if token.IsZero() {
				return errors.Join(err, errors.New("IssueBearer has returned no token"))
			}
			return err
		}, sessionhttp.EventIssueBearer, false},
	}
}

// change makes a call in a request of its own.
func (s *site) change(ctx context.Context, t *testing.T, cookies []string, do func(w http.ResponseWriter, r *http.Request, user account, other string) error) (response *http.Response, took time.Duration, err error) {
	t.Helper()
	ed := newUser()
	own, other := loginTo(t, s.sessions, "", ed), loginTo(t, s.sessions, "", ed)
	value := map[string]func() string{
		"own": func() string { return own }, "other": func() string { return other }, "unknown": randomToken,
	}
	s.events.take()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://example.com/", nil)
	for _, cookie := range cookies {
		r.AddCookie(&http.Cookie{Name: "__Host-session", Value: value[cookie]()})
	}
	w := httptest.NewRecorder()
	s.sessions.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		err = do(w, r, ed, handleOf(t, other).String())
		took = time.Since(start)
	})).ServeHTTP(w, r)
	return w.Result(), took, err
}

// TestChangesWaitOnce: a change waits for near caches once, however many sessions it ends, and
// a login waits for none. Without the option nothing waits.
func TestChangesWaitOnce(t *testing.T) {
	t.Parallel()
	suite.Require(t, suite.Undistributed) // where a statement takes less than the wait
	database := sessiontest.NewDatabase(t)
	// The quickest of a few: the machine may be busy.
	quickest := func(s *site, name string, enough time.Duration) (took time.Duration) {
		test := s.changes()[name]
		took = time.Hour
		for i := 0; i < 10 && took >= enough; i++ {
			_, once, err := s.change(t.Context(), t, test.cookies, test.do)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			took = min(took, once)
		}
		return took
	}
	for _, server := range []struct {
		*site
		awaits bool
	}{{server(t, database), false}, {server(t, database, sessioncache.WithNearCache(0)), true}, {nearServer(t, database), true}} {
		for name, test := range server.changes() {
			if server.awaits && test.waits {
				took := quickest(server.site, name, 2*sessioncache.NearCacheStaleness)
				if took < sessioncache.NearCacheStaleness || took >= 2*sessioncache.NearCacheStaleness {
					t.Errorf("%s takes %s; want to wait for %s once", name, took, sessioncache.NearCacheStaleness)
				}
			} else if took := quickest(server.site, name, sessioncache.NearCacheStaleness); took >= sessioncache.NearCacheStaleness {
				t.Errorf("%s takes %s; want not to wait", name, took)
			}
		}
	}
}

// lull is a tracer that calls a function once no statement has been sent for a while.
type lull struct{ timer atomic.Pointer[time.Timer] }

// after is well before the wait for near caches ends.
func (l *lull) after() time.Duration { return sessioncache.NearCacheStaleness / 2 }

func (l *lull) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	if timer := l.timer.Load(); timer != nil {
		timer.Stop()
	}
	return ctx
}

func (l *lull) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {
	if timer := l.timer.Load(); timer != nil {
		timer.Reset(l.after())
	}
}

// TestChangeThatIsNotAwaited has happened, though the request's context has ended: cookies,
// events and what the request knows of its session are as after one that was awaited.
func TestChangeThatIsNotAwaited(t *testing.T) {
	t.Parallel()
	var quiet lull
	s := (&site{}).connect(t, sessiontest.NewDatabase(t), &quiet, sessioncache.WithNearCache(0))
	for name, test := range s.changes() {
		if !test.waits {
			continue
		}
		t.Run(name, func(t *testing.T) {
			awaited, _, err := s.change(t.Context(), t, test.cookies, test.do)
			if err != nil {
				t.Fatal(err)
			}
			kinds := s.kinds()
			for range 10 { // what comes too early or too late on a busy machine is no test
				ctx, cancel := context.WithCancel(t.Context())
				var connections int32
				var after account
				var in bool
				response, _, err := s.change(ctx, t, test.cookies, func(w http.ResponseWriter, r *http.Request, user account, other string) error {
					quiet.timer.Store(time.AfterFunc(quiet.after(), func() {
						connections = s.pool.Stat().AcquiredConns()
						cancel()
					}))
					err := test.do(w, r, user, other)
					quiet.timer.Swap(nil).Stop()
					var asked error
					if after, in, asked = s.sessions.User(context.WithoutCancel(r.Context())); asked != nil {
						t.Errorf("then User = %v", asked)
					}
					return err
				})
				cancel()
				if err == nil || errors.Is(err, sessioncache.ErrUnavailable) {
					continue
				}
				if !errors.Is(err, sessioncache.ErrNotAwaited) || !errors.Is(err, context.Canceled) {
					t.Errorf("the error is %v; want ErrNotAwaited", err)
				}
				if connections != 0 {
					t.Errorf("it holds %d connections while it waits", connections)
				}
				if got := s.kinds(); got != kinds || test.kind != "" && !strings.Contains(got, string(test.kind)) {
					t.Errorf("events: %s; want %s", got, kinds)
				}
				if got, want := cleared(response), cleared(awaited); got != want {
					t.Errorf("cookies: %s; want %s", got, want)
				}
				if set, _ := tokenSet(response); set != "" {
					if user, ok, err := userOf(t.Context(), s.sessions, set); !ok || !in || err != nil || user != after {
						t.Errorf("with the new token User = %v, %v, %v; in the request %v, %v", user, ok, err, after, in)
					}
				}
				if strings.HasPrefix(name, "Logout") && in != (name == "LogoutOthers" || name == "LogoutSession") {
					t.Errorf("then the request is logged in: %v", in)
				}
				return
			}
			t.Error("the context has never ended during the wait")
		})
	}
}

// kinds lists the events since it was last called.
func (s *site) kinds() string {
	var kinds []string
	for _, event := range s.events.take() {
		kinds = append(kinds, string(event.Kind))
	}
	return strings.Join(kinds, ", ")
}
