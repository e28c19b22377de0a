package sessionhttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// hello is a page behind Require.
func (s *site) hello() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello", s.sessions.MustUser(r.Context()).Name)
	})
}

// navigation and script are the headers of a request that a browser sends to show a
// page, and of one by a page's script.
var (
	navigation = http.Header{"Sec-Fetch-Mode": {"navigate"}, "Accept": {"text/html,*/*"}}
	script     = http.Header{"Sec-Fetch-Mode": {"cors"}, "Accept": {"text/html"}}
)

func TestRequire(t *testing.T) {
	s := setup(t, sessionhttp.WithLoginPage("/login"), sessionhttp.WithReauthenticationPage("/confirm"))
	b := s.browser(t)
	refused := func(why string) {
		t.Helper()
		page := s.sessions.Require(never(t))
		response := b.get(t, navigation, page)
		if got := response.Header.Get("Location"); response.StatusCode != http.StatusSeeOther || got != "/login?next=%2F" {
			t.Errorf("%s: a navigation: %d to %q; want 303 to /login?next=%%2F", why, response.StatusCode, got)
		}
		response = b.get(t, script, page)
		if got := body(t, response); response.StatusCode != http.StatusUnauthorized || got != "Unauthorized" {
			t.Errorf("%s: a script: %d %s; want 401", why, response.StatusCode, got)
		}
		if cookies := response.Header["Set-Cookie"]; len(cookies) != 0 {
			t.Errorf("%s: cookies %q", why, cookies)
		}
	}
	refused("without a cookie")
	b.begin(t, "Ed")
	refused("a visitor")
	token := b.login(t, newUser())
	response := b.get(t, navigation, s.sessions.Require(s.hello()))
	if got := body(t, response); response.StatusCode != http.StatusOK || got != "hello Ed" {
		t.Errorf("logged in: %d %s", response.StatusCode, got)
	}
	s.elapse(t, token, 2*time.Hour)
	refused("an expired session")
	b = b.with(t, "nonsense")
	refused("a malformed cookie")
}

// TestNavigation: browsers say what they are about to show as a page; of older ones it
// shows in what they accept.
func TestNavigation(t *testing.T) {
	s := setup(t, sessionhttp.WithLoginPage("/login"))
	page := s.sessions.Require(never(t))
	for name, test := range map[string]struct {
		header http.Header
		want   int
	}{
		"navigation":             {navigation, http.StatusSeeOther},
		"navigation, no Accept":  {http.Header{"Sec-Fetch-Mode": {"navigate"}}, http.StatusSeeOther},
		"script":                 {script, http.StatusUnauthorized},
		"same-origin script":     {http.Header{"Sec-Fetch-Mode": {"same-origin"}}, http.StatusUnauthorized},
		"WebSocket":              {http.Header{"Sec-Fetch-Mode": {"websocket"}}, http.StatusUnauthorized},
		"old browser":            {http.Header{"Accept": {"text/html,application/xhtml+xml,*/*;q=0.8"}}, http.StatusSeeOther},
		"old browser's script":   {http.Header{"Accept": {"application/json"}}, http.StatusUnauthorized},
		"program":                {http.Header{"Accept": {"*/*"}}, http.StatusUnauthorized},
		"program that says less": {nil, http.StatusUnauthorized},
	} {
		response := s.browser(t).get(t, test.header, page)
		if response.StatusCode != test.want {
			t.Errorf("%s: %d; want %d", name, response.StatusCode, test.want)
		}
		if got := response.Header.Get("WWW-Authenticate"); got != "" {
			t.Errorf("%s: WWW-Authenticate: %s, without bearer tokens", name, got)
		}
	}

	without := s.withDefaults()
	if status := without.browser(t).get(t, navigation, without.sessions.Require(never(t))).StatusCode; status != http.StatusUnauthorized {
		t.Errorf("without a login page: %d; want 401", status)
	}
}

// withDefaults is another service on the same sessions, with the default options.
func (s *site) withDefaults() *site {
	return &site{sessions: sessionhttp.New(s.cache), cache: s.cache, pool: s.pool}
}

