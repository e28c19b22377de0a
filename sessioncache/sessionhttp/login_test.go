package sessionhttp_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sid"
)

func TestLogout(t *testing.T) {
	s := setup(t, sessionhttp.WithProfile(func(a account) any { return a }))
	b, ed := s.browser(t), newUser()
	b.wantNobody(t, sessionhttp.ErrNoCookie)
	token := b.login(t, ed)
	b.wantUser(t, ed)
	if b.cookie("__Host-profile") == "" {
		t.Fatal("no profile cookie")
	}
	response := b.do(t, func(w http.ResponseWriter, r *http.Request) error {
		err := s.sessions.Logout(w, r)
		if _, ok, uerr := s.sessions.User(r.Context()); ok || uerr != nil {
			t.Errorf("User after Logout in the same request = %v, %v", ok, uerr)
		}
		if _, cerr := s.sessions.Current(r.Context()); !errors.Is(cerr, sessionhttp.ErrNoCookie) {
			t.Errorf("Current after Logout in the same request: %v", cerr)
		}
		return err
	})
	want := []string{
		"__Host-session=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
		"__Host-profile=; Path=/; Max-Age=0; Secure; SameSite=Lax",
	}
	if got := response.Header["Set-Cookie"]; !slices.Equal(got, want) {
		t.Errorf("cookies %q; want %q", got, want)
	}
	b.wantNobody(t, sessionhttp.ErrNoCookie)
	b.with(t, token).wantNobody(t, sessionhttp.ErrUnknownSession)

	// Whatever the request carries, it clears the cookies.
	for name, other := range map[string]*browser{
		"no cookie": s.browser(t), "nonsense": b.with(t, "nonsense"), "unknown": b.with(t, randomToken()), "ended": b.with(t, token),
	} {
		if got := other.do(t, s.sessions.Logout).Header["Set-Cookie"]; !slices.Equal(got, want) {
			t.Errorf("%s: cookies %q; want %q", name, got, want)
		}
	}
}

// TestFailedLogout: while the session may live on, the user is not told otherwise.
func TestFailedLogout(t *testing.T) {
	s := setup(t)
	b := s.browser(t)
	token := b.login(t, newUser())
	s.pool.Close()
	response := b.want(t, sessioncache.ErrUnavailable, s.sessions.Logout)
	if len(response.Header["Set-Cookie"]) != 0 || b.token() != token {
		t.Errorf("cookies %q", response.Header["Set-Cookie"])
	}
}

// TestLoginReplacesTheSession is ASVS 7.2.4: a new token at login, the old dead.
func TestLoginReplacesTheSession(t *testing.T) {
	s := setup(t)
	b, ed, ann := s.browser(t), newUser(), newUser()
	first := b.login(t, ed)
	second := b.login(t, ann)
	if handleOf(t, first) == handleOf(t, second) {
		t.Error("both logins are one session")
	}
	b.wantUser(t, ann)
	b.with(t, first).wantNobody(t, sessioncache.ErrSuperseded)

	// Twice in one request: one cookie, and it is the last.
	response := b.do(t, func(w http.ResponseWriter, r *http.Request) error {
		err := errors.Join(s.sessions.Login(w, r, ann), s.sessions.Login(w, r, ed))
		if user, ok, uerr := s.sessions.User(r.Context()); uerr != nil || !ok || user != ed {
			t.Errorf("User after Login in the same request = %v, %v, %v", user, ok, uerr)
		}
		return err
	})
	if cookies := response.Cookies(); len(cookies) != 1 {
		t.Errorf("two logins set %d cookies", len(cookies))
	}
	b.wantUser(t, ed)
	if rows := loggedIn(t, s.pool); strings.Count(rows, "\n") != 0 {
		t.Errorf("want one session; the table is\n%s", rows)
	}
}

