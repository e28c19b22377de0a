package sessionhttp_test

import (
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

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
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
	log        suite.Log    // the Manager's and the Cache's, from level Debug
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
	logger := s.log.Logger(slog.LevelDebug)
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
	sessiontest.Elapse(t, s.pool, handleOf(t, token), d)
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

// wantNoSession checks that no call finds the browser's session, and why, which is under
// [sessionhttp.ErrNoSession].
func (b *browser) wantNoSession(t *testing.T, why error) {
	t.Helper()
	for name, call := range b.site.calls() {
		b.want(t, why, func(w http.ResponseWriter, r *http.Request) error {
			err := call(w, r)
			if !errors.Is(err, sessionhttp.ErrNoSession) {
				t.Errorf("%s: %v is not %v", name, err, sessionhttp.ErrNoSession)
			}
			return err
		})
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

// send makes a request to a service, with a token for its session cookie if there is
// one.
func send[T any](ctx context.Context, m *sessionhttp.Manager[T], token string, handle http.HandlerFunc) *http.Response {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://example.com/", nil)
	if token != "" {
		r.Header.Set("Cookie", "__Host-session="+token)
	}
	w := httptest.NewRecorder()
	m.Middleware(handle).ServeHTTP(w, r)
	return w.Result()
}

// attempt is send for one call, whose error it returns with what the response sets.
func attempt[T any](ctx context.Context, m *sessionhttp.Manager[T], token string, do func(w http.ResponseWriter, r *http.Request) error) (set string, sets bool, err error) {
	response := send(ctx, m, token, func(w http.ResponseWriter, r *http.Request) { err = do(w, r) })
	set, sets = tokenSet(response)
	return set, sets, err
}

// tokenSet is the token that a response sets, and whether it touches any cookie.
func tokenSet(response *http.Response) (token string, sets bool) {
	for _, cookie := range response.Cookies() {
		if cookie.Name == "__Host-session" {
			token = cookie.Value
		}
	}
	return token, len(response.Header["Set-Cookie"]) > 0
}

// loginTo logs a user in from a browser that sends this token, and returns the new one.
func loginTo[T any](t *testing.T, m *sessionhttp.Manager[T], token string, user T, options ...sessionhttp.LoginOption) string {
	t.Helper()
	token, _, err := attempt(t.Context(), m, token, func(w http.ResponseWriter, r *http.Request) error {
		return m.Login(w, r, user, options...)
	})
	if err != nil || token == "" {
		t.Fatalf("Login: the token is set: %v; %v", token != "", err)
	}
	return token
}

// beginFor begins a visitor's session, and returns its token.
func beginFor[T any](t *testing.T, m *sessionhttp.Manager[T], data T) string {
	t.Helper()
	token, _, err := attempt(t.Context(), m, "", func(w http.ResponseWriter, r *http.Request) error {
		return m.Begin(w, r, func(visitor *T) error { *visitor = data; return nil })
	})
	if err != nil || token == "" {
		t.Fatalf("Begin: the token is set: %v; %v", token != "", err)
	}
	return token
}

// second returns the error of a call that returns something else first.
func second[R any](_ R, err error) error {
	return err
}

// userOf is who the service takes the sender of a token for.
func userOf[T any](ctx context.Context, m *sessionhttp.Manager[T], token string) (user T, ok bool, err error) {
	send(ctx, m, token, func(_ http.ResponseWriter, r *http.Request) { user, ok, err = m.User(r.Context()) })
	return user, ok, err
}

// visitorOf is whose data the service has for the sender of a token.
func visitorOf[T any](ctx context.Context, m *sessionhttp.Manager[T], token string) (visitor T, ok bool, err error) {
	send(ctx, m, token, func(_ http.ResponseWriter, r *http.Request) { visitor, ok, err = m.Visitor(r.Context()) })
	return visitor, ok, err
}

// handleOf is which session a token is for.
func handleOf(t *testing.T, token string) sid.Handle {
	t.Helper()
	return parse(t, token).Handle()
}

// ofKind are the events of a kind.
func ofKind(list []sessionhttp.Event, kind sessionhttp.Kind) (of []sessionhttp.Event) {
	for _, event := range list {
		if event.Kind == kind {
			of = append(of, event)
		}
	}
	return of
}

// inParallel runs a function n times, on some goroutines.
func inParallel(n int, run func(i int)) {
	const workers = 24
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(n, workers) {
		all.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				run(i)
			}
		})
	}
	all.Wait()
}

// sessionCalls are all that a user's session is needed for.
func (s *site) sessionCalls() map[string]call {
	calls := s.calls()
	calls["Context"] = func(_ http.ResponseWriter, r *http.Request) error { return context.Cause(s.sessions.Context(r)) }
	for name, do := range map[string]func(session *sessionhttp.Tx[account]) error{
		"LogoutOthers":     func(session *sessionhttp.Tx[account]) error { return second(session.LogoutOthers()) },
		"LogoutEverywhere": func(session *sessionhttp.Tx[account]) error { return second(session.LogoutEverywhere()) },
		"Renew":            (*sessionhttp.Tx[account]).Renew,
		"Reauthenticated":  (*sessionhttp.Tx[account]).Reauthenticated,
		"Update": func(session *sessionhttp.Tx[account]) error {
			return session.Update(func(a *account) error { a.Visits++; return nil })
		},
	} {
		calls["Tx with "+name] = func(w http.ResponseWriter, r *http.Request) error {
			return s.sessions.Tx(w, r, func(_ pgx.Tx, session *sessionhttp.Tx[account]) error { return do(session) })
		}
	}
	return calls
}

