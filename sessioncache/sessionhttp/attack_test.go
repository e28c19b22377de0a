package sessionhttp_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sid"
)

// otherSecret is a token of the same session with a wrong secret.
func otherSecret(token string) string {
	return token[:22] + randomToken()[22:] // the 16 bytes of a handle end within a character
}

// TestFixation: a token that the attacker has planted in the victim's browser is
// not adopted, whatever the attacker has under it.
func TestFixation(t *testing.T) {
	s := setup(t)
	visitors := beginFor(t, s.sessions, account{})
	for name, planted := range map[string]string{
		"made up":              randomToken(),
		"the attacker's":       loginTo(t, s.sessions, "", newUser()),
		"a visitor's":          visitors,
		"no session any more":  otherSecret(loginTo(t, s.sessions, "", newUser())),
		"another wrong secret": otherSecret(visitors),
	} {
		ed := newUser()
		token := loginTo(t, s.sessions, planted, ed)
		if handleOf(t, token) == handleOf(t, planted) {
			t.Errorf("%s: the victim's session has the planted handle", name)
		}
		if user, ok, err := userOf(t.Context(), s.sessions, token); !ok || user.ID != ed.ID {
			t.Errorf("%s: the victim is %v, %v, %v", name, user, ok, err)
		}
		if user, ok, _ := userOf(t.Context(), s.sessions, planted); ok {
			t.Errorf("%s: the planted token opens the session of %v", name, user)
		}
	}
}

func TestUnknownTokenIsNotAdopted(t *testing.T) {
	s := setup(t)
	token := randomToken()
	for name, do := range s.sessionCalls() {
		if _, sets, err := attempt(t.Context(), s.sessions, token, do); !errors.Is(err, sessionhttp.ErrUnknownSession) || sets {
			t.Errorf("%s with a token that the client made up: %v, Set-Cookie: %v", name, err, sets)
		}
	}
	if set, _, err := attempt(t.Context(), s.sessions, token, func(w http.ResponseWriter, r *http.Request) error {
		return s.sessions.Begin(w, r, func(*account) error { return nil })
	}); err != nil || set == token || handleOf(t, set) == handleOf(t, token) {
		t.Errorf("Begin has adopted the token, or failed: %v", err)
	}
}

func TestReplayAfterRenew(t *testing.T) {
	s := setup(t)
	ed := newUser()
	token := loginTo(t, s.sessions, "", ed)
	for range 20 {
		renewed, _, err := attempt(t.Context(), s.sessions, token, s.sessions.Renew)
		if err != nil {
			t.Fatal(err)
		}
		for name, do := range s.sessionCalls() {
			if _, sets, err := attempt(t.Context(), s.sessions, token, do); !errors.Is(err, sessioncache.ErrSuperseded) || sets {
				t.Errorf("%s with the token before: %v, Set-Cookie: %v; want ErrSuperseded", name, err, sets)
			}
		}
		token = renewed
	}
	if user, ok, err := userOf(t.Context(), s.sessions, token); !ok || user != ed {
		t.Errorf("the last token: %v, %v, %v", user, ok, err)
	}
}

