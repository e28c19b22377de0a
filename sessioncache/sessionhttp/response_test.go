package sessionhttp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// outer is a wrapper that another middleware puts around our ResponseWriter.
type outer struct{ http.ResponseWriter }

func (w outer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// TestMiddlewareKeepsWhatAResponseCan: flushing, files, early hints, deadlines, full
// duplex and WebSockets work as without it, over real connections, with a second
// wrapper around ours and without.
func TestMiddlewareKeepsWhatAResponseCan(t *testing.T) {
	s := setup(t)
	read := func(r *http.Request) {
		if _, _, err := s.sessions.User(r.Context()); err != nil {
			t.Errorf("User: %v", err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/flush", func(w http.ResponseWriter, r *http.Request) {
		read(r)
		if flusher, ok := w.(http.Flusher); ok {
			flusher.Flush()
		}
		control := http.NewResponseController(w)
		if err := errors.Join(control.Flush(), control.SetWriteDeadline(time.Now().Add(time.Minute)), control.SetReadDeadline(time.Now().Add(time.Minute))); err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "flushed")
	})
	mux.HandleFunc("/duplex", func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		read(r)
		_, _ = io.WriteString(w, "<")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(w, r.Body)
		_, _ = io.WriteString(w, ">")
	})
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		read(r)
		http.ServeFile(w, r, "doc.go")
	})
	mux.HandleFunc("/hints", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		read(r)
		w.WriteHeader(http.StatusAccepted)
	})
	mux.HandleFunc("/hijack", func(w http.ResponseWriter, r *http.Request) {
		hijack := http.NewResponseController(w).Hijack
		if hijacker, ok := w.(http.Hijacker); ok { // as libraries for WebSocket look for it
			hijack = hijacker.Hijack
		}
		conn, _, err := hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		if err := s.sessions.Login(w, r, newUser()); !errors.Is(err, sessionhttp.ErrHeadersSent) {
			t.Errorf("Login on a hijacked connection: %v", err)
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 299 Mine\r\nConnection: close\r\nVary: Cookie\r\nContent-Length: 0\r\n\r\n")
	})
	wrapped := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { mux.ServeHTTP(outer{w}, r) })
	file, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for name, handler := range map[string]http.Handler{
		"alone":       s.sessions.Middleware(mux),
		"wrapped":     s.sessions.Middleware(wrapped),
		"wrapped too": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.sessions.Middleware(wrapped).ServeHTTP(outer{w}, r) }),
	} {
		server := httptest.NewServer(handler)
		defer server.Close()
		for path, want := range map[string]struct {
			status int
			body   string
		}{"/flush": {200, "flushed"}, "/file": {200, string(file)}, "/hints": {202, ""}, "/hijack": {299, ""}, "/duplex": {200, "<text>"}} {
			var sent io.Reader
			if path == "/duplex" {
				sent = strings.NewReader("text")
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, sent)
			if err != nil {
				t.Fatal(err)
			}
			response, err := server.Client().Do(r)
			if err != nil {
				t.Errorf("%s: %s: %v", name, path, err)
				continue
			}
			text, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil || response.StatusCode != want.status || string(text) != want.body || response.Header.Get("Vary") != "Cookie" {
				t.Errorf("%s: %s: %d %.20q, %v, Vary %q", name, path, response.StatusCode, text, err, response.Header["Vary"])
			}
		}
	}
}

// TestStream is what gin's c.Stream does: it asks for http.CloseNotifier without
// looking, and writes until the client has gone.
func TestStream(t *testing.T) {
	s := setup(t)
	gone := make(chan bool, 1)
	server := httptest.NewServer(s.sessions.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		clientGone := w.(interface{ CloseNotify() <-chan bool }).CloseNotify()
		w.(http.Flusher).Flush()
		select {
		case <-clientGone:
			gone <- true
		case <-time.After(time.Minute):
			gone <- false
		}
	})))
	defer server.Close()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	select {
	case <-gone:
		t.Error("the client has gone before it has")
	default:
	}
	leave()
	if !<-gone {
		t.Error("the client has gone, and nobody says so")
	}
}