func TestRequireFresh(t *testing.T) {
	s := setup(t, sessionhttp.WithLoginPage("/login"), sessionhttp.WithReauthenticationPage("/confirm"))
	b := s.browser(t)
	want := func(why string, header http.Header, status int, location string) {
		t.Helper()
		page := s.hello()
		if status != http.StatusOK {
			page = never(t)
		}
		response := b.get(t, header, s.sessions.RequireFresh(5*time.Minute, page))
		if got := response.Header.Get("Location"); response.StatusCode != status || got != location {
			t.Errorf("%s: %d to %q; want %d to %q", why, response.StatusCode, got, status, location)
		}
	}
	want("nobody", navigation, http.StatusSeeOther, "/login?next=%2F")
	want("nobody", script, http.StatusUnauthorized, "")
	b.begin(t, "Ed")
	want("a visitor", navigation, http.StatusSeeOther, "/login?next=%2F")
	b.login(t, newUser())
	want("just logged in", navigation, http.StatusOK, "")
	s.elapse(t, b.token(), 4*time.Minute)
	want("four minutes later", navigation, http.StatusOK, "")
	s.elapse(t, b.token(), time.Minute+time.Second)
	want("after five minutes", navigation, http.StatusSeeOther, "/confirm?next=%2F")
	want("after five minutes", script, http.StatusUnauthorized, "")
	b.do(t, s.sessions.Renew) // proves nothing
	want("renewed", navigation, http.StatusSeeOther, "/confirm?next=%2F")
	b.do(t, s.sessions.Reauthenticated)
	want("re-authenticated", navigation, http.StatusOK, "")
	if status := b.get(t, navigation, s.sessions.RequireFresh(0, never(t))).StatusCode; status != http.StatusSeeOther {
		t.Errorf("a proof that has to be from this very moment: %d; want 303", status)
	}

	s.elapse(t, b.token(), 10*time.Minute)
	without := s.withDefaults()
	b.site = without
	if status := b.get(t, navigation, without.sessions.RequireFresh(5*time.Minute, never(t))).StatusCode; status != http.StatusUnauthorized {
		t.Errorf("without a re-authentication page: %d; want 401", status)
	}
}

// TestCrossOriginProtection: reading from another site is allowed, and an application
// may trust an origin or answer in its own way.
func TestCrossOriginProtection(t *testing.T) {
	protection := http.NewCrossOriginProtection()
	if err := protection.AddTrustedOrigin("https://partner.example"); err != nil {
		t.Fatal(err)
	}
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not from there", http.StatusTeapot)
	}))
	s := setup(t, sessionhttp.WithCrossOriginProtection(protection), sessionhttp.WithRemoteAddress(func(r *http.Request) string {
		return r.Header.Get("X-Forwarded-For")
	}))
	for _, test := range []struct {
		method, origin string
		want           int
	}{
		{http.MethodPost, "https://example.com", http.StatusOK},
		{http.MethodPost, "https://partner.example", http.StatusOK},
		{http.MethodGet, "https://evil.example", http.StatusOK},
		{http.MethodPost, "https://evil.example", http.StatusTeapot},
	} {
		r := s.browser(t).request(t, test.method)
		r.Header.Set("Origin", test.origin)
		r.Header.Set("X-Forwarded-For", "198.51.100.7")
		response := s.browser(t).send(r, func(w http.ResponseWriter, _ *http.Request) {
			if test.want != http.StatusOK {
				t.Error("the handler was called")
			}
			w.WriteHeader(http.StatusOK)
		})
		if response.StatusCode != test.want {
			t.Errorf("%s from %s: %d; want %d", test.method, test.origin, response.StatusCode, test.want)
		}
	}
	events := s.events.take()
	if len(events) != 1 || events[0].Kind != sessionhttp.EventCrossOrigin || events[0].RemoteAddr != "198.51.100.7" || events[0].Reason == nil {
		t.Errorf("events %+v; want the one request that was refused", events)
	}
}

