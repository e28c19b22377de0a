package recipes_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	_ "github.com/rhaptos/sessiondb/sessioncache/sessiontest/docker"
	"github.com/rhaptos/sessiondb/sid"
	"github.com/rhaptos/sessiondb/systemtest/recipes"
)

const origin = "https://www.example.com"

// browser is a user's browser. It keeps cookies, and follows no redirect.
type browser struct {
	t      *testing.T
	client *http.Client
}

// answer is what the service has answered.
type answer struct {
	status int
	header http.Header
	body   string
}

// open starts a service and opens a browser that finds it at every https://*.example.com.
func open(t *testing.T, service http.Handler) browser {
	t.Helper()
	server := httptest.NewTLSServer(service)
	t.Cleanup(server.Close)
	client := server.Client()
	// Not the port of the test's server: the pages' origin would have it, too.
	client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
	}
	return newBrowser(t, client.Transport)
}

func newBrowser(t *testing.T, transport http.RoundTripper) browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return browser{t, &http.Client{
		Transport:     transport,
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// another is the browser of somebody else.
func (b browser) another() browser {
	b.t.Helper()
	return newBrowser(b.t, b.client.Transport)
}

// do sends what a browser sends when a page of the same host links to a page or posts a form.
// The headers that follow, names and values, replace those; an empty value removes one.
func (b browser) do(method, target string, form url.Values, headers ...string) answer {
	b.t.Helper()
	a, err := b.try(method, target, form, headers...)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

func (b browser) try(method, target string, form url.Values, headers ...string) (answer, error) {
	b.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = origin + target
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, target, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", r.URL.Scheme+"://"+r.URL.Host)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
		}
	}
	response, err := b.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(body)}, err
}

// want expects a status, and a text in the body or in the header Location.
func (b browser) want(method, target string, form url.Values, status int, text string, headers ...string) answer {
	b.t.Helper()
	a := b.do(method, target, form, headers...)
	if a.status != status || !strings.Contains(a.body+a.header.Get("Location"), text) {
		b.t.Errorf("%s %s: %d, %q, Location %q; want %d and %q", method, target, a.status, a.body, a.header.Get("Location"), status, text)
	}
	return a
}

var crossSite = []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}

func credentials(name string) url.Values {
	return url.Values{"name": {name}, "password": {"correct"}}
}

// logIn logs in at a host, such as https://www.example.com.
func (b browser) logIn(host, name string) {
	b.t.Helper()
	b.want("POST", host+"/login", credentials(name), http.StatusSeeOther, "/account")
}

// cookie returns the browser's cookie for a host, or nil.
func (b browser) cookie(host, name string) *http.Cookie {
	b.t.Helper()
	address, err := url.Parse(host)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, cookie := range b.client.Jar.Cookies(address) {
		if cookie.Name == name {
			return cookie
		}
	}
	return nil
}

// token returns the token in the browser's session cookie.
func (b browser) token() sid.Token {
	b.t.Helper()
	cookie := b.cookie(origin, "__Host-session")
	if cookie == nil {
		b.t.Fatal("the browser has no session cookie")
	}
	token, err := sid.ParseToken(cookie.Value)
	if err != nil {
		b.t.Fatal(err)
	}
	return token
}

// setUp returns a Manager with a login page, on a database of the test's own.
func setUp(t *testing.T) (*pgxpool.Pool, *sessionhttp.Manager[recipes.Account]) {
	t.Helper()
	pool := sessiontest.NewPool(t)
	return pool, sessionhttp.New(sessioncache.New[recipes.Account](pool), sessionhttp.WithLoginPage("/login"))
}

// wantProtected attacks the service of another router, logs in, and attacks it again.
func wantProtected(t *testing.T, pool *pgxpool.Pool, service http.Handler) {
	t.Helper()
	ada := open(t, service)
	secret, changed := "The account of", "The password is changed"
	wantRefused := func(b browser, headers ...string) {
		t.Helper()
		b.want("GET", "/account?tab=2", nil, http.StatusSeeOther, "/login?next=%2Faccount%3Ftab%3D2", headers...)
		for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS", "account"} {
			for _, path := range []string{"/account", "/account/", "//account", "/./account", "/x/../account", "/%61ccount", "/ACCOUNT", "/account;x"} {
				form := url.Values{"_method": {"GET"}}
				if a := b.do(method, path, form, append(headers, "X-HTTP-Method-Override", "GET")...); a.status == http.StatusOK && method != "OPTIONS" || strings.Contains(a.body, secret) {
					t.Errorf("%s %s without a login: %d, %q", method, path, a.status, a.body)
				}
			}
		}
		if a := b.do("POST", "/password", url.Values{}, headers...); a.status != http.StatusSeeOther || strings.Contains(a.body, changed) {
			t.Errorf("POST /password without a login: %d, %q", a.status, a.body)
		}
		// A program is told, not redirected, and the answer ends there.
		a := b.do("GET", "/account", nil, append(headers, "Accept", "application/json", "Sec-Fetch-Mode", "cors")...)
		if a.status != http.StatusUnauthorized || a.body != "Unauthorized\n" {
			t.Errorf("GET /account by a program: %d, %q; want 401 and nothing else", a.status, a.body)
		}
	}

	wantRefused(ada)
	wantRefused(ada, "Cookie", "__Host-session="+strings.Repeat("A", 64))
	wantRefused(ada, "Cookie", "__Host-session="+sid.NewToken().Reveal())
	ada.want("POST", "/login", url.Values{"name": {"Ada"}, "password": {"guessed"}}, http.StatusUnauthorized, "please try again")
	if a := ada.want("POST", "/login", credentials("Eve"), http.StatusForbidden, "", crossSite...); a.header["Set-Cookie"] != nil {
		t.Error("another site has logged the browser in")
	}

	a := ada.want("POST", "/login?next=%2Faccount%3Ftab%3D2", credentials("Ada"), http.StatusSeeOther, "/account?tab=2")
	if line := a.header.Get("Set-Cookie"); !strings.Contains(line, "; HttpOnly; Secure; SameSite=Lax") || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("the login sets %q with Cache-Control %q", line, a.header.Get("Cache-Control"))
	}
	a = ada.want("GET", "/account", nil, http.StatusOK, "The account of Ada.")
	if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Vary") != "Cookie" {
		t.Errorf("the page has Cache-Control %q and Vary %q; want no-store and Cookie", a.header.Get("Cache-Control"), a.header.Get("Vary"))
	}
	ada.want("POST", "/password", url.Values{}, http.StatusForbidden, "", crossSite...)
	ada.want("POST", "/password", url.Values{}, http.StatusOK, changed)
	wantRefused(ada.another())

	// RequireFresh: the login is six minutes old.
	token := ada.token()
	sessiontest.Elapse(t, pool, token.Handle(), 6*time.Minute)
	if a := ada.do("POST", "/password", url.Values{}); a.status != http.StatusUnauthorized || strings.Contains(a.body, changed) {
		t.Errorf("POST /password after six minutes: %d, %q; want 401", a.status, a.body)
	}
	ada.want("GET", "/account", nil, http.StatusOK, "The account of Ada.")

	ada.want("POST", "/logout", url.Values{}, http.StatusSeeOther, "/login")
	wantRefused(ada)
	wantRefused(ada, "Cookie", "__Host-session="+token.Reveal())
}