// TestSupersededToken shows a token at some times after its renewal. It never lets
// anybody in. For ten seconds the client is asked to come again, and keeps its cookies.
func TestSupersededToken(t *testing.T) {
	s := setup(t, sessionhttp.WithLoginPage("/login"))
	page := s.sessions.Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the page was shown") }))
	for _, test := range []struct {
		name    string
		renew   func(w http.ResponseWriter, r *http.Request) error
		elapsed time.Duration
		status  int
		why     error
		lives   bool
	}{
		{"Renew", s.sessions.Renew, 0, http.StatusServiceUnavailable, sessioncache.ErrSuperseded, true},
		{"Renew", s.sessions.Renew, 9 * time.Second, http.StatusServiceUnavailable, sessioncache.ErrSuperseded, true},
		{"Renew", s.sessions.Renew, 11 * time.Second, http.StatusUnauthorized, sessionhttp.ErrUnknownSession, false},
		{"Reauthenticated", s.sessions.Reauthenticated, 0, http.StatusServiceUnavailable, sessioncache.ErrSuperseded, true},
		{"Reauthenticated", s.sessions.Reauthenticated, 9 * time.Second, http.StatusServiceUnavailable, sessioncache.ErrSuperseded, true},
		{"Reauthenticated", s.sessions.Reauthenticated, 11 * time.Second, http.StatusUnauthorized, sessionhttp.ErrUnknownSession, true},
	} {
		for _, ask := range []string{"User", "Require"} {
			name := fmt.Sprintf("%s after %s, %s", ask, test.elapsed, test.name)
			ed := newUser()
			old := loginTo(t, s.sessions, "", ed)
			s.elapse(t, old, time.Minute) // or the renewal were as old as the login
			renewed, _, err := attempt(t.Context(), s.sessions, old, test.renew)
			renewedAt := time.Now()
			if err != nil {
				t.Fatal(err)
			}
			s.elapse(t, old, test.elapsed-time.Since(renewedAt))
			s.events.take()

			response := send(t.Context(), s.sessions, old, func(w http.ResponseWriter, r *http.Request) {
				if ask == "Require" {
					page.ServeHTTP(w, r)
					return
				}
				_, err := s.sessions.Current(r.Context())
				if user, ok, _ := s.sessions.User(r.Context()); ok || !errors.Is(err, test.why) {
					t.Errorf("%s: %v is let in: %v; %v", name, user, ok, err)
				}
				s.sessions.Error(w, r, err)
			})
			retry := response.Header.Get("Retry-After") != ""
			if _, sets := tokenSet(response); response.StatusCode != test.status || sets || retry != (test.status == http.StatusServiceUnavailable) {
				t.Errorf("%s: %d, %v", name, response.StatusCode, response.Header)
			}
			if list := ofKind(s.events.take(), sessionhttp.EventSuperseded); len(list) != 1 || list[0].Handle != handleOf(t, old) || !errors.Is(list[0].Reason, test.why) {
				t.Errorf("%s: the events are %v; want one", name, list)
			}
			if user, ok, err := userOf(t.Context(), s.sessions, renewed); err != nil || ok != test.lives || ok && user != ed {
				t.Errorf("%s: the new token: %v, %v, %v; want it to open the session: %v", name, user, ok, err, test.lives)
			}
		}
	}
}

// TestGuesses sends random tokens, and known handles with wrong secrets: none gets in,
// and each costs one statement at most.
func TestGuesses(t *testing.T) {
	s := setupCache(t, []sessioncache.Option{sessioncache.WithLifetime(24 * time.Hour), sessioncache.WithIdleTimeout(time.Hour)})
	tokens := make([]string, 20)
	for i := range tokens {
		tokens[i] = loginTo(t, s.sessions, "", newUser())
		s.elapse(t, tokens[i], 50*time.Minute) // a use would extend it
	}
	const random, tampered = 10_000, 5_000
	before := s.statements.Load()
	inParallel(random+tampered, func(i int) {
		guess := randomToken()
		if i <= tampered {
			guess = otherSecret(tokens[i%len(tokens)])
		}
		if user, ok, err := userOf(t.Context(), s.sessions, guess); ok || err != nil {
			t.Errorf("a guess lets in %v: %v, %v", user, ok, err)
		}
	})
	if n := s.statements.Load() - before; n > random+tampered {
		t.Errorf("%d statements for %d guesses", n, random+tampered)
	}
	for _, token := range tokens {
		if _, ok, err := userOf(t.Context(), s.sessions, token); !ok || err != nil {
			t.Errorf("a session has not outlived the guesses: %v", err)
		}
	}
}