// TestStreamOverAnotherWriter: under a ResponseWriter that cannot tell, the end of the
// request does.
func TestStreamOverAnotherWriter(t *testing.T) {
	s := setup(t)
	ctx, end := context.WithCancel(t.Context())
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	s.sessions.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		gone := w.(interface{ CloseNotify() <-chan bool }).CloseNotify()
		select {
		case <-gone:
			t.Error("the client has gone before it has")
		default:
		}
		end()
		select {
		case <-gone:
		case <-time.After(time.Minute):
			t.Error("the request is over, and nobody says so")
		}
	})).ServeHTTP(nowhere{http.Header{}}, r)
}

// able is a ResponseWriter that can do more, and notes what it was asked for.
type able struct {
	*httptest.ResponseRecorder
	pushed string
	copied bool
}

func (w *able) Push(target string, _ *http.PushOptions) error {
	w.pushed = target
	return nil
}

func (w *able) ReadFrom(r io.Reader) (int64, error) {
	w.copied = true
	return io.Copy(w.ResponseRecorder, r)
}

func (w *able) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, errors.New("not this one")
}

// TestResponseAsksTheOneBelow for what it cannot do itself.
func TestResponseAsksTheOneBelow(t *testing.T) {
	s := setup(t)
	below := &able{ResponseRecorder: httptest.NewRecorder()}
	serve := func(w http.ResponseWriter, handle http.HandlerFunc) {
		s.sessions.Middleware(handle).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	}
	serve(below, func(w http.ResponseWriter, r *http.Request) {
		if err := w.(http.Pusher).Push("/style.css", nil); err != nil || below.pushed != "/style.css" {
			t.Errorf("Push = %v, and pushed %q", err, below.pushed)
		}
		// What has failed has not begun the response.
		if _, _, err := w.(http.Hijacker).Hijack(); err == nil {
			t.Error("Hijack: no error")
		}
		if err := s.sessions.Login(w, r, newUser()); err != nil {
			t.Errorf("Login: %v", err)
		}
		if n, err := io.Copy(w, io.LimitReader(strings.NewReader("a file"), 100)); err != nil || n != 6 || !below.copied {
			t.Errorf("Copy = %d, %v; by the writer below: %v", n, err, below.copied)
		}
	})
	if response := below.Result(); body(t, response) != "a file" || len(response.Cookies()) != 1 {
		t.Errorf("%v", response)
	}

	serve(nowhere{http.Header{}}, func(w http.ResponseWriter, _ *http.Request) {
		if err := w.(http.Pusher).Push("/", nil); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("Push = %v", err)
		}
		if _, _, err := w.(http.Hijacker).Hijack(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("Hijack = %v", err)
		}
		if err := http.NewResponseController(w).Flush(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("Flush = %v", err)
		}
		w.(http.Flusher).Flush() // which cannot say so
	})
}

// TestEarlyHints: what comes before the response is not its beginning.
func TestEarlyHints(t *testing.T) {
	s := setup(t)
	server := httptest.NewServer(s.sessions.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		if err := s.sessions.Login(w, r, newUser()); err != nil {
			t.Errorf("Login after early hints: %v", err)
		}
	})))
	defer server.Close()
	response, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if len(response.Cookies()) != 1 || response.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v; want the cookie", response.Header)
	}
}