// TestFailedLogin: who could not be logged in has what they had.
func TestFailedLogin(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	token := b.login(t, ed)
	bad := newUser()
	bad.Name = "\x00" // which PostgreSQL does not take
	response := b.want(t, sessioncache.ErrInvalidUser, func(w http.ResponseWriter, r *http.Request) error {
		err := s.sessions.Login(w, r, bad)
		if user, ok, uerr := s.sessions.User(r.Context()); uerr != nil || !ok || user != ed {
			t.Errorf("User after a Login that failed = %v, %v, %v", user, ok, uerr)
		}
		return err
	})
	if len(response.Cookies()) != 0 || b.token() != token {
		t.Errorf("cookies %q", response.Header["Set-Cookie"])
	}
	b.wantUser(t, ed)
}

func TestRemember(t *testing.T) {
	s := setupCache(t, []sessioncache.Option{sessioncache.WithIdleTimeout(10 * time.Minute)})
	ed := newUser()
	for name, test := range map[string]struct {
		lifetime, idle time.Duration
		live           []time.Duration // may pass without use, one after the other
		dead           time.Duration
		why            error
	}{
		"not":             {0, 0, []time.Duration{9 * time.Minute, 9 * time.Minute}, 11 * time.Minute, sessionhttp.ErrExpiredSession},
		"no idle timeout": {48 * time.Hour, 0, []time.Duration{47 * time.Hour}, time.Hour + time.Second, sessionhttp.ErrExpiredSession},
		"idle timeout":    {48 * time.Hour, 20 * time.Hour, []time.Duration{19 * time.Hour, 19 * time.Hour}, 10*time.Hour + time.Second, sessionhttp.ErrExpiredSession},
		"shorter":         {time.Minute, 0, []time.Duration{59 * time.Second}, 2 * time.Second, sessionhttp.ErrExpiredSession},
	} {
		b := s.browser(t)
		var options []sessionhttp.LoginOption
		if test.lifetime > 0 {
			options = append(options, sessionhttp.Remember(test.lifetime, test.idle))
		}
		token := b.login(t, ed, options...)
		for _, d := range test.live {
			s.elapse(t, token, d)
			if _, ok, err := b.user(t); !ok || err != nil {
				t.Errorf("%s: ended after %s, %v", name, d, err)
			}
		}
		s.elapse(t, token, test.dead)
		b.with(t, token).wantNobody(t, test.why)
	}
}

func TestMaxSessions(t *testing.T) {
	s := setup(t)
	ed := newUser()
	logIn := func() *browser {
		b := s.browser(t)
		b.login(t, ed, sessionhttp.MaxSessions(2))
		return b
	}
	first, second, third := logIn(), logIn(), logIn()
	first.wantNobody(t, sessionhttp.ErrUnknownSession)
	second.wantUser(t, ed)
	third.wantUser(t, ed)
	second.login(t, ed, sessionhttp.MaxSessions(2)) // takes the place of its own
	third.wantUser(t, ed)

	response := s.browser(t).want(t, sessioncache.ErrInvalidUser, func(w http.ResponseWriter, r *http.Request) error {
		return s.sessions.Login(w, r, account{Name: "nobody"}, sessionhttp.MaxSessions(2))
	})
	if len(response.Cookies()) != 0 {
		t.Errorf("cookies %q", response.Header["Set-Cookie"])
	}
}

