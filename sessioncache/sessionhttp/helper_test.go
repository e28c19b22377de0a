package sessionhttp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

type account struct {
	ID     string `json:"user_id"`
	Name   string `json:"name"`
	Visits int    `json:"visits"`
}

// newUser is a user that no other test has.
func newUser() account {
	return account{ID: sid.New().String(), Name: "Ed"}
}

// site is a service with logins, and a place to look at what it does.
type site struct {
	sessions   *sessionhttp.Manager[account]
	cache      *sessioncache.Cache[account]
	pool       *pgxpool.Pool
	statements atomic.Int64 // that the pool was given
	log        syncBuffer   // the Manager's and the Cache's, from level Debug
	events     recorder
}

func setup(t *testing.T, options ...sessionhttp.Option) *site {
	t.Helper()
	return setupCache(t, nil, options...)
}

func setupCache(t *testing.T, cacheOptions []sessioncache.Option, options ...sessionhttp.Option) *site {
	t.Helper()
	t.Parallel()
	s := &site{}
	s.pool = sessiontest.NewPool(t, func(c *pgxpool.Config) { c.ConnConfig.Tracer = s })
	logger := slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.cache = sessioncache.New[account](s.pool, append([]sessioncache.Option{sessioncache.WithLogger(logger)}, cacheOptions...)...)
	s.sessions = sessionhttp.New(s.cache, append([]sessionhttp.Option{
		sessionhttp.WithLogger(logger), sessionhttp.WithEvents(s.events.record),
	}, options...)...)
	return s
}

// TraceQueryStart counts what reaches the database.
func (s *site) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	s.statements.Add(1)
	return ctx
}

func (s *site) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// elapse makes the session of a token as much older as if d had passed.
func (s *site) elapse(t *testing.T, token string, d time.Duration) {
	t.Helper()
	sessiontest.Elapse(t, s.pool, parse(t, token).Handle(), d)
}

// call is what a test does within a request.
type call = func(w http.ResponseWriter, r *http.Request) error

// calls are those that return [sessionhttp.ErrNoSession] when nobody has logged in.
func (s *site) calls() map[string]call {
	return map[string]call{
		"Current": func(_ http.ResponseWriter, r *http.Request) error {
			_, err := s.sessions.Current(r.Context())
			return err
		},
		"Sessions": func(_ http.ResponseWriter, r *http.Request) error {
			_, err := s.sessions.Sessions(r.Context())
			return err
		},
		"LogoutEverywhere": func(w http.ResponseWriter, r *http.Request) error {
			_, err := s.sessions.LogoutEverywhere(w, r)
			return err
		},
		"LogoutOthers": func(_ http.ResponseWriter, r *http.Request) error {
			_, err := s.sessions.LogoutOthers(r)
			return err
		},
		"LogoutSession": func(w http.ResponseWriter, r *http.Request) error {
			return s.sessions.LogoutSession(w, r, sid.NewToken().Handle().String())
		},
		"Renew":           s.sessions.Renew,
		"Reauthenticated": s.sessions.Reauthenticated,
		"Update": func(w http.ResponseWriter, r *http.Request) error {
			return s.sessions.Update(w, r, func(*account) error { return nil })
		},
		"Tx": func(w http.ResponseWriter, r *http.Request) error {
			return s.sessions.Tx(w, r, func(_ pgx.Tx, session *sessionhttp.Tx[account]) error { return session.Renew() })
		},
	}
}

// allCalls are all that return an error when the database does not answer.
func (s *site) allCalls() map[string]call {
	calls := s.calls()
	calls["User"] = func(_ http.ResponseWriter, r *http.Request) error {
		_, _, err := s.sessions.User(r.Context())
		return err
	}
	calls["Visitor"] = func(_ http.ResponseWriter, r *http.Request) error {
		_, _, err := s.sessions.Visitor(r.Context())
		return err
	}
	calls["Login"] = func(w http.ResponseWriter, r *http.Request) error { return s.sessions.Login(w, r, newUser()) }
	calls["Logout"] = s.sessions.Logout
	calls["Begin"] = func(w http.ResponseWriter, r *http.Request) error {
		return s.sessions.Begin(w, r, func(*account) error { return nil })
	}
	calls["Accept"] = func(w http.ResponseWriter, r *http.Request) error {
		return s.sessions.Accept(w, r, sid.NewToken())
	}
	return calls
}

// browser keeps the cookies of its visits, by the rules of its kind.
type browser struct {
	site *site
	jar  *cookiejar.Jar
}

var origin = &url.URL{Scheme: "https", Host: "example.com", Path: "/"}

func (s *site) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{s, jar}
}

// with returns another browser, which sends this value for a session cookie.
func (b *browser) with(t *testing.T, token string) *browser {
	t.Helper()
	other := b.site.browser(t)
	other.jar.SetCookies(origin, []*http.Cookie{{Name: "__Host-session", Value: token, Path: "/", Secure: true}})
	return other
}

