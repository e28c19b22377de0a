package sessionhttp_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sid"
)

// TestSessions is ASVS 7.5.2: users see their sessions, and end them.
func TestSessions(t *testing.T) {
	s := setup(t)
	phone, laptop, other := s.browser(t), s.browser(t), s.browser(t)
	ed := newUser()
	edOnPhone := ed
	edOnPhone.Name = "Ed's phone"
	s.elapse(t, phone.login(t, edOnPhone), time.Minute)
	laptop.login(t, ed)
	other.login(t, newUser())

	var onPhone string
	laptop.do(t, func(_ http.ResponseWriter, r *http.Request) error {
		list, err := s.sessions.Sessions(r.Context())
		if err != nil || len(list) != 2 {
			t.Fatalf("Sessions = %v, %v; want 2", list, err)
		}
		here, there := list[0], list[1]
		if !here.Current || here.User != ed || here.ExpiresAt.Sub(here.CreatedAt) != time.Hour || here.TTL > time.Hour || here.TTL < 59*time.Minute || here.AuthenticatedAt != here.CreatedAt {
			t.Errorf("the newest session is %+v; want this one, for an hour", here)
		}
		if there.Current || there.User != edOnPhone || there.TTL > 59*time.Minute {
			t.Errorf("the older session is %+v; want the phone's", there)
		}
		current, err := s.sessions.Current(r.Context())
		current.TTL = here.TTL
		if err != nil || current != here {
			t.Errorf("Current = %+v, %v; want %+v", current, err, here)
		}
		onPhone = there.Handle
		return nil
	})
	if onPhone != handleOf(t, phone.token()).String() {
		t.Errorf("the phone's handle is %s", onPhone)
	}

	logOut := func(handle string, want error) {
		t.Helper()
		laptop.want(t, want, func(w http.ResponseWriter, r *http.Request) error {
			return s.sessions.LogoutSession(w, r, handle)
		})
	}
	logOut(onPhone, nil)
	phone.wantNobody(t, sessionhttp.ErrUnknownSession)
	laptop.wantUser(t, ed)
	logOut(onPhone, sessionhttp.ErrUnknownHandle)

	token := laptop.token()
	logOut(strings.ToUpper(laptop.handles(t)[0]), nil) // its own
	if laptop.token() != "" {
		t.Error("LogoutSession of the current session left the cookie")
	}
	laptop.wantNobody(t, sessionhttp.ErrNoCookie)
	laptop.with(t, token).wantNobody(t, sessionhttp.ErrUnknownSession)
}

// TestLogoutSessionOfAnother: nobody ends another user's session, even one who
// knows its handle, nor learns whether there is one.
func TestLogoutSessionOfAnother(t *testing.T) {
	s := setup(t)
	victim, attacker, visitor := s.browser(t), s.browser(t), s.browser(t)
	ed := newUser()
	victim.login(t, ed)
	attacker.login(t, newUser())
	visitor.begin(t, "a visitor")
	if err := s.cache.Set(t.Context(), sid.New().String(), ed); err != nil {
		t.Fatal(err)
	}
	before := dump(t, s.pool)
	for _, handle := range []string{
		victim.handles(t)[0], handleOf(t, visitor.token()).String(), sid.New().String(),
		"", "Dr. Evil", victim.token(), attacker.token(), "' OR true --",
	} {
		response := attacker.visit(t, func(w http.ResponseWriter, r *http.Request) {
			err := s.sessions.LogoutSession(w, r, handle)
			if !errors.Is(err, sessionhttp.ErrUnknownHandle) || errors.Is(err, sessionhttp.ErrNoSession) {
				t.Errorf("LogoutSession(%q) = %v; want %v", handle, err, sessionhttp.ErrUnknownHandle)
			}
			s.sessions.Error(w, r, err)
		})
		if got := body(t, response); response.StatusCode != http.StatusNotFound || got != "Not Found" {
			t.Errorf("LogoutSession(%q): %d %s; want 404", handle, response.StatusCode, got)
		}
	}
	if after := dump(t, s.pool); after != before {
		t.Errorf("the table was\n%s\nand is\n%s", before, after)
	}
}

