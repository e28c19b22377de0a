package sessionhttp_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// TestRenewInFlight: a request whose token was found live stays in flight. Here Renew itself has found it live,
// waits for the row, and then takes the token for a stolen one.
func TestRenewInFlight(t *testing.T) {
	suite.Require(t, suite.Undistributed) // the server has to say who waits for whom
	for name, call := range map[string]func(s *site) call{
		"Renew": func(s *site) call { return s.sessions.Renew },
		"LogoutOthers": func(s *site) call {
			return func(_ http.ResponseWriter, r *http.Request) error { _, err := s.sessions.LogoutOthers(r); return err }
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := setup(t)
			token := loginTo(t, s.sessions, "", newUser())
			var result error
			done := make(chan struct{})
			renewed, _, err := attempt(t.Context(), s.sessions, token, func(w http.ResponseWriter, r *http.Request) error {
				return s.sessions.Tx(w, r, func(tx pgx.Tx, session *sessionhttp.Tx[account]) error {
					if err := session.Renew(); err != nil {
						return err
					}
					// Eleven seconds of other work.
					sessiontest.Elapse(t, tx, handleOf(t, token), 11*time.Second)
					go func() { // the user's other tab, just before the commit
						defer close(done)
						_, _, result = attempt(t.Context(), s.sessions, token, call(s))
					}()
					suite.WaitsFor(t, s.pool, tx) // the other tab
					return nil
				})
			})
			if err != nil {
				t.Fatal(err)
			}
			<-done
			if !errors.Is(result, sessioncache.ErrSuperseded) {
				t.Errorf("the other tab: %v; want ErrSuperseded", result)
			}
			if _, ok, err := userOf(t.Context(), s.sessions, renewed); !ok || err != nil {
				t.Errorf("the user is logged out: %v, %v", ok, err)
			}
		})
	}
}

// TestRollbackWithEndedContext: a savepoint whose rollback is not sent, because its context has ended, has not undone
// anything: what commits then must be what the browser is told.
func TestRollbackWithEndedContext(t *testing.T) {
	s := setup(t)
	token := loginTo(t, s.sessions, "", newUser())
	set, _, err := attempt(t.Context(), s.sessions, token, func(w http.ResponseWriter, r *http.Request) error {
		return s.sessions.Tx(w, r, func(tx pgx.Tx, session *sessionhttp.Tx[account]) error {
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			savepoint, err := tx.Begin(ctx)
			if err != nil {
				return err
			}
			if err := session.Renew(); err != nil {
				return err
			}
			cancel() // its time is up
			_ = savepoint.Rollback(ctx)
			return nil
		})
	})
	if set == "" {
		set = token
	}
	if _, ok, lookup := userOf(t.Context(), s.sessions, set); !ok {
		t.Errorf("Tx = %v, and the browser's token opens no session: %v", err, lookup)
	}
}

// TestRollbackToAfterRenew: after ROLLBACK TO in SQL the cookie is right, also if an earlier change stays.
func TestRollbackToAfterRenew(t *testing.T) {
	for name, first := range map[string]func(session *sessionhttp.Tx[account]) error{
		"Renew": (*sessionhttp.Tx[account]).Renew,
		"Login": func(session *sessionhttp.Tx[account]) error { return session.Login(newUser()) },
	} {
		t.Run(name, func(t *testing.T) {
			s := setup(t)
			token := loginTo(t, s.sessions, "", newUser())
			set, _, err := attempt(t.Context(), s.sessions, token, func(w http.ResponseWriter, r *http.Request) error {
				return s.sessions.Tx(w, r, func(tx pgx.Tx, session *sessionhttp.Tx[account]) error {
					if err := first(session); err != nil {
						return err
					}
					if _, err := tx.Exec(r.Context(), "SAVEPOINT a"); err != nil {
						return err
					}
					if err := session.Renew(); err != nil {
						return err
					}
					_, err := tx.Exec(r.Context(), "ROLLBACK TO a")
					return err
				})
			})
			if err != nil {
				t.Fatal(err)
			}
			if set == "" {
				set = token
			}
			if _, ok, err := userOf(t.Context(), s.sessions, set); !ok {
				t.Errorf("the browser's token opens no session: %v", err)
			}
		})
	}
}

// TestCarryFromPlantedCookie: with several cookies nobody knows which visitor is the user: another host of the domain
// may have set one. Its data must not come into the login.
func TestCarryFromPlantedCookie(t *testing.T) {
	s := setup(t, sessionhttp.WithDomain("example.com"))
	begin := func(name string) string {
		response := send(t.Context(), s.sessions, "", func(w http.ResponseWriter, r *http.Request) {
			if err := s.sessions.Begin(w, r, func(visitor *account) error { visitor.Name = name; return nil }); err != nil {
				t.Error(err)
			}
		})
		return response.Cookies()[0].Value
	}
	carried := map[string]bool{}
	for range 8 { // the order of the handles is random
		own, planted := begin("own"), begin("planted")
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, origin.String(), nil)
		r.AddCookie(&http.Cookie{Name: "__Secure-session", Value: own})
		r.AddCookie(&http.Cookie{Name: "__Secure-session", Value: planted})
		s.sessions.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			err := s.sessions.Login(w, r, newUser(), sessionhttp.Carry(func(visitor account, _ *account) error {
				carried[visitor.Name] = true
				return nil
			}))
			if err != nil {
				t.Error(err)
			}
		})).ServeHTTP(httptest.NewRecorder(), r)
	}
	if carried["planted"] {
		t.Errorf("carried: %v", carried)
	}
}

// TestSlowBodies: clients who send their forms slowly hold no connection, even in a handler
// that reads the form in the function.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	const conns = 4
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.MaxConns = conns })
	sessions := sessionhttp.New(sessioncache.New[account](pool))
	token := loginTo(t, sessions, "", newUser())
	visitor := beginFor(t, sessions, account{Name: "visitor"})
	body, done := make(chan struct{}), make(chan error, 3*conns)
	reading := make(chan struct{}, 3*conns)
	read := func(*account) error { reading <- struct{}{}; <-body; return t.Context().Err() }
	for range conns {
		for _, slow := range []struct {
			token string
			call  call
		}{
			{token, func(w http.ResponseWriter, r *http.Request) error { return sessions.Update(w, r, read) }},
			{visitor, func(w http.ResponseWriter, r *http.Request) error { return sessions.Begin(w, r, read) }},
			{"", func(w http.ResponseWriter, r *http.Request) error { return sessions.Begin(w, r, read) }},
		} {
			go func() {
				_, _, err := attempt(context.WithoutCancel(t.Context()), sessions, slow.token, slow.call)
				done <- err
			}()
		}
	}
	for range 3 * conns {
		<-reading
	}
	failed := 0
	for range 100 {
		if _, ok, err := userOf(t.Context(), sessions, token); !ok || err != nil {
			failed++
		}
	}
	if failed != 0 {
		t.Errorf("%d of 100 honest requests failed", failed)
	}
	close(body)
	for range 3 * conns {
		if err := <-done; err != nil {
			t.Errorf("after the body has come: %v", err)
		}
	}
}
