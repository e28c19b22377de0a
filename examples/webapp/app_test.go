package main

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// visitor is a browser without a screen.
type visitor struct {
	t      *testing.T
	client *http.Client
	origin string
}

func start(t *testing.T) (newVisitor func() visitor, pool *pgxpool.Pool) {
	t.Helper()
	t.Parallel()
	pool = sessiontest.NewPool(t)
	server := httptest.NewTLSServer(newApp(sessioncache.New[login](pool), false).handler())
	t.Cleanup(server.Close)
	return func() visitor {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		return visitor{t, &http.Client{Jar: jar, Transport: server.Client().Transport}, server.URL}
	}, pool
}

// do makes a request and returns what is shown in the end, and where.
func (v visitor) do(method, path string, form url.Values, headers ...string) (status int, page, at string) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.origin+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	if response.Header.Get("Cache-Control") != "no-store" || !strings.Contains(response.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		v.t.Errorf("%s %s: headers %v", method, path, response.Header)
	}
	return response.StatusCode, string(text), response.Request.URL.Path
}

func (v visitor) want(method, path string, form url.Values, at, text string) (page string) {
	v.t.Helper()
	status, page, got := v.do(method, path, form)
	if status != http.StatusOK || got != at || !strings.Contains(page, text) {
		v.t.Errorf("%s %s: %d at %s; want %q at %s:\n%s", method, path, status, got, text, at, page)
	}
	return page
}

var pbrian = url.Values{"user": {"0"}}

// TestWebappWholeTable needs a table to itself: the users are not its own.
func TestWebappWholeTable(t *testing.T) {
	newVisitor, _ := start(t)
	here, there := newVisitor(), newVisitor()
	here.want("GET", "/", nil, "/login", "As whom?")
	here.want("POST", "/login", pbrian, "/", "Hello, Paul Brian")
	there.want("POST", "/login", pbrian, "/", "Hello, Paul Brian")
	page := here.want("POST", "/renew", nil, "/", "this one")

	// The other session's handle is the second row's, or the first's.
	handles := regexp.MustCompile(`(current")?[^>]*>\s*<th scope="row">(?s:.*?)name="session" value="([^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(handles) != 2 {
		t.Fatalf("%d sessions are listed; want 2:\n%s", len(handles), page)
	}
	for _, handle := range handles {
		if !strings.Contains(handle[0], "this one") {
			here.want("POST", "/revoke", url.Values{"session": {handle[2]}}, "/", "Hello")
			here.want("POST", "/revoke", url.Values{"session": {handle[2]}}, "/", "Hello") // a second click
		}
	}
	there.want("GET", "/", nil, "/login", "That session has ended")
	there.want("POST", "/login", pbrian, "/", "Hello")
	here.want("POST", "/logout-others", nil, "/", "Hello")
	there.want("GET", "/", nil, "/login", "That session has ended")
	there.want("POST", "/login", pbrian, "/", "Hello")
	here.want("POST", "/logout-everywhere", nil, "/login", "As whom?")
	there.want("POST", "/renew", nil, "/login", "That session has ended")
	there.want("POST", "/login", pbrian, "/", "Hello")
	there.want("POST", "/logout", nil, "/login", "As whom?")
	if status, page, _ := there.do("POST", "/login", url.Values{"user": {"9"}}); status != http.StatusBadRequest || !strings.Contains(page, "no such user") {
		t.Errorf("a user that is not there: %d %s", status, page)
	}
}

// TestCrossSiteRequestsAreRefused: SameSite is not all that keeps a form on
// another site from logging a user in or out.
func TestCrossSiteRequestsAreRefused(t *testing.T) {
	newVisitor, _ := start(t)
	v := newVisitor()
	v.want("POST", "/login", pbrian, "/", "Hello")
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"}, // a sister host: SameSite=Lax lets it send the cookie
		{"Origin", "https://evil.example"},
		{"Origin", "null"},
	} {
		for _, path := range []string{"/login", "/logout", "/logout-everywhere", "/logout-others", "/renew", "/revoke"} {
			if status, _, _ := v.do("POST", path, pbrian, headers...); status != http.StatusForbidden {
				t.Errorf("POST %s with %s: %d; want 403", path, headers, status)
			}
		}
	}
	v.want("GET", "/", nil, "/", "Hello")
	if status, _, _ := v.do("POST", "/logout", nil, "Sec-Fetch-Site", "same-origin", "Origin", v.origin); status != http.StatusOK {
		t.Errorf("POST of our own page: %d", status)
	}
	v.want("GET", "/", nil, "/login", "As whom?")
}

func TestDatabaseDown(t *testing.T) {
	newVisitor, pool := start(t)
	v := newVisitor()
	v.want("POST", "/login", pbrian, "/", "Hello")
	pool.Close()
	for _, path := range []string{"/", "/login"} {
		if status, page, at := v.do("GET", path, nil); status != http.StatusServiceUnavailable || at != path || !strings.Contains(page, "still logged in") {
			t.Errorf("GET %s: %d at %s\n%s", path, status, at, page)
		}
	}
}

func TestDevice(t *testing.T) {
	t.Parallel()
	for userAgent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/149.0.0.0 Safari/537.36": "Chrome on Linux",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1 Version/18.0 Safari/604.1":            "Safari on iPhone",
		"curl/8.0":        "curl",
		"<script>":        "Unknown device",
		"Windows NT 10.0": "Windows",
	} {
		if got := device(userAgent); got != want {
			t.Errorf("device(%q) = %q; want %q", userAgent, got, want)
		}
	}
}
