package sessionhttp_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// fault breaks one message between a pool and its server.
type fault struct {
	kind string // of faultKinds

	mu       sync.Mutex
	left     int // messages until then; not armed if negative
	happened bool
	cancel   context.CancelFunc // of the request
}

// faultKinds are where a connection breaks: before a message of the client, after it, or in
// the middle of an answer. Or the client goes away then.
var faultKinds = []string{"before", "after", "answer", "cancel"}

func (f *fault) arm(n int, cancel context.CancelFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.happened, f.cancel = n, false, cancel
}

// disarm reports whether the fault has happened.
func (f *fault) disarm() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = -1
	return f.happened
}

// now counts a message, and reports whether it is the one.
func (f *fault) now() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left--
	if f.left != 0 {
		return false
	}
	f.happened = true
	if f.kind == "cancel" {
		f.cancel()
	}
	return true
}

func (f *fault) configure(c *pgxpool.Config) {
	c.MaxConns = 2
	dial := c.ConnConfig.DialFunc
	c.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return faultyConn{conn, f}, err
	}
}

type faultyConn struct {
	net.Conn
	fault *fault
}

func (c faultyConn) Write(message []byte) (int, error) {
	if c.fault.kind == "answer" || !c.fault.now() || c.fault.kind == "cancel" {
		return c.Conn.Write(message)
	}
	n := 0
	if c.fault.kind == "after" {
		n, _ = c.Conn.Write(message)
	}
	_ = c.Close()
	return n, net.ErrClosed
}

func (c faultyConn) Read(answer []byte) (int, error) {
	n, err := c.Conn.Read(answer)
	if c.fault.kind == "answer" && c.fault.now() {
		_ = c.Close()
		return n / 2, net.ErrClosed
	}
	return n, err
}

// TestFaults breaks every message of every change once. No browser gets a cookie without a
// session, a login or a logout that returns nil has happened, and a cookie is removed only
// if its session has ended.
func TestFaults(t *testing.T) {
	type visit struct { // a request, and what it may need to know
		sessions *sessionhttp.Manager[account]
		w        http.ResponseWriter
		r        *http.Request
		me       account
		other    string // the token of another session of the user
	}
	manager := func(pool *pgxpool.Pool) *sessionhttp.Manager[account] {
		return sessionhttp.New(sessioncache.New[account](pool))
	}
	var faults atomic.Int64
	t.Cleanup(func() { t.Logf("%d faults", faults.Load()) })
	const (
		nobody = iota // whose request it is
		user
		visitor
	)
	const (
		same    = iota // the session stays
		renewed        // it has a new token, in the cookie
		ended
	)
	for name, change := range map[string]struct {
		as          int
		do          func(v visit) error
		here, other int // what becomes of the request's session, and of the user's other one
	}{
		"Login":       {nobody, func(v visit) error { return v.sessions.Login(v.w, v.r, v.me) }, renewed, same},
		"Login again": {user, func(v visit) error { return v.sessions.Login(v.w, v.r, v.me, sessionhttp.MaxSessions(1)) }, renewed, ended},
		"Login of a visitor": {visitor, func(v visit) error {
			return v.sessions.Login(v.w, v.r, v.me, sessionhttp.Carry(func(visitor account, user *account) error {
				user.Name = visitor.Name
				return nil
			}))
		}, renewed, same},
		"Login in Tx": {
			user,
			func(v visit) error {
				return v.sessions.Tx(v.w, v.r, func(tx pgx.Tx, session *sessionhttp.Tx[account]) error {
					if _, err := tx.Exec(v.r.Context(), "SELECT"); err != nil {
						return err
					}
					return session.Login(v.me)
				})
			}, renewed, same,
		},
		"Begin": {nobody, func(v visit) error {
			return v.sessions.Begin(v.w, v.r, func(visitor *account) error { visitor.Name = "new"; return nil })
		}, renewed, same},
		"Begin again": {visitor, func(v visit) error {
			return v.sessions.Begin(v.w, v.r, func(visitor *account) error { visitor.Name += "!"; return nil })
		}, same, same},
		"Update": {user, func(v visit) error {
			return v.sessions.Update(v.w, v.r, func(user *account) error { user.Name += "!"; return nil })
		}, same, same},
		"Renew":            {user, func(v visit) error { return v.sessions.Renew(v.w, v.r) }, renewed, same},
		"Reauthenticated":  {user, func(v visit) error { return v.sessions.Reauthenticated(v.w, v.r) }, renewed, same},
		"Logout":           {user, func(v visit) error { return v.sessions.Logout(v.w, v.r) }, ended, same},
		"LogoutEverywhere": {user, func(v visit) error { return second(v.sessions.LogoutEverywhere(v.w, v.r)) }, ended, ended},
		"LogoutOthers":     {user, func(v visit) error { return second(v.sessions.LogoutOthers(v.r)) }, same, ended},
		"LogoutSession":    {user, func(v visit) error { return v.sessions.LogoutSession(v.w, v.r, handleOf(t, v.other).String()) }, same, ended},
		"LogoutOthers and Reauthenticated in Tx": {
			user,
			func(v visit) error {
				return v.sessions.Tx(v.w, v.r, func(_ pgx.Tx, session *sessionhttp.Tx[account]) error {
					return errors.Join(second(session.LogoutOthers()), session.Reauthenticated())
				})
			}, renewed, ended,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := sessiontest.NewPool(t)
			clean := manager(pool)
			live := func(token string) bool {
				t.Helper()
				_, ok, err := visitorOf(t.Context(), clean, token)
				if err != nil && !errors.Is(err, sessioncache.ErrSuperseded) {
					t.Error(err)
				}
				return ok
			}
			inParallel(len(faultKinds), func(i int) {
				f := &fault{kind: faultKinds[i-1], left: -1}
				config := pool.Config()
				f.configure(config)
				faulty, err := pgxpool.NewWithConfig(t.Context(), config)
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(faulty.Close)
				broken := manager(faulty)
				n := 0
				for happened := true; happened; {
					n++
					me := newUser()
					other, token := loginTo(t, clean, "", me), ""
					switch change.as {
					case user:
						token = loginTo(t, clean, "", me)
					case visitor:
						token = beginFor(t, clean, account{Name: "visitor"})
					}
					ctx, cancel := context.WithCancel(t.Context())
					f.arm(n, cancel)
					set, sets, err := attempt(ctx, broken, token, func(w http.ResponseWriter, r *http.Request) error {
						return change.do(visit{broken, w, r, me, other})
					})
					happened = f.disarm()
					cancel()

					problem := ""
					switch {
					case set != "" && !live(set):
						problem = "a cookie without a session"
					case sets && set == "" && token != "" && live(token):
						problem = "no cookie, though the session is live"
					case err != nil && !happened:
						problem = "an error without a fault"
					case err != nil:
					case change.here == renewed && (set == "" || token != "" && live(token)),
						change.here == ended && live(token), change.here == same && !live(token):
						problem = "nil, and the request's session is not as it says"
					case (change.other == ended) == live(other):
						problem = "nil, and the other session is not as it says"
					}
					if problem != "" {
						t.Errorf("%s, message %d: %s: %v", f.kind, n, problem, err)
					}
				}
				if n < 2 {
					t.Errorf("%s: no message was broken", f.kind)
				}
				faults.Add(int64(n - 1))
			})
		})
	}
}