// TestVary: whatever a page is about to do, a cache that others share learns that it
// may be another one for them.
func TestVary(t *testing.T) {
	user := func(s *site, r *http.Request) { _, _, _ = s.sessions.User(r.Context()) }
	for name, test := range map[string]struct {
		handle       func(s *site, w http.ResponseWriter, r *http.Request)
		vary         []string
		cacheControl string
	}{
		"asks nothing": {func(*site, http.ResponseWriter, *http.Request) {}, []string{"Cookie"}, ""},
		"asks":         {func(s *site, _ http.ResponseWriter, r *http.Request) { user(s, r) }, []string{"Cookie"}, "no-store"},
		"asks in the middle": {func(s *site, w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "<p>")
			user(s, r)
		}, []string{"Cookie"}, ""},
		"has its own": {func(s *site, w http.ResponseWriter, r *http.Request) {
			user(s, r)
			w.Header().Set("Cache-Control", "private, max-age=60")
			w.Header().Set("Vary", "Accept-Language")
		}, []string{"Accept-Language", "Cookie"}, "private, max-age=60"},
		"says it already": {func(s *site, w http.ResponseWriter, r *http.Request) {
			user(s, r)
			w.Header().Add("Vary", "Cookie")
		}, []string{"Cookie"}, "no-store"},
		"is the same for all": {func(_ *site, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "public, max-age=60")
		}, nil, "public, max-age=60"},
		"never changes": {func(_ *site, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=31536000, immutable")
		}, nil, "max-age=31536000, immutable"},
		"says that it is the same, and asks": {func(s *site, w http.ResponseWriter, r *http.Request) {
			user(s, r)
			w.Header().Set("Cache-Control", "public")
		}, []string{"Cookie"}, "public"},
	} {
		t.Run(name, func(t *testing.T) {
			s := setup(t)
			response := s.browser(t).visit(t, func(w http.ResponseWriter, r *http.Request) { test.handle(s, w, r) })
			if vary, control := response.Header["Vary"], response.Header.Get("Cache-Control"); !slices.Equal(vary, test.vary) || control != test.cacheControl {
				t.Errorf("Vary %q, Cache-Control %q; want %q, %q", vary, control, test.vary, test.cacheControl)
			}
		})
	}
	t.Run("bearer", func(t *testing.T) {
		s := setup(t, sessionhttp.WithBearer())
		response := s.browser(t).visit(t, func(http.ResponseWriter, *http.Request) {})
		if vary := response.Header["Vary"]; !slices.Equal(vary, []string{"Cookie", "Authorization"}) {
			t.Errorf("Vary %q", vary)
		}
	})
}

// TestNoStore: a page that sets a session cookie is kept by nobody, whatever its
// handler says. One behind Require is kept by nobody unless it says otherwise.
func TestNoStore(t *testing.T) {
	s := setup(t, sessionhttp.WithProfile(func(a account) any { return a.Name }))
	b := s.browser(t)
	ed := newUser()
	for _, step := range []struct {
		name string
		call call
	}{
		{"Begin", s.allCalls()["Begin"]},
		{"Login", func(w http.ResponseWriter, r *http.Request) error { return s.sessions.Login(w, r, ed) }},
		{"Renew", s.sessions.Renew},
		{"Reauthenticated", s.sessions.Reauthenticated},
		{"Update", s.calls()["Update"]},
		{"Logout", s.sessions.Logout},
	} {
		response := b.visit(t, func(w http.ResponseWriter, r *http.Request) {
			if err := step.call(w, r); err != nil {
				t.Errorf("%s: %v", step.name, err)
			}
			for _, name := range []string{"Cache-Control", "Surrogate-Control", "CDN-Cache-Control", "Cloudflare-CDN-Cache-Control"} {
				w.Header().Set(name, "public, max-age=60")
			}
			_, _ = io.WriteString(w, "hello")
		})
		if got := response.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control is %q; want no-store", step.name, got)
		}
		for name, values := range response.Header {
			if name == "Surrogate-Control" || strings.HasSuffix(name, "Cdn-Cache-Control") {
				t.Errorf("%s: %s is %q; want none", step.name, name, values)
			}
		}
	}

	b.login(t, ed)
	for want, page := range map[string]http.Handler{
		"no-store": s.hello(),
		"private, max-age=60": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "private, max-age=60")
			w.WriteHeader(http.StatusNoContent)
		}),
	} {
		if got := b.get(t, nil, s.sessions.Require(page)).Header.Get("Cache-Control"); got != want {
			t.Errorf("behind Require Cache-Control is %q; want %q", got, want)
		}
	}
	// Nor does anybody keep what the others get there.
	if got := s.browser(t).get(t, nil, s.sessions.Require(never(t))).Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("refused by Require: Cache-Control is %q; want no-store", got)
	}
}