// TestVisitor: a session before the login, which lets nobody in, and ends with it.
func TestVisitor(t *testing.T) {
	s := setup(t)
	b := s.browser(t)
	visitor := func(b *browser) (visitor account, ok bool) {
		b.do(t, func(_ http.ResponseWriter, r *http.Request) (err error) {
			visitor, ok, err = s.sessions.Visitor(r.Context())
			return err
		})
		return visitor, ok
	}
	if data, ok := visitor(b); ok || data != (account{}) {
		t.Errorf("before Begin: Visitor = %v, %v", data, ok)
	}
	token := b.begin(t, "a basket")
	if b.begin(t, "a fuller basket") != token {
		t.Error("the second Begin has made another session")
	}
	if data, ok := visitor(b); !ok || data.Name != "a fuller basket" {
		t.Errorf("Visitor = %v, %v", data, ok)
	}
	b.wantNobody(t, sessionhttp.ErrAnonymous)
	b.wantNoSession(t, sessionhttp.ErrAnonymous)

	// A change that fails changes nothing, and begins nothing.
	refusal := errors.New("refused")
	for _, other := range []*browser{b, s.browser(t)} {
		response := other.want(t, refusal, func(w http.ResponseWriter, r *http.Request) error {
			err := s.sessions.Begin(w, r, func(visitor *account) error { visitor.Name = "no"; return refusal })
			if err != refusal { //nolint:errorlint // as it is, not wrapped
				t.Errorf("Begin = %v; want the error as it is", err)
			}
			return err
		})
		if len(response.Cookies()) != 0 {
			t.Errorf("cookies %q", response.Header["Set-Cookie"])
		}
	}
	if data, ok := visitor(b); !ok || data.Name != "a fuller basket" {
		t.Errorf("after a change that failed: Visitor = %v, %v", data, ok)
	}

	// Login without Carry ends it.
	ed := newUser()
	b.login(t, ed)
	b.wantUser(t, ed)
	if user, ok := visitor(b); !ok || user != ed {
		t.Errorf("of a user Visitor = %v, %v", user, ok)
	}
	b.with(t, token).wantNobody(t, sessioncache.ErrSuperseded) // a request in flight comes again, as the user

	// Of a user Begin changes the user.
	b.begin(t, "Eddie")
	ed.Name = "Eddie"
	b.wantUser(t, ed)

	// What opens no session begins a new one.
	for name, other := range map[string]*browser{"nonsense": b.with(t, "nonsense"), "unknown": b.with(t, randomToken())} {
		other.begin(t, name)
		if data, ok := visitor(other); !ok || data.Name != name {
			t.Errorf("%s: Visitor = %v, %v", name, data, ok)
		}
	}

	visitors := s.browser(t)
	token = visitors.begin(t, "leaves")
	visitors.do(t, s.sessions.Logout)
	if visitors.token() != "" {
		t.Error("Logout left the visitor's cookie")
	}
	visitors.with(t, token).wantNobody(t, sessionhttp.ErrUnknownSession)
}

func TestCarry(t *testing.T) {
	s := setup(t)
	carry := sessionhttp.Carry(func(visitor account, user *account) error {
		user.Name += " with " + visitor.Name
		return nil
	})
	b, ed := s.browser(t), newUser()
	visitor := b.begin(t, "a basket")
	b.login(t, ed, carry)
	carried := ed
	carried.Name = "Ed with a basket"
	b.wantUser(t, carried)
	if b.token() == visitor {
		t.Error("the login has the visitor's token")
	}

	// A user is no visitor: nothing of the one before becomes the next one's.
	ann := newUser()
	b.login(t, ann, carry)
	b.wantUser(t, ann)
	for name, other := range map[string]*browser{
		"no cookie": s.browser(t), "nonsense": b.with(t, "nonsense"), "unknown": b.with(t, randomToken()),
	} {
		other.login(t, ann, carry)
		if user, ok, err := other.user(t); user != ann || !ok || err != nil {
			t.Errorf("%s: User = %v, %v, %v; want what Login was given", name, user, ok, err)
		}
	}

	// With an error nobody is logged in, and the visitor is still there.
	refusal := errors.New("refused")
	b = s.browser(t)
	visitor = b.begin(t, "a basket")
	response := b.want(t, refusal, func(w http.ResponseWriter, r *http.Request) error {
		err := s.sessions.Login(w, r, ed, sessionhttp.Carry(func(account, *account) error { return refusal }))
		if err != refusal { //nolint:errorlint // as it is, not wrapped
			t.Errorf("Login = %v; want the error as it is", err)
		}
		return err
	})
	if len(response.Cookies()) != 0 || b.token() != visitor {
		t.Errorf("cookies %q", response.Header["Set-Cookie"])
	}
	b.wantNobody(t, sessionhttp.ErrAnonymous)
	b.login(t, ed, carry)
	b.wantUser(t, carried)

	s.browser(t).visit(t, func(w http.ResponseWriter, r *http.Request) {
		suite.WantPanic(t, func() {
			_ = s.sessions.Login(w, r, ed, sessionhttp.Carry(func(string, *string) error { return nil }))
		})
	})
}