// TestWrongSecretTellsNothing: whether there is a session, a live one or an expired
// one, shows to nobody who does not have its token.
func TestWrongSecretTellsNothing(t *testing.T) {
	for _, navigates := range []bool{false, true} {
		t.Run(fmt.Sprintf("navigates=%v", navigates), func(t *testing.T) {
			s := setupCache(t, []sessioncache.Option{sessioncache.WithLifetime(24 * time.Hour), sessioncache.WithIdleTimeout(time.Hour)},
				sessionhttp.WithLoginPage("/login"), sessionhttp.WithBearer())
			live := loginTo(t, s.sessions, "", newUser())
			s.elapse(t, live, 50*time.Minute)
			expired := loginTo(t, s.sessions, "", newUser())
			s.elapse(t, expired, 100*24*time.Hour)
			renewed := loginTo(t, s.sessions, "", newUser())
			if _, _, err := attempt(t.Context(), s.sessions, renewed, s.sessions.Renew); err != nil {
				t.Fatal(err)
			}
			s.events.take()
			type answer struct {
				status     int
				header     http.Header
				body       string
				statements int64
				events     string
			}
			answers := map[string]answer{}
			for name, token := range map[string]string{
				"absent": randomToken(), "live": otherSecret(live), "expired": otherSecret(expired), "renewed": otherSecret(renewed),
			} {
				for _, bearer := range []bool{false, true} {
					r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://example.com/", nil)
					if bearer {
						r.Header.Set("Authorization", "Bearer "+token)
					} else {
						r.Header.Set("Cookie", "__Host-session="+token)
					}
					if navigates {
						r.Header.Set("Sec-Fetch-Mode", "navigate")
					}
					before := s.statements.Load()
					w := httptest.NewRecorder()
					s.sessions.Middleware(s.sessions.Require(http.NotFoundHandler())).ServeHTTP(w, r)
					name := fmt.Sprintf("%s, bearer %v", name, bearer)
					answers[name] = answer{w.Code, w.Header(), w.Body.String(), s.statements.Load() - before, fmt.Sprint(s.events.take())}
				}
			}
			for name, got := range answers {
				want := answers["absent, bearer "+name[strings.LastIndex(name, " ")+1:]]
				if !reflect.DeepEqual(got, want) || got.statements != 1 || got.status == http.StatusNotFound {
					t.Errorf("%s: %+v\nabsent: %+v", name, got, want)
				}
			}
		})
	}
}

// TestStolenTableOpensNothing takes every value out of the table, as a backup
// would show it, and tries it for a token in every spelling.
func TestStolenTableOpensNothing(t *testing.T) {
	s := setup(t)
	ed := newUser()
	token := loginTo(t, s.sessions, "", ed)
	token, _, err := attempt(t.Context(), s.sessions, token, s.sessions.Renew) // so superseded is set, too
	if err != nil {
		t.Fatal(err)
	}
	rows, err := s.pool.Query(t.Context(), "SELECT * FROM session_cache WHERE user_id = $1", ed.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var ids, secrets [][]byte
	spellings := map[string]bool{}
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			t.Fatal(err)
		}
		for _, value := range values {
			spellings[fmt.Sprint(value)] = true
			switch value := value.(type) {
			case [16]byte:
				ids = append(ids, value[:])
			case []byte:
				secrets = append(secrets, value)
			}
		}
	}
	if err := rows.Err(); err != nil || len(ids) != 1 || len(secrets) != 2 {
		t.Fatalf("%d ids and %d secrets, %v", len(ids), len(secrets), err)
	}
	for _, id := range ids {
		for _, secret := range append(secrets, id, append(id, id...), make([]byte, 32)) {
			bits := append(bytes.Clone(id), secret...)
			for _, bits := range [][]byte{id, secret, bits, append(bits, make([]byte, 16)...)[:48]} {
				spellings[base64.RawURLEncoding.EncodeToString(bits)] = true
				spellings[hex.EncodeToString(bits)] = true
				spellings[string(bits)] = true
			}
		}
	}
	for spelling := range spellings {
		if strings.Contains(spelling, token[22:]) {
			t.Errorf("the table holds the secret: %q", spelling)
		}
		if user, ok, _ := userOf(t.Context(), s.sessions, spelling); ok {
			t.Errorf("%q from the table lets in %v", spelling, user)
		}
	}
	if user, ok, err := userOf(t.Context(), s.sessions, token); !ok || user != ed {
		t.Errorf("the token: %v, %v, %v", user, ok, err)
	}
}

