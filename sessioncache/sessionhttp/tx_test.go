package sessionhttp_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

// failingCommits has a transaction fail when it is to be committed if it has inserted
// into the table of this name.
const failingCommits = `
	CREATE TABLE doomed (id int);
	CREATE FUNCTION doom() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'doomed'; END $$;
	CREATE CONSTRAINT TRIGGER doom AFTER INSERT ON doomed DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION doom()`

var errOfCallback = errors.New("the application's own")

// TestTxThatFails: when the transaction does not happen, nothing is stored, no cookie
// is set, nothing is reported and the request has the session that it came with.
func TestTxThatFails(t *testing.T) {
	s := setup(t, sessionhttp.WithProfile(func(a account) any { return a }))
	if _, err := s.pool.Exec(t.Context(), failingCommits); err != nil {
		t.Fatal(err)
	}
	ed, mallory := newUser(), newUser()
	loginTo(t, s.sessions, "", ed) // another device
	mine := loginTo(t, s.sessions, "", ed)
	visitor := beginFor(t, s.sessions, account{Name: "visitor"})
	fails := map[string]struct {
		finish func(r *http.Request, tx pgx.Tx, cancel context.CancelFunc) error
		want   error
	}{
		"commit": {func(r *http.Request, tx pgx.Tx, _ context.CancelFunc) error {
			_, err := tx.Exec(r.Context(), "INSERT INTO doomed VALUES (1)")
			return err
		}, sessioncache.ErrUnavailable},
		"cancelled": {func(_ *http.Request, _ pgx.Tx, cancel context.CancelFunc) error { cancel(); return nil }, sessioncache.ErrUnavailable},
		"error":     {func(*http.Request, pgx.Tx, context.CancelFunc) error { return errOfCallback }, errOfCallback},
		"failed statement": {func(r *http.Request, tx pgx.Tx, _ context.CancelFunc) error {
			_, _ = tx.Exec(r.Context(), "SELECT 1/0")
			return nil
		}, sessioncache.ErrUnavailable},
		"rolled back": {func(r *http.Request, tx pgx.Tx, _ context.CancelFunc) error { return tx.Rollback(r.Context()) }, sessioncache.ErrUnavailable},
		"panic":       {func(*http.Request, pgx.Tx, context.CancelFunc) error { panic(errOfCallback) }, errOfCallback},
	}
	changes := map[string]func(session *sessionhttp.Tx[account]) error{
		"Login": func(session *sessionhttp.Tx[account]) error {
			return session.Login(mallory, sessionhttp.Carry(func(account, *account) error { return nil }))
		},
		"Login, LogoutOthers": func(session *sessionhttp.Tx[account]) error { // which has found the new user
			if err := session.Login(mallory); err != nil {
				return err
			}
			_, err := session.LogoutOthers()
			return err
		},
		"Renew":           (*sessionhttp.Tx[account]).Renew,
		"Reauthenticated": (*sessionhttp.Tx[account]).Reauthenticated,
		"LogoutOthers":    func(session *sessionhttp.Tx[account]) error { _, err := session.LogoutOthers(); return err },
		"LogoutEverywhere": func(session *sessionhttp.Tx[account]) error {
			_, err := session.LogoutEverywhere()
			return err
		},
		"Update, Renew": func(session *sessionhttp.Tx[account]) error {
			if err := session.Update(func(a *account) error { a.Name = "changed"; return nil }); err != nil {
				return err
			}
			return session.Renew()
		},
	}
	before := dump(t, s.pool)
	for how, fail := range fails {
		for what, change := range changes {
			for whose, token := range map[string]string{"a user's": mine, "a visitor's": visitor} {
				if whose == "a visitor's" && what != "Login" && what != "Login, LogoutOthers" {
					continue
				}
				name := what + ", " + how + ", " + whose
				s.events.take()
				response := send(t.Context(), s.sessions, token, func(w http.ResponseWriter, r *http.Request) {
					ctx, cancel := context.WithCancel(r.Context())
					defer cancel()
					err := func() (err error) {
						defer func() {
							if p := recover(); p != nil {
								err = p.(error)
							}
						}()
						return s.sessions.Tx(w, r.WithContext(ctx), func(tx pgx.Tx, session *sessionhttp.Tx[account]) error {
							if err := change(session); err != nil {
								t.Errorf("%s: %v", name, err)
							}
							return fail.finish(r, tx, cancel)
						})
					}()
					want := fail.want
					if how == "commit" && (strings.HasPrefix(what, "Login") || what == "Update, Renew") {
						want = sessioncache.ErrInvalidUser // a user was stored, and a constraint is against it
					}
					if !errors.Is(err, want) || (fail.want == errOfCallback) != (err == errOfCallback) { //nolint:errorlint // as it is, and not wrapped
						t.Errorf("%s: %v; want the error %q", name, err, want)
					}
					user, ok, err := s.sessions.User(r.Context())
					if whose == "a user's" && (!ok || user != ed) || whose == "a visitor's" && (ok || err != nil) {
						t.Errorf("%s: then the user is %v, %v, %v", name, user, ok, err)
					}
					if data, ok, err := s.sessions.Visitor(r.Context()); !ok || err != nil || whose == "a visitor's" && data.Name != "visitor" {
						t.Errorf("%s: then the request has %v, %v, %v", name, data, ok, err)
					}
				})
				if _, sets := tokenSet(response); sets {
					t.Errorf("%s: Set-Cookie: %v", name, response.Header["Set-Cookie"])
				}
				if list := s.events.take(); len(list) != 0 {
					t.Errorf("%s: reported: %+v", name, list)
				}
			}
		}
	}
	if after := dump(t, s.pool); after != before {
		t.Errorf("the table was\n%s\nand is\n%s", before, after)
	}
	// A request that goes on after a failure can do all that it could before.
	token, _, err := attempt(t.Context(), s.sessions, mine, func(w http.ResponseWriter, r *http.Request) error {
		for what, change := range changes {
			if err := s.sessions.Tx(w, r, func(_ pgx.Tx, session *sessionhttp.Tx[account]) error {
				if err := change(session); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				return errOfCallback
			}); err != errOfCallback { //nolint:errorlint // as it is, and not wrapped
				t.Errorf("%s: %v", what, err)
			}
		}
		return s.sessions.Renew(w, r)
	})
	if user, ok, err2 := userOf(t.Context(), s.sessions, token); err != nil || !ok || user != ed {
		t.Errorf("Renew after failures: %v; the user is %v, %v", err, user, err2)
	}
}