// TestUsersWithoutIDAreNotOneUser: what their sessions have in common is nobody's to
// list or end.
func TestUsersWithoutIDAreNotOneUser(t *testing.T) {
	s := setup(t)
	a, b := s.browser(t), s.browser(t)
	a.login(t, account{Name: "a"})
	b.login(t, account{Name: "b"})
	for name, call := range s.calls() {
		want := sessionhttp.ErrNoUserID
		if slices.Contains([]string{"Current", "Renew", "Reauthenticated", "Update", "Tx"}, name) {
			want = nil
		}
		b.want(t, want, func(w http.ResponseWriter, r *http.Request) error {
			err := call(w, r)
			if errors.Is(err, sessionhttp.ErrNoSession) {
				t.Errorf("%s: %v asks a user to log in who has", name, err)
			}
			return err
		})
	}
	a.wantUser(t, account{Name: "a"})
	b.wantUser(t, account{Name: "b"})
}

// TestOneLookupPerRequest: a page that never asks never queries, and all who ask
// share one lookup.
func TestOneLookupPerRequest(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	b.login(t, ed)
	before := s.statements.Load()
	b.visit(t, func(http.ResponseWriter, *http.Request) {})
	if n := s.statements.Load() - before; n != 0 {
		t.Errorf("%d statements for a page that did not ask", n)
	}

	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if user, ok, err := s.sessions.User(r.Context()); err != nil || !ok || user != ed {
					t.Errorf("User = %v, %v, %v", user, ok, err)
				}
				if s.sessions.MustUser(r.Context()) != ed {
					t.Error("MustUser is somebody else")
				}
				if visitor, ok, err := s.sessions.Visitor(r.Context()); err != nil || !ok || visitor != ed {
					t.Errorf("Visitor = %v, %v, %v", visitor, ok, err)
				}
				if current, err := s.sessions.Current(r.Context()); err != nil || current.User != ed {
					t.Errorf("Current = %v, %v", current, err)
				}
			})
		}
		for range 100 { // while the handler has the headers
			w.Header().Add("X-Test", "x")
		}
		all.Wait()
	})
	b.visit(t, s.sessions.Require(s.sessions.RequireFresh(time.Hour, page)).ServeHTTP)
	if n := s.statements.Load() - before; n != 1 {
		t.Errorf("%d statements for all who ask; want 1", n)
	}

	// That there is nobody is an answer, too.
	before = s.statements.Load()
	b.with(t, randomToken()).visit(t, func(_ http.ResponseWriter, r *http.Request) {
		for range 5 {
			if _, ok, err := s.sessions.User(r.Context()); ok || err != nil {
				t.Errorf("User = %v, %v", ok, err)
			}
		}
	})
	if n := s.statements.Load() - before; n != 1 {
		t.Errorf("%d statements for a token that opens nothing; want 1", n)
	}
}

// TestGivingUpIsOnesOwn: who asks with a context that ends leaves the others a
// lookup of theirs.
func TestGivingUpIsOnesOwn(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	b.login(t, ed)
	for range 20 { // it may give up before the lookup, or in it
		b.visit(t, func(_ http.ResponseWriter, r *http.Request) {
			cancelled, cancel := context.WithCancel(r.Context())
			cancel()
			if _, ok, err := s.sessions.User(cancelled); ok || !errors.Is(err, context.Canceled) || !errors.Is(err, sessioncache.ErrUnavailable) {
				t.Errorf("User with a cancelled context: %v, %v", ok, err)
			}
			if user, ok, err := s.sessions.User(r.Context()); err != nil || !ok || user != ed {
				t.Errorf("User after that = %v, %v, %v", user, ok, err)
			}
		})
	}
}