// TestHandlesOpenNothing: a user's page shows handles; they end that user's sessions
// only.
func TestHandlesOpenNothing(t *testing.T) {
	s := setup(t)
	ed, mallory := newUser(), newUser()
	token, attacker := loginTo(t, s.sessions, "", ed), loginTo(t, s.sessions, "", mallory)
	handle := handleOf(t, token).String()
	plain := sid.New().String()
	if err := s.cache.Set(t.Context(), plain, mallory); err != nil {
		t.Fatal(err)
	}
	for name, handle := range map[string]string{
		"another's": handle, "in upper case": strings.ToUpper(handle), "a plain session of the user's own": plain,
		"nobody's": sid.New().String(), "no handle": "' OR true --", "none": "", "a token": attacker,
	} {
		_, sets, err := attempt(t.Context(), s.sessions, attacker, func(w http.ResponseWriter, r *http.Request) error {
			return s.sessions.LogoutSession(w, r, handle)
		})
		if !errors.Is(err, sessionhttp.ErrUnknownHandle) || sets {
			t.Errorf("LogoutSession of %s: %v, Set-Cookie: %v; want ErrUnknownHandle", name, err, sets)
		}
	}
	if user, ok, err := s.cache.Get(t.Context(), handle); ok || err != nil {
		t.Errorf("Get with a handle: %v, %v", user, err)
	}
	if user, ok, err := userOf(t.Context(), s.sessions, token); !ok || user != ed {
		t.Errorf("the victim: %v, %v, %v", user, ok, err)
	}
	if _, ok, err := s.cache.Get(t.Context(), plain); !ok || err != nil {
		t.Errorf("the plain session is gone: %v", err)
	}
}

// TestAnonymousClaim: a visitor whose data names a user, a login half done, can do
// nothing to that user's sessions.
func TestAnonymousClaim(t *testing.T) {
	s := setup(t)
	ed := newUser()
	token := loginTo(t, s.sessions, "", ed)
	visitor := beginFor(t, s.sessions, ed)
	calls := s.sessionCalls()
	calls["LogoutSession"] = func(w http.ResponseWriter, r *http.Request) error {
		return s.sessions.LogoutSession(w, r, handleOf(t, token).String())
	}
	calls["LogoutSession of its own"] = func(w http.ResponseWriter, r *http.Request) error {
		return s.sessions.LogoutSession(w, r, handleOf(t, visitor).String())
	}
	for name, do := range calls {
		if _, sets, err := attempt(t.Context(), s.sessions, visitor, do); !errors.Is(err, sessionhttp.ErrAnonymous) || sets {
			t.Errorf("%s of an anonymous session that names a user: %v, Set-Cookie: %v; want ErrAnonymous", name, err, sets)
		}
	}
	_, _, err := attempt(t.Context(), s.sessions, visitor, func(w http.ResponseWriter, r *http.Request) error {
		return s.sessions.Begin(w, r, func(visitor *account) error { visitor.ID = newUser().ID; return nil })
	})
	if err != nil {
		t.Errorf("Begin that names another user: %v", err)
	}

	send(t.Context(), s.sessions, token, func(_ http.ResponseWriter, r *http.Request) {
		list, err := s.sessions.Sessions(r.Context())
		if err != nil || len(list) != 1 || list[0].Handle != handleOf(t, token).String() || !list[0].Current || list[0].User != ed {
			t.Errorf("Sessions = %+v, %v; want the user's own", list, err)
		}
		if err := s.sessions.LogoutSession(httptest.NewRecorder(), r, handleOf(t, visitor).String()); !errors.Is(err, sessionhttp.ErrUnknownHandle) {
			t.Errorf("LogoutSession of the anonymous session: %v; want ErrUnknownHandle", err)
		}
	})
	loginTo(t, s.sessions, "", ed, sessionhttp.MaxSessions(2)) // which it does not count for
	if _, ok, err := userOf(t.Context(), s.sessions, token); !ok || err != nil {
		t.Errorf("the user's first session has ended: %v", err)
	}
	if _, _, err := attempt(t.Context(), s.sessions, token, calls["LogoutEverywhere"]); err != nil {
		t.Error(err)
	}
	var left int
	if err := s.pool.QueryRow(t.Context(), "SELECT count(*) FROM session_cache WHERE user_id = $1", ed.ID).Scan(&left); err != nil || left != 0 {
		t.Errorf("LogoutEverywhere has left %d sessions, %v", left, err)
	}
}