func TestAccept(t *testing.T) {
	s := setup(t, sessionhttp.WithProfile(func(a account) any { return a.Name }))
	scoped := s.cache.WithTokenScope("__Host-session")
	issue := func(user account, options ...sessioncache.SessionOption) sid.Token {
		token, err := scoped.Issue(t.Context(), user, options...)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	accept := func(token sid.Token) call {
		return func(w http.ResponseWriter, r *http.Request) error { return s.sessions.Accept(w, r, token) }
	}
	b, ed, ann := s.browser(t), newUser(), newUser()
	former := b.login(t, ann)

	token := issue(ed, sessioncache.Lifetime(2*time.Hour))
	response := b.do(t, func(w http.ResponseWriter, r *http.Request) error {
		err := s.sessions.Accept(w, r, token)
		if user, ok, uerr := s.sessions.User(r.Context()); uerr != nil || !ok || user != ed {
			t.Errorf("User after Accept in the same request = %v, %v, %v", user, ok, uerr)
		}
		return err
	})
	wantMaxAge(t, "Accept", response, 2*time.Hour)
	if b.token() != token.Reveal() || b.cookie("__Host-profile") != "%22Ed%22" {
		t.Errorf("cookies %q", response.Header["Set-Cookie"])
	}
	b.wantUser(t, ed)
	b.with(t, former).wantNobody(t, sessioncache.ErrSuperseded)
	b.do(t, accept(token)) // its own: it stays
	b.wantUser(t, ed)

	// A visitor's session in the place of nobody's.
	visitor := s.browser(t)
	visitor.do(t, accept(issue(account{Name: "a basket"}, sessioncache.Anonymous())))
	visitor.wantNobody(t, sessionhttp.ErrAnonymous)
	if visitor.cookie("__Host-profile") != "" {
		t.Error("a visitor has a profile")
	}

	// Nothing else is accepted, and nothing ends for it.
	expired, ended := issue(ed), issue(ed)
	s.elapse(t, expired.Reveal(), 2*time.Hour)
	if err := scoped.Revoke(t.Context(), ended); err != nil {
		t.Fatal(err)
	}
	unscoped, err := s.cache.Issue(t.Context(), ed)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]sid.Token{
		"never issued": sid.NewToken(), "expired": expired, "ended": ended, "of another Manager": unscoped, "another secret": token.Renewed(),
	} {
		response := b.want(t, sessionhttp.ErrUnknownSession, accept(bad))
		if len(response.Cookies()) != 0 {
			t.Errorf("%s: cookies %q", name, response.Header["Set-Cookie"])
		}
	}
	b.want(t, sessioncache.ErrMalformedID, accept(sid.Token{}))
	b.wantUser(t, ed)
}

func TestRenew(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	old := b.login(t, ed)
	s.elapse(t, old, 40*time.Minute)
	handles := b.handles(t)
	b.do(t, func(w http.ResponseWriter, r *http.Request) error {
		before, err := s.sessions.Current(r.Context())
		err = errors.Join(err, s.sessions.Renew(w, r))
		after, cerr := s.sessions.Current(r.Context())
		before.TTL = after.TTL
		if cerr != nil || after != before {
			t.Errorf("Renew has made %+v of %+v, %v", after, before, cerr)
		}
		return err
	})
	if b.token() == old {
		t.Error("the token is the old one")
	}
	b.wantUser(t, ed)
	if now := b.handles(t); !slices.Equal(now, handles) {
		t.Errorf("the sessions were %q and are %q", handles, now)
	}
	s.elapse(t, b.token(), 21*time.Minute) // nothing was prolonged
	b.wantNobody(t, sessionhttp.ErrExpiredSession)
}

