package sessionhttp_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// loginResponse logs a user in and returns what the browser is sent.
func loginResponse(t *testing.T, s *site, user account) *http.Response {
	t.Helper()
	return s.browser(t).visit(t, func(w http.ResponseWriter, r *http.Request) {
		if err := s.sessions.Login(w, r, user); err != nil {
			t.Fatalf("Login: %v", err)
		}
	})
}

// TestCookieAttributes is ASVS 3.3.1 to 3.3.4.
func TestCookieAttributes(t *testing.T) {
	profile := sessionhttp.WithProfile(func(a account) any { return a.Name })
	for name, test := range map[string]struct {
		options []sessionhttp.Option
		want    []string // the cookies, but for the value
	}{
		"default": {nil, []string{
			"__Host-session=; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax",
		}},
		"profile": {[]sessionhttp.Option{profile}, []string{
			"__Host-session=; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax",
			"__Host-profile=; Path=/; Max-Age=3600; Secure; SameSite=Lax",
		}},
		"browser session": {[]sessionhttp.Option{profile, sessionhttp.WithBrowserSessionCookie()}, []string{
			"__Host-session=; Path=/; HttpOnly; Secure; SameSite=Lax",
			"__Host-profile=; Path=/; Secure; SameSite=Lax",
		}},
		"names": {[]sessionhttp.Option{profile, sessionhttp.WithCookieNames("sid", "me")}, []string{
			"__Host-sid=; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax",
			"__Host-me=; Path=/; Max-Age=3600; Secure; SameSite=Lax",
		}},
		"insecure": {[]sessionhttp.Option{profile, sessionhttp.WithInsecureCookies()}, []string{
			"session=; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax",
			"profile=; Path=/; Max-Age=3600; SameSite=Lax",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := setup(t, test.options...)
			lines := loginResponse(t, s, newUser()).Header["Set-Cookie"]
			if len(lines) != len(test.want) {
				t.Fatalf("cookies %q; want %q", lines, test.want)
			}
			for i, line := range lines {
				name, rest, _ := strings.Cut(line, "=")
				_, attributes, _ := strings.Cut(rest, ";")
				if got := name + "=;" + attributes; got != test.want[i] {
					t.Errorf("cookie %s; want %s", got, test.want[i])
				}
				if len(line) > 4096 {
					t.Errorf("%s is %d bytes long", name, len(line))
				}
			}
		})
	}
}

func TestLogoutClearsBothCookies(t *testing.T) {
	s := setup(t, sessionhttp.WithProfile(func(a account) any { return a }))
	b := s.browser(t)
	b.login(t, newUser())
	if b.cookie("__Host-profile") == "" {
		t.Fatal("no profile cookie")
	}
	response := b.visit(t, func(w http.ResponseWriter, r *http.Request) {
		if err := s.sessions.Logout(w, r); err != nil {
			t.Error(err)
		}
	})
	want := []string{
		"__Host-session=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
		"__Host-profile=; Path=/; Max-Age=0; Secure; SameSite=Lax",
	}
	if got := response.Header["Set-Cookie"]; len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("cookies %q; want %q", got, want)
	}
}

// TestNoStore: a page that sets a session cookie is kept by nobody, whatever its
// handler says.
func TestNoStore(t *testing.T) {
	s := setup(t)
	b := s.browser(t)
	for _, step := range []struct {
		name string
		call func(w http.ResponseWriter, r *http.Request) error
	}{
		{"Login", func(w http.ResponseWriter, r *http.Request) error { return s.sessions.Login(w, r, newUser()) }},
		{"Renew", s.sessions.Renew},
		{"Logout", s.sessions.Logout},
	} {
		response := b.visit(t, func(w http.ResponseWriter, r *http.Request) {
			if err := step.call(w, r); err != nil {
				t.Errorf("%s: %v", step.name, err)
			}
			w.Header().Set("Cache-Control", "public, max-age=60")
			if _, err := w.Write([]byte("hello")); err != nil {
				t.Error(err)
			}
		})
		if got := response.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control is %q; want no-store", step.name, got)
		}
	}
}

// TestProfile checks that a page's script reads what was chosen, whatever is in
// it, and that nothing in it ends the header or begins another.
func TestProfile(t *testing.T) {
	s := setup(t, sessionhttp.WithProfile(func(a account) any { return map[string]string{"name": a.Name} }))
	for _, name := range []string{
		"Ed", "", `O'Neil \ "Ed" <é> ☃; Path=/x, a=b`, "日本語", "\U0001f600", "%41+%zz", "a\tb", "null",
		"\r\nSet-Cookie: __Host-session=evil", "\x00\x7f\u2028", "; Domain=example.com; HttpOnly",
	} {
		user := newUser()
		user.Name = strings.ReplaceAll(name, "\x00", "") // which PostgreSQL does not take
		response := loginResponse(t, s, user)
		lines := response.Header["Set-Cookie"]
		if len(lines) != 2 || strings.ContainsAny(strings.Join(lines, ""), "\r\n\x00") {
			t.Errorf("%q: cookies %q", name, lines)
			continue
		}
		cookie := response.Cookies()[1]
		if cookie.Name != "__Host-profile" || cookie.HttpOnly || cookie.Domain != "" || cookie.Path != "/" {
			t.Errorf("%q: cookie %s", name, cookie)
		}
		text, err := url.PathUnescape(cookie.Value)
		var got map[string]string
		if err == nil {
			err = json.Unmarshal([]byte(text), &got)
		}
		if err != nil || got["name"] != user.Name {
			t.Errorf("%q: the page reads %q, %v", name, got["name"], err)
		}
	}
}

// TestLargeProfileIsLeftOut is ASVS 3.3.5: no cookie over 4,096 bytes. The login
// goes on without it, and no page shows another user's.
func TestLargeProfileIsLeftOut(t *testing.T) {
	s := setup(t, sessionhttp.WithProfile(func(a account) any {
		if a.Name == "not JSON" {
			return func() {}
		}
		return a.Name
	}))
	b := s.browser(t)
	const longest = 4096 - len("__Host-profile=%22%22; Path=/; Max-Age=3600; Secure; SameSite=Lax")
	for _, test := range []struct {
		name string
		want bool
	}{
		{"small", true},
		{strings.Repeat("x", longest), true},
		{strings.Repeat("x", longest+1), false},
		{"small", true},
		{strings.Repeat("☃", 1000), false},
		{"small", true},
		{"not JSON", false},
	} {
		user := newUser()
		user.Name = test.name
		b.login(t, user)
		b.wantUser(t, user)
		if got := b.cookie("__Host-profile") != ""; got != test.want {
			t.Errorf("%.10s (%d): profile cookie %v; want %v", test.name, len(test.name), got, test.want)
		}
	}
	if n := strings.Count(s.log.String(), `level=WARN msg="profile left out"`); n != 3 {
		t.Errorf("%d warnings; want 3:\n%s", n, s.log.String())
	}
}