// TestCrossSite: another site cannot have a browser log in, nor do anything else.
func TestCrossSite(t *testing.T) {
	for _, options := range [][]sessionhttp.Option{nil, {sessionhttp.WithBearer()}} {
		t.Run(fmt.Sprintf("%d options", len(options)), func(t *testing.T) {
			s := setup(t, options...)
			for name, header := range map[string]http.Header{
				"cross-site":                      {"Sec-Fetch-Site": {"cross-site"}},
				"a sister host":                   {"Sec-Fetch-Site": {"same-site"}, "Origin": {"https://sister.example.com"}},
				"another origin":                  {"Origin": {"https://evil.example"}},
				"another scheme's name":           {"Origin": {"https://example.com.evil.example"}},
				"a sandbox":                       {"Origin": {"null"}},
				"cross-site with our origin":      {"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://example.com"}},
				"cross-site with another scheme":  {"Sec-Fetch-Site": {"cross-site"}, "Authorization": {"Basic Ym9iOmJvYg=="}},
				"cross-site with a bearer token":  {"Sec-Fetch-Site": {"cross-site"}, "Authorization": {"Bearer " + randomToken()}},
				"cross-site with an empty bearer": {"Sec-Fetch-Site": {"cross-site"}, "Authorization": {"bearer"}},
			} {
				for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
					r := httptest.NewRequestWithContext(t.Context(), method, "https://example.com/login", nil)
					for name, values := range header {
						r.Header[name] = values
					}
					w := httptest.NewRecorder()
					s.sessions.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if err := s.sessions.Login(w, r, newUser()); err != nil {
							s.sessions.Error(w, r, err)
						}
						if err := s.sessions.Begin(w, r, func(*account) error { return nil }); err != nil {
							s.sessions.Error(w, r, err)
						}
					})).ServeHTTP(w, r)
					bearer := len(options) > 0 && strings.Contains(name, "bearer")
					if refused := w.Code == http.StatusForbidden; refused == bearer || w.Header()["Set-Cookie"] != nil {
						t.Errorf("%s %s: %d, %v", method, name, w.Code, w.Header())
					}
					if n := len(ofKind(s.events.take(), sessionhttp.EventCrossOrigin)); (n == 1) == bearer {
						t.Errorf("%s %s: %d events", method, name, n)
					}
				}
			}
			var n int
			if err := s.pool.QueryRow(t.Context(), "SELECT count(*) FROM session_cache").Scan(&n); err != nil || n != 0 {
				t.Errorf("%d sessions made, %v", n, err)
			}
		})
	}
}

// TestHeadersSent: a call that has to set a cookie after the response has begun changes
// nothing, and does not reach the database.
func TestHeadersSent(t *testing.T) {
	s := setup(t)
	ed := newUser()
	token := loginTo(t, s.sessions, "", ed)
	stored := dump(t, s.pool)
	for begun, begin := range map[string]func(w http.ResponseWriter) error{
		"Flush":       func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() },
		"old Flush":   func(w http.ResponseWriter) error { w.(http.Flusher).Flush(); return nil },
		"Write":       func(w http.ResponseWriter) error { _, err := io.WriteString(w, "<p>"); return err },
		"empty Write": func(w http.ResponseWriter) error { _, err := w.Write(nil); return err },
		"WriteHeader": func(w http.ResponseWriter) error { w.WriteHeader(http.StatusTeapot); return nil },
		"ReadFrom":    func(w http.ResponseWriter) error { _, err := io.Copy(w, strings.NewReader("<p>")); return err },
	} {
		for name, do := range map[string]func(w http.ResponseWriter, r *http.Request) error{
			"Login": func(w http.ResponseWriter, r *http.Request) error { return s.sessions.Login(w, r, ed) },
			"Login with Carry": func(w http.ResponseWriter, r *http.Request) error {
				return s.sessions.Login(w, r, ed, sessionhttp.Carry(func(account, *account) error { return nil }))
			},
			"Renew":           s.sessions.Renew,
			"Reauthenticated": s.sessions.Reauthenticated,
			"Accept":          func(w http.ResponseWriter, r *http.Request) error { return s.sessions.Accept(w, r, sid.NewToken()) },
			"Tx with Login": func(w http.ResponseWriter, r *http.Request) error {
				return s.sessions.Tx(w, r, func(_ pgx.Tx, session *sessionhttp.Tx[account]) error { return session.Login(ed) })
			},
			"Tx with Renew": func(w http.ResponseWriter, r *http.Request) error {
				return s.sessions.Tx(w, r, func(_ pgx.Tx, session *sessionhttp.Tx[account]) error { return session.Renew() })
			},
		} {
			before := s.statements.Load()
			_, sets, err := attempt(t.Context(), s.sessions, token, func(w http.ResponseWriter, r *http.Request) error {
				if err := begin(w); err != nil {
					return err
				}
				return do(w, r)
			})
			statements := s.statements.Load() - before
			if strings.HasPrefix(name, "Tx") {
				statements -= 2 // begin and rollback
			}
			if !errors.Is(err, sessionhttp.ErrHeadersSent) || sets || statements != 0 {
				t.Errorf("%s after %s: %v, Set-Cookie: %v, %d statements; want ErrHeadersSent and none", name, begun, err, sets, statements)
			}
		}
		if _, sets, err := attempt(t.Context(), s.sessions, "", func(w http.ResponseWriter, r *http.Request) error {
			if err := begin(w); err != nil {
				return err
			}
			return s.sessions.Begin(w, r, func(*account) error { return nil })
		}); !errors.Is(err, sessionhttp.ErrHeadersSent) || sets {
			t.Errorf("Begin after %s: %v; want ErrHeadersSent", begun, err)
		}
	}
	if now := dump(t, s.pool); now != stored {
		t.Errorf("the table was\n%s\nand is\n%s", stored, now)
	}
}