// TestLoginThatFailsInTx: a login that returns an error has changed nothing, although
// the transaction goes on and is committed.
func TestLoginThatFailsInTx(t *testing.T) {
	s := setup(t)
	carryFails := sessionhttp.Carry(func(account, *account) error { return errOfCallback })
	for name, login := range map[string]func(session *sessionhttp.Tx[account]) error{
		"a user too long for the index": func(session *sessionhttp.Tx[account]) error {
			return session.Login(account{ID: strings.Repeat("u", 3000)})
		},
		"a user without an id, and a limit": func(session *sessionhttp.Tx[account]) error {
			return session.Login(account{}, sessionhttp.MaxSessions(3))
		},
		"carry": func(session *sessionhttp.Tx[account]) error { return session.Login(newUser(), carryFails) },
	} {
		ed := newUser()
		for whose, token := range map[string]string{
			"a user's":    loginTo(t, s.sessions, "", ed),
			"a visitor's": beginFor(t, s.sessions, ed),
		} {
			if name == "carry" && whose == "a user's" {
				continue // there is nothing to carry
			}
			before := dump(t, s.pool)
			_, sets, err := attempt(t.Context(), s.sessions, token, func(w http.ResponseWriter, r *http.Request) error {
				return s.sessions.Tx(w, r, func(_ pgx.Tx, session *sessionhttp.Tx[account]) error {
					if err := login(session); err == nil {
						t.Errorf("%s: no error", name)
					}
					return nil // as if it did not matter
				})
			})
			if err != nil || sets {
				t.Errorf("%s, %s: %v, Set-Cookie: %v", name, whose, err, sets)
			}
			if after := dump(t, s.pool); after != before {
				t.Errorf("%s, %s: the table was\n%s\nand is\n%s", name, whose, before, after)
			}
		}
	}
}

