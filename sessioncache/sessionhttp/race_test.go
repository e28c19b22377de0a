package sessionhttp_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// TestRenewPairs has two requests renew one token at once: one succeeds, the other is
// asked to come again and sets no cookie.
func TestRenewPairs(t *testing.T) {
	s := setup(t)
	const pairs = 1000
	var losers atomic.Int64
	inParallel(pairs, func(int) {
		ed := newUser()
		token := loginTo(t, s.sessions, "", ed)
		var sets [2]string
		var errs [2]error
		var both sync.WaitGroup
		for i := range 2 {
			both.Go(func() {
				var touched bool
				sets[i], touched, errs[i] = attempt(t.Context(), s.sessions, token, s.sessions.Renew)
				if touched != (errs[i] == nil) {
					t.Errorf("Renew: %v, Set-Cookie: %v", errs[i], touched)
				}
			})
		}
		both.Wait()
		winner := slices.Index(errs[:], nil)
		if winner < 0 || !errors.Is(errs[1-winner], sessioncache.ErrSuperseded) {
			t.Errorf("two Renews of one token: %v; want one winner, and ErrSuperseded", errs)
			return
		}
		losers.Add(1)
		if user, ok, err := userOf(t.Context(), s.sessions, sets[winner]); !ok || user != ed {
			t.Errorf("the winner's token: %v, %v, %v", user, ok, err)
		}
	})
	if n := len(ofKind(s.events.take(), sessionhttp.EventSuperseded)); int64(n) != losers.Load() {
		t.Errorf("%d events of superseded tokens for %d losers", n, losers.Load())
	}
}

// deadlocks counts the statements that the server has ended because of a deadlock.
type deadlocks struct{ n atomic.Int64 }

func (*deadlocks) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (d *deadlocks) TraceQueryEnd(_ context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	if err, ok := errors.AsType[*pgconn.PgError](data.Err); ok && err.Code == "40P01" {
		d.n.Add(1)
	}
}

var errAgain = errors.New("the password has just been changed")

