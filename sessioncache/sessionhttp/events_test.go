package sessionhttp_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sid"
)

// TestEvents has everything happen to sessions once, and reads the audit log.
func TestEvents(t *testing.T) {
	s := setup(t, sessionhttp.WithRemoteAddress(func(r *http.Request) string { return "from " + r.RemoteAddr }))
	b, ed := s.browser(t), newUser()
	var tokens []string
	want := func(what string, events ...sessionhttp.Event) {
		t.Helper()
		got := s.events.take()
		for i, event := range got {
			if event.RemoteAddr != "from 192.0.2.1:1234" {
				t.Errorf("%s: the event is from %q", what, event.RemoteAddr)
			}
			if i < len(events) {
				if (event.Reason == nil) != (events[i].Reason == nil) || !errors.Is(event.Reason, events[i].Reason) {
					t.Errorf("%s: the reason is %v; want %v", what, event.Reason, events[i].Reason)
				}
				events[i].RemoteAddr, events[i].Reason = event.RemoteAddr, event.Reason
			}
		}
		if len(got) != len(events) {
			t.Errorf("%s: events %+v; want %+v", what, got, events)
			return
		}
		for i, event := range got {
			if event != events[i] {
				t.Errorf("%s: event %+v; want %+v", what, event, events[i])
			}
		}
		tokens = append(tokens, b.token())
	}
	handle := func() sid.Handle { return handleOf(t, b.token()) }

	b.begin(t, "visitor")
	want("Begin", sessionhttp.Event{Kind: sessionhttp.EventBegin, Handle: handle()})
	b.login(t, ed)
	h := handle()
	want("Login", sessionhttp.Event{Kind: sessionhttp.EventLogin, Handle: h, UserID: ed.ID})
	b.wantUser(t, ed)
	want("User")
	b.do(t, s.calls()["Update"])
	want("Update")
	old, renewed := b.with(t, b.token()), h
	b.do(t, s.sessions.Renew)
	want("Renew", sessionhttp.Event{Kind: sessionhttp.EventRenew, Handle: h, UserID: ed.ID})
	old.wantNobody(t, sessioncache.ErrSuperseded)
	want("the token before", sessionhttp.Event{Kind: sessionhttp.EventSuperseded, Handle: h, UserID: ed.ID, Reason: sessioncache.ErrSuperseded})
	b.do(t, s.sessions.Reauthenticated)
	want("Reauthenticated", sessionhttp.Event{Kind: sessionhttp.EventReauthenticate, Handle: h, UserID: ed.ID})

	other := s.browser(t)
	other.login(t, ed)
	s.events.take()
	b.do(t, s.calls()["LogoutOthers"])
	want("LogoutOthers", sessionhttp.Event{Kind: sessionhttp.EventLogoutOthers, Handle: h, UserID: ed.ID, Sessions: 1})
	otherHandle := handleOf(t, other.login(t, ed))
	s.events.take()
	b.do(t, func(w http.ResponseWriter, r *http.Request) error {
		return s.sessions.LogoutSession(w, r, otherHandle.String())
	})
	want("LogoutSession", sessionhttp.Event{Kind: sessionhttp.EventLogoutSession, Handle: otherHandle, UserID: ed.ID})
	b.want(t, sessionhttp.ErrUnknownHandle, s.calls()["LogoutSession"])
	want("LogoutSession of none")
	b.do(t, s.calls()["LogoutEverywhere"])
	want("LogoutEverywhere", sessionhttp.Event{Kind: sessionhttp.EventLogoutEverywhere, Handle: h, UserID: ed.ID, Sessions: 1})

	b.login(t, ed)
	h = handle()
	s.events.take()
	s.elapse(t, b.token(), 2*time.Hour)
	b.wantNobody(t, sessionhttp.ErrExpiredSession)
	want("expired", sessionhttp.Event{Kind: sessionhttp.EventExpired, Handle: h, UserID: ed.ID, Reason: sessionhttp.ErrExpiredSession})
	b.do(t, s.sessions.Logout)
	want("Logout", sessionhttp.Event{Kind: sessionhttp.EventLogout, Handle: h, UserID: ed.ID})
	b.do(t, s.sessions.Logout)
	want("Logout of nobody")

	b.with(t, randomToken()).wantNobody(t, sessionhttp.ErrUnknownSession)
	want("unknown", sessionhttp.Event{Kind: sessionhttp.EventUnknown, Reason: sessionhttp.ErrUnknownSession})
	b.with(t, "nonsense").wantNobody(t, sessionhttp.ErrMalformedCookie)
	want("malformed", sessionhttp.Event{Kind: sessionhttp.EventMalformed, Reason: sessionhttp.ErrMalformedCookie})

	var issued sid.Token
	b.do(t, func(_ http.ResponseWriter, r *http.Request) (err error) {
		issued, err = s.sessions.IssueBearer(r.Context(), ed)
		return err
	})
	want("IssueBearer", sessionhttp.Event{Kind: sessionhttp.EventIssueBearer, Handle: issued.Handle(), UserID: ed.ID})
	b.do(t, func(w http.ResponseWriter, r *http.Request) error { return s.sessions.Accept(w, r, issued) })
	want("Accept", sessionhttp.Event{Kind: sessionhttp.EventAccept, Handle: issued.Handle(), UserID: ed.ID})

	// A call that failed has not happened.
	s.pool.Close()
	b.want(t, sessioncache.ErrUnavailable, s.sessions.Renew)
	b.want(t, sessioncache.ErrUnavailable, s.sessions.Logout)
	want("without a database")

	log := s.log.String()
	for _, line := range []string{
		`level=INFO msg="visitor's session begun" kind=begin remote="from 192.0.2.1:1234" session=`,
		`level=INFO msg="logged in" kind=login remote="from 192.0.2.1:1234" session=`,
		fmt.Sprintf(`level=INFO msg="token renewed" kind=renew remote="from 192.0.2.1:1234" session=%s user=%s`, renewed, ed.ID),
		`level=INFO msg="logged out elsewhere" kind=logout_others remote="from 192.0.2.1:1234" session=`,
		` sessions=1`,
		`level=INFO msg="session expired" kind=expired`,
		`reason="` + sessionhttp.ErrExpiredSession.Error() + `"`,
		`level=INFO msg="bearer token issued" kind=issue_bearer remote="from 192.0.2.1:1234" session=` + issued.Handle().String(),
		`level=WARN msg="superseded token" kind=superseded`,
		`level=WARN msg="unknown token" kind=unknown remote="from 192.0.2.1:1234"`,
		`level=WARN msg="malformed token" kind=malformed remote="from 192.0.2.1:1234"`,
	} {
		if !strings.Contains(log, line) {
			t.Errorf("the log lacks %s:\n%s", line, log)
		}
	}
	for _, token := range append(tokens, issued.Reveal(), "nonsense") {
		if token != "" && strings.Contains(log, token) {
			t.Errorf("the log shows the token %s:\n%s", token, log)
		}
	}
}

