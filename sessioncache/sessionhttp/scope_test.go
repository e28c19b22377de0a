package sessionhttp_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// visitor is a browser at an address, whose jar has cookies of several scopes.
type visitor struct {
	at  *url.URL
	jar *cookiejar.Jar
}

func newVisitor(t *testing.T, address string) visitor {
	t.Helper()
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return visitor{at, jar}
}

// visit makes a request to a service that may have been mounted below a prefix.
func (v visitor) visit(t *testing.T, sessions *sessionhttp.Manager[account], do call) (response *http.Response, err error) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, v.at.String(), nil)
	r.RequestURI = v.at.RequestURI()
	for _, cookie := range v.jar.Cookies(v.at) {
		r.AddCookie(cookie)
	}
	w := httptest.NewRecorder()
	sessions.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { err = do(w, r) })).ServeHTTP(w, r)
	v.jar.SetCookies(v.at, w.Result().Cookies())
	return w.Result(), err
}

// cookies counts the session cookies that the browser sends.
func (v visitor) cookies(name string) (n int) {
	for _, cookie := range v.jar.Cookies(v.at) {
		if cookie.Name == name {
			n++
		}
	}
	return n
}

// TestOtherScopes: a browser with session cookies of several scopes is healed by the next
// login or logout, and by a page that refuses them if none of them is of the root.
func TestOtherScopes(t *testing.T) {
	s := setup(t)
	const address = "https://www.shop.example.com/account/login?next=/"
	type planted struct{ domain, path string }
	for name, test := range map[string]struct {
		options []sessionhttp.Option
		cookie  string
		planted []planted
		lines   int  // that Login sets
		healed  bool // by a page
	}{
		"WithDomain was added": {[]sessionhttp.Option{sessionhttp.WithInsecureCookies(), sessionhttp.WithDomain("example.com")}, "session",
			[]planted{{"", "/"}}, 16, false},
		"WithDomain was removed": {[]sessionhttp.Option{sessionhttp.WithInsecureCookies()}, "session",
			[]planted{{"example.com", "/"}}, 16, false},
		"WithDomain was changed": {[]sessionhttp.Option{sessionhttp.WithDomain("Example.com")}, "__Secure-session",
			[]planted{{"shop.example.com", "/"}, {"www.shop.example.com", "/"}}, 16, false},
		"other paths": {[]sessionhttp.Option{sessionhttp.WithDomain("shop.example.com")}, "__Secure-session",
			[]planted{{"", "/account"}, {"example.com", "/account/"}, {"shop.example.com", "/account/login"}}, 16, true},
	} {
		sessions := sessionhttp.New(s.cache, append(test.options, sessionhttp.WithEvents(s.events.record))...)
		v, ed := newVisitor(t, address), newUser()
		login := func(w http.ResponseWriter, r *http.Request) error { return sessions.Login(w, r, ed) }
		plant := func() {
			for _, scope := range test.planted {
				v.jar.SetCookies(v.at, []*http.Cookie{{Name: test.cookie, Value: randomToken(), Domain: scope.domain, Path: scope.path}})
			}
		}
		current := func(_ http.ResponseWriter, r *http.Request) error { return second(sessions.Current(r.Context())) }

		response, err := v.visit(t, sessions, login)
		if lines := response.Header["Set-Cookie"]; err != nil || len(lines) != 1 {
			t.Errorf("%s: Login with no cookie: %v, and set %q", name, err, lines)
		}
		plant()
		s.events.take()
		if _, err := v.visit(t, sessions, current); !errors.Is(err, sessionhttp.ErrMalformedCookie) || v.cookies(test.cookie) != 1+len(test.planted) {
			t.Errorf("%s: %v with %d cookies", name, err, v.cookies(test.cookie))
		}
		if events := s.events.take(); len(events) != 1 || !strings.Contains(fmt.Sprint(events[0].Reason), "several cookies") {
			t.Errorf("%s: events %+v; want one that says several cookies", name, events)
		}
		response, _ = v.visit(t, sessions, func(w http.ResponseWriter, r *http.Request) error {
			sessions.Require(never(t)).ServeHTTP(w, r)
			return nil
		})
		wantScopes(t, name, response, test.lines*3/4) // three of four paths
		if _, err := v.visit(t, sessions, current); (err == nil) != test.healed || test.healed && v.cookies(test.cookie) != 1 {
			t.Errorf("%s: after Require: %v, with %d cookies", name, err, v.cookies(test.cookie))
		}
		plant()
		response, err = v.visit(t, sessions, login)
		if err != nil {
			t.Errorf("%s: Login = %v", name, err)
		}
		wantScopes(t, name, response, test.lines)
		if _, err := v.visit(t, sessions, current); err != nil || v.cookies(test.cookie) != 1 {
			t.Errorf("%s: after Login: %v, with %d cookies", name, err, v.cookies(test.cookie))
		}
		plant()
		response, err = v.visit(t, sessions, sessions.Logout)
		if err != nil || v.cookies(test.cookie) != 0 {
			t.Errorf("%s: Logout = %v, and leaves %d cookies", name, err, v.cookies(test.cookie))
		}
		wantScopes(t, name, response, test.lines)
	}
}

// wantScopes checks that a response sets no two cookies of one name, domain and path.
func wantScopes(t *testing.T, name string, response *http.Response, n int) {
	t.Helper()
	var scopes []string
	for _, cookie := range response.Cookies() {
		scopes = append(scopes, fmt.Sprintf("%s %s %s", cookie.Name, cookie.Domain, cookie.Path))
	}
	slices.Sort(scopes)
	if len(slices.Compact(slices.Clone(scopes))) != len(scopes) || len(scopes) != n {
		t.Errorf("%s: %d cookies, %q; want %d different ones", name, len(scopes), scopes, n)
	}
}

// TestScopesAreBounded: a host or a path that a client makes up does not make the response
// long, and an address of numbers has no domains.
func TestScopesAreBounded(t *testing.T) {
	s := setup(t)
	sessions := sessionhttp.New(s.cache, sessionhttp.WithInsecureCookies())
	for address, want := range map[string]int{
		"https://example.com/" + strings.Repeat("a/", 500):    22,
		"https://" + strings.Repeat("a.", 50) + "example.com": 7,
		"https://192.0.2.1:8443/login":                        2,
		"https://[2001:db8::1]:8443/login":                    2,
		"https://localhost/login":                             4,
		"https://example.com/login":                           4,
	} {
		v := newVisitor(t, address)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, address, nil)
		r.RequestURI = v.at.RequestURI()
		r.Header.Set("Cookie", "session=a; session=b")
		w := httptest.NewRecorder()
		sessions.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := sessions.Logout(w, r); err != nil {
				t.Errorf("%s: Logout = %v", address, err)
			}
		})).ServeHTTP(w, r)
		wantScopes(t, fmt.Sprintf("%.40s", address), w.Result(), want)
	}
}