// TestLoginRacingPasswordChange: who has logged in with the old password is out once
// it has been changed, however late the login was stored. The hash is checked before
// the login's transaction, which reads the user's row again FOR SHARE.
func TestLoginRacingPasswordChange(t *testing.T) {
	t.Parallel()
	var seen deadlocks
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.MaxConns, c.ConnConfig.Tracer = 12, &seen })
	m := sessionhttp.New(sessioncache.New[account](pool))
	if _, err := pool.Exec(t.Context(), "CREATE TABLE users (id text PRIMARY KEY, password text NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	loginSafely := func(user account, former, verified string, options ...sessionhttp.LoginOption) (token string, err error) {
		token, _, err = attempt(t.Context(), m, former, func(w http.ResponseWriter, r *http.Request) error {
			return m.Tx(w, r, func(tx pgx.Tx, session *sessionhttp.Tx[account]) error {
				var stored string
				err := tx.QueryRow(r.Context(), "SELECT password FROM users WHERE id = $1 FOR SHARE", user.ID).Scan(&stored)
				if err == nil && stored != verified {
					err = errAgain
				}
				if err != nil {
					return err
				}
				return session.Login(user, options...)
			})
		})
		return token, err
	}
	changePassword := func(user account, token, newHash string) (renewed string, err error) {
		renewed, _, err = attempt(t.Context(), m, token, func(w http.ResponseWriter, r *http.Request) error {
			return m.Tx(w, r, func(tx pgx.Tx, session *sessionhttp.Tx[account]) error {
				if _, err := tx.Exec(r.Context(), "UPDATE users SET password = $2 WHERE id = $1", user.ID, newHash); err != nil {
					return err
				}
				if _, err := session.LogoutOthers(); err != nil {
					return err
				}
				return session.Reauthenticated()
			})
		})
		return renewed, err
	}

	const rounds = 1000
	var in, refused atomic.Int64
	inParallel(rounds, func(i int) {
		ed := newUser()
		if _, err := pool.Exec(t.Context(), "INSERT INTO users VALUES ($1, 'old')", ed.ID); err != nil {
			t.Error(err)
			return
		}
		device, former := loginTo(t, m, "", ed), loginTo(t, m, "", ed)
		logins := []struct {
			former  string
			options []sessionhttp.LoginOption
		}{{former: ""}, {former: former}, {former: "", options: []sessionhttp.LoginOption{sessionhttp.MaxSessions(2)}}}
		tokens := make([]string, len(logins))
		var all sync.WaitGroup
		for l, login := range logins {
			if l == 2 && i%2 == 0 { // which would end the device that changes the password
				continue
			}
			all.Go(func() {
				var verified string
				if err := pool.QueryRow(t.Context(), "SELECT password FROM users WHERE id = $1", ed.ID).Scan(&verified); err != nil {
					t.Error(err)
					return
				}
				if verified == "new" {
					return
				}
				token, err := loginSafely(ed, login.former, verified, login.options...)
				switch {
				case err == nil:
					tokens[l] = token
					in.Add(1)
				case errors.Is(err, errAgain):
					refused.Add(1)
				default:
					t.Errorf("login: %v", err)
				}
			})
		}
		var renewed string
		var changed error
		pause := rand.N(15 * time.Millisecond) // the change is quicker than a login
		all.Go(func() {
			<-time.After(pause)
			renewed, changed = changePassword(ed, device, "new")
		})
		all.Wait()
		if changed != nil {
			// MaxSessions may have ended the device's session first.
			if i%2 == 0 || !errors.Is(changed, sessionhttp.ErrNoSession) {
				t.Errorf("password change: %v", changed)
			}
			return
		}
		for _, token := range append(tokens, former) {
			if token == "" {
				continue
			}
			// A session that a login has replaced says so for ten seconds.
			if _, ok, err := userOf(t.Context(), m, token); ok || err != nil && !errors.Is(err, sessioncache.ErrSuperseded) {
				t.Errorf("a login with the old password is alive: %v", err)
			}
		}
		if user, ok, err := userOf(t.Context(), m, renewed); !ok || user != ed {
			t.Errorf("the device that changed the password: %v, %v, %v", user, ok, err)
		}
	})
	if n := seen.n.Load(); n != 0 {
		t.Errorf("%d deadlocks", n)
	}
	t.Logf("%d logins stored before the change, %d refused after it", in.Load(), refused.Load())
	// The pause is too short for Citus, where a login takes longer.
	if (in.Load() == 0 || refused.Load() == 0) && suite.Has(t, suite.Undistributed) {
		t.Error("that was no race")
	}
}

// shopper is a user, or a visitor, with a basket.
type shopper struct {
	ID     string `json:"user_id,omitempty"`
	Basket []string
}

// put has a call put an item into the basket.
func put(call func(w http.ResponseWriter, r *http.Request, change func(*shopper) error) error, item string) func(w http.ResponseWriter, r *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		return call(w, r, func(s *shopper) error { s.Basket = append(s.Basket, item); return nil })
	}
}

// updateOf is a Manager's Update without options.
func updateOf(m *sessionhttp.Manager[shopper]) func(w http.ResponseWriter, r *http.Request, change func(*shopper) error) error {
	return func(w http.ResponseWriter, r *http.Request, change func(*shopper) error) error {
		return m.Update(w, r, change)
	}
}

func carryBasket() sessionhttp.LoginOption {
	return sessionhttp.Carry(func(visitor shopper, user *shopper) error {
		user.Basket = append(user.Basket, visitor.Basket...)
		return nil
	})
}

// TestPlanterIsOut: whoever has planted the token that a victim's browser comes to the
// login with, a visitor's or a user's, has nothing of the login: no request that was
// under way goes on, and none that begins.
func TestPlanterIsOut(t *testing.T) {
	t.Parallel()
	m := sessionhttp.New(sessioncache.New[shopper](sessiontest.NewPool(t)))
	m.SetWatch(time.Hour, time.Hour) // only what ends at once, ends
	const rounds = 500
	var all sync.WaitGroup
	ready := make(chan struct{}, 100) // so many at once
	for i := range rounds {
		ready <- struct{}{}
		all.Go(func() {
			plantersToken(t, m, i%5 == 0)
			<-ready
		})
	}
	all.Wait()
}

