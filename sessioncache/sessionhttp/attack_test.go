package sessionhttp_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

func randomToken() string {
	var bits [32]byte
	rand.Read(bits[:])
	return base64.RawURLEncoding.EncodeToString(bits[:])
}

// TestFixation: a token that the attacker has planted in the victim's browser is
// not adopted, whether or not the attacker has a session under it.
func TestFixation(t *testing.T) {
	s := setup(t)
	attacker := s.browser(t)
	mallory, ed := newUser(), newUser()
	for name, planted := range map[string]string{
		"made up":        randomToken(),
		"the attacker's": attacker.login(t, mallory),
	} {
		victim := s.browser(t).with(t, planted)
		victim.login(t, ed)
		if victim.token() == planted {
			t.Errorf("%s: the planted token was kept", name)
		}
		victim.wantUser(t, ed)
		s.browser(t).with(t, planted).wantNobody(t, sessionhttp.ErrUnknownSession)
	}
}

func TestUnknownTokenIsNotAdopted(t *testing.T) {
	s := setup(t)
	token := randomToken()
	b := s.browser(t).with(t, token)
	for name, call := range s.calls() {
		b.visit(t, func(w http.ResponseWriter, r *http.Request) {
			if err := call(w, r); err == nil {
				t.Errorf("%s with a token that the client made up: no error", name)
			}
		})
	}
	b.wantNobody(t, sessionhttp.ErrUnknownSession)
}

// TestReplayAfterLogout is ASVS 7.4.1: a token that was logged out never works
// again, with a save in flight too.
func TestReplayAfterLogout(t *testing.T) {
	s := setup(t)
	for range 100 {
		b, ed := s.browser(t), newUser()
		token := b.login(t, ed)
		var saves sync.WaitGroup
		for range 3 {
			saving := b.with(t, token)
			saves.Go(func() {
				for err := error(nil); err == nil; {
					saving.visit(t, func(w http.ResponseWriter, r *http.Request) {
						err = s.sessions.Update(w, r, func(a *account) error { a.Visits++; return nil })
					})
				}
			})
		}
		b.visit(t, func(w http.ResponseWriter, r *http.Request) {
			if err := s.sessions.Logout(w, r); err != nil {
				t.Error(err)
			}
		})
		b.with(t, token).wantNobody(t, sessionhttp.ErrUnknownSession)
		saves.Wait()
		b.with(t, token).wantNobody(t, sessionhttp.ErrUnknownSession)
	}
}

func TestReplayAfterRenew(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	old := b.login(t, ed)
	for range 20 {
		b.visit(t, func(w http.ResponseWriter, r *http.Request) {
			if err := s.sessions.Renew(w, r); err != nil {
				t.Error(err)
			}
		})
		b.with(t, old).wantNobody(t, sessionhttp.ErrUnknownSession)
		old = b.token()
	}
	b.wantUser(t, ed)
}

// TestTamperedCookies sends a good token with each byte changed in turn, cut to
// every length, made longer, and worse. What is no token never reaches the
// database.
func TestTamperedCookies(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	good := b.login(t, ed)
	visit := func(header string) (user account, err error) {
		r, rerr := http.NewRequestWithContext(t.Context(), http.MethodGet, origin.String(), nil)
		if rerr != nil {
			t.Fatal(rerr)
		}
		r.Header.Set("Cookie", header)
		s.sessions.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			user, err = s.sessions.User(r.Context())
		})).ServeHTTP(nowhere{http.Header{}}, r)
		return user, err
	}
	refuse := func(header string) {
		t.Helper()
		if user, err := visit(header); err == nil {
			t.Errorf("Cookie: %.80q lets in %v", header, user)
		}
	}

	before := s.statements.Load()
	for length := range len(good) {
		refuse("__Host-session=" + good[:length])
	}
	for _, more := range []int{1, 2, 5, 43, 1000, 100_000} {
		refuse("__Host-session=" + good + strings.Repeat("A", more))
	}
	for _, header := range []string{
		"__Host-session=" + good + "; __Host-session=" + good, // nobody can tell which
		"__Host-session=" + randomToken() + "; __Host-session=" + good,
		"__host-session=" + good, "session=" + good, "__Host-session=" + good[:42] + "=", "__Host-session=" + good[:42] + "+",
		"__Host-session=" + good[:42] + "\x00", "__Host-session=" + good[:42] + "\xff", "__Host-session=' OR true --",
		"__Host-session=" + sid.New().String(), "__Host-session=", "__Host-session", "=" + good, good,
	} {
		refuse(header)
	}
	if n := s.statements.Load() - before; n != 0 {
		t.Errorf("%d statements for malformed cookies; want 0", n)
	}

	for i := range good {
		for _, other := range []byte("AZaz09-_") {
			if good[i] != other {
				refuse("__Host-session=" + good[:i] + string(other) + good[i+1:])
			}
		}
	}
	if user, err := visit("a=b; __Host-session=" + good + "; c=d"); err != nil || user != ed {
		t.Errorf("the good token: %v, %v", user, err)
	}
}

// nowhere is a ResponseWriter that nobody reads.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n nowhere) WriteHeader(int)             {}

