package sessioncache_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

func TestUserSessions(t *testing.T) {
	cache, pool := setup[raw](t)
	me, other := newID(), newID()
	oldest, middle, newest := issue(t, cache, userOf(me)), issue(t, cache, userOf(me)), issue(t, cache, userOf(me))
	expired := issue(t, cache, userOf(me))
	issue(t, cache, userOf(other))
	issue(t, cache, userOf(me), sessioncache.Anonymous())
	issue(t, cache, raw(`{"nested":{"user_id":"`+me+`"}}`))
	issue(t, cache, raw(`["user_id"]`))
	set(t, cache, userOf(me))
	sessiontest.Elapse(t, pool, oldest.Handle(), 2*time.Minute)
	sessiontest.Elapse(t, pool, middle.Handle(), time.Minute)
	sessiontest.Elapse(t, pool, expired.Handle(), 2*time.Hour)
	wantSessions(t, cache, me, newest, middle, oldest)
	wantSessions(t, cache, newID())

	sessions, err := sessioncache.New[int](pool).UserSessions(t.Context(), other)
	if err != nil || len(sessions) != 1 || sessions[0].State != sessioncache.StateUnreadable || sessions[0].User != 0 {
		t.Errorf("UserSessions of a user that is no int = %+v, %v", sessions, err)
	}
}

func TestDeleteUserSessions(t *testing.T) {
	cache, pool := setup[raw](t)
	me, other := newID(), newID()
	a, here := issue(t, cache, userOf(me)), issue(t, cache, userOf(me))
	visitors := issue(t, cache, userOf(me), sessioncache.Anonymous())
	plain := set(t, cache, userOf(me))
	expired := issue(t, cache, userOf(me))
	sessiontest.Elapse(t, pool, expired.Handle(), 2*time.Hour)
	others := issue(t, cache, userOf(other))

	n, err := cache.DeleteUserSessions(t.Context(), me, here.Handle(), others.Handle())
	if err != nil || n != 2 {
		t.Errorf("DeleteUserSessions but here = %d, %v; want 2, which were live", n, err)
	}
	wantOpensNone(t, cache, a)
	wantOpens(t, cache, visitors, string(userOf(me)))
	if row := wholeRow(t, pool, expired.Handle()); row != "" {
		t.Errorf("the expired session is left: %s", row)
	}
	wantNone(t, cache, plain)
	wantSessions(t, cache, me, here)

	n, err = cache.DeleteUserSessions(t.Context(), me)
	if err != nil || n != 1 {
		t.Errorf("DeleteUserSessions = %d, %v; want 1", n, err)
	}
	wantSessions(t, cache, me)
	wantSessions(t, cache, other, others)
}

