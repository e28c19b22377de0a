package sessionhttp_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sid"
)

// ask is who the site takes the user of a request for, and why for nobody.
func (s *site) ask(r *http.Request) (user account, why error) {
	s.sessions.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var ok bool
		user, ok, why = s.sessions.User(r.Context())
		if !ok && why == nil {
			_, why = s.sessions.Current(r.Context())
		}
	})).ServeHTTP(nowhere{http.Header{}}, r)
	return user, why
}

// bearer returns a request with this Authorization header, and with the browser's
// cookies.
func (b *browser) bearer(t *testing.T, authorization string) *http.Request {
	t.Helper()
	r := b.request(t, http.MethodPost)
	r.Header.Set("Authorization", authorization)
	return r
}

// issueBearer begins a session for a program.
func (s *site) issueBearer(t *testing.T, user account, options ...sessioncache.SessionOption) sid.Token {
	t.Helper()
	token, err := s.sessions.IssueBearer(t.Context(), user, options...)
	if err != nil {
		t.Fatalf("IssueBearer: %v", err)
	}
	return token
}

// TestDuplicateCookies: nobody can tell which of them is the user's, so neither
// counts. Logout ends the sessions of all, since one of them is the user's.
func TestDuplicateCookies(t *testing.T) {
	s := setup(t)
	// logIn returns browsers with a session each, and a request with the cookies of all.
	logIn := func(n int) (browsers []*browser, r *http.Request) {
		r = s.browser(t).request(t, http.MethodPost)
		for range n {
			b := s.browser(t)
			r.AddCookie(&http.Cookie{Name: "__Host-session", Value: b.login(t, newUser())})
			browsers = append(browsers, b)
		}
		s.events.take()
		return browsers, r
	}
	for n := 2; n <= 5; n++ {
		browsers, r := logIn(n)
		before := s.statements.Load()
		if user, err := s.ask(r); !errors.Is(err, sessionhttp.ErrMalformedCookie) || user != (account{}) {
			t.Errorf("%d cookies let in %v, %v", n, user, err)
		}
		if did := s.statements.Load() - before; did != 0 {
			t.Errorf("%d cookies: %d statements; want none", n, did)
		}
		if events := s.events.take(); len(events) != 1 || events[0].Kind != sessionhttp.EventMalformed || !strings.Contains(events[0].Reason.Error(), "several cookies") {
			t.Errorf("%d cookies: events %v", n, events)
		}

		other := s.browser(t)
		response := other.send(r, func(w http.ResponseWriter, r *http.Request) {
			err := s.sessions.Logout(w, r)
			if n <= 4 && err != nil || n > 4 && !errors.Is(err, sessionhttp.ErrMalformedCookie) {
				t.Errorf("%d cookies: Logout = %v", n, err)
			}
		})
		if cleared := len(response.Cookies()) == 1; cleared != (n <= 4) {
			t.Errorf("%d cookies: Logout set %q", n, response.Header["Set-Cookie"])
		}
		for _, b := range browsers {
			if n <= 4 {
				b.wantNobody(t, sessionhttp.ErrUnknownSession)
			} else if _, ok, err := b.user(t); !ok || err != nil { // it failed: nothing has changed
				t.Errorf("%d cookies: Logout failed and ended a session", n)
			}
		}
	}

	// A login ends them as well, and counts itself.
	browsers, r := logIn(3)
	ed, other := newUser(), s.browser(t)
	other.send(r, func(w http.ResponseWriter, r *http.Request) {
		if err := s.sessions.Login(w, r, ed); err != nil {
			t.Errorf("Login with duplicates: %v", err)
		}
		if user, ok, err := s.sessions.User(r.Context()); user != ed || !ok || err != nil {
			t.Errorf("User after Login with duplicates = %v, %v, %v", user, ok, err)
		}
	})
	other.wantUser(t, ed)
	for _, b := range browsers {
		b.wantNobody(t, sessioncache.ErrSuperseded)
	}

	// One that is no token is a duplicate all the same: somebody has planted it.
	victim := s.browser(t)
	r = s.browser(t).request(t, http.MethodPost)
	r.AddCookie(&http.Cookie{Name: "__Host-session", Value: "planted"})
	r.AddCookie(&http.Cookie{Name: "__Host-session", Value: victim.login(t, ed)})
	if user, err := s.ask(r); !errors.Is(err, sessionhttp.ErrMalformedCookie) {
		t.Errorf("a planted cookie and a good one: %v, %v", user, err)
	}
	victim.send(r, func(w http.ResponseWriter, r *http.Request) {
		if err := s.sessions.Logout(w, r); err != nil {
			t.Errorf("Logout with a planted cookie: %v", err)
		}
	})
	victim.wantNobody(t, sessionhttp.ErrNoCookie)
	if n := strings.Count(loggedIn(t, s.pool), "user_id"); n != 1+5 { // other's, and the five that could not be ended
		t.Errorf("%d sessions are left; want 6", n)
	}
}