func plantersToken(t *testing.T, m *sessionhttp.Manager[shopper], ofUser bool) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	victim := shopper{ID: newUser().ID}
	planted, _, err := attempt(ctx, m, "", put(m.Begin, "planted"))
	if ofUser {
		planted, _, err = attempt(ctx, m, "", func(w http.ResponseWriter, r *http.Request) error {
			return m.Login(w, r, shopper{ID: newUser().ID, Basket: []string{"planted"}})
		})
	}
	if err != nil {
		t.Error(err)
		return
	}

	loggedIn := make(chan struct{})
	var loggedInAt time.Time // read after loggedIn
	var planter, started sync.WaitGroup
	// hold starts a request of the planter's, which says when it is under way.
	hold := func(handle func(w http.ResponseWriter, r *http.Request, underWay func())) {
		started.Add(1)
		planter.Go(func() {
			send(ctx, m, planted, func(w http.ResponseWriter, r *http.Request) { handle(w, r, sync.OnceFunc(started.Done)) })
		})
	}
	writes := map[string]func(w http.ResponseWriter, r *http.Request) error{"Begin": put(m.Begin, "evil"), "Update": put(updateOf(m), "evil")}
	// Where a user's session has ended, Begin begins a visitor's.
	mayBegin := func(name string) bool { return ofUser && name == "Begin" }
	for name, write := range writes {
		hold(func(w http.ResponseWriter, r *http.Request, underWay func()) { // a POST whose body comes slowly
			_, _, _ = m.Visitor(r.Context())
			underWay()
			<-loggedIn
			if err := write(w, r); (err == nil || w.Header()["Set-Cookie"] != nil) && !mayBegin(name) {
				t.Errorf("%s of a POST that was under way: %v, %v", name, err, w.Header())
			}
		})
		hold(func(_ http.ResponseWriter, _ *http.Request, underWay func()) { // and POSTs all the time
			underWay()
			for ctx.Err() == nil {
				select {
				case <-loggedIn:
					return
				case <-time.After(rand.N(10 * time.Millisecond)):
					_, _, _ = attempt(ctx, m, planted, write)
				}
			}
		})
	}
	hold(func(_ http.ResponseWriter, r *http.Request, underWay func()) { // a stream
		poll := time.NewTicker(20 * time.Millisecond)
		defer poll.Stop()
		for n := 0; ; n++ {
			began := time.Now()
			user, isUser, err := m.User(r.Context())
			visitor, isVisitor, _ := m.Visitor(r.Context())
			if user.ID == victim.ID || visitor.ID == victim.ID || isUser && !ofUser {
				t.Errorf("the stream sees the victim: %v, %v", user, visitor)
			}
			underWay()
			select {
			case <-loggedIn:
				// What a request has just asked counts for a second.
				if began.Sub(loggedInAt) > time.Second {
					if isUser || isVisitor {
						t.Errorf("the stream goes on after the login: %v, %v, %v", user, visitor, err)
					}
					return
				}
			default:
			}
			<-poll.C
		}
	})
	hold(func(_ http.ResponseWriter, r *http.Request, underWay func()) {
		waiting := m.Context(r)
		if !ofUser && !errors.Is(context.Cause(waiting), sessionhttp.ErrAnonymous) {
			t.Errorf("Context of a visitor: %v", context.Cause(waiting))
		}
		underWay()
		select {
		case <-waiting.Done():
			if cause := context.Cause(waiting); !errors.Is(cause, sessionhttp.ErrNoSession) && ctx.Err() == nil {
				t.Errorf("the planter's Context has ended by %v", cause)
			}
		case <-time.After(20 * time.Second):
			t.Error("the planter's Context goes on after the login")
		}
	})
	started.Wait()
	var stored []string
	token := loginTo(t, m, planted, victim, sessionhttp.Carry(func(visitor shopper, user *shopper) error {
		user.Basket = visitor.Basket
		stored = slices.Clone(visitor.Basket)
		return nil
	}))
	loggedInAt = time.Now()
	close(loggedIn)

	for name, write := range writes {
		if _, sets, err := attempt(ctx, m, planted, write); (err == nil || sets) && !mayBegin(name) {
			t.Errorf("%s with the planted token after the login: %v, Set-Cookie: %v", name, err, sets)
		}
	}
	if visitor, ok, _ := visitorOf(ctx, m, planted); ok {
		t.Errorf("the planted token opens %v after the login", visitor)
	}
	planter.Wait()
	if now, ok, err := userOf(ctx, m, token); !ok || err != nil || !slices.Equal(now.Basket, stored) || now.ID != victim.ID {
		t.Errorf("the victim was %v and is %v, %v, %v", stored, now, ok, err)
	}
}