// inTransaction begins a transaction in each way that an application may, and hands a
// Cache in it to a function; then it commits.
func inTransaction(t *testing.T, pool *pgxpool.Pool, level pgx.TxIsoLevel, do func(way string, cache *sessioncache.Cache[raw])) {
	t.Helper()
	err := pgx.BeginTxFunc(t.Context(), pool, pgx.TxOptions{IsoLevel: level}, func(tx pgx.Tx) error {
		do("pgxpool.BeginTx, "+string(level), sessioncache.New[raw](pool).WithTx(tx))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = pool.AcquireFunc(t.Context(), func(conn *pgxpool.Conn) error {
		if _, err := conn.Exec(t.Context(), "BEGIN ISOLATION LEVEL "+string(level)); err != nil {
			return err
		}
		do("pgx.Conn, "+string(level), sessioncache.New[raw](conn.Conn()))
		_, err := conn.Exec(t.Context(), "COMMIT")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestIsolation refuses what a transaction with an old snapshot would miss, and
// leaves that transaction usable.
func TestIsolation(t *testing.T) {
	cache, pool := setup[raw](t)
	me := newID()
	token := issue(t, cache, userOf(me))
	unchanged := wantUnchanged(t, pool, token.Handle())
	refused := 0
	for _, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
		for range 250 {
			inTransaction(t, pool, level, func(way string, inTx *sessioncache.Cache[raw]) {
				n, err := inTx.DeleteUserSessions(t.Context(), me)
				wantError(t, way+": DeleteUserSessions", err, sessioncache.ErrIsolation)
				limited, issueErr := inTx.Issue(t.Context(), userOf(me), sessioncache.MaxSessions(1))
				wantError(t, way+": Issue", issueErr, sessioncache.ErrIsolation)
				if n == 0 && limited.IsZero() && err != nil && issueErr != nil {
					refused++
				}
				wantOpens(t, inTx, token, string(userOf(me))) // the transaction goes on
			})
		}
	}
	if refused != 1000 {
		t.Errorf("%d of 1000 were refused", refused)
	}
	unchanged("refusals")
	wantSessions(t, cache, me, token)
}

func TestReadCommittedIsNotRefused(t *testing.T) {
	cache, pool := setup[raw](t)
	for _, level := range []pgx.TxIsoLevel{pgx.ReadCommitted, pgx.ReadUncommitted} {
		me := newID()
		err := pgx.BeginTxFunc(t.Context(), pool, pgx.TxOptions{IsoLevel: level}, func(tx pgx.Tx) error {
			inTx := cache.WithTx(tx)
			issue(t, cache, userOf(me))
			limited := issue(t, inTx, userOf(me), sessioncache.MaxSessions(1))
			wantSessions(t, inTx, me, limited)
			committed := issue(t, cache, userOf(me)) // while the transaction is open
			if n, err := inTx.DeleteUserSessions(t.Context(), me, limited.Handle()); err != nil || n != 1 {
				t.Errorf("%s: DeleteUserSessions = %d, %v; want 1", level, n, err)
			}
			wantDead(t, inTx, committed)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if sessions, err := cache.UserSessions(t.Context(), me); err != nil || len(sessions) != 1 {
			t.Errorf("%s: %d sessions, %v; want the last one that was issued", level, len(sessions), err)
		}
	}
}

// TestRawTransactionStaysTheCallers: on a connection with an open transaction, what the
// Cache does is part of it, and is gone when it is rolled back. What needs a
// transaction or a savepoint of its own is refused.
func TestRawTransactionStaysTheCallers(t *testing.T) {
	cache, pool := setup[raw](t)
	ctx := t.Context()
	needsOwn := map[string]bool{"Issue, limited": true, "DeleteUserSessions": true, "Tx": true}
	for name, call := range map[string]func(inTx *sessioncache.Cache[raw], me, id string, token sid.Token) error{
		"Issue": func(inTx *sessioncache.Cache[raw], me, _ string, _ sid.Token) error {
			return second(inTx.Issue(ctx, userOf(me)))
		},
		"Issue, limited": func(inTx *sessioncache.Cache[raw], me, _ string, _ sid.Token) error {
			return second(inTx.Issue(ctx, userOf(me), sessioncache.MaxSessions(1)))
		},
		"Update": func(inTx *sessioncache.Cache[raw], _, id string, _ sid.Token) error {
			return second(inTx.Update(ctx, id, func(user *raw) error { *user = append(*user, ' '); return nil }))
		},
		"UpdateSession": func(inTx *sessioncache.Cache[raw], _, _ string, token sid.Token) error {
			return second(inTx.UpdateSession(ctx, token, func(user *raw) error { *user = append(*user, ' '); return nil }))
		},
		"Tx": func(inTx *sessioncache.Cache[raw], _, _ string, token sid.Token) error {
			return inTx.Tx(ctx, func(_ pgx.Tx, inner *sessioncache.Cache[raw]) error { return inner.Revoke(ctx, token) })
		},
		"DeleteUserSessions": func(inTx *sessioncache.Cache[raw], me, _ string, _ sid.Token) error {
			return second(inTx.DeleteUserSessions(ctx, me))
		},
	} {
		me := newID()
		token, id := issue(t, cache, userOf(me)), set(t, cache, userOf(me))
		unchanged := wantUnchanged[fmt.Stringer](t, pool, token.Handle(), named(id))
		err := pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
			if _, err := conn.Exec(ctx, "BEGIN ISOLATION LEVEL READ COMMITTED"); err != nil {
				return err
			}
			err := call(sessioncache.New[raw](conn.Conn()), me, id, token)
			if needsOwn[name] { // and would end the caller's
				wantError(t, name, err, sessioncache.ErrUnavailable)
			} else if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			_, err = conn.Exec(ctx, "ROLLBACK")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		unchanged(name + " and ROLLBACK")
		wantSessions(t, cache, me, token)
	}
}

// TestMaxSessionsRace issues sessions of one user at once, and of others meanwhile:
// the limit holds at any time that nobody is at it, and the newest is among those
// that stay.
func TestMaxSessionsRace(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	cache, pool := setupRace[raw](t)
	// The rows that went away again, too.
	if _, err := pool.Exec(t.Context(), `
		CREATE TABLE issued (sessionid uuid, user_id text, start timestamptz);
		CREATE FUNCTION note_issued() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO issued VALUES (NEW.sessionid, NEW.user_id, NEW.session_startutc);
			RETURN NULL;
		END
		$$;
		CREATE TRIGGER note_issued AFTER INSERT ON session_cache FOR EACH ROW EXECUTE FUNCTION note_issued()`); err != nil {
		t.Fatal(err)
	}
	const limit, logins = 3, 6
	rounds(200, func() {
		me := newID()
		login := func() {
			if _, err := cache.Issue(t.Context(), userOf(me), sessioncache.MaxSessions(limit)); err != nil {
				t.Errorf("Issue: %v", err)
			}
		}
		atOnce(login, login, login, login, login, login)
		sessions, err := cache.UserSessions(t.Context(), me)
		if err != nil || len(sessions) != limit {
			t.Errorf("%d sessions, %v; want %d", len(sessions), err, limit)
			return
		}
		var newest string
		var issued int
		if err := pool.QueryRow(t.Context(), `
			SELECT sessionid::text, count(*) OVER ()
			FROM issued
			WHERE user_id = $1
			ORDER BY start DESC, sessionid
			LIMIT 1`, me).Scan(&newest, &issued); err != nil || issued != logins {
			t.Errorf("%d sessions were issued, %v; want %d", issued, err, logins)
		}
		if sessions[0].Handle.String() != newest {
			t.Errorf("the newest of all, %s, is not the newest that stays, %s", newest, sessions[0].Handle)
		}
	})
}

func TestMaxSessions(t *testing.T) {
	cache, pool := setup[raw](t)
	me, other := newID(), newID()
	others := issue(t, cache, userOf(other))
	plain := set(t, cache, userOf(me))
	visitors := issue(t, cache, userOf(me), sessioncache.Anonymous())
	var tokens []sid.Token
	for i := range 4 {
		token := issue(t, cache, userOf(me))
		sessiontest.Elapse(t, pool, token.Handle(), time.Duration(10-i)*time.Minute)
		tokens = append(tokens, token)
	}
	sessiontest.Elapse(t, pool, tokens[3].Handle(), 2*time.Hour) // it does not count
	expired := wantUnchanged(t, pool, tokens[3].Handle())

	newest := issue(t, cache, userOf(me), sessioncache.MaxSessions(4))
	wantSessions(t, cache, me, newest, tokens[2], tokens[1], tokens[0])
	newer := issue(t, cache, userOf(me), sessioncache.MaxSessions(3))
	wantSessions(t, cache, me, newer, newest, tokens[2])
	last := issue(t, cache, userOf(me), sessioncache.MaxSessions(1))
	wantSessions(t, cache, me, last)
	expired("Issue with MaxSessions")
	wantUser(t, cache, plain, string(userOf(me)))
	wantOpens(t, cache, visitors, string(userOf(me)))
	wantSessions(t, cache, other, others)
}

// TestMaxSessionsOfNobody: without a user_id there is nobody to count for. Nothing is
// stored, and a caller's transaction goes on.
func TestMaxSessionsOfNobody(t *testing.T) {
	cache, pool := setup[raw](t)
	marker := newID()
	err := pgx.BeginTxFunc(t.Context(), pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		for _, cache := range []*sessioncache.Cache[raw]{cache, cache.WithTx(tx)} {
			for _, user := range []string{`{"m":%q}`, `{"m":%q,"user_id":null}`, `{"m":%q,"user_id":""}`, `[%q]`, `%q`} {
				token, err := cache.Issue(t.Context(), raw(fmt.Sprintf(user, marker)), sessioncache.MaxSessions(3))
				wantError(t, "Issue of "+user, err, sessioncache.ErrInvalidUser)
				if !token.IsZero() {
					t.Errorf("Issue of %s returns a token", user)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var stored int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM session_cache WHERE strpos(userdict::text, $1) > 0`, marker).Scan(&stored); err != nil || stored != 0 {
		t.Errorf("%d sessions are stored, %v; want none", stored, err)
	}
}