// TestTooManyCookies: net/http reads none of them. That is not "no cookie", and nobody is
// told that they are logged out.
func TestTooManyCookies(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	token := b.login(t, ed)
	r := b.request(t, http.MethodPost)
	r.Header.Set("Cookie", strings.Repeat("a=b; ", 3001)+"__Host-session="+token)
	if user, err := s.ask(r); !errors.Is(err, sessionhttp.ErrMalformedCookie) {
		t.Errorf("3,002 cookies: %v, %v; want %v", user, err, sessionhttp.ErrMalformedCookie)
	}
	response := b.send(r, func(w http.ResponseWriter, r *http.Request) {
		if err := s.sessions.Logout(w, r); !errors.Is(err, sessionhttp.ErrMalformedCookie) {
			t.Errorf("Logout = %v; want %v", err, sessionhttp.ErrMalformedCookie)
		}
	})
	if lines := response.Header["Set-Cookie"]; len(lines) != 0 {
		t.Errorf("Logout set %q", lines)
	}
	b.wantUser(t, ed)

	r.Header.Set("Cookie", strings.Repeat("a=b; ", 200)+"__Host-session="+token)
	if user, err := s.ask(r); err != nil || user != ed {
		t.Errorf("201 cookies: %v, %v; want the user", user, err)
	}
	r.Header.Set("Cookie", strings.Repeat("a=b; ", 200))
	if user, err := s.ask(r); !errors.Is(err, sessionhttp.ErrNoCookie) {
		t.Errorf("200 cookies of others: %v, %v; want %v", user, err, sessionhttp.ErrNoCookie)
	}
}

func TestBearer(t *testing.T) {
	s := setup(t, sessionhttp.WithBearer())
	ed := newUser()
	token := s.issueBearer(t, ed)
	good := token.Reveal()
	b := s.browser(t)
	for _, authorization := range []string{"Bearer " + good, "bearer " + good, "BEARER " + good, "bEaReR  " + good} {
		if user, err := s.ask(b.bearer(t, authorization)); err != nil || user != ed {
			t.Errorf("Authorization: %.10s…: %v, %v", authorization, user, err)
		}
	}
	for authorization, why := range map[string]error{
		"":                        sessionhttp.ErrNoCookie,
		good:                      sessionhttp.ErrNoCookie, // some scheme or other
		"Basic " + good:           sessionhttp.ErrNoCookie,
		"Bearers " + good:         sessionhttp.ErrNoCookie,
		"bearer":                  sessionhttp.ErrMalformedCookie,
		"Bearer " + good + " ":    sessionhttp.ErrMalformedCookie,
		"Bearer " + good + ", x":  sessionhttp.ErrMalformedCookie,
		"Bearer " + good[:63]:     sessionhttp.ErrMalformedCookie,
		"Bearer Bearer " + good:   sessionhttp.ErrMalformedCookie,
		"Bearer " + randomToken(): sessionhttp.ErrUnknownSession,
		"Bearer " + sid.NewToken().Handle().String(): sessionhttp.ErrMalformedCookie,
		"Bearer " + token.Handle().String():          sessionhttp.ErrMalformedCookie,
	} {
		if user, err := s.ask(b.bearer(t, authorization)); !errors.Is(err, why) || user != (account{}) {
			t.Errorf("Authorization: %s: %v, %v; want %v", authorization, user, err, why)
		}
	}
	twice := b.bearer(t, "Bearer "+good)
	twice.Header.Add("Authorization", "Bearer "+good)
	if user, err := s.ask(twice); !errors.Is(err, sessionhttp.ErrMalformedCookie) {
		t.Errorf("two headers: %v, %v", user, err)
	}

	// A token of a program ends as a browser's does.
	response := b.send(b.bearer(t, "Bearer "+good), func(w http.ResponseWriter, r *http.Request) {
		if err := s.sessions.Logout(w, r); err != nil {
			t.Errorf("Logout: %v", err)
		}
	})
	if cookies := response.Header["Set-Cookie"]; len(cookies) != 0 {
		t.Errorf("Logout with a bearer token set %q", cookies)
	}
	if user, err := s.ask(b.bearer(t, "Bearer "+good)); !errors.Is(err, sessionhttp.ErrUnknownSession) {
		t.Errorf("after Logout: %v, %v", user, err)
	}
}