// TestBeginRacingLogin has a browser with a visitor's cookie fill its basket while it
// logs in: what was acknowledged is in the user's basket, and no late answer replaces
// the cookie of the login.
func TestBeginRacingLogin(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t)
	m := sessionhttp.New(sessioncache.New[shopper](pool))
	const rounds = 600
	var acknowledged, late atomic.Int64
	inParallel(rounds, func(int) {
		visitor, _, err := attempt(t.Context(), m, "", put(m.Begin, "first"))
		if err != nil {
			t.Error(err)
			return
		}
		var mu sync.Mutex
		kept := []string{"first"} // what the user's basket must hold
		var all sync.WaitGroup
		for i := range 4 {
			pause := rand.N(4 * time.Millisecond) // spread over the login, which is slower
			all.Go(func() {
				<-time.After(pause)
				item := fmt.Sprint("item ", i)
				_, sets, err := attempt(t.Context(), m, visitor, put(m.Begin, item))
				if sets {
					t.Errorf("Begin sets a cookie: %v", err)
				}
				switch {
				case err == nil:
					mu.Lock()
					kept = append(kept, item)
					mu.Unlock()
					acknowledged.Add(1)
				case errors.Is(err, sessioncache.ErrSuperseded):
					late.Add(1)
				default:
					t.Errorf("Begin: %v", err)
				}
			})
		}
		user := shopper{ID: newUser().ID}
		before := time.Now()
		token := loginTo(t, m, visitor, user, carryBasket())
		in := time.Now()
		if _, sets, err := attempt(t.Context(), m, visitor, put(m.Begin, "in flight")); !errors.Is(err, sessioncache.ErrSuperseded) || sets {
			t.Errorf("Begin with the visitor's token after the login: %v, Set-Cookie: %v; want ErrSuperseded", err, sets)
		}
		all.Wait()
		stored, ok, err := userOf(t.Context(), m, token)
		if !ok || err != nil {
			t.Errorf("the user: %v, %v", ok, err)
		}
		slices.Sort(kept)
		slices.Sort(stored.Basket)
		if !slices.Equal(kept, stored.Basket) {
			t.Errorf("acknowledged: %q; stored: %q", kept, stored.Basket)
		}

		elapsed := 9*time.Second - time.Since(in)
		sessiontest.Elapse(t, pool, handleOf(t, visitor), elapsed)
		_, sets, err := attempt(t.Context(), m, visitor, put(m.Begin, "in flight"))
		inGrace := elapsed+time.Since(before) < 10*time.Second // the machine may be busy
		if inGrace && (!errors.Is(err, sessioncache.ErrSuperseded) || sets) {
			t.Errorf("nine seconds after the login: %v, Set-Cookie: %v; want ErrSuperseded", err, sets)
		}
		sessiontest.Elapse(t, pool, handleOf(t, visitor), 2*time.Second)
		next, _, err := attempt(t.Context(), m, visitor, put(m.Begin, "next"))
		if err != nil || next == "" {
			t.Errorf("eleven seconds after the login: %v; want a new visitor's session", err)
			return
		}
		if data, ok, err := visitorOf(t.Context(), m, next); !ok || err != nil || !slices.Equal(data.Basket, []string{"next"}) {
			t.Errorf("the new visitor's data: %v, %v, %v", data, ok, err)
		}
	})
	t.Logf("%d items acknowledged, %d refused", acknowledged.Load(), late.Load())
	if acknowledged.Load() == 0 || late.Load() == 0 {
		t.Error("that was no race")
	}
}