func TestReauthenticated(t *testing.T) {
	s := setupCache(t, []sessioncache.Option{sessioncache.WithIdleTimeout(30 * time.Minute)})
	b, ed := s.browser(t), newUser()
	old := b.login(t, ed)
	s.elapse(t, old, 20*time.Minute)
	b.do(t, func(w http.ResponseWriter, r *http.Request) error {
		before, err := s.sessions.Current(r.Context())
		err = errors.Join(err, s.sessions.Reauthenticated(w, r))
		after, cerr := s.sessions.Current(r.Context())
		if moved := after.AuthenticatedAt.Sub(before.AuthenticatedAt); cerr != nil || moved < 20*time.Minute || moved > 21*time.Minute {
			t.Errorf("the proof is from %s, and was from %s, %v", after.AuthenticatedAt, before.AuthenticatedAt, cerr)
		}
		if after.Handle != before.Handle || after.CreatedAt != before.CreatedAt || after.User != ed || after.TTL < 29*time.Minute {
			t.Errorf("Reauthenticated has made %+v of %+v", after, before)
		}
		return err
	})
	if b.token() == old {
		t.Error("the token is the old one")
	}
	for range 2 { // 50 of the 60 minutes that began anew
		s.elapse(t, b.token(), 25*time.Minute)
		b.wantUser(t, ed)
	}
	s.elapse(t, b.token(), 11*time.Minute)
	b.wantNobody(t, sessionhttp.ErrExpiredSession)
}

func TestUpdate(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	token := b.login(t, ed)
	refusal := errors.New("refused")
	b.want(t, refusal, func(w http.ResponseWriter, r *http.Request) error {
		err := s.sessions.Update(w, r, func(a *account) error { a.Visits = 7; return refusal })
		if err != refusal { //nolint:errorlint // as it is, not wrapped
			t.Errorf("Update = %v; want the error as it is", err)
		}
		return err
	})
	b.wantUser(t, ed)
	b.want(t, sessioncache.ErrUserChanged, func(w http.ResponseWriter, r *http.Request) error {
		return s.sessions.Update(w, r, func(a *account) error { *a = newUser(); return nil })
	})
	b.wantUser(t, ed)
	response := b.do(t, func(w http.ResponseWriter, r *http.Request) error {
		if user, ok, err := s.sessions.User(r.Context()); err != nil || !ok || user.Visits != 0 {
			t.Errorf("User before Update = %v, %v, %v", user, ok, err)
		}
		err := s.sessions.Update(w, r, func(a *account) error { a.Visits++; return nil })
		if user, ok, err := s.sessions.User(r.Context()); err != nil || !ok || user.Visits != 1 {
			t.Errorf("User after Update in the same request = %v, %v, %v", user, ok, err)
		}
		return err
	})
	if len(response.Cookies()) != 0 || b.token() != token {
		t.Errorf("cookies %q without a profile", response.Header["Set-Cookie"])
	}
	ed.Visits = 1
	b.wantUser(t, ed)
}

// TestUpdateSeesWhatIsStored, not what the request has found before.
func TestUpdateSeesWhatIsStored(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	here := b.with(t, b.login(t, ed))
	add := func(w http.ResponseWriter, r *http.Request) error {
		return s.sessions.Update(w, r, func(a *account) error { a.Visits++; return nil })
	}
	here.do(t, func(w http.ResponseWriter, r *http.Request) error {
		_, _, err := s.sessions.User(r.Context())
		b.do(t, add)
		return errors.Join(err, add(w, r))
	})
	ed.Visits = 2
	b.wantUser(t, ed)
}

