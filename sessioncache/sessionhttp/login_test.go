package sessionhttp_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

func TestLoginAndLogout(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	b.wantNobody(t, sessionhttp.ErrNoCookie)
	b.login(t, ed)
	b.wantUser(t, ed)
	b.visit(t, func(w http.ResponseWriter, r *http.Request) {
		if err := s.sessions.Logout(w, r); err != nil {
			t.Errorf("Logout: %v", err)
		}
		if _, err := s.sessions.User(r.Context()); !errors.Is(err, sessionhttp.ErrNoCookie) {
			t.Errorf("User after Logout in the same request: %v", err)
		}
	})
	if b.token() != "" {
		t.Error("Logout left the cookie")
	}
	b.wantNobody(t, sessionhttp.ErrNoCookie)
	b.visit(t, func(w http.ResponseWriter, r *http.Request) {
		if err := s.sessions.Logout(w, r); err != nil {
			t.Errorf("Logout without a session: %v", err)
		}
	})
}

// TestLoginReplacesTheSession is ASVS 7.2.4: a new token at login, the old dead.
func TestLoginReplacesTheSession(t *testing.T) {
	s := setup(t)
	b, ed, ann := s.browser(t), newUser(), newUser()
	first := b.login(t, ed)
	second := b.login(t, ann)
	if first == second {
		t.Error("both logins have one token")
	}
	b.wantUser(t, ann)
	b.with(t, first).wantNobody(t, sessionhttp.ErrUnknownSession)

	// Twice in one request: one cookie, and it is the last.
	response := b.visit(t, func(w http.ResponseWriter, r *http.Request) {
		for _, user := range []account{ann, ed} {
			if err := s.sessions.Login(w, r, user); err != nil {
				t.Error(err)
			}
		}
		if user, err := s.sessions.User(r.Context()); err != nil || user != ed {
			t.Errorf("User after Login in the same request = %v, %v", user, err)
		}
	})
	if cookies := response.Cookies(); len(cookies) != 1 {
		t.Errorf("two logins set %d cookies", len(cookies))
	}
	b.wantUser(t, ed)
	if n := len(b.handles(t)); n != 1 {
		t.Errorf("the user has %d sessions; want 1", n)
	}
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
	browsers[1].visit(t, func(w http.ResponseWriter, r *http.Request) {
		if n, err := s.sessions.LogoutEverywhere(w, r); err != nil || n != 3 {
			t.Errorf("LogoutEverywhere = %d, %v; want 3", n, err)
		}
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
	here.visit(t, func(_ http.ResponseWriter, r *http.Request) {
		if n, err := s.sessions.LogoutOthers(r); err != nil || n != 1 {
			t.Errorf("LogoutOthers = %d, %v; want 1", n, err)
		}
	})
	here.wantUser(t, ed)
	there.wantNobody(t, sessionhttp.ErrUnknownSession)
}

// TestAdministratorEndsSessionsWholeTable is ASVS 7.4.2 and 7.4.5: of a user who
// has been disabled, and of everybody.
func TestAdministratorEndsSessionsWholeTable(t *testing.T) {
	s := setup(t)
	ed, ann := newUser(), newUser()
	edHere, edThere, annHere := s.browser(t), s.browser(t), s.browser(t)
	edHere.login(t, ed)
	edThere.login(t, ed)
	annHere.login(t, ann)
	if n, err := s.cache.DeleteUser(t.Context(), ed.ID); err != nil || n != 2 {
		t.Errorf("DeleteUser = %d, %v", n, err)
	}
	edHere.wantNobody(t, sessionhttp.ErrUnknownSession)
	edThere.wantNobody(t, sessionhttp.ErrUnknownSession)
	annHere.wantUser(t, ann)
	if n, err := s.cache.DeleteAll(t.Context()); err != nil || n != 1 {
		t.Errorf("DeleteAll = %d, %v", n, err)
	}
	annHere.wantNobody(t, sessionhttp.ErrUnknownSession)
}

func TestRenew(t *testing.T) {
	s := setup(t, sessionhttp.WithProfile(func(a account) any { return a.Name }))
	b, ed := s.browser(t), newUser()
	old := b.login(t, ed)
	s.shift(t, ed, -40*time.Minute)
	response := b.visit(t, func(w http.ResponseWriter, r *http.Request) {
		if err := s.sessions.Renew(w, r); err != nil {
			t.Errorf("Renew: %v", err)
		}
		if user, err := s.sessions.User(r.Context()); err != nil || user != ed {
			t.Errorf("User after Renew in the same request = %v, %v", user, err)
		}
	})
	// The deadline stays: the cookies are good for what is left.
	for _, cookie := range response.Cookies() {
		if cookie.MaxAge <= 19*60 || cookie.MaxAge > 20*60 {
			t.Errorf("%s lasts %d s; want a little less than 20 minutes", cookie.Name, cookie.MaxAge)
		}
	}
	if b.token() == old {
		t.Error("the token is the old one")
	}
	b.wantUser(t, ed)
	b.with(t, old).wantNobody(t, sessionhttp.ErrUnknownSession)
}

func TestUpdate(t *testing.T) {
	s := setup(t, sessionhttp.WithProfile(func(a account) any { return a.Visits }))
	b, ed := s.browser(t), newUser()
	token := b.login(t, ed)
	refusal := errors.New("refused")
	b.visit(t, func(w http.ResponseWriter, r *http.Request) {
		err := s.sessions.Update(w, r, func(a *account) error { a.Visits = 7; return refusal })
		if err != refusal { //nolint:errorlint // as it is, not wrapped
			t.Errorf("Update = %v; want the error as it is", err)
		}
	})
	b.wantUser(t, ed)
	response := b.visit(t, func(w http.ResponseWriter, r *http.Request) {
		if user, err := s.sessions.User(r.Context()); err != nil || user.Visits != 0 {
			t.Errorf("User before Update = %v, %v", user, err)
		}
		if err := s.sessions.Update(w, r, func(a *account) error { a.Visits++; return nil }); err != nil {
			t.Errorf("Update: %v", err)
		}
		if user, err := s.sessions.User(r.Context()); err != nil || user.Visits != 1 {
			t.Errorf("User after Update in the same request = %v, %v", user, err)
		}
	})
	if got := response.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q with a new profile; want no-store", got)
	}
	ed.Visits = 1
	b.wantUser(t, ed)
	if b.token() != token || b.cookie("__Host-profile") != "1" {
		t.Errorf("the profile is %q; want 1, and the token the same", b.cookie("__Host-profile"))
	}
}

// TestExpired is ASVS 7.3.2: whatever the cookie says, the database decides.
func TestExpired(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	b.login(t, ed)
	s.shift(t, ed, -sessioncache.SessionDuration-time.Second)
	b.wantNobody(t, sessionhttp.ErrExpiredSession)
	for name, call := range s.calls() {
		b.visit(t, func(w http.ResponseWriter, r *http.Request) {
			if err := call(w, r); !errors.Is(err, sessionhttp.ErrExpiredSession) || !errors.Is(err, sessionhttp.ErrNoSession) {
				t.Errorf("%s: %v; want %v", name, err, sessionhttp.ErrExpiredSession)
			}
		})
	}
	if b.token() == "" {
		t.Error("a cookie was cleared without a logout")
	}
}

// calls are those that need a session.
func (s *site) calls() map[string]func(w http.ResponseWriter, r *http.Request) error {
	return map[string]func(w http.ResponseWriter, r *http.Request) error{
		"User": func(_ http.ResponseWriter, r *http.Request) error {
			_, err := s.sessions.User(r.Context())
			return err
		},
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
		"Renew": s.sessions.Renew,
		"Revoke": func(w http.ResponseWriter, r *http.Request) error {
			return s.sessions.Revoke(w, r, "00000000-0000-0000-0000-000000000000")
		},
		"Update": func(w http.ResponseWriter, r *http.Request) error {
			return s.sessions.Update(w, r, func(*account) error { return nil })
		},
	}
}

// TestIdleTimeout is ASVS 7.3.1.
func TestIdleTimeout(t *testing.T) {
	s := setupCache(t, []sessioncache.Option{sessioncache.WithIdleTimeout(10 * time.Minute)})
	b, ed := s.browser(t), newUser()
	response := b.visit(t, func(w http.ResponseWriter, r *http.Request) {
		if err := s.sessions.Login(w, r, ed); err != nil {
			t.Error(err)
		}
	})
	// The cookie has to last as long as the session may.
	if age := response.Cookies()[0].MaxAge; age != 3600 {
		t.Errorf("the cookie lasts %d s; want an hour", age)
	}
	for minutes := 9; minutes <= 54; minutes += 9 { // used, it goes on
		s.shift(t, ed, -9*time.Minute)
		b.wantUser(t, ed)
		response = b.visit(t, func(w http.ResponseWriter, r *http.Request) {
			if err := s.sessions.Renew(w, r); err != nil {
				t.Error(err)
			}
		})
		if age, want := response.Cookies()[0].MaxAge, 60*(60-minutes); age <= want-60 || age > want {
			t.Errorf("renewed after %d minutes the cookie lasts %d s; want %d", minutes, age, want)
		}
	}
	s.shift(t, ed, -6*time.Minute-time.Second)
	b.wantNobody(t, sessionhttp.ErrExpiredSession) // at its cap

	b.login(t, ed)
	s.shift(t, ed, -10*time.Minute-time.Second)
	b.wantNobody(t, sessionhttp.ErrExpiredSession) // unused
}