// waitWith begins a request that waits for the end of its session, with the values of
// ctx, and returns what it waits for. The request ends with ctx.
func waitWith[T any](ctx context.Context, m *sessionhttp.Manager[T], token string) (waiting context.Context) {
	send(ctx, m, token, func(_ http.ResponseWriter, r *http.Request) { waiting = m.Context(r) })
	return waiting
}

// wantEnd waits until a context ends, and checks why.
func wantEnd(waiting context.Context, t *testing.T, what string, why error) {
	t.Helper()
	select {
	case <-waiting.Done():
		if cause := context.Cause(waiting); !errors.Is(cause, why) {
			t.Errorf("%s: the context has ended by %v; want %v", what, cause, why)
		}
	case <-time.After(20 * time.Second):
		t.Errorf("%s: the context goes on", what)
	}
}

// wantMaxAge checks how long the cookies of a response last, but for the seconds that
// the test takes.
func wantMaxAge(t *testing.T, what string, response *http.Response, want time.Duration) {
	t.Helper()
	cookies := response.Cookies()
	if len(cookies) == 0 {
		t.Errorf("%s: no cookies", what)
	}
	for _, cookie := range cookies {
		lasts := time.Duration(cookie.MaxAge) * time.Second
		if lasts > want || lasts < want-30*time.Second {
			t.Errorf("%s: %s lasts %s; want %s", what, cookie.Name, lasts, want)
		}
	}
}

// never is a page that must not be shown.
func never(t *testing.T) http.Handler {
	return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the page was shown") })
}

// get makes a request with these headers.
func (b *browser) get(t *testing.T, header http.Header, page http.Handler) *http.Response {
	t.Helper()
	r := b.request(t, http.MethodGet)
	for name, values := range header {
		r.Header[name] = values
	}
	return b.send(r, page.ServeHTTP)
}

// unreachable is a pool that cannot connect.
func unreachable(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/nothing")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// cleared lists the cookies that a response sets or clears.
func cleared(response *http.Response) string {
	var cookies []string
	for _, cookie := range response.Cookies() {
		if cookie.MaxAge < 0 {
			cookies = append(cookies, "-"+cookie.Name)
		} else {
			cookies = append(cookies, cookie.Name)
		}
	}
	return strings.Join(cookies, ", ")
}

// dump is all that the table holds.
func dump(t *testing.T, pool *pgxpool.Pool) (rows string) {
	t.Helper()
	return dumpWhere(t, pool, "true")
}

// loggedIn is dump without visitors and without the sessions that a login has replaced.
func loggedIn(t *testing.T, pool *pgxpool.Pool) (rows string) {
	t.Helper()
	return dumpWhere(t, pool, "authenticatedutc IS NOT NULL")
}

func dumpWhere(t *testing.T, pool *pgxpool.Pool, condition string) (rows string) {
	t.Helper()
	const all = "SELECT coalesce(string_agg(session_cache::text, chr(10) ORDER BY sessionid), '') FROM session_cache WHERE "
	if err := pool.QueryRow(t.Context(), all+condition).Scan(&rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

// server is one of several that share a database.
func server(t *testing.T, database *sessiontest.Database, options ...sessioncache.Option) *site {
	t.Helper()
	s := &site{}
	return s.connect(t, database, s, options...)
}

// connect gives a server a pool with a tracer.
func (s *site) connect(t *testing.T, database *sessiontest.Database, tracer pgx.QueryTracer, options ...sessioncache.Option) *site {
	t.Helper()
	config, err := pgxpool.ParseConfig(database.URL)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.Tracer = tracer
	if s.pool, err = pgxpool.NewWithConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.pool.Close)
	logger := s.log.Logger(slog.LevelInfo)
	s.cache = sessioncache.New[account](s.pool, append([]sessioncache.Option{sessioncache.WithLogger(logger)}, options...)...)
	s.sessions = sessionhttp.New(s.cache, sessionhttp.WithLogger(logger), sessionhttp.WithEvents(s.events.record))
	return s
}

// nearServer is one with a near cache that works and keeps what it looks up.
func nearServer(t *testing.T, database *sessiontest.Database) *site {
	t.Helper()
	s := server(t, database, sessioncache.WithNearCache(10_000))
	token := loginTo(t, s.sessions, "", newUser())
	suite.Eventually(t, "the near cache keeps a session", func() bool {
		if _, ok, err := userOf(t.Context(), s.sessions, token); !ok || err != nil {
			t.Fatalf("User = %v, %v", ok, err)
		}
		return s.cache.Metrics().NearCache.Hits > 0
	})
	return s
}

// remember has a server keep the session of a token in memory.
func (s *site) remember(ctx context.Context, t *testing.T, token string) {
	t.Helper()
	for range 2 {
		if _, ok, err := userOf(ctx, s.sessions, token); !ok || err != nil {
			t.Errorf("User = %v, %v", ok, err)
		}
	}
}
