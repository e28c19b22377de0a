package sessionhttp_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// hasty is another service on the same sessions, with a time limit that a busy machine may
// exceed by itself.
func (s *site) hasty(timeout time.Duration) *sessionhttp.Manager[account] {
	return sessionhttp.New(s.cache, sessionhttp.WithTimeout(timeout))
}

// lockTable keeps everybody out of a table until the returned function is called.
func (s *site) lockTable(t *testing.T, table string) (unlock func()) {
	t.Helper()
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unlock = func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) } // once more does nothing
	t.Cleanup(unlock)
	if _, err := tx.Exec(t.Context(), "LOCK TABLE "+table+" IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	return unlock
}

// wantTimeout checks the error of a use of the database that took too long.
func wantTimeout(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, sessioncache.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %v; want %v, by the time limit", what, err, sessioncache.ErrUnavailable)
	}
}

// TestTimeout: no call waits for longer for a database that does not answer.
func TestTimeout(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	b.login(t, ed)
	unlock := s.lockTable(t, "session_cache")
	patient := s.sessions
	s.sessions = s.hasty(50 * time.Millisecond)
	calls := s.allCalls()
	calls["IssueBearer"] = func(_ http.ResponseWriter, r *http.Request) error {
		return second(s.sessions.IssueBearer(r.Context(), newUser()))
	}
	calls["Login of a user who is logged in"] = calls["Login"]
	start := time.Now()
	for name, call := range calls {
		browser := b
		if name == "Login" {
			browser = s.browser(t)
		}
		response := browser.visit(t, func(w http.ResponseWriter, r *http.Request) {
			err := call(w, r)
			wantTimeout(t, name, err)
			if r.Context().Err() != nil {
				t.Errorf("%s has ended the request's context", name)
			}
			s.sessions.Error(w, r, err)
		})
		if response.StatusCode != http.StatusServiceUnavailable || len(response.Cookies()) != 0 {
			t.Errorf("%s: %d, cookies %q; want 503 and none", name, response.StatusCode, response.Header["Set-Cookie"])
		}
	}
	// Calls of a request that come later do not wait again.
	b.visit(t, func(_ http.ResponseWriter, r *http.Request) {
		for range 2 {
			wantTimeout(t, "User", third(s.sessions.User(r.Context())))
		}
	})
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("that took %s", took)
	}
	unlock()
	s.sessions = patient
	b.wantUser(t, ed)
}

// third returns the error of a call that returns something else first.
func third[A, B any](_ A, _ B, err error) error {
	return err
}

// TestTimeoutOfCommit: the commit has the time limit, too, and the table is as before.
func TestTimeoutOfCommit(t *testing.T) {
	s := setup(t)
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	for _, sql := range []string{
		"CREATE TABLE locked ()",
		`CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM FROM locked; RETURN NULL; END $$`,
		`CREATE CONSTRAINT TRIGGER looks AFTER INSERT ON session_cache DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION look()`,
	} {
		if _, err := s.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	s.lockTable(t, "locked")
	before := dump(t, s.pool)
	s.sessions = s.hasty(time.Second)
	s.browser(t).visit(t, func(w http.ResponseWriter, r *http.Request) {
		var inTx error
		err := s.sessions.Tx(w, r, func(_ pgx.Tx, session *sessionhttp.Tx[account]) error {
			inTx = session.Login(newUser())
			return inTx
		})
		if inTx != nil {
			t.Errorf("Login in the transaction: %v", inTx)
		}
		wantTimeout(t, "Tx", err)
	})
	if after := dump(t, s.pool); after != before {
		t.Errorf("the table was\n%s\nand is\n%s", before, after)
	}
}

// TestTimeoutIsNotTheApplications: the application's functions may take longer, and so may
// the wait for near caches. A busy machine may exceed the limit by itself, but not always.
func TestTimeoutIsNotTheApplications(t *testing.T) {
	const timeout, longer = 200 * time.Millisecond, 300 * time.Millisecond
	s := setupCache(t, []sessioncache.Option{sessioncache.WithNearCache(0)})
	b := s.browser(t)
	b.login(t, newUser())
	hasty := s.hasty(timeout)
	slow := func(*account) error { time.Sleep(longer); return nil }
	for name, call := range map[string]call{
		"Renew": hasty.Renew,
		"Update": func(w http.ResponseWriter, r *http.Request) error {
			return hasty.Update(w, r, slow)
		},
		"Begin": func(w http.ResponseWriter, r *http.Request) error { return hasty.Begin(w, r, slow) },
		"Tx": func(w http.ResponseWriter, r *http.Request) error {
			return hasty.Tx(w, r, func(_ pgx.Tx, session *sessionhttp.Tx[account]) error {
				return errors.Join(slow(nil), session.Renew(), slow(nil), session.Update(slow))
			})
		},
	} {
		suite.Eventually(t, name+" is not limited", func() (done bool) {
			b.send(b.request(t, http.MethodPost), hasty.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				err := call(w, r)
				if done = err == nil; !done {
					t.Logf("%s: %v", name, err)
				}
			})).ServeHTTP)
			return done
		})
	}
}

// TestTimeoutWithoutAConnection: a handler that holds the pool's last connection waits for
// itself, until the time limit. In its own transaction it needs no other connection.
func TestTimeoutWithoutAConnection(t *testing.T) {
	s := setup(t)
	b, ed := s.browser(t), newUser()
	var held []*pgxpool.Conn
	for range s.pool.Config().MaxConns {
		conn, err := s.pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release() // once more does nothing
		held = append(held, conn)
	}
	patient := s.sessions
	s.sessions = s.hasty(100 * time.Millisecond)
	b.visit(t, func(w http.ResponseWriter, r *http.Request) {
		wantTimeout(t, "Login", s.sessions.Login(w, r, ed))
	})
	held[0].Release()
	s.sessions = patient
	b.do(t, func(w http.ResponseWriter, r *http.Request) error {
		return s.sessions.Tx(w, r, func(_ pgx.Tx, session *sessionhttp.Tx[account]) error { return session.Login(ed) })
	})
	b.wantUser(t, ed)
}
