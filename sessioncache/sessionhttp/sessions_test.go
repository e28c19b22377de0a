package sessionhttp_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// TestSessions is ASVS 7.5.2: users see their sessions, and end them.
func TestSessions(t *testing.T) {
	s := setup(t)
	phone, laptop, other := s.browser(t), s.browser(t), s.browser(t)
	ed := newUser()
	edOnPhone := ed
	edOnPhone.Name = "Ed's phone"
	phone.login(t, edOnPhone)
	s.shift(t, ed, -time.Minute)
	laptop.login(t, ed)
	other.login(t, newUser())

	var onPhone string
	laptop.visit(t, func(_ http.ResponseWriter, r *http.Request) {
		list, err := s.sessions.Sessions(r.Context())
		if err != nil || len(list) != 2 {
			t.Fatalf("Sessions = %v, %v; want 2", list, err)
		}
		if here := list[0]; !here.Current || here.User != ed || here.End.Sub(here.Start) != time.Hour || here.Left > time.Hour || here.Left < 59*time.Minute {
			t.Errorf("the newest session is %+v; want this one, for an hour", here)
		}
		if there := list[1]; there.Current || there.User != edOnPhone || there.Left > 59*time.Minute {
			t.Errorf("the older session is %+v; want the phone's", there)
		}
		current, err := s.sessions.Current(r.Context())
		if err != nil || current.Handle != list[0].Handle || !current.Current || current.User != ed || current.Start != list[0].Start {
			t.Errorf("Current = %+v, %v; want %+v", current, err, list[0])
		}
		onPhone = list[1].Handle
	})

	revoke := func(b *browser, handle string, want error) {
		t.Helper()
		b.visit(t, func(w http.ResponseWriter, r *http.Request) {
			if err := s.sessions.Revoke(w, r, handle); !errors.Is(err, want) {
				t.Errorf("Revoke = %v; want %v", err, want)
			}
		})
	}
	revoke(laptop, onPhone, nil)
	phone.wantNobody(t, sessionhttp.ErrUnknownSession)
	laptop.wantUser(t, ed)
	revoke(laptop, onPhone, sessionhttp.ErrUnknownHandle)

	revoke(laptop, laptop.handles(t)[0], nil) // its own
	if laptop.token() != "" {
		t.Error("Revoke of the current session left the cookie")
	}
	laptop.wantNobody(t, sessionhttp.ErrNoCookie)
}

// TestRevokeOfAnothersHandle: nobody ends another user's session, even one who
// knows its handle.
func TestRevokeOfAnothersHandle(t *testing.T) {
	s := setup(t)
	victim, attacker := s.browser(t), s.browser(t)
	ed := newUser()
	victim.login(t, ed)
	attacker.login(t, newUser())
	for _, handle := range []string{victim.handles(t)[0], sid.New().String(), "", "Dr. Evil", victim.token(), "' OR true --"} {
		attacker.visit(t, func(w http.ResponseWriter, r *http.Request) {
			err := s.sessions.Revoke(w, r, handle)
			if !errors.Is(err, sessionhttp.ErrUnknownHandle) || errors.Is(err, sessionhttp.ErrNoSession) {
				t.Errorf("Revoke(%q) = %v; want %v", handle, err, sessionhttp.ErrUnknownHandle)
			}
		})
	}
	victim.wantUser(t, ed)
}

// TestUsersWithoutIDAreNotOneUser: what anonymous sessions have in common is
// nobody's to list or end.
func TestUsersWithoutIDAreNotOneUser(t *testing.T) {
	s := setup(t)
	a, b := s.browser(t), s.browser(t)
	a.login(t, account{Name: "a"})
	b.login(t, account{Name: "b"})
	for name, call := range s.calls() {
		want := sessionhttp.ErrNoUserID
		if slices.Contains([]string{"User", "Current", "Renew", "Update"}, name) {
			want = nil
		}
		b.visit(t, func(w http.ResponseWriter, r *http.Request) {
			if err := call(w, r); !errors.Is(err, want) {
				t.Errorf("%s: %v; want %v", name, err, want)
			}
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
	response := b.visit(t, func(http.ResponseWriter, *http.Request) {})
	if n := s.statements.Load() - before; n != 0 {
		t.Errorf("%d statements for a page that did not ask", n)
	}
	if vary := response.Header.Get("Vary"); vary != "" {
		t.Errorf("such a page has Vary: %s", vary)
	}

	response = b.visit(t, func(w http.ResponseWriter, r *http.Request) {
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if user, err := s.sessions.User(r.Context()); err != nil || user != ed {
					t.Errorf("User = %v, %v", user, err)
				}
			})
		}
		for range 100 { // while the handler has the headers
			w.Header().Add("X-Test", "x")
		}
		all.Wait()
	})
	if n := s.statements.Load() - before; n != 1 {
		t.Errorf("%d statements for 20 who ask; want 1", n)
	}
	if vary := response.Header["Vary"]; len(vary) != 1 || vary[0] != "Cookie" {
		t.Errorf("Vary is %q; want Cookie", vary)
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
			if _, err := s.sessions.User(cancelled); !errors.Is(err, context.Canceled) || errors.Is(err, sessionhttp.ErrNoSession) {
				t.Errorf("User with a cancelled context: %v", err)
			}
			if user, err := s.sessions.User(r.Context()); err != nil || user != ed {
				t.Errorf("User after that = %v, %v", user, err)
			}
		})
	}
}

// TestCurrentSeesTheEnd: in a request that goes on for long, Current tells when
// the user has been logged out.
func TestCurrentSeesTheEnd(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	b.login(t, ed)
	b.visit(t, func(_ http.ResponseWriter, r *http.Request) {
		if _, err := s.sessions.Current(r.Context()); err != nil {
			t.Error(err)
		}
		if _, err := s.cache.DeleteUser(r.Context(), ed.ID); err != nil {
			t.Error(err)
		}
		if _, err := s.sessions.Current(r.Context()); !errors.Is(err, sessionhttp.ErrUnknownSession) {
			t.Errorf("Current after the end: %v", err)
		}
		if _, err := s.sessions.User(r.Context()); !errors.Is(err, sessionhttp.ErrUnknownSession) {
			t.Errorf("User after that: %v", err)
		}
	})
}