// TestUnavailable takes the database away: nobody is let in, nobody is sent to the
// login page, and no cookie is touched.
func TestUnavailable(t *testing.T) {
	s := setup(t, sessionhttp.WithLoginPage("/login"), sessionhttp.WithReauthenticationPage("/confirm"))
	b := s.browser(t)
	token := b.login(t, newUser())
	s.pool.Close()

	want503 := func(name string, response *http.Response) {
		t.Helper()
		if got := body(t, response); response.StatusCode != http.StatusServiceUnavailable || got != "Service Unavailable" {
			t.Errorf("%s: %d %s; want 503", name, response.StatusCode, got)
		}
		if after := response.Header.Get("Retry-After"); after != "1" {
			t.Errorf("%s: Retry-After is %q", name, after)
		}
		if cookies := response.Header["Set-Cookie"]; len(cookies) != 0 {
			t.Errorf("%s: cookies %q", name, cookies)
		}
	}
	for name, call := range s.allCalls() {
		want503(name, b.get(t, navigation, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			err := call(w, r)
			if !errors.Is(err, sessioncache.ErrUnavailable) || errors.Is(err, sessionhttp.ErrNoSession) {
				t.Errorf("%s: %v; want %v", name, err, sessioncache.ErrUnavailable)
			}
			s.sessions.Error(w, r, err)
		})))
	}
	want503("Require", b.get(t, navigation, s.sessions.Require(never(t))))
	want503("RequireFresh", b.get(t, navigation, s.sessions.RequireFresh(time.Hour, never(t))))
	b.wantNobody(t, sessioncache.ErrUnavailable)
	if b.token() != token {
		t.Error("the cookie has changed")
	}
	if events := ofKind(s.events.take(), sessionhttp.EventUnknown); len(events) != 0 {
		t.Errorf("events %v: an outage is not an unknown token", events)
	}

	// Who has no cookie needs no database to be nobody.
	s.browser(t).wantNobody(t, sessionhttp.ErrNoCookie)
}

// TestSupersededAnswer: whose token was renewed by another request is asked to come
// again, and stays logged in.
func TestSupersededAnswer(t *testing.T) {
	s := setup(t, sessionhttp.WithLoginPage("/login"))
	b, ed := s.browser(t), newUser()
	inFlight := b.with(t, b.login(t, ed))
	b.do(t, s.sessions.Renew)
	for name, call := range s.calls() {
		response := inFlight.get(t, navigation, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			err := call(w, r)
			if !errors.Is(err, sessioncache.ErrSuperseded) || errors.Is(err, sessionhttp.ErrNoSession) {
				t.Errorf("%s: %v; want %v", name, err, sessioncache.ErrSuperseded)
			}
			s.sessions.Error(w, r, err)
		}))
		if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") != "1" || len(response.Cookies()) != 0 {
			t.Errorf("%s: %d, %v; want 503", name, response.StatusCode, response.Header)
		}
	}
	inFlight.wantNobody(t, sessioncache.ErrSuperseded)
	b.wantUser(t, ed)
	if log := s.log.String(); strings.Contains(log, "request failed") {
		t.Errorf("a renewal is logged as a failure:\n%s", log)
	}
}