func TestLogoutEverywhere(t *testing.T) {
	s := setup(t)
	ed, ann := newUser(), newUser()
	var browsers []*browser
	for range 3 {
		b := s.browser(t)
		b.login(t, ed)
		browsers = append(browsers, b)
	}
	other := s.browser(t)
	other.login(t, ann)
	browsers[1].do(t, func(w http.ResponseWriter, r *http.Request) error {
		n, err := s.sessions.LogoutEverywhere(w, r)
		if n != 3 {
			t.Errorf("LogoutEverywhere = %d; want 3", n)
		}
		if _, ok, uerr := s.sessions.User(r.Context()); ok || uerr != nil {
			t.Errorf("User after that in the same request = %v, %v", ok, uerr)
		}
		return err
	})
	if browsers[1].token() != "" {
		t.Error("LogoutEverywhere left the cookie")
	}
	browsers[0].wantNobody(t, sessionhttp.ErrUnknownSession)
	browsers[2].wantNobody(t, sessionhttp.ErrUnknownSession)
	other.wantUser(t, ann)
}

// TestLogoutOthers is ASVS 7.4.3.
func TestLogoutOthers(t *testing.T) {
	s := setup(t)
	ed := newUser()
	here, there := s.browser(t), s.browser(t)
	here.login(t, ed)
	there.login(t, ed)
	here.do(t, func(_ http.ResponseWriter, r *http.Request) error {
		n, err := s.sessions.LogoutOthers(r)
		if n != 1 {
			t.Errorf("LogoutOthers = %d; want 1", n)
		}
		return err
	})
	here.wantUser(t, ed)
	there.wantNobody(t, sessionhttp.ErrUnknownSession)
}

// TestAdministratorEndsSessions is ASVS 7.4.2 and 7.4.5: of a user who has been
// disabled, and one by its handle.
func TestAdministratorEndsSessions(t *testing.T) {
	s := setup(t)
	ed, ann := newUser(), newUser()
	edHere, edThere, annHere := s.browser(t), s.browser(t), s.browser(t)
	edHere.login(t, ed)
	edThere.login(t, ed)
	token := annHere.login(t, ann)
	if n, err := s.cache.DeleteUserSessions(t.Context(), ed.ID); err != nil || n != 2 {
		t.Errorf("DeleteUserSessions = %d, %v", n, err)
	}
	edHere.wantNobody(t, sessionhttp.ErrUnknownSession)
	edThere.wantNobody(t, sessionhttp.ErrUnknownSession)
	annHere.wantUser(t, ann)
	if was, err := s.cache.DeleteSession(t.Context(), handleOf(t, token)); err != nil || !was {
		t.Errorf("DeleteSession = %v, %v", was, err)
	}
	annHere.wantNobody(t, sessionhttp.ErrUnknownSession)
}

// TestExpired is ASVS 7.3.2: whatever the cookie says, the database decides.
func TestExpired(t *testing.T) {
	s := setup(t)
	b := s.browser(t)
	token := b.login(t, newUser())
	s.elapse(t, token, sessioncache.DefaultLifetime+time.Second)
	b.wantNobody(t, sessionhttp.ErrExpiredSession)
	b.wantNoSession(t, sessionhttp.ErrExpiredSession)
	if b.token() != token {
		t.Error("a cookie was cleared without a logout")
	}
}

