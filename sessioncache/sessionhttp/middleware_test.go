package sessionhttp_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

func TestRequire(t *testing.T) {
	s := setup(t)
	page := s.sessions.Require(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, err := s.sessions.User(r.Context())
			fmt.Fprintln(w, "hello", user.Name, err)
		}),
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := s.sessions.User(r.Context())
			http.Error(w, err.Error(), http.StatusTeapot)
		}))
	b := s.browser(t)
	response := b.visit(t, page.ServeHTTP)
	if got := body(t, response); response.StatusCode != http.StatusTeapot || !strings.Contains(got, "no session cookie") {
		t.Errorf("without a session: %d %s", response.StatusCode, got)
	}
	b.login(t, newUser())
	response = b.visit(t, page.ServeHTTP)
	if got := body(t, response); response.StatusCode != http.StatusOK || got != "hello Ed <nil>" || response.Header.Get("Vary") != "Cookie" {
		t.Errorf("with one: %d %s, Vary: %s", response.StatusCode, got, response.Header.Get("Vary"))
	}
}

// TestUnavailable takes the database away: nobody is let in, nobody is sent to the
// login page, and no cookie is cleared.
func TestUnavailable(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	token := b.login(t, ed)
	s.pool.Close()

	calls := s.calls()
	calls["Login"] = func(w http.ResponseWriter, r *http.Request) error { return s.sessions.Login(w, r, ed) }
	calls["Logout"] = s.sessions.Logout
	for name, call := range calls {
		response := b.visit(t, func(w http.ResponseWriter, r *http.Request) {
			err := call(w, r)
			if !errors.Is(err, sessioncache.ErrUnavailable) || errors.Is(err, sessionhttp.ErrNoSession) {
				t.Errorf("%s: %v; want %v", name, err, sessioncache.ErrUnavailable)
			}
			s.sessions.Error(w, r, err)
		})
		if got := body(t, response); response.StatusCode != http.StatusServiceUnavailable || got != "Service Unavailable" {
			t.Errorf("%s: %d %s; want 503", name, response.StatusCode, got)
		}
		if cookies := response.Header["Set-Cookie"]; len(cookies) != 0 {
			t.Errorf("%s: cookies %q", name, cookies)
		}
	}
	never := func(http.ResponseWriter, *http.Request) { t.Error("a page was shown") }
	response := b.visit(t, s.sessions.Require(http.HandlerFunc(never), http.HandlerFunc(never)).ServeHTTP)
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("Require: %d; want 503", response.StatusCode)
	}
	if b.token() != token {
		t.Error("the cookie has changed")
	}
}

func TestErrorHandler(t *testing.T) {
	var got error
	s := setup(t, sessionhttp.WithErrorHandler(func(w http.ResponseWriter, _ *http.Request, err error) {
		got = err
		w.WriteHeader(http.StatusTeapot)
	}))
	b := s.browser(t)
	b.login(t, newUser())
	s.pool.Close()
	response := b.visit(t, s.sessions.Require(http.NotFoundHandler(), http.NotFoundHandler()).ServeHTTP)
	if response.StatusCode != http.StatusTeapot || !errors.Is(got, sessioncache.ErrUnavailable) {
		t.Errorf("%d, %v", response.StatusCode, got)
	}
}

func TestErrorStatus(t *testing.T) {
	s := setup(t)
	for err, want := range map[error]int{
		sessioncache.ErrUnavailable:     http.StatusServiceUnavailable,
		sessioncache.ErrInvalidUser:     http.StatusInternalServerError,
		sessionhttp.ErrExpiredSession:   http.StatusForbidden,
		sessionhttp.ErrNoMiddleware:     http.StatusInternalServerError,
		errors.New("something of ours"): http.StatusInternalServerError,
	} {
		w := httptest.NewRecorder()
		s.sessions.Error(w, nil, err)
		if w.Code != want || strings.Contains(w.Body.String(), "ours") {
			t.Errorf("%v: %d %s; want %d", err, w.Code, w.Body, want)
		}
	}
}

func TestWithoutMiddleware(t *testing.T) {
	s := setup(t)
	other := sessionhttp.New(s.cache)
	calls := s.calls()
	calls["Login"] = func(w http.ResponseWriter, r *http.Request) error { return s.sessions.Login(w, r, newUser()) }
	calls["Logout"] = s.sessions.Logout
	for name, call := range calls {
		other.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := call(w, r); !errors.Is(err, sessionhttp.ErrNoMiddleware) {
				t.Errorf("%s: %v", name, err)
			}
		})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	}
}

// TestMiddlewareKeepsWhatAResponseCan: flushing, files, early hints and WebSockets
// work as without it, over real connections.
func TestMiddlewareKeepsWhatAResponseCan(t *testing.T) {
	s := setup(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/flush", func(w http.ResponseWriter, r *http.Request) {
		_, _ = s.sessions.User(r.Context())
		w.(http.Flusher).Flush()
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Error(err)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "flushed")
	})
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		_, _ = s.sessions.User(r.Context())
		http.ServeFile(w, r, "doc.go")
	})
	mux.HandleFunc("/hints", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = s.sessions.User(r.Context())
		w.WriteHeader(http.StatusAccepted)
	})
	mux.HandleFunc("/hijack", func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 299 Mine\r\nVary: Cookie\r\nContent-Length: 0\r\n\r\n")
	})
	server := httptest.NewServer(s.sessions.Middleware(mux))
	defer server.Close()
	file, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]struct {
		status int
		body   string
	}{"/flush": {200, "flushed"}, "/file": {200, string(file)}, "/hints": {202, ""}, "/hijack": {299, ""}} {
		response, err := server.Client().Get(server.URL + path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		text, err := io.ReadAll(bufio.NewReader(response.Body))
		_ = response.Body.Close()
		if err != nil || response.StatusCode != want.status || string(text) != want.body || response.Header.Get("Vary") != "Cookie" {
			t.Errorf("%s: %d %.20q, %v, Vary %q", path, response.StatusCode, text, err, response.Header["Vary"])
		}
	}
}