// TestKinds: programs read the codes, so they never change, and each has a text in the log.
func TestKinds(t *testing.T) {
	s := setup(t)
	for kind, want := range map[sessionhttp.Kind]string{
		sessionhttp.EventBegin: "begin", sessionhttp.EventLogin: "login", sessionhttp.EventAccept: "accept",
		sessionhttp.EventIssueBearer: "issue_bearer", sessionhttp.EventReauthenticate: "reauthenticate",
		sessionhttp.EventRenew: "renew", sessionhttp.EventLogout: "logout", sessionhttp.EventLogoutSession: "logout_session",
		sessionhttp.EventLogoutOthers: "logout_others", sessionhttp.EventLogoutEverywhere: "logout_everywhere",
		sessionhttp.EventMalformed: "malformed", sessionhttp.EventUnknown: "unknown", sessionhttp.EventExpired: "expired",
		sessionhttp.EventUnreadable: "unreadable", sessionhttp.EventSuperseded: "superseded", sessionhttp.EventCrossOrigin: "cross_origin",
	} {
		if string(kind) != want {
			t.Errorf("the code is %q; want %q", kind, want)
		}
		before := len(s.log.String())
		sessionhttp.Report(t.Context(), s.sessions, sessionhttp.Event{Kind: kind})
		if log := s.log.String()[before:]; strings.Contains(log, `msg=""`) || !strings.Contains(log, " kind="+want+" ") {
			t.Errorf("%s is logged as %s", want, log)
		}
	}
}

// TestEventsOfOneRequest: whoever asks how often, a bad token is one event.
func TestEventsOfOneRequest(t *testing.T) {
	s := setup(t)
	for kind, value := range map[sessionhttp.Kind]string{sessionhttp.EventUnknown: randomToken(), sessionhttp.EventMalformed: "nonsense"} {
		s.browser(t).with(t, value).visit(t, func(_ http.ResponseWriter, r *http.Request) {
			for range 3 {
				_, _, _ = s.sessions.User(r.Context())
				_, _ = s.sessions.Current(r.Context())
			}
		})
		if events := s.events.take(); len(events) != 1 || events[0].Kind != kind {
			t.Errorf("events %+v; want one %q", events, kind)
		}
	}
}

// TestEventOfTheLoser: of two requests that renew one token at once the one that comes
// second is refused, and that is noticed.
func TestEventOfTheLoser(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	loser := b.with(t, b.login(t, ed))
	loser.want(t, sessioncache.ErrSuperseded, func(w http.ResponseWriter, r *http.Request) error {
		if _, ok, err := s.sessions.User(r.Context()); !ok || err != nil {
			t.Errorf("User = %v, %v", ok, err)
		}
		b.do(t, s.sessions.Renew)
		s.events.take()
		return s.sessions.Renew(w, r)
	})
	events := s.events.take()
	if len(events) != 1 || events[0].Kind != sessionhttp.EventSuperseded || events[0].Handle != handleOf(t, b.token()) {
		t.Errorf("events %+v; want one", events)
	}
	if loser.token() == b.token() {
		t.Error("the loser was sent a cookie")
	}
	b.wantUser(t, ed)
}