// TestTokenIsNowhereButInTheCookie has everything happen to sessions, and looks for
// their tokens in headers, bodies, errors, events and the log.
func TestTokenIsNowhereButInTheCookie(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	s := setupCache(t, []sessioncache.Option{sessioncache.WithLifetime(24 * time.Hour), sessioncache.WithIdleTimeout(time.Hour)},
		sessionhttp.WithProfile(func(a account) any { return a }))
	var seen strings.Builder
	var tokens []string
	// visit shows a token to a call, and takes down all that comes out of it but the
	// one cookie.
	visit := func(token string, do func(w http.ResponseWriter, r *http.Request) error) string {
		response := send(t.Context(), s.sessions, token, func(w http.ResponseWriter, r *http.Request) {
			if err := do(w, r); err != nil {
				fmt.Fprintf(&seen, "%v %+v %#v\n", err, err, err)
				for ; err != nil; err = errors.Unwrap(err) {
					fmt.Fprintf(&seen, "%+v\n", err)
				}
				s.sessions.Error(w, r, do(w, r))
			}
			fmt.Fprintf(&seen, "%v %+v\n", r.Context(), r.Context())
		})
		set, _ := tokenSet(response)
		tokens = append(tokens, token, set)
		for name, values := range response.Header {
			for _, value := range values {
				if !strings.HasPrefix(value, "__Host-session=") {
					fmt.Fprintln(&seen, name, value)
				}
			}
		}
		fmt.Fprintln(&seen, body(t, response))
		return set
	}
	ed := newUser()
	login := func(w http.ResponseWriter, r *http.Request) error { return s.sessions.Login(w, r, ed) }
	begin := func(w http.ResponseWriter, r *http.Request) error {
		return s.sessions.Begin(w, r, func(visitor *account) error { visitor.Visits++; return nil })
	}
	states := func() map[string]string {
		states := map[string]string{"none": "", "unknown": randomToken(), "malformed": randomToken() + "A"}
		states["visitor"] = visit("", begin)
		states["live"] = visit("", login)
		s.elapse(t, states["live"], 50*time.Minute)
		states["superseded"] = visit("", login)
		visit(states["superseded"], s.sessions.Renew)
		states["kept"] = visit("", login)
		visit(states["kept"], s.sessions.Renew)
		s.elapse(t, states["kept"], time.Minute)
		states["expired"] = visit("", login)
		s.elapse(t, states["expired"], 100*24*time.Hour)
		states["unreadable"] = visit("", login)
		if _, err := s.pool.Exec(t.Context(), `UPDATE session_cache SET userdict = '{"user_id": "u", "name": 1}' WHERE sessionid = $1::text::uuid`,
			handleOf(t, states["unreadable"]).String()); err != nil {
			t.Fatal(err)
		}
		states["another secret"] = otherSecret(states["live"])
		return states
	}
	calls := s.sessionCalls()
	calls["Begin"], calls["Login"], calls["Logout"] = begin, login, s.sessions.Logout
	calls["User"] = func(_ http.ResponseWriter, r *http.Request) error {
		_, _, err := s.sessions.User(r.Context())
		return err
	}
	calls["Visitor"] = func(_ http.ResponseWriter, r *http.Request) error {
		_, _, err := s.sessions.Visitor(r.Context())
		return err
	}
	calls["MustUser"] = func(_ http.ResponseWriter, r *http.Request) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		s.sessions.MustUser(r.Context())
		return nil
	}
	calls["Require"] = func(w http.ResponseWriter, r *http.Request) error {
		s.sessions.Require(http.NotFoundHandler()).ServeHTTP(w, r)
		return nil
	}
	calls["IssueBearer, Accept"] = func(w http.ResponseWriter, r *http.Request) error {
		token, err := s.sessions.IssueBearer(r.Context(), ed)
		if err != nil {
			return err
		}
		tokens = append(tokens, token.Reveal())
		fmt.Fprintf(&seen, "%v %+v %#v %s %x %q %v\n", token, token, token, token, token, token, struct{ t sid.Token }{token})
		return s.sessions.Accept(w, r, token)
	}
	calls["Login of what cannot be stored"] = func(w http.ResponseWriter, r *http.Request) error {
		return s.sessions.Login(w, r, account{ID: strings.Repeat("u", 3000)})
	}
	calls["Login, Carry, MaxSessions"] = func(w http.ResponseWriter, r *http.Request) error {
		return s.sessions.Login(w, r, ed, sessionhttp.MaxSessions(3), sessionhttp.Carry(func(account, *account) error { return nil }))
	}
	for name, do := range calls {
		for state, token := range states() {
			fmt.Fprintf(&seen, "-- %s, %s\n", name, state)
			visit(token, do)
		}
	}
	last := visit("", login)
	_, err := s.pool.Exec(t.Context(), `
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no: %', NEW; END $$;
		CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON session_cache FOR EACH ROW EXECUTE FUNCTION refuse()`)
	if err != nil {
		t.Fatal(err)
	}
	for name, do := range calls {
		fmt.Fprintf(&seen, "-- %s, refused\n", name)
		visit(last, do)
	}
	s.pool.Close()
	for name, do := range calls {
		fmt.Fprintf(&seen, "-- %s, no database\n", name)
		visit(last, do)
	}

	var events strings.Builder
	for _, event := range s.events.take() {
		fmt.Fprintf(&events, "%v\n%+v\n%#v\n", event, event, event)
	}
	for kind, text := range map[string]string{"what came out": seen.String(), "the events": events.String(), "the log": s.log.String()} {
		looked := 0
		for _, token := range tokens {
			if token == "" {
				continue
			}
			looked++
			bits, _ := base64.RawURLEncoding.DecodeString(token)
			forms := []string{token, token[22:]}
			if len(bits) == 48 {
				forms = append(forms, hex.EncodeToString(bits[16:]), strings.Trim(fmt.Sprintf("%d", bits[16:]), "[]"),
					strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", bits[16:]), "[]byte{"), "}"), base64.StdEncoding.EncodeToString(bits[16:]))
			}
			for _, form := range forms {
				if at := strings.Index(text, form); at >= 0 {
					t.Fatalf("%s shows a token: %q", kind, text[max(0, at-200):min(len(text), at+200)])
				}
			}
		}
		if looked < 100 {
			t.Errorf("%d tokens", looked)
		}
	}
	for kind, want := range map[string]string{
		seen.String(): "unavailable", events.String(): string(sessionhttp.EventSuperseded), s.log.String(): "session renewed",
	} {
		if !strings.Contains(kind, want) {
			t.Errorf("the test has not seen %q", want)
		}
	}
}

// TestLogoutEventOfWrongSecret: the audit log says "logged out" only of sessions that
// have ended, not of whatever handle a stranger names.
func TestLogoutEventOfWrongSecret(t *testing.T) {
	s := setup(t)
	token := loginTo(t, s.sessions, "", newUser())
	s.events.take()
	if _, _, err := attempt(t.Context(), s.sessions, otherSecret(token), s.sessions.Logout); err != nil {
		t.Fatal(err)
	}
	if list := ofKind(s.events.take(), sessionhttp.EventLogout); len(list) != 0 {
		t.Errorf("logged out, says the log, of a session that is alive: %+v", list)
	}
}