// TestClearedHeaders: what the database has committed reaches the browser, even if the
// headers are cleared before they are sent. The last cookie of each scope counts.
func TestClearedHeaders(t *testing.T) {
	s := setup(t, sessionhttp.WithProfile(func(a account) any { return a.Name }))
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		http.SetCookie(w, &http.Cookie{Name: "theme", Value: "dark"})
		_, _ = io.WriteString(w, "from the backend")
	}))
	defer backend.Close()
	address, err := url.Parse(backend.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(address) }}
	for name, test := range map[string]struct {
		after http.HandlerFunc
		want  string
	}{
		"a proxy's early hints": {proxy.ServeHTTP, "theme, __Host-session, __Host-profile"},
		"an error page": {func(w http.ResponseWriter, _ *http.Request) {
			clear(w.Header())
			w.WriteHeader(http.StatusTeapot)
		}, "__Host-session, __Host-profile"},
		"nothing written": {func(w http.ResponseWriter, _ *http.Request) { clear(w.Header()) }, "__Host-session, __Host-profile"},
		"another value": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Set-Cookie", "__Host-session=mine; Path=/; Secure")
		}, "__Host-session, __Host-profile"},
		"a logout": {func(w http.ResponseWriter, r *http.Request) {
			if err := s.sessions.Logout(w, r); err != nil {
				t.Errorf("Logout: %v", err)
			}
			clear(w.Header())
		}, "-__Host-session, -__Host-profile"},
	} {
		b, ed := s.browser(t), newUser()
		server := httptest.NewTLSServer(s.sessions.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for range 2 {
				if err := s.sessions.Login(w, r, ed); err != nil {
					t.Errorf("%s: Login: %v", name, err)
				}
			}
			test.after(w, r)
		})))
		defer server.Close()
		response, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if got := cleared(response); got != test.want || response.Header.Get("Cache-Control") != "no-store" || !slices.Contains(response.Header["Vary"], "Cookie") {
			t.Errorf("%s: cookies %q, headers %v; want %q", name, got, response.Header, test.want)
		}
		if name != "a logout" {
			b.jar.SetCookies(origin, response.Cookies())
			b.wantUser(t, ed)
		}
	}
}

// TestReadAfterTheFirstByte: the headers have gone when the session is asked for, and
// say all the same that others may get another page. What needs no cookie works.
func TestReadAfterTheFirstByte(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	b.login(t, ed)
	response := b.visit(t, func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		if user, ok, err := s.sessions.User(r.Context()); err != nil || !ok || user != ed {
			t.Errorf("User = %v, %v, %v", user, ok, err)
		}
		if err := s.calls()["Update"](w, r); err != nil {
			t.Errorf("Update: %v", err)
		}
		if err := s.sessions.Begin(w, r, func(a *account) error { a.Visits = 3; return nil }); err != nil {
			t.Errorf("Begin with a session: %v", err)
		}
		_, _ = io.WriteString(w, "hello")
	})
	if vary := response.Header["Vary"]; !slices.Equal(vary, []string{"Cookie"}) || response.Header.Get("Cache-Control") != "" {
		t.Errorf("headers %v", response.Header)
	}
	ed.Visits = 3
	b.wantUser(t, ed)

	// A session ends without its cookie being cleared: the browser keeps a token that
	// opens nothing.
	response = b.visit(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "bye")
		if err := s.sessions.Logout(w, r); err != nil {
			t.Errorf("Logout: %v", err)
		}
	})
	if cookies := response.Header["Set-Cookie"]; len(cookies) != 0 {
		t.Errorf("cookies %q after the first byte", cookies)
	}
	b.wantNobody(t, sessionhttp.ErrUnknownSession)
}

// TestUpdateAfterHeaders: a profile that cannot be set changes nothing.
func TestUpdateAfterHeaders(t *testing.T) {
	s := setup(t, sessionhttp.WithProfile(func(a account) any { return a.Visits }))
	b, ed := s.browser(t), newUser()
	b.login(t, ed)
	before := dump(t, s.pool)
	b.visit(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "<p>")
		update := func(*account) error { t.Error("the change was called"); return nil }
		if err := s.sessions.Update(w, r, update); !errors.Is(err, sessionhttp.ErrHeadersSent) {
			t.Errorf("Update: %v; want %v", err, sessionhttp.ErrHeadersSent)
		}
		if err := s.sessions.Begin(w, r, update); !errors.Is(err, sessionhttp.ErrHeadersSent) {
			t.Errorf("Begin: %v; want %v", err, sessionhttp.ErrHeadersSent)
		}
		if user, ok, err := s.sessions.User(r.Context()); err != nil || !ok || user != ed {
			t.Errorf("User after that = %v, %v, %v", user, ok, err)
		}
	})
	if after := dump(t, s.pool); after != before {
		t.Errorf("the table was\n%s\nand is\n%s", before, after)
	}
}