// TestLoginsRacingWithOneVisitor: a button that is pressed twice. What is in flight with
// the visitor's token does not replace the cookie of either login.
func TestLoginsRacingWithOneVisitor(t *testing.T) {
	t.Parallel()
	var events recorder
	m := sessionhttp.New(sessioncache.New[shopper](sessiontest.NewPool(t)), sessionhttp.WithEvents(events.record))
	var refused, begins atomic.Int64
	inParallel(100, func(i int) {
		var options []sessionhttp.LoginOption
		if i%2 == 0 {
			options = append(options, carryBasket())
		}
		visitor, _, err := attempt(t.Context(), m, "", put(m.Begin, "first"))
		if err != nil {
			t.Error(err)
			return
		}
		user := shopper{ID: newUser().ID}
		var both sync.WaitGroup
		var in, baskets atomic.Int64
		for range 2 {
			both.Go(func() {
				token, _, err := attempt(t.Context(), m, visitor, func(w http.ResponseWriter, r *http.Request) error {
					return m.Login(w, r, user, options...)
				})
				switch {
				case err == nil:
					in.Add(1)
					if stored, _, _ := userOf(t.Context(), m, token); len(stored.Basket) == 1 {
						baskets.Add(1)
					}
				case errors.Is(err, sessioncache.ErrSuperseded):
					refused.Add(1)
				default:
					t.Errorf("Login: %v", err)
				}
			})
		}
		both.Wait()
		if in.Load() == 0 || len(options) > 0 && baskets.Load() != 1 {
			t.Errorf("%d logins, %d baskets", in.Load(), baskets.Load())
		}
		if _, sets, err := attempt(t.Context(), m, visitor, put(m.Begin, "in flight")); !errors.Is(err, sessioncache.ErrSuperseded) || sets {
			t.Errorf("Begin with the visitor's token after %d logins: %v, Set-Cookie: %v; want ErrSuperseded", in.Load(), err, sets)
		}
		begins.Add(1)
	})
	if n := int64(len(ofKind(events.take(), sessionhttp.EventSuperseded))); n != refused.Load()+begins.Load() {
		t.Errorf("%d events of superseded tokens for %d logins and %d Begins that were refused", n, refused.Load(), begins.Load())
	}
}

// TestLoginsWithDuplicateCookies: two requests with the same cookies in another order
// do not stand in each other's way.
func TestLoginsWithDuplicateCookies(t *testing.T) {
	t.Parallel()
	var seen deadlocks
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.MaxConns, c.ConnConfig.Tracer = 8, &seen })
	m := sessionhttp.New(sessioncache.New[account](pool))
	inParallel(200, func(int) {
		a, b := loginTo(t, m, "", newUser()), loginTo(t, m, "", newUser())
		var both sync.WaitGroup
		for _, cookies := range []string{a + "; __Host-session=" + b, b + "; __Host-session=" + a} {
			both.Go(func() {
				if _, _, err := attempt(t.Context(), m, cookies, func(w http.ResponseWriter, r *http.Request) error {
					return m.Login(w, r, newUser())
				}); err != nil {
					t.Errorf("Login: %v", err)
				}
			})
		}
		both.Wait()
		for _, token := range []string{a, b} {
			if _, ok, err := userOf(t.Context(), m, token); ok || err != nil && !errors.Is(err, sessioncache.ErrSuperseded) {
				t.Errorf("a session that the request carried lives on: %v", err)
			}
		}
	})
	if n := seen.n.Load(); n != 0 {
		t.Errorf("%d deadlocks", n)
	}
}