// TestErrorStatus: the default error handler tells the client no cause, and logs what
// is the service's own failure.
func TestErrorStatus(t *testing.T) {
	s := setup(t)
	for _, test := range []struct {
		err    error
		want   int
		logged bool
	}{
		{sessioncache.ErrUnavailable, http.StatusServiceUnavailable, true},
		{sessioncache.ErrSuperseded, http.StatusServiceUnavailable, false},
		{sessionhttp.ErrNoCookie, http.StatusUnauthorized, false},
		{sessionhttp.ErrMalformedCookie, http.StatusUnauthorized, false},
		{sessionhttp.ErrUnknownSession, http.StatusUnauthorized, false},
		{sessionhttp.ErrExpiredSession, http.StatusUnauthorized, false},
		{sessionhttp.ErrAnonymous, http.StatusUnauthorized, false},
		{sessionhttp.ErrUnreadableSession, http.StatusUnauthorized, false},
		{sessionhttp.ErrNotFresh, http.StatusUnauthorized, false},
		{sessionhttp.ErrUnknownHandle, http.StatusNotFound, false},
		{sessioncache.ErrUserTooLarge, http.StatusRequestEntityTooLarge, false},
		{sessionhttp.ErrNoUserID, http.StatusInternalServerError, true},
		{sessionhttp.ErrBearer, http.StatusInternalServerError, true},
		{sessionhttp.ErrNoMiddleware, http.StatusInternalServerError, true},
		{sessioncache.ErrInvalidUser, http.StatusInternalServerError, true},
		{errors.New("something of ours"), http.StatusInternalServerError, true},
	} {
		before := len(s.log.String())
		err := fmt.Errorf("in a call: %w", test.err)
		w := httptest.NewRecorder()
		s.sessions.Error(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/account?q=secret", nil), err)
		if w.Code != test.want || strings.TrimSpace(w.Body.String()) != http.StatusText(test.want) {
			t.Errorf("%v: %d %s; want %d", err, w.Code, w.Body, test.want)
		}
		log := s.log.String()[before:]
		if !test.logged && log != "" || test.logged &&
			(!strings.Contains(log, `level=ERROR msg="request failed" error="`+err.Error()+`" method=GET path=/account`) || strings.Contains(log, "secret")) {
			t.Errorf("%v: logged %q; want %v", err, log, test.logged)
		}
	}
}

// TestClientGone: a client that goes away is no failure of the database. A request whose time
// is up is one.
func TestClientGone(t *testing.T) {
	var handled []error
	s := setup(t)
	b := s.browser(t)
	b.login(t, newUser())
	own := sessionhttp.New(s.cache, sessionhttp.WithErrorHandler(func(_ http.ResponseWriter, _ *http.Request, err error) {
		handled = append(handled, err)
	}))
	for name, call := range s.allCalls() {
		ctx, leave := context.WithCancel(t.Context())
		response := b.send(b.request(t, http.MethodPost).WithContext(ctx), func(w http.ResponseWriter, r *http.Request) {
			leave()
			err := call(w, r)
			if !errors.Is(err, sessioncache.ErrUnavailable) {
				t.Errorf("%s: %v; want %v", name, err, sessioncache.ErrUnavailable)
			}
			own.Error(nowhere{http.Header{}}, r, err)
			s.sessions.Error(w, r, err)
		})
		if response.StatusCode != 499 || response.Header.Get("Retry-After") != "" {
			t.Errorf("%s: %d, %v; want 499", name, response.StatusCode, response.Header)
		}
	}
	if log := s.log.String(); strings.Contains(log, "level=ERROR") || !strings.Contains(log, `level=DEBUG msg="client has gone"`) || len(handled) != 0 {
		t.Errorf("the handler got %v, and the log says:\n%s", handled, log)
	}

	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	response := b.send(b.request(t, http.MethodPost).WithContext(late), func(w http.ResponseWriter, r *http.Request) {
		s.sessions.Error(w, r, s.sessions.Renew(w, r))
	})
	if log := s.log.String(); response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(log, `level=ERROR msg="request failed"`) {
		t.Errorf("time is up: %d, and the log says:\n%s", response.StatusCode, log)
	}
	// What else is wrong is still answered and logged.
	ctx, leave := context.WithCancel(t.Context())
	leave()
	response = b.send(b.request(t, http.MethodPost).WithContext(ctx), func(w http.ResponseWriter, r *http.Request) {
		s.sessions.Error(w, r, sessionhttp.ErrNoUserID)
	})
	if response.StatusCode != http.StatusInternalServerError {
		t.Errorf("another error: %d; want 500", response.StatusCode)
	}
}

// TestErrorAfterTheFirstByte: an error page in the middle of another helps nobody.
func TestErrorAfterTheFirstByte(t *testing.T) {
	s := setup(t)
	b := s.browser(t)
	b.login(t, newUser())
	response := b.visit(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "<p>")
		s.sessions.Error(w, r, s.sessions.Renew(w, r))
	})
	if got := body(t, response); response.StatusCode != http.StatusOK || got != "<p>" {
		t.Errorf("%d %q; want the page as it was begun", response.StatusCode, got)
	}
	if log := s.log.String(); !strings.Contains(log, `level=ERROR msg="request failed"`) || !strings.Contains(log, sessionhttp.ErrHeadersSent.Error()) {
		t.Errorf("the log lacks the error:\n%s", log)
	}
}

func TestErrorHandler(t *testing.T) {
	var got []error
	s := setup(t, sessionhttp.WithLoginPage("/login"), sessionhttp.WithErrorHandler(func(w http.ResponseWriter, _ *http.Request, err error) {
		got = append(got, err)
		w.WriteHeader(http.StatusTeapot)
	}))
	b := s.browser(t)
	want := func(why error, status int, header http.Header) {
		t.Helper()
		got = nil
		response := b.get(t, header, s.sessions.Require(never(t)))
		handled := len(got) == 1 && errors.Is(got[0], why)
		if response.StatusCode != status || handled != (status == http.StatusTeapot) {
			t.Errorf("%d, the handler got %v; want %d, %v", response.StatusCode, got, status, why)
		}
	}
	want(sessionhttp.ErrNoCookie, http.StatusSeeOther, navigation) // the redirect comes first
	want(sessionhttp.ErrNoCookie, http.StatusTeapot, script)
	b.login(t, newUser())
	s.pool.Close()
	want(sessioncache.ErrUnavailable, http.StatusTeapot, navigation)
	if log := s.log.String(); strings.Contains(log, "request failed") {
		t.Errorf("the Manager logs what the handler is for:\n%s", log)
	}
}

