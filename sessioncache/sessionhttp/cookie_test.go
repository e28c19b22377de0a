package sessionhttp_test

import (
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// attributes are a response's Set-Cookie lines without the values.
func attributes(response *http.Response) []string {
	var lines []string
	for _, line := range response.Header["Set-Cookie"] {
		name, rest, _ := strings.Cut(line, "=")
		_, attributes, _ := strings.Cut(rest, ";")
		lines = append(lines, name+"=;"+attributes)
	}
	return lines
}

var maxAge = regexp.MustCompile(`; Max-Age=\d+`)

// TestCookieAttributes is ASVS 3.3.1 to 3.3.4.
func TestCookieAttributes(t *testing.T) {
	profile := sessionhttp.WithProfile(func(a account) any { return a.Name })
	type (
		option = sessionhttp.Option
		login  = sessionhttp.LoginOption
	)
	for name, test := range map[string]struct {
		options []option
		login   []login
		want    []string // the cookies of a login, but for the value
	}{
		"default": {nil, nil, []string{
			"__Host-session=; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax",
		}},
		"profile": {[]option{profile}, nil, []string{
			"__Host-session=; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax",
			"__Host-profile=; Path=/; Max-Age=3600; Secure; SameSite=Lax",
		}},
		"browser session": {[]option{profile, sessionhttp.WithBrowserSessionCookie()}, nil, []string{
			"__Host-session=; Path=/; HttpOnly; Secure; SameSite=Lax",
			"__Host-profile=; Path=/; Secure; SameSite=Lax",
		}},
		"remembered": {[]option{profile}, []login{sessionhttp.Remember(48*time.Hour, time.Hour)}, []string{
			"__Host-session=; Path=/; Max-Age=172800; HttpOnly; Secure; SameSite=Lax",
			"__Host-profile=; Path=/; Max-Age=172800; Secure; SameSite=Lax",
		}},
		"remembered, browser session": {[]option{profile, sessionhttp.WithBrowserSessionCookie()}, []login{sessionhttp.Remember(48*time.Hour, 0)}, []string{
			"__Host-session=; Path=/; Max-Age=172800; HttpOnly; Secure; SameSite=Lax",
			"__Host-profile=; Path=/; Max-Age=172800; Secure; SameSite=Lax",
		}},
		"name": {[]option{profile, sessionhttp.WithCookieName("admin")}, nil, []string{
			"__Host-admin=; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax",
			"__Host-admin-profile=; Path=/; Max-Age=3600; Secure; SameSite=Lax",
		}},
		"strict": {[]option{profile, sessionhttp.WithSameSite(http.SameSiteStrictMode)}, nil, []string{
			"__Host-session=; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Strict",
			"__Host-profile=; Path=/; Max-Age=3600; Secure; SameSite=Strict",
		}},
		"domain": {[]option{profile, sessionhttp.WithDomain("example.com")}, nil, []string{
			"__Secure-session=; Path=/; Domain=example.com; Max-Age=3600; HttpOnly; Secure; SameSite=Lax",
			"__Secure-profile=; Path=/; Domain=example.com; Max-Age=3600; Secure; SameSite=Lax",
		}},
		"insecure": {[]option{profile, sessionhttp.WithInsecureCookies()}, nil, []string{
			"session=; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax",
			"profile=; Path=/; Max-Age=3600; SameSite=Lax",
		}},
		"insecure, domain, name": {[]option{profile, sessionhttp.WithInsecureCookies(), sessionhttp.WithDomain("example.com"), sessionhttp.WithCookieName("sid")}, nil, []string{
			"sid=; Path=/; Domain=example.com; Max-Age=3600; HttpOnly; SameSite=Lax",
			"sid-profile=; Path=/; Domain=example.com; Max-Age=3600; SameSite=Lax",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := setup(t, test.options...)
			b, ed := s.browser(t), newUser()
			response := b.do(t, func(w http.ResponseWriter, r *http.Request) error {
				return s.sessions.Login(w, r, ed, test.login...)
			})
			if got := attributes(response); !slices.Equal(got, test.want) {
				t.Errorf("cookies %q; want %q", got, test.want)
			}
			for _, cookie := range response.Cookies() {
				if !cookie.HttpOnly { // the profile
					continue
				}
				if parse(t, cookie.Value); len(cookie.String()) > 4096 {
					t.Errorf("the session cookie is %d bytes long", len(cookie.String()))
				}
			}
			b.wantUser(t, ed) // whatever its name, it is read again

			// A browser clears a cookie whose name, path, domain and prefix are the same.
			response = b.do(t, s.sessions.Logout)
			for i, line := range attributes(response) {
				if got, want := maxAge.ReplaceAllString(line, ""), maxAge.ReplaceAllString(test.want[i], ""); got != want {
					t.Errorf("Logout: cookie %s; want %s", got, want)
				}
			}
			if n := strings.Count(strings.Join(response.Header["Set-Cookie"], " "), "; Max-Age=0"); n != len(test.want) {
				t.Errorf("Logout clears %d cookies; want %d", n, len(test.want))
			}
			b.wantNobody(t, sessionhttp.ErrNoCookie)
		})
	}
}

// TestMaxAge: the cookies last as long as the session may.
func TestMaxAge(t *testing.T) {
	profile := sessionhttp.WithProfile(func(a account) any { return a.Name })
	s := setupCache(t, []sessioncache.Option{sessioncache.WithIdleTimeout(50 * time.Minute)}, profile)
	for name, lifetime := range map[string]time.Duration{"Login": time.Hour, "Remember": 30 * 24 * time.Hour} {
		b, ed := s.browser(t), newUser()
		var options []sessionhttp.LoginOption
		if name == "Remember" {
			options = append(options, sessionhttp.Remember(lifetime, 2*time.Hour))
		}
		wantMaxAge(t, name, b.do(t, func(w http.ResponseWriter, r *http.Request) error {
			return s.sessions.Login(w, r, ed, options...)
		}), lifetime)

		// The deadline stays: a renewed token is good for what is left until then.
		s.elapse(t, b.token(), 40*time.Minute)
		wantMaxAge(t, name+", renewed", b.do(t, s.sessions.Renew), lifetime-40*time.Minute)
		wantMaxAge(t, name+", updated", b.do(t, s.calls()["Update"]), lifetime-40*time.Minute)
		wantMaxAge(t, name+", re-authenticated", b.do(t, s.sessions.Reauthenticated), lifetime)

		// The service is deployed again, with a shorter lifetime: that is for new logins.
		shorter := sessioncache.New[account](s.pool, sessioncache.WithLifetime(10*time.Minute))
		after := &site{sessions: sessionhttp.New(shorter, profile), pool: s.pool}
		b.site = after
		b.wantUser(t, ed)
		s.elapse(t, b.token(), 20*time.Minute)
		wantMaxAge(t, name+", renewed later", b.do(t, after.sessions.Renew), lifetime-20*time.Minute)
		wantMaxAge(t, name+", re-authenticated later", b.do(t, after.sessions.Reauthenticated), lifetime)
		wantMaxAge(t, name+", logged in later", b.do(t, func(w http.ResponseWriter, r *http.Request) error {
			return after.sessions.Login(w, r, ed)
		}), 10*time.Minute)
	}
}

// TestVisitorLifetime: a visitor's session has a lifetime of its own, in the table and in the
// browser. That of the user who logs in is not affected.
func TestVisitorLifetime(t *testing.T) {
	s := setup(t)
	const month = 30 * 24 * time.Hour
	for name, test := range map[string]struct {
		lifetime time.Duration
		options  []sessionhttp.Option
		want     time.Duration
	}{
		"the default":           {month, nil, 24 * time.Hour},
		"a shorter lifetime":    {time.Hour, nil, time.Hour},
		"its own":               {month, []sessionhttp.Option{sessionhttp.WithVisitorLifetime(10 * time.Minute)}, 10 * time.Minute},
		"longer than the users": {time.Hour, []sessionhttp.Option{sessionhttp.WithVisitorLifetime(month)}, month},
	} {
		cache := sessioncache.New[account](s.pool, sessioncache.WithLifetime(test.lifetime))
		b := (&site{sessions: sessionhttp.New(cache, test.options...), pool: s.pool}).browser(t)
		wantMaxAge(t, name, b.do(t, b.site.allCalls()["Begin"]), test.want)
		var seconds float64
		err := s.pool.QueryRow(t.Context(), "SELECT extract(epoch FROM session_deadlineutc - session_startutc) FROM session_cache WHERE sessionid = $1",
			handleOf(t, b.token()).String()).Scan(&seconds)
		if err != nil || seconds != test.want.Seconds() {
			t.Errorf("%s: the session lives %v s, %v; want %s", name, seconds, err, test.want)
		}
		wantMaxAge(t, name+", then a login", b.do(t, func(w http.ResponseWriter, r *http.Request) error {
			return b.site.sessions.Login(w, r, newUser())
		}), test.lifetime)
	}
}

// TestLongestMaxAge: no cookie lasts longer than browsers allow, or for a second because a
// very long lifetime overflowed.
func TestLongestMaxAge(t *testing.T) {
	const day, longest = 24 * time.Hour, 400 * 24 * time.Hour
	profile := sessionhttp.WithProfile(func(a account) any { return a.Name })
	s := setup(t)
	for name, test := range map[string]struct {
		lifetime, idle, want time.Duration
	}{
		"just shorter":         {longest - day, 0, longest - day},
		"the longest":          {longest, 0, longest},
		"longer":               {longest + day, 0, longest},
		"three years":          {3 * 365 * day, 0, longest},
		"three years, idle":    {3 * 365 * day, 30 * day, longest},
		"all that there is":    {math.MaxInt64, 0, longest},
		"all of it, idle":      {math.MaxInt64, 30 * day, longest},
		"all of it, long idle": {math.MaxInt64, math.MaxInt64, longest},
	} {
		b := (&site{pool: s.pool, sessions: sessionhttp.New(s.cache, profile, sessionhttp.WithVisitorLifetime(test.lifetime))}).browser(t)
		if test.idle == 0 {
			wantMaxAge(t, name+": Begin", b.do(t, b.site.allCalls()["Begin"]), test.want)
		}
		wantMaxAge(t, name+": Login", b.do(t, func(w http.ResponseWriter, r *http.Request) error {
			return b.site.sessions.Login(w, r, newUser(), sessionhttp.Remember(test.lifetime, test.idle))
		}), test.want)
		for step, call := range map[string]call{
			"Renew": b.site.sessions.Renew, "Reauthenticated": b.site.sessions.Reauthenticated, "Update": b.site.calls()["Update"],
		} {
			wantMaxAge(t, name+": "+step, b.do(t, call), test.want)
		}
	}
}

// TestMaxAgeIsNeverZero: browsers do not agree on what it means, and an expired cookie
// is none.
func TestMaxAgeIsNeverZero(t *testing.T) {
	s := setupCache(t, []sessioncache.Option{sessioncache.WithLifetime(100 * time.Millisecond)})
	b := s.browser(t)
	response := b.do(t, func(w http.ResponseWriter, r *http.Request) error { return s.sessions.Login(w, r, newUser()) })
	if age := response.Cookies()[0].MaxAge; age != 1 {
		t.Errorf("the cookie lasts %d s; want 1", age)
	}
}

// TestBrowserSessionCookie: what a login has chosen stays when the token is renewed.
func TestBrowserSessionCookie(t *testing.T) {
	s := setup(t, sessionhttp.WithBrowserSessionCookie(), sessionhttp.WithProfile(func(a account) any { return a.Name }))
	const remembered = 30 * 24 * time.Hour
	for name, test := range map[string]struct {
		options []sessionhttp.LoginOption
		want    time.Duration
	}{
		"not remembered": {nil, 0},
		"remembered":     {[]sessionhttp.LoginOption{sessionhttp.Remember(remembered, 0)}, remembered},
	} {
		b := s.browser(t)
		b.login(t, newUser(), test.options...)
		token := b.token()
		for step, call := range map[string]call{
			"Renew": s.sessions.Renew, "Reauthenticated": s.sessions.Reauthenticated, "Update": s.calls()["Update"],
		} {
			wantMaxAge(t, name+": "+step, b.do(t, call), test.want)
		}
		if b.token() == token {
			t.Errorf("%s: the token was not renewed", name)
		}
	}

	b := s.browser(t)
	wantMaxAge(t, "Begin", b.do(t, s.allCalls()["Begin"]), 0)
	wantMaxAge(t, "Accept of a visitor's session", b.do(t, func(w http.ResponseWriter, r *http.Request) error {
		return s.sessions.Accept(w, r, parse(t, b.token()))
	}), 0)
}

// TestProfileComesAndGoes with a login: a visitor has none, and it always shows the
// user as stored.
func TestProfileComesAndGoes(t *testing.T) {
	s := setup(t, sessionhttp.WithProfile(func(a account) any { return a.Name }))
	b, ed := s.browser(t), newUser()
	want := func(step, want string) {
		t.Helper()
		if got := b.cookie("__Host-profile"); got != want {
			t.Errorf("%s: the profile is %q; want %q", step, got, want)
		}
	}
	b.begin(t, "visitor")
	want("Begin", "")
	b.login(t, ed)
	want("Login", "%22Ed%22")
	b.do(t, func(w http.ResponseWriter, r *http.Request) error {
		return s.sessions.Update(w, r, func(a *account) error { a.Name = "Ann"; return nil })
	})
	want("Update", "%22Ann%22")
	b.jar.SetCookies(origin, []*http.Cookie{{Name: "__Host-profile", Value: "forged", Path: "/", Secure: true}})
	b.do(t, s.sessions.Renew)
	want("Renew", "%22Ann%22")
	b.begin(t, "Bea") // of a user who has logged in it changes the user
	want("Begin of a user", "%22Bea%22")
	b.jar.SetCookies(origin, []*http.Cookie{{Name: "__Host-profile", Value: "forged", Path: "/", Secure: true}})
	b.do(t, s.sessions.Reauthenticated)
	want("Reauthenticated", "%22Bea%22")
	b.do(t, s.calls()["LogoutEverywhere"])
	want("LogoutEverywhere", "")
	b.login(t, ed)
	handle := b.handles(t)[0]
	b.do(t, func(w http.ResponseWriter, r *http.Request) error { return s.sessions.LogoutSession(w, r, handle) })
	want("LogoutSession", "")
}

// TestHeaderInjection: a page's script reads what was chosen, whatever is in it, and
// nothing in it ends the header or begins another.
func TestHeaderInjection(t *testing.T) {
	s := setup(t, sessionhttp.WithProfile(func(a account) any { return map[string]string{"name": a.Name} }))
	for _, name := range []string{
		"Ed", "", `O'Neil \ "Ed" <é> ☃; Path=/x, a=b`, "日本語", "\U0001f600", "%41+%zz", "a\tb", "null",
		"\r\nSet-Cookie: __Host-session=evil", "\x7f\u2028", "; Domain=example.com; HttpOnly",
	} {
		user := newUser()
		user.Name = name
		response := s.browser(t).do(t, func(w http.ResponseWriter, r *http.Request) error {
			return s.sessions.Login(w, r, user)
		})
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
		if err != nil || got["name"] != name {
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
		{strings.Repeat("é", 1000), false},
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

// TestOneCookieOfAName: a response sets no cookie twice, and leaves the application's
// alone.
func TestOneCookieOfAName(t *testing.T) {
	s := setup(t)
	ed := newUser()
	b := s.browser(t)
	response := b.do(t, func(w http.ResponseWriter, r *http.Request) error {
		http.SetCookie(w, &http.Cookie{Name: "theme", Value: "dark"})
		for range 2 {
			if err := s.sessions.Login(w, r, newUser()); err != nil {
				return err
			}
		}
		http.SetCookie(w, &http.Cookie{Name: "__Host-session2", Value: "x"})
		if err := s.sessions.Logout(w, r); err != nil {
			return err
		}
		return s.sessions.Login(w, r, ed)
	})
	var names []string
	for _, cookie := range response.Cookies() {
		names = append(names, cookie.Name)
	}
	if want := []string{"theme", "__Host-session2", "__Host-session"}; !slices.Equal(names, want) {
		t.Errorf("cookies %q; want %q", names, want)
	}
	b.wantUser(t, ed)
}
