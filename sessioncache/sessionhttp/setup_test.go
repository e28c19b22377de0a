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

// site is a service with logins, and a place to look at what it does.
type site struct {
	sessions   *sessionhttp.Manager[account]
	cache      *sessioncache.Cache[account]
	pool       *pgxpool.Pool
	statements atomic.Int64
	log        syncBuffer
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
	s.cache = sessioncache.New[account](s.pool, cacheOptions...)
	logger := slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.sessions = sessionhttp.New(s.cache, append([]sessionhttp.Option{sessionhttp.WithLogger(logger)}, options...)...)
	return s
}

// TraceQueryStart counts what reaches the database.
func (s *site) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	s.statements.Add(1)
	return ctx
}

func (s *site) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// handler is what a test does within a request.
type handler = func(w http.ResponseWriter, r *http.Request)

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

// visit makes a request, which handle handles, with the browser's cookies.
func (b *browser) visit(t *testing.T, handle handler) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, origin.String(), nil)
	for _, cookie := range b.jar.Cookies(origin) {
		r.AddCookie(cookie)
	}
	w := httptest.NewRecorder()
	b.site.sessions.Middleware(http.HandlerFunc(handle)).ServeHTTP(w, r)
	response := w.Result()
	b.jar.SetCookies(origin, response.Cookies())
	return response
}

// login logs a user in, and returns the token.
func (b *browser) login(t *testing.T, user account) (token string) {
	t.Helper()
	b.visit(t, func(w http.ResponseWriter, r *http.Request) {
		if err := b.site.sessions.Login(w, r, user); err != nil {
			t.Errorf("Login: %v", err)
		}
	})
	return b.token()
}

// user is who the site takes the browser's user for.
func (b *browser) user(t *testing.T) (user account, err error) {
	t.Helper()
	b.visit(t, func(_ http.ResponseWriter, r *http.Request) {
		user, err = b.site.sessions.User(r.Context())
	})
	return user, err
}

func (b *browser) wantUser(t *testing.T, want account) {
	t.Helper()
	if user, err := b.user(t); err != nil || user != want {
		t.Errorf("User = %v, %v; want %v", user, err, want)
	}
}

// wantNobody checks that the browser's user is not let in, and why.
func (b *browser) wantNobody(t *testing.T, why error) {
	t.Helper()
	if user, err := b.user(t); !errors.Is(err, why) || user != (account{}) {
		t.Errorf("User = %v, %v; want the error %q", user, err, why)
	}
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

// with returns another browser, which sends this value for a session cookie.
func (b *browser) with(t *testing.T, token string) *browser {
	t.Helper()
	other := b.site.browser(t)
	other.jar.SetCookies(origin, []*http.Cookie{{Name: "__Host-session", Value: token, Path: "/", Secure: true}})
	return other
}

// handles lists the user's sessions.
func (b *browser) handles(t *testing.T) (handles []string) {
	t.Helper()
	b.visit(t, func(_ http.ResponseWriter, r *http.Request) {
		sessions, err := b.site.sessions.Sessions(r.Context())
		if err != nil {
			t.Errorf("Sessions: %v", err)
		}
		for _, session := range sessions {
			handles = append(handles, session.Handle)
		}
	})
	return handles
}

// newUser is a user that no other test has.
func newUser() account {
	return account{ID: sid.New().String(), Name: "Ed"}
}

// shift moves the sessions of a user in time: tests do not wait for it to pass.
func (s *site) shift(t *testing.T, user account, by time.Duration) {
	t.Helper()
	_, err := s.pool.Exec(t.Context(), `
		UPDATE session_cache
		SET session_startutc = (session_startutc AT TIME ZONE 'UTC' + $1::interval) AT TIME ZONE 'UTC',
		    session_endutc = (session_endutc AT TIME ZONE 'UTC' + $1::interval) AT TIME ZONE 'UTC'
		WHERE user_id = $2`, by, user.ID)
	if err != nil {
		t.Fatal(err)
	}
}

func body(t *testing.T, response *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
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