// TestDefaultLogger: without WithLogger failures go to the default logger, and events
// nowhere. It is not parallel: the default logger is everybody's.
func TestDefaultLogger(t *testing.T) {
	var log suite.Log
	former := slog.Default()
	slog.SetDefault(log.Logger(slog.LevelInfo))
	defer slog.SetDefault(former)
	s := &site{sessions: sessionhttp.New(sessioncache.New[account](unreachable(t)))}
	b := s.browser(t)
	b.with(t, "nonsense").wantNobody(t, sessionhttp.ErrMalformedCookie)
	if log.String() != "" {
		t.Errorf("an event is logged:\n%s", log.String())
	}
	b.with(t, randomToken()).get(t, nil, s.sessions.Require(never(t)))
	if !strings.Contains(log.String(), `level=ERROR msg="request failed"`) {
		t.Errorf("the failure is not logged:\n%s", log.String())
	}
}

func TestWithoutMiddleware(t *testing.T) {
	s := setup(t)
	other := sessionhttp.New(s.cache)
	calls := s.allCalls()
	calls["Context"] = func(_ http.ResponseWriter, r *http.Request) error { return context.Cause(s.sessions.Context(r)) }
	calls["MustUser"] = func(_ http.ResponseWriter, r *http.Request) (err error) {
		defer func() { err, _ = recover().(error) }()
		s.sessions.MustUser(r.Context())
		return nil
	}
	for name, call := range calls {
		other.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := call(w, r); !errors.Is(err, sessionhttp.ErrNoMiddleware) {
				t.Errorf("%s: %v", name, err)
			}
			s.sessions.Require(never(t)).ServeHTTP(w, r)
		})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	}
	if n := s.statements.Load(); n != 0 {
		t.Errorf("%d statements; want none", n)
	}
}

// TestTwoManagers: each has its own session in a request that passes both.
func TestTwoManagers(t *testing.T) {
	s := setup(t)
	admin := sessionhttp.New(s.cache, sessionhttp.WithCookieName("admin"))
	user, root := newUser(), newUser()
	b := s.browser(t)
	visit := func(handle http.HandlerFunc) *http.Response {
		return b.visit(t, admin.Middleware(handle).ServeHTTP)
	}
	response := visit(func(w http.ResponseWriter, r *http.Request) {
		if err := errors.Join(s.sessions.Login(w, r, user), admin.Login(w, r, root)); err != nil {
			t.Error(err)
		}
	})
	if n := len(response.Cookies()); n != 2 {
		t.Errorf("%d cookies; want two", n)
	}
	response = visit(func(w http.ResponseWriter, r *http.Request) {
		if a, c := s.sessions.MustUser(r.Context()), admin.MustUser(r.Context()); a != user || c != root {
			t.Errorf("the users are %v and %v", a, c)
		}
		if err := admin.Logout(w, r); err != nil {
			t.Error(err)
		}
	})
	if vary := response.Header["Vary"]; !slices.Equal(vary, []string{"Cookie"}) {
		t.Errorf("Vary %q", vary)
	}
	b.wantUser(t, user)
}

// BenchmarkMiddleware is what a request pays that does not ask who is there.
func BenchmarkMiddleware(b *testing.B) {
	sessions := sessionhttp.New(sessioncache.New[account](sessiontest.NewPool(b)))
	handler := sessions.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/", nil)
	r.AddCookie(&http.Cookie{Name: "__Host-session", Value: randomToken()})
	w := nowhere{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		handler.ServeHTTP(w, r)
	}
}

func TestMiddlewareIsCheap(t *testing.T) { // not parallel: others allocate, too
	sessions := sessionhttp.New(sessioncache.New[account](unreachable(t)))
	handler := sessions.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r, w := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), nowhere{http.Header{}}
	if n := testing.AllocsPerRun(100, func() { handler.ServeHTTP(w, r) }); n > 6 {
		t.Errorf("%v allocations a request; want 6 at most", n)
	}
}