// visit makes a request, which handle handles, with the browser's cookies.
func (b *browser) visit(t *testing.T, handle http.HandlerFunc) *http.Response {
	t.Helper()
	return b.send(b.request(t, http.MethodPost), handle)
}

// request returns a request with the browser's cookies, for send.
func (b *browser) request(t *testing.T, method string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, origin.String(), nil)
	for _, cookie := range b.jar.Cookies(origin) {
		r.AddCookie(cookie)
	}
	return r
}

func (b *browser) send(r *http.Request, handle http.HandlerFunc) *http.Response {
	w := httptest.NewRecorder()
	b.site.sessions.Middleware(handle).ServeHTTP(w, r)
	response := w.Result()
	b.jar.SetCookies(origin, response.Cookies())
	return response
}

// do makes a request with a call that has to succeed.
func (b *browser) do(t *testing.T, what call) *http.Response {
	t.Helper()
	return b.want(t, nil, what)
}

// want makes a request with a call that has to return this error.
func (b *browser) want(t *testing.T, want error, what call) *http.Response {
	t.Helper()
	return b.visit(t, func(w http.ResponseWriter, r *http.Request) {
		if err := what(w, r); !errors.Is(err, want) {
			t.Errorf("the error is %v; want %v", err, want)
		}
	})
}

// login logs a user in, and returns the token.
func (b *browser) login(t *testing.T, user account, options ...sessionhttp.LoginOption) (token string) {
	t.Helper()
	b.do(t, func(w http.ResponseWriter, r *http.Request) error {
		return b.site.sessions.Login(w, r, user, options...)
	})
	return b.token()
}

// begin begins a visitor's session, or changes its data, and returns the token.
func (b *browser) begin(t *testing.T, name string) (token string) {
	t.Helper()
	b.do(t, func(w http.ResponseWriter, r *http.Request) error {
		return b.site.sessions.Begin(w, r, func(visitor *account) error { visitor.Name = name; return nil })
	})
	return b.token()
}

// user is who the site takes the browser's user for.
func (b *browser) user(t *testing.T) (user account, ok bool, err error) {
	t.Helper()
	b.visit(t, func(_ http.ResponseWriter, r *http.Request) {
		user, ok, err = b.site.sessions.User(r.Context())
	})
	return user, ok, err
}

func (b *browser) wantUser(t *testing.T, want account) {
	t.Helper()
	if user, ok, err := b.user(t); err != nil || !ok || user != want {
		t.Errorf("User = %v, %v, %v; want %v", user, ok, err, want)
	}
}

// wantNobody checks that the browser's user is not let in, and why. A why that is
// under ErrNoSession is told by Current, since it is no error of User's.
func (b *browser) wantNobody(t *testing.T, why error) {
	t.Helper()
	b.visit(t, func(_ http.ResponseWriter, r *http.Request) {
		user, ok, err := b.site.sessions.User(r.Context())
		if err == nil {
			_, err = b.site.sessions.Current(r.Context())
		} else if errors.Is(err, sessionhttp.ErrNoSession) {
			t.Errorf("User returned %v: that nobody has logged in is no error of it", err)
		}
		if !errors.Is(err, why) || ok || user != (account{}) {
			t.Errorf("User = %v, %v, %v; want the error %q", user, ok, err, why)
		}
	})
}

// cookie is a cookie's value, empty when there is none.
func (b *browser) cookie(name string) string {
	for _, cookie := range b.jar.Cookies(origin) {
		if cookie.Name == name {
			return cookie.Value
		}
	}
	return ""
}

func (b *browser) token() string {
	return b.cookie("__Host-session")
}

// handles lists the user's sessions, newest first.
func (b *browser) handles(t *testing.T) (handles []string) {
	t.Helper()
	b.do(t, func(_ http.ResponseWriter, r *http.Request) error {
		sessions, err := b.site.sessions.Sessions(r.Context())
		for _, session := range sessions {
			handles = append(handles, session.Handle)
		}
		return err
	})
	return handles
}

// parse reads a token that a cookie holds.
func parse(t *testing.T, token string) sid.Token {
	t.Helper()
	parsed, err := sid.ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// randomToken is a token that opens nothing.
func randomToken() string {
	return sid.NewToken().Reveal()
}

func body(t *testing.T, response *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// nowhere is a ResponseWriter that nobody reads.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n nowhere) WriteHeader(int)             {}

// recorder keeps the events that were reported.
type recorder struct {
	mu   sync.Mutex
	list []sessionhttp.Event
}

func (r *recorder) record(_ context.Context, event sessionhttp.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, event)
}

// take returns the events since it was last called.
func (r *recorder) take() []sessionhttp.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.list
	r.list = nil
	return list
}

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