// TestReplayAfterLogout is ASVS 7.4.1: a token that was logged out never works again,
// with saves in flight, too.
func TestReplayAfterLogout(t *testing.T) {
	s := setup(t)
	inParallel(100, func(int) {
		token := loginTo(t, s.sessions, "", newUser())
		var saves sync.WaitGroup
		for range 3 {
			saves.Go(func() {
				for err := error(nil); err == nil; {
					_, _, err = attempt(t.Context(), s.sessions, token, s.sessionCalls()["Update"])
				}
			})
		}
		if _, _, err := attempt(t.Context(), s.sessions, token, s.sessions.Logout); err != nil {
			t.Error(err)
		}
		if _, ok, err := userOf(t.Context(), s.sessions, token); ok || err != nil {
			t.Errorf("the token after the logout: %v, %v", ok, err)
		}
		saves.Wait()
		if _, ok, err := userOf(t.Context(), s.sessions, token); ok || err != nil {
			t.Errorf("the token after the last save: %v, %v", ok, err)
		}
	})
}

// TestLoginRacingLogoutEverywhere: whoever was in before is out after, and who
// logs in meanwhile is in or out, but not half.
func TestLoginRacingLogoutEverywhere(t *testing.T) {
	s := setup(t)
	inParallel(100, func(int) {
		ed := newUser()
		before, leaving := loginTo(t, s.sessions, "", ed), loginTo(t, s.sessions, "", ed)
		coming := make([]string, 4)
		var logins sync.WaitGroup
		for i := range coming {
			logins.Go(func() { coming[i] = loginTo(t, s.sessions, "", ed) })
		}
		if _, _, err := attempt(t.Context(), s.sessions, leaving, s.sessionCalls()["LogoutEverywhere"]); err != nil {
			t.Errorf("LogoutEverywhere: %v", err)
		}
		for _, token := range []string{before, leaving} {
			if _, ok, err := userOf(t.Context(), s.sessions, token); ok || err != nil {
				t.Errorf("a session of before is in: %v", err)
			}
		}
		logins.Wait()
		in := 0
		for _, token := range coming {
			if _, ok, _ := userOf(t.Context(), s.sessions, token); ok {
				in++
			}
		}
		if sessions, err := s.cache.UserSessions(t.Context(), ed.ID); err != nil || len(sessions) != in {
			t.Errorf("%d sessions are stored, %v; %d browsers are in", len(sessions), err, in)
		}
	})
}

// TestGoroutinesOfOneRequest: handlers may use the session of a request from several
// goroutines.
func TestGoroutinesOfOneRequest(t *testing.T) {
	s := setup(t, sessionhttp.WithProfile(func(a account) any { return a }))
	token := loginTo(t, s.sessions, "", newUser())
	var updates atomic.Int64
	response := send(t.Context(), s.sessions, token, func(w http.ResponseWriter, r *http.Request) {
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for n := range 20 {
					if _, ok, err := s.sessions.User(r.Context()); !ok || err != nil {
						t.Errorf("User: %v, %v", ok, err)
					}
					s.sessions.MustUser(r.Context())
					if err := s.sessions.Update(w, r, func(a *account) error { a.Visits++; return nil }); err != nil {
						t.Errorf("Update: %v", err)
					}
					updates.Add(1)
					if (n+i)%5 == 0 {
						if err := s.sessions.Renew(w, r); err != nil {
							t.Errorf("Renew: %v", err)
						}
					}
					if cause := context.Cause(s.sessions.Context(r)); cause != nil && !errors.Is(cause, sessionhttp.ErrNoSession) {
						t.Errorf("Context: %v", cause)
					}
				}
			})
		}
		all.Wait()
	})
	last, _ := tokenSet(response)
	if len(response.Header["Set-Cookie"]) != 2 {
		t.Errorf("%d cookies; want the session's and the profile's", len(response.Header["Set-Cookie"]))
	}
	if user, ok, err := userOf(t.Context(), s.sessions, last); !ok || err != nil || int64(user.Visits) != updates.Load() {
		t.Errorf("the last token: %v, %v, %v; want %d visits", user, ok, err, updates.Load())
	}
}