// TestIdleTimeout is ASVS 7.3.1.
func TestIdleTimeout(t *testing.T) {
	s := setupCache(t, []sessioncache.Option{sessioncache.WithIdleTimeout(10 * time.Minute)})
	b, ed := s.browser(t), newUser()
	b.login(t, ed)
	for passed := 9 * time.Minute; passed <= 54*time.Minute; passed += 9 * time.Minute { // used, it goes on
		s.elapse(t, b.token(), 9*time.Minute)
		b.wantUser(t, ed)
		wantMaxAge(t, "Renew", b.do(t, s.sessions.Renew), time.Hour-passed)
	}
	s.elapse(t, b.token(), 6*time.Minute+time.Second)
	b.wantNobody(t, sessionhttp.ErrExpiredSession) // at its deadline

	b.login(t, ed)
	s.elapse(t, b.token(), 10*time.Minute+time.Second)
	b.wantNobody(t, sessionhttp.ErrExpiredSession) // unused
}

// former is the type that a service had for its users before account.
type former struct {
	ID     string `json:"user_id"`
	Visits string `json:"visits"`
}

// TestUnreadableSession: a session that was stored with another type is one of a user
// who has to log in again.
func TestUnreadableSession(t *testing.T) {
	s := setup(t, sessionhttp.WithLoginPage("/login"))
	before := sessionhttp.New(sessioncache.New[former](s.pool))
	ed := newUser()
	logIn := func() *browser {
		token, err := before.IssueBearer(t.Context(), former{ed.ID, "many"})
		if err != nil {
			t.Fatal(err)
		}
		return s.browser(t).with(t, token.Reveal())
	}
	b := logIn()
	stored := dump(t, s.pool)
	s.events.take()
	b.visit(t, func(_ http.ResponseWriter, r *http.Request) {
		for range 2 {
			if user, ok, err := s.sessions.User(r.Context()); ok || err != nil || user != (account{}) {
				t.Errorf("User = %v, %v, %v; want nobody", user, ok, err)
			}
		}
		_, err := s.sessions.Current(r.Context())
		for _, want := range []error{sessionhttp.ErrUnreadableSession, sessionhttp.ErrNoSession, sessioncache.ErrUnreadableSession} {
			if !errors.Is(err, want) {
				t.Errorf("Current: %v; want %v", err, want)
			}
		}
		if strings.Contains(err.Error(), "many") {
			t.Errorf("the error shows the user: %v", err)
		}
	})
	events := s.events.take()
	if len(events) != 1 || events[0].Kind != sessionhttp.EventUnreadable || !errors.Is(events[0].Reason, sessionhttp.ErrUnreadableSession) {
		t.Errorf("events %+v; want one", events)
	}
	if status := b.get(t, navigation, s.sessions.Require(never(t))).StatusCode; status != http.StatusSeeOther {
		t.Errorf("Require: %d; want 303 to the login page", status)
	}
	for _, call := range s.calls() {
		b.want(t, sessionhttp.ErrUnreadableSession, call)
	}
	if now := dump(t, s.pool); now != stored {
		t.Errorf("the table was\n%s\nand is\n%s", stored, now)
	}

	old := b.token()
	b.login(t, ed)
	b.wantUser(t, ed)
	b.with(t, old).wantNobody(t, sessioncache.ErrSuperseded)

	// It is among the user's sessions, and can be ended like the others.
	other := logIn()
	var handle string
	b.do(t, func(_ http.ResponseWriter, r *http.Request) error {
		list, err := s.sessions.Sessions(r.Context())
		if len(list) != 2 || !list[0].Unreadable || list[0].User != (account{}) || list[0].Current || list[1].Unreadable || !list[1].Current {
			t.Fatalf("Sessions = %+v; want two, the first one unreadable", list)
		}
		handle = list[0].Handle
		return err
	})
	b.do(t, func(w http.ResponseWriter, r *http.Request) error { return s.sessions.LogoutSession(w, r, handle) })
	other.wantNobody(t, sessionhttp.ErrUnknownSession)
	b.wantUser(t, ed)

	leaving := logIn()
	leaving.do(t, s.sessions.Logout)
	leaving.wantNobody(t, sessionhttp.ErrNoCookie)
	if rows := loggedIn(t, s.pool); strings.Contains(rows, "many") {
		t.Errorf("an unreadable session is left:\n%s", rows)
	}
}