// TestLongRequest: what a request knows counts for a second. Then it sees a logout.
func TestLongRequest(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	b.login(t, ed)
	b.visit(t, func(_ http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		want := func(when string, ok bool, why error, statements int64) {
			t.Helper()
			before := s.statements.Load()
			user, is, err := s.sessions.User(ctx)
			_, cerr := s.sessions.Current(ctx)
			if is != ok || ok && user != ed || err != nil || !errors.Is(cerr, why) {
				t.Errorf("%s: User = %v, %v, %v, Current: %v; want %v, %v", when, user, is, err, cerr, ok, why)
			}
			if n := s.statements.Load() - before; n != statements {
				t.Errorf("%s: %d statements; want %d", when, n, statements)
			}
		}
		want("at first", true, nil, 1)
		if _, err := s.cache.DeleteUserSessions(ctx, ed.ID); err != nil {
			t.Error(err)
		}
		want("within a second of the first lookup", true, nil, 0)
		s.sessions.Age(ctx, time.Second)
		want("later", false, sessionhttp.ErrUnknownSession, 1)

		// MustUser is for handlers behind Require: it panics only if there was nobody.
		suite.WantPanic(t, func() { s.sessions.MustUser(ctx) })
	})

	// What ends others' sessions asks again at once.
	b.login(t, ed)
	b.visit(t, func(_ http.ResponseWriter, r *http.Request) {
		if _, ok, err := s.sessions.User(r.Context()); !ok || err != nil {
			t.Errorf("User = %v, %v", ok, err)
		}
		if _, err := s.cache.DeleteUserSessions(r.Context(), ed.ID); err != nil {
			t.Error(err)
		}
		if s.sessions.MustUser(r.Context()) != ed {
			t.Error("MustUser has not returned what the request has found")
		}
		if _, err := s.sessions.LogoutOthers(r); !errors.Is(err, sessionhttp.ErrUnknownSession) {
			t.Errorf("LogoutOthers with a session that has ended: %v", err)
		}
	})
}

// TestLongRequestIsUse: its idle timeout starts anew when it asks again, and not
// otherwise.
func TestLongRequestIsUse(t *testing.T) {
	s := setupCache(t, []sessioncache.Option{sessioncache.WithIdleTimeout(10 * time.Minute)})
	b, ed := s.browser(t), newUser()
	token := b.login(t, ed)
	b.visit(t, func(_ http.ResponseWriter, r *http.Request) {
		s.sessions.MustUser(r.Context())
		for range 4 {
			s.elapse(t, token, 9*time.Minute)
			s.sessions.Age(r.Context(), 9*time.Minute)
			if user, ok, err := s.sessions.User(r.Context()); err != nil || !ok || user != ed {
				t.Errorf("User = %v, %v, %v", user, ok, err)
			}
		}
		s.elapse(t, token, 11*time.Minute)
		s.sessions.Age(r.Context(), 11*time.Minute)
		if _, err := s.sessions.Current(r.Context()); !errors.Is(err, sessionhttp.ErrExpiredSession) {
			t.Errorf("a request that has not asked for too long: %v", err)
		}
	})
}

// TestMustUser panics where there is no user: with the reason, never with a zero user.
func TestMustUser(t *testing.T) {
	s := setup(t)
	for name, test := range map[string]struct {
		browser *browser
		why     error
	}{
		"nobody":  {s.browser(t), sessionhttp.ErrNoCookie},
		"unknown": {s.browser(t).with(t, randomToken()), sessionhttp.ErrUnknownSession},
		"visitor": {s.browser(t), sessionhttp.ErrAnonymous},
	} {
		if name == "visitor" {
			test.browser.begin(t, "visitor")
		}
		test.browser.visit(t, func(_ http.ResponseWriter, r *http.Request) {
			for range 2 { // when it has to ask, and when it knows
				func() {
					defer func() {
						if err, _ := recover().(error); !errors.Is(err, test.why) {
							t.Errorf("%s: MustUser panicked with %v; want %v", name, err, test.why)
						}
					}()
					s.sessions.MustUser(r.Context())
				}()
			}
		})
	}
}