// TestEndOfOneCaller: who stops waiting for the session of a request gets an error, and
// those who go on do not.
func TestEndOfOneCaller(t *testing.T) {
	s := setup(t)
	ed := newUser()
	token := loginTo(t, s.sessions, "", ed)
	send(t.Context(), s.sessions, token, func(w http.ResponseWriter, r *http.Request) {
		ended, cancel := context.WithCancel(r.Context())
		cancel()
		if user, ok, err := s.sessions.User(ended); ok || !errors.Is(err, sessioncache.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("User with a context that has ended: %v, %v, %v; want ErrUnavailable", user, ok, err)
		}
		if user, ok, err := s.sessions.User(r.Context()); !ok || user != ed {
			t.Errorf("the next caller: %v, %v, %v", user, ok, err)
		}

		// Somebody has the session, and does not give it back before the other one has
		// stopped waiting.
		entered, leave := make(chan struct{}), make(chan struct{})
		var holder sync.WaitGroup
		holder.Go(func() {
			err := s.sessions.Update(w, r, func(*account) error { close(entered); <-leave; return nil })
			if err != nil {
				t.Errorf("Update: %v", err)
			}
		})
		<-entered
		short, cancel := context.WithTimeout(r.Context(), 20*time.Millisecond)
		defer cancel()
		if _, ok, err := s.sessions.User(short); ok || !errors.Is(err, sessioncache.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("User whose context ends while it waits: %v, %v; want ErrUnavailable", ok, err)
		}
		if err := s.sessions.Renew(w, r.WithContext(short)); !errors.Is(err, sessioncache.ErrUnavailable) {
			t.Errorf("Renew whose context ends while it waits: %v; want ErrUnavailable", err)
		}
		if cause := context.Cause(s.sessions.Context(r.WithContext(short))); cause == nil {
			t.Error("Context of a request that has ended goes on")
		}
		close(leave)
		holder.Wait()
		if user, ok, err := s.sessions.User(r.Context()); !ok || user != ed {
			t.Errorf("afterwards: %v, %v, %v", user, ok, err)
		}
	})

	// A lookup that waits for a connection, and ends with its caller.
	send(t.Context(), s.sessions, token, func(_ http.ResponseWriter, r *http.Request) {
		var held []*pgxpool.Conn
		for range s.pool.Config().MaxConns {
			conn, err := s.pool.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, conn)
		}
		short, cancel := context.WithTimeout(r.Context(), 20*time.Millisecond)
		defer cancel()
		_, ok, err := s.sessions.User(short)
		if ok || !errors.Is(err, sessioncache.ErrUnavailable) {
			t.Errorf("User without a connection: %v, %v; want ErrUnavailable", ok, err)
		}
		for _, conn := range held {
			conn.Release()
		}
		if user, ok, err := s.sessions.User(r.Context()); !ok || user != ed {
			t.Errorf("the next caller: %v, %v, %v; want the user", user, ok, err)
		}
	})
}

// slowAnswer is a tracer that holds back the answers of statements whose context has
// it for a value.
type slowAnswer struct{ asked, answer chan struct{} }

func (s *slowAnswer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (s *slowAnswer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	if ctx.Value(s) != nil {
		s.asked <- struct{}{}
		<-s.answer
	}
}

// TestSlowAnswer: what a request knows of its session counts for a second from when it
// asked. An answer that was long on its way tells of a session that may have ended.
func TestSlowAnswer(t *testing.T) {
	t.Parallel()
	slow := &slowAnswer{make(chan struct{}), make(chan struct{})}
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.ConnConfig.Tracer = slow })
	m := sessionhttp.New(sessioncache.New[account](pool))
	token := loginTo(t, m, "", newUser())
	send(t.Context(), m, token, func(_ http.ResponseWriter, r *http.Request) {
		var first sync.WaitGroup
		first.Go(func() {
			if _, ok, err := m.User(context.WithValue(r.Context(), slow, true)); !ok || err != nil {
				t.Errorf("User before the logout: %v, %v", ok, err)
			}
		})
		<-slow.asked
		if _, _, err := attempt(t.Context(), m, token, m.Logout); err != nil {
			t.Error(err)
		}
		<-time.After(1100 * time.Millisecond)
		close(slow.answer)
		first.Wait()
		if user, ok, err := m.User(r.Context()); ok || err != nil {
			t.Errorf("more than a second after the logout: %v, %v, %v; want nobody", user, ok, err)
		}
	})
}