// TestRandomTokens guesses: none gets in.
func TestRandomTokens(t *testing.T) {
	s := setup(t)
	for range 20 {
		s.browser(t).login(t, newUser())
	}
	const callers, guesses = 20, 500 // 10,000
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range guesses {
				s.browser(t).with(t, randomToken()).wantNobody(t, sessionhttp.ErrUnknownSession)
			}
		})
	}
	all.Wait()
}

// TestStolenTableOpensNothing takes every value out of the table, as a backup
// would show it, and tries it for a cookie in every spelling.
func TestStolenTableOpensNothing(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	token := b.login(t, ed)
	rows, err := s.pool.Query(t.Context(), "SELECT * FROM session_cache WHERE user_id = $1", ed.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	tried := 0
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			t.Fatal(err)
		}
		for _, value := range values {
			spellings := []string{fmt.Sprint(value)}
			if id, ok := value.([16]byte); ok {
				for _, bits := range [][]byte{id[:], append(id[:], id[:]...), append(id[:], make([]byte, 16)...)} {
					spellings = append(spellings, base64.RawURLEncoding.EncodeToString(bits), fmt.Sprintf("%x", bits), sid.ID(bits[:16]).String())
				}
			}
			for _, spelling := range spellings {
				if strings.Contains(spelling, token) || strings.Contains(token, spelling) {
					t.Errorf("the table holds the token: %v", value)
				}
				if user, err := s.browser(t).with(t, spelling).user(t); err == nil {
					t.Errorf("%q from the table lets in %v", spelling, user)
				}
				tried++
			}
		}
	}
	if err := rows.Err(); err != nil || tried < 10 {
		t.Errorf("%d values tried, %v", tried, err)
	}
	b.wantUser(t, ed)
}

// TestLoginRacingLogoutEverywhere: whoever was in before is out after, and who
// logs in meanwhile is in or out, but not half.
func TestLoginRacingLogoutEverywhere(t *testing.T) {
	s := setup(t)
	for range 100 {
		ed := newUser()
		before, leaving := s.browser(t), s.browser(t)
		before.login(t, ed)
		leaving.login(t, ed)
		coming := make([]*browser, 4)
		var logins sync.WaitGroup
		for i := range coming {
			coming[i] = s.browser(t)
			logins.Go(func() { coming[i].login(t, ed) })
		}
		leaving.visit(t, func(w http.ResponseWriter, r *http.Request) {
			if _, err := s.sessions.LogoutEverywhere(w, r); err != nil {
				t.Errorf("LogoutEverywhere: %v", err)
			}
		})
		before.wantNobody(t, sessionhttp.ErrUnknownSession)
		leaving.wantNobody(t, sessionhttp.ErrNoCookie)
		logins.Wait()

		in := 0
		for _, b := range coming {
			if user, err := b.user(t); err == nil && user == ed {
				in++
			}
		}
		sessions, err := s.cache.UserSessions(t.Context(), ed.ID)
		if err != nil || len(sessions) != in {
			t.Fatalf("%d sessions are stored, %v; %d browsers are in", len(sessions), err, in)
		}
		if _, err := s.cache.DeleteUser(t.Context(), ed.ID); err != nil {
			t.Fatal(err)
		}
		for _, b := range coming {
			b.wantNobody(t, sessionhttp.ErrUnknownSession)
		}
	}
}

// TestTokenIsNowhereButInTheCookie has everything happen to a session, and looks
// for its tokens in headers, bodies, errors and the log.
func TestTokenIsNowhereButInTheCookie(t *testing.T) {
	s := setup(t, sessionhttp.WithProfile(func(a account) any { return a }))
	b, ed := s.browser(t), newUser()
	tokens := []string{b.login(t, ed)}
	var seen strings.Builder
	visit := func(call func(w http.ResponseWriter, r *http.Request) error) {
		response := b.visit(t, func(w http.ResponseWriter, r *http.Request) {
			if err := call(w, r); err != nil {
				seen.WriteString(err.Error())
				s.sessions.Error(w, r, err)
			}
		})
		tokens = append(tokens, b.token())
		for name, values := range response.Header {
			if name != "Set-Cookie" {
				fmt.Fprintln(&seen, name, values)
			}
		}
		fmt.Fprintln(&seen, b.cookie("__Host-profile"), body(t, response))
	}
	visit(s.sessions.Renew)
	calls := s.calls()
	for _, name := range []string{"User", "Current", "Sessions", "Revoke", "Update", "Renew", "LogoutOthers"} {
		visit(calls[name])
	}
	for _, handle := range b.handles(t) {
		seen.WriteString(handle)
	}
	s.shift(t, ed, -2*60*60*1e9)
	visit(calls["User"])
	visit(calls["Renew"])
	visit(s.sessions.Logout)
	visit(func(w http.ResponseWriter, r *http.Request) error { return s.sessions.Login(w, r, ed) })
	s.pool.Close()
	visit(calls["User"])
	visit(s.sessions.Renew)
	seen.WriteString(s.log.String())
	for _, token := range tokens {
		if token != "" && (strings.Contains(seen.String(), token) || strings.Contains(seen.String(), token[:20])) {
			t.Errorf("the token %s shows in:\n%s", token, seen.String())
		}
	}
	if !strings.Contains(seen.String(), "session renewed") || !strings.Contains(seen.String(), "unavailable") {
		t.Errorf("the test has not seen what it should:\n%s", seen.String())
	}
}