func TestEventsAreLoggedWithoutIDs(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	b.login(t, ed)
	b.visit(t, func(w http.ResponseWriter, r *http.Request) { _ = s.sessions.Renew(w, r) })
	handle := b.handles(t)[0]
	s.shift(t, ed, -2*time.Hour)
	b.wantNobody(t, sessionhttp.ErrExpiredSession)
	b.visit(t, func(w http.ResponseWriter, r *http.Request) { _ = s.sessions.Logout(w, r) })
	s.browser(t).with(t, randomToken()).wantNobody(t, sessionhttp.ErrUnknownSession)
	s.browser(t).with(t, "nonsense").wantNobody(t, sessionhttp.ErrMalformedCookie)
	log := s.log.String()
	for _, want := range []string{
		`level=INFO msg="session created" session=`,
		`level=INFO msg="session renewed" old=`,
		`level=INFO msg="session expired" session=`,
		`level=INFO msg="session ended" session=`,
		`level=INFO msg="session unknown" remote=192.0.2.1 guesses=1 session=`,
		`level=WARN msg="session cookie malformed" remote=192.0.2.1`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
	if strings.Contains(log, handle) || strings.Contains(log, "nonsense") || strings.Contains(log, ed.ID) {
		t.Errorf("the log shows what it must not:\n%s", log)
	}
}

// TestGuesses counts unknown tokens by address, forgets, and keeps its memory
// bounded.
func TestGuesses(t *testing.T) {
	s := setup(t)
	from := func(address string) *http.Request {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.RemoteAddr = address
		return r
	}
	guess := func(address, token string) {
		r := from(address)
		r.AddCookie(&http.Cookie{Name: "__Host-session", Value: token})
		s.sessions.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = s.sessions.User(r.Context())
			_, _ = s.sessions.User(r.Context()) // counts once
		})).ServeHTTP(httptest.NewRecorder(), r)
	}
	for range 5 {
		guess("198.51.100.7:1234", randomToken())
	}
	guess("198.51.100.7:1234", "malformed")
	guess("[::ffff:198.51.100.7]:99", randomToken())
	guess("[2001:db8:1:2::a]:1", randomToken())
	guess("[2001:db8:1:2:ffff::b]:2", randomToken())
	guess("[2001:db8:1:3::a]:1", randomToken())
	guess("a pipe", randomToken())
	for address, want := range map[string]int{
		"198.51.100.7:99":    6,
		"198.51.100.8:1234":  0,
		"[2001:db8:1:2::]:3": 2,
		"[2001:db8:1:3::]:3": 1,
		"a pipe":             1,
	} {
		if got := s.sessions.Guesses(from(address)); got != want {
			t.Errorf("guesses from %s: %d; want %d", address, got, want)
		}
	}
}

func TestGuessesAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g sessionhttp.GuessesForTest
		g.Add("a")
		time.Sleep(59 * time.Minute)
		g.Add("a")
		time.Sleep(59 * time.Minute)
		if n := g.Count("a"); n != 2 {
			t.Errorf("after two hours less two minutes: %d; want 2", n)
		}
		g.Add("a")
		time.Sleep(3 * time.Hour)
		if n := g.Count("a"); n != 0 {
			t.Errorf("hours later: %d; want 0", n)
		}
		for i := range 100_000 {
			g.Add(fmt.Sprint(i))
		}
		if n := g.Size(); n > 1<<15 {
			t.Errorf("it remembers %d addresses; want 32,768 at most", n)
		}
		if n := g.Count("99999"); n != 1 {
			t.Errorf("the last of many: %d; want 1", n)
		}
	})
}

func TestMistakesPanic(t *testing.T) {
	t.Parallel()
	cache := sessioncache.New[account](sessiontest.NewPool(t))
	for name, mistake := range map[string]func(){
		"no cache":          func() { sessionhttp.New[account](nil) },
		"another's profile": func() { sessionhttp.New(cache, sessionhttp.WithProfile(func(string) any { return 1 })) },
		"no profile":        func() { sessionhttp.WithProfile[account](nil) },
		"no logger":         func() { sessionhttp.WithLogger(nil) },
		"no error handler":  func() { sessionhttp.WithErrorHandler(nil) },
		"no remote":         func() { sessionhttp.WithRemoteAddress(nil) },
		"an empty name":     func() { sessionhttp.WithCookieNames("", "b") },
		"a name with ;":     func() { sessionhttp.WithCookieNames("a;b", "b") },
		"one name twice":    func() { sessionhttp.WithCookieNames("a", "a") },
		"a prefix":          func() { sessionhttp.WithCookieNames("__Host-a", "b") },
		"a long name":       func() { sessionhttp.WithCookieNames(strings.Repeat("a", 65), "b") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if recover() == nil {
					t.Error("it did not panic")
				}
			}()
			mistake()
		})
	}
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
	sessions := sessionhttp.New(sessioncache.New[account](sessiontest.NewPool(t)))
	handler := sessions.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r, w := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), nowhere{http.Header{}}
	if n := testing.AllocsPerRun(100, func() { handler.ServeHTTP(w, r) }); n > 10 {
		t.Errorf("%v allocations a request; want 10 at most", n)
	}
}