// TestBadBearerWithAGoodCookie: the header decides alone.
func TestBadBearerWithAGoodCookie(t *testing.T) {
	s := setup(t, sessionhttp.WithBearer())
	b := s.browser(t)
	token := b.login(t, newUser())
	admitted := 0
	for _, bad := range []string{"", "x", randomToken(), token + "A", token[:63], s.issueBearer(t, newUser(), sessioncache.Anonymous()).Reveal()} {
		if user, err := s.ask(b.bearer(t, "Bearer "+bad)); !errors.Is(err, sessionhttp.ErrNoSession) || user != (account{}) {
			admitted++
			t.Errorf("Bearer %q and a good cookie: %v, %v", bad, user, err)
		}
	}
	if admitted != 0 {
		t.Errorf("%d admitted; want 0", admitted)
	}

	// A good one decides, too: nobody is logged in as the cookie's user.
	program := newUser()
	if user, err := s.ask(b.bearer(t, "Bearer "+s.issueBearer(t, program).Reveal())); err != nil || user != program {
		t.Errorf("a good bearer and a good cookie: %v, %v; want the bearer's user", user, err)
	}
}

// TestBearerTakesNoCookie: calls that have to set a cookie refuse, before anything has
// changed. The others work.
func TestBearerTakesNoCookie(t *testing.T) {
	s := setup(t, sessionhttp.WithBearer(), sessionhttp.WithProfile(func(a account) any { return a.Name }))
	ed := newUser()
	good := "Bearer " + s.issueBearer(t, ed).Reveal()
	accepted := s.issueBearer(t, newUser())
	b := s.browser(t)
	b.login(t, newUser())
	before := dump(t, s.pool)
	for name, call := range map[string]call{
		"Login":           s.allCalls()["Login"],
		"Renew":           s.sessions.Renew,
		"Reauthenticated": s.sessions.Reauthenticated,
		"Accept": func(w http.ResponseWriter, r *http.Request) error {
			return s.sessions.Accept(w, r, accepted)
		},
	} {
		statements := s.statements.Load()
		response := b.send(b.bearer(t, good), func(w http.ResponseWriter, r *http.Request) {
			if err := call(w, r); !errors.Is(err, sessionhttp.ErrBearer) {
				t.Errorf("%s: %v; want %v", name, err, sessionhttp.ErrBearer)
			}
		})
		if n := s.statements.Load() - statements; n != 0 || len(response.Cookies()) != 0 {
			t.Errorf("%s: %d statements, cookies %q", name, n, response.Header["Set-Cookie"])
		}
	}
	b.send(b.bearer(t, "Bearer nonsense"), func(w http.ResponseWriter, r *http.Request) {
		if err := s.allCalls()["Begin"](w, r); !errors.Is(err, sessionhttp.ErrBearer) {
			t.Errorf("Begin: %v; want %v", err, sessionhttp.ErrBearer)
		}
	})
	if after := dump(t, s.pool); after != before {
		t.Errorf("the table was\n%s\nand is\n%s", before, after)
	}

	response := b.send(b.bearer(t, good), func(w http.ResponseWriter, r *http.Request) {
		err := s.sessions.Update(w, r, func(a *account) error { a.Visits++; return nil })
		if user, ok, uerr := s.sessions.User(r.Context()); err != nil || uerr != nil || !ok || user.Visits != 1 {
			t.Errorf("Update = %v, then User = %v, %v, %v", err, user, ok, uerr)
		}
		if n, err := s.sessions.LogoutOthers(r); err != nil || n != 0 {
			t.Errorf("LogoutOthers = %d, %v", n, err)
		}
		if n, err := s.sessions.LogoutEverywhere(w, r); err != nil || n != 1 {
			t.Errorf("LogoutEverywhere = %d, %v", n, err)
		}
	})
	if cookies := response.Header["Set-Cookie"]; len(cookies) != 0 {
		t.Errorf("a program was sent cookies %q", cookies)
	}
}

// TestAuthorizationIsIgnored without WithBearer: the cookie decides.
func TestAuthorizationIsIgnored(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	token := b.login(t, ed)
	for _, authorization := range []string{"Bearer " + s.issueBearer(t, newUser()).Reveal(), "Bearer nonsense", "Bearer"} {
		if user, err := s.ask(b.bearer(t, authorization)); err != nil || user != ed {
			t.Errorf("a cookie, and Authorization: %s: %v, %v", authorization, user, err)
		}
		b.send(b.bearer(t, authorization), func(w http.ResponseWriter, r *http.Request) {
			if err := s.sessions.Renew(w, r); err != nil {
				t.Errorf("Renew with Authorization: %v", err)
			}
		})
	}
	if user, err := s.ask(s.browser(t).bearer(t, "Bearer "+token)); !errors.Is(err, sessionhttp.ErrNoCookie) {
		t.Errorf("the token of a cookie as a bearer token: %v, %v", user, err)
	}
}