// TestTxNeedsOneConnection: no call of a Tx waits for another connection than its own.
func TestTxNeedsOneConnection(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		connections int32
		requests    int
	}{{1, 1}, {1, 8}, {4, 16}} {
		pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.MaxConns = test.connections })
		m := sessionhttp.New(sessioncache.New[account](pool, sessioncache.WithLifetime(24*time.Hour), sessioncache.WithIdleTimeout(time.Hour)))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var all sync.WaitGroup
		for range test.requests {
			ed := newUser()
			visitor := beginFor(t, m, account{})
			token := loginTo(t, m, "", ed)
			sessiontest.Elapse(t, pool, handleOf(t, token), 50*time.Minute) // a use extends it
			all.Go(func() {
				for range 5 {
					set, _, err := attempt(ctx, m, token, func(w http.ResponseWriter, r *http.Request) error {
						return m.Tx(w, r, func(tx pgx.Tx, session *sessionhttp.Tx[account]) error {
							_, err := tx.Exec(r.Context(), "SELECT 1")
							return errors.Join(err,
								session.Update(func(a *account) error { a.Visits++; return nil }),
								second(session.LogoutOthers()),
								session.Reauthenticated(),
								session.Login(ed, sessionhttp.MaxSessions(2)),
								session.Renew(),
								session.Update(func(a *account) error { a.Visits++; return nil }))
						})
					})
					if err != nil {
						t.Errorf("%+v: %v", test, err)
						return
					}
					token = set
				}
				for _, do := range []func(w http.ResponseWriter, r *http.Request) error{
					func(w http.ResponseWriter, r *http.Request) error { return m.Login(w, r, ed) },
					func(w http.ResponseWriter, r *http.Request) error {
						return m.Login(w, r, ed, sessionhttp.MaxSessions(2), sessionhttp.Carry(func(account, *account) error { return nil }))
					},
				} {
					if _, _, err := attempt(ctx, m, visitor, do); err != nil && !errors.Is(err, sessioncache.ErrSuperseded) {
						t.Errorf("%+v: Login: %v", test, err)
					}
				}
				if _, _, err := attempt(ctx, m, token, func(w http.ResponseWriter, r *http.Request) error {
					return m.Tx(w, r, func(_ pgx.Tx, session *sessionhttp.Tx[account]) error { return second(session.LogoutEverywhere()) })
				}); err != nil {
					t.Errorf("%+v: LogoutEverywhere: %v", test, err)
				}
			})
		}
		all.Wait()
	}
}

// TestTxIsReadCommitted, whatever the server's default: at a higher level "log out the
// others" would miss who has logged in since the transaction began.
func TestTxIsReadCommitted(t *testing.T) {
	for _, level := range []string{"serializable", "repeatable read"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			pool := sessiontest.NewPool(t, func(c *pgxpool.Config) {
				c.ConnConfig.RuntimeParams["default_transaction_isolation"] = level
			})
			m := sessionhttp.New(sessioncache.New[account](pool))
			ed := newUser()
			begin := func() (token string) {
				token, _, err := attempt(t.Context(), m, "", func(w http.ResponseWriter, r *http.Request) error {
					return m.Tx(w, r, func(_ pgx.Tx, session *sessionhttp.Tx[account]) error { return session.Login(ed) })
				})
				if err != nil {
					t.Fatal(err)
				}
				return token
			}
			token := begin()
			var other string
			_, _, err := attempt(t.Context(), m, token, func(w http.ResponseWriter, r *http.Request) error {
				return m.Tx(w, r, func(tx pgx.Tx, session *sessionhttp.Tx[account]) error {
					var is string
					if err := tx.QueryRow(r.Context(), "SELECT current_setting('transaction_isolation')").Scan(&is); err != nil || is != "read committed" {
						t.Errorf("the isolation level is %s, %v", is, err)
					}
					other = begin() // after this transaction's first statement
					n, err := session.LogoutOthers()
					if n != 1 {
						t.Errorf("LogoutOthers = %d, %v; want the login of meanwhile", n, err)
					}
					return err
				})
			})
			if err != nil {
				t.Error(err)
			}
			if _, ok, err := userOf(t.Context(), m, other); ok || err != nil {
				t.Errorf("the login of meanwhile is in: %v", err)
			}
		})
	}
}

// TestSavepoints: what a call has set is taken back when the savepoint that holds it is
// rolled back, by pgx or in SQL: the cookies are those of what is stored.
func TestSavepoints(t *testing.T) {
	s := setup(t)
	ed := newUser()
	calls := map[string]func(session *sessionhttp.Tx[account]) error{
		"Login":           func(session *sessionhttp.Tx[account]) error { return session.Login(newUser()) },
		"Renew":           (*sessionhttp.Tx[account]).Renew,
		"Reauthenticated": (*sessionhttp.Tx[account]).Reauthenticated,
		"Update": func(session *sessionhttp.Tx[account]) error {
			return session.Update(func(a *account) error { a.Name = "changed"; return nil })
		},
		"LogoutOthers":     func(session *sessionhttp.Tx[account]) error { return second(session.LogoutOthers()) },
		"LogoutEverywhere": func(session *sessionhttp.Tx[account]) error { return second(session.LogoutEverywhere()) },
	}
	inSavepoint := func(ctx context.Context, tx pgx.Tx, call func() error) error {
		savepoint, err := tx.Begin(ctx)
		if err != nil {
			return err
		}
		return errors.Join(call(), savepoint.Rollback(ctx))
	}
	inSQL := func(ctx context.Context, tx pgx.Tx, call func() error) error {
		_, err := tx.Exec(ctx, "SAVEPOINT mine")
		err = errors.Join(err, call())
		_, undone := tx.Exec(ctx, "ROLLBACK TO mine")
		return errors.Join(err, undone)
	}
	for name, call := range calls {
		for how, undo := range map[string]func(ctx context.Context, tx pgx.Tx, call func() error) error{
			"a savepoint": inSavepoint, "a nested savepoint": func(ctx context.Context, tx pgx.Tx, call func() error) error {
				return inSavepoint(ctx, tx, func() error {
					return pgx.BeginFunc(ctx, tx, func(pgx.Tx) error { return call() })
				})
			}, "SQL": inSQL,
		} {
			if how == "SQL" && (name == "Update" || name == "LogoutOthers") {
				continue // which change no session cookie
			}
			b := s.browser(t)
			b.login(t, ed)
			token := b.token()
			s.events.take()
			response := b.visit(t, func(w http.ResponseWriter, r *http.Request) {
				err := s.sessions.Tx(w, r, func(tx pgx.Tx, session *sessionhttp.Tx[account]) error {
					return undo(r.Context(), tx, func() error { return call(session) })
				})
				if err != nil {
					t.Errorf("%s in %s: %v", name, how, err)
				}
				if user, ok, err := s.sessions.User(r.Context()); !ok || err != nil || user != ed {
					t.Errorf("%s in %s: then the request's user is %v, %v, %v", name, how, user, ok, err)
				}
			})
			if set := response.Header["Set-Cookie"]; len(set) != 0 || b.token() != token {
				t.Errorf("%s in %s: Set-Cookie %q", name, how, set)
			}
			if events := s.events.take(); len(events) != 0 {
				t.Errorf("%s in %s: %v", name, how, events)
			}
			b.wantUser(t, ed)

			if how == "SQL" { // which the next call knows nothing of
				continue
			}
			// What comes after the savepoint counts.
			b.visit(t, func(w http.ResponseWriter, r *http.Request) {
				err := s.sessions.Tx(w, r, func(tx pgx.Tx, session *sessionhttp.Tx[account]) error {
					return errors.Join(undo(r.Context(), tx, func() error { return call(session) }), session.Renew())
				})
				if err != nil {
					t.Errorf("%s in %s, then Renew: %v", name, how, err)
				}
			})
			if b.token() == token {
				t.Errorf("%s in %s, then Renew: the cookie is the former one", name, how)
			}
			b.wantUser(t, ed)
		}
	}
}

// TestTxHandle: rows of the application can move from the session before a login to the one
// after it. A handle with a wrong secret names no session.
func TestTxHandle(t *testing.T) {
	s := setup(t)
	users := loginTo(t, s.sessions, "", newUser())
	for name, test := range map[string]struct {
		token string
		want  error
	}{
		"a visitor":      {beginFor(t, s.sessions, account{}), nil},
		"no cookie":      {"", sessionhttp.ErrNoCookie},
		"a wrong secret": {otherSecret(users), sessionhttp.ErrUnknownSession},
		"a user":         {users, nil},
	} {
		var before, after sid.Handle
		set, _, err := attempt(t.Context(), s.sessions, test.token, func(w http.ResponseWriter, r *http.Request) error {
			return s.sessions.Tx(w, r, func(_ pgx.Tx, session *sessionhttp.Tx[account]) (err error) {
				if before, err = session.Handle(); !errors.Is(err, test.want) {
					t.Errorf("%s: Handle = %v; want %v", name, err, test.want)
				}
				if err := session.Login(newUser()); err != nil {
					return err
				}
				after, err = session.Handle()
				return err
			})
		})
		if err != nil || after != handleOf(t, set) {
			t.Errorf("%s: after Login the handle is %s, not that of the cookie; %v", name, after, err)
		}
		var want sid.Handle
		if test.want == nil {
			want = handleOf(t, test.token)
		}
		if before != want {
			t.Errorf("%s: before Login the handle is %s; want %s", name, before, want)
		}
	}
}