// TestTokensOfOtherManagers: without an audience of its own a Manager has the full name
// of its cookie, so two on one cache do not take each other's tokens. With one they
// share them.
func TestTokensOfOtherManagers(t *testing.T) {
	s := setup(t, sessionhttp.WithBearer())
	ed := newUser()
	token := s.issueBearer(t, ed)
	for name, options := range map[string][]sessionhttp.Option{
		"another name":   {sessionhttp.WithCookieName("admin")},
		"another prefix": {sessionhttp.WithInsecureCookies()},
		"a domain":       {sessionhttp.WithDomain("example.com")},
	} {
		other := &site{sessions: sessionhttp.New(s.cache, append(options, sessionhttp.WithBearer())...)}
		if user, err := other.ask(s.browser(t).bearer(t, "Bearer "+token.Reveal())); !errors.Is(err, sessionhttp.ErrUnknownSession) {
			t.Errorf("%s lets in %v, %v", name, user, err)
		}
		theirs := other.issueBearer(t, ed)
		if user, err := s.ask(s.browser(t).bearer(t, "Bearer "+theirs.Reveal())); !errors.Is(err, sessionhttp.ErrUnknownSession) {
			t.Errorf("the token of %s lets in %v, %v", name, user, err)
		}
		other.browser(t).want(t, sessionhttp.ErrUnknownSession, func(w http.ResponseWriter, r *http.Request) error {
			return other.sessions.Accept(w, r, token)
		})
	}
	same := &site{sessions: sessionhttp.New(s.cache)}
	same.browser(t).with(t, token.Reveal()).wantUser(t, ed)

	audience := sessioncache.New[account](s.pool, sessioncache.WithAudience("shop"))
	one, two := sessionhttp.New(audience), &site{sessions: sessionhttp.New(audience, sessionhttp.WithBearer(), sessionhttp.WithCookieName("shop"))}
	shared, err := one.IssueBearer(t.Context(), ed)
	if err != nil {
		t.Fatal(err)
	}
	if user, err := two.ask(s.browser(t).bearer(t, "Bearer "+shared.Reveal())); err != nil || user != ed {
		t.Errorf("a token of the same audience: %v, %v", user, err)
	}
	if user, err := s.ask(s.browser(t).bearer(t, "Bearer "+shared.Reveal())); !errors.Is(err, sessionhttp.ErrUnknownSession) {
		t.Errorf("a token of another audience lets in %v, %v", user, err)
	}
}

// TestAuthenticateHeader is RFC 6750 section 3 and RFC 9470 section 3.
func TestAuthenticateHeader(t *testing.T) {
	s := setup(t, sessionhttp.WithBearer(), sessionhttp.WithLoginPage("/login"), sessionhttp.WithReauthenticationPage("/confirm"))
	good := s.issueBearer(t, newUser())
	s.elapse(t, good.Reveal(), 10*time.Minute)
	page := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for _, test := range []struct {
		name, authorization string
		handler             http.Handler
		status              int
		want                string
	}{
		{"no token", "", s.sessions.Require(page), http.StatusUnauthorized, "Bearer"},
		{"another scheme", "Basic eA==", s.sessions.Require(page), http.StatusUnauthorized, "Bearer"},
		{"no token of ours", "Bearer x", s.sessions.Require(page), http.StatusUnauthorized, `Bearer error="invalid_token"`},
		{"unknown token", "Bearer " + randomToken(), s.sessions.Require(page), http.StatusUnauthorized, `Bearer error="invalid_token"`},
		{"good token", "Bearer " + good.Reveal(), s.sessions.Require(page), http.StatusOK, ""},
		{"old proof", "Bearer " + good.Reveal(), s.sessions.RequireFresh(5*time.Minute, page), http.StatusUnauthorized, `Bearer error="insufficient_user_authentication"`},
	} {
		r := s.browser(t).request(t, http.MethodGet)
		if test.authorization != "" {
			r.Header.Set("Authorization", test.authorization)
		}
		response := s.browser(t).send(r, test.handler.ServeHTTP)
		if got := response.Header.Get("WWW-Authenticate"); response.StatusCode != test.status || got != test.want {
			t.Errorf("%s: %d, WWW-Authenticate: %s; want %d, %s", test.name, response.StatusCode, got, test.status, test.want)
		}
	}

	// A program is not sent to a page, whatever its headers say.
	r := s.browser(t).bearer(t, "Bearer x")
	r.Header.Set("Accept", "text/html")
	if status := s.browser(t).send(r, s.sessions.Require(page).ServeHTTP).StatusCode; status != http.StatusUnauthorized {
		t.Errorf("a program that accepts HTML: %d; want 401", status)
	}
}
