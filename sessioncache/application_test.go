package sessioncache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

// What an application does to the table, to the rows and to the server that it shares
// with the sessions.

// TestApplicationRejectsOneUser has constraints, an index and a trigger of the
// application's own reject one user among many that are stored in a batch: it fails
// alone, and its error shows neither the id nor the user.
func TestApplicationRejectsOneUser(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	t.Parallel()
	const theirs = "the-rejected-one"
	for name, rule := range map[string]string{
		"check":        `ALTER TABLE session_cache ADD CHECK (user_id <> '` + theirs + `')`,
		"unique index": `CREATE UNIQUE INDEX ON session_cache (user_id) WHERE user_id = '` + theirs + `'`,
		"trigger": `
			CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
				IF NEW.userdict ->> 'user_id' = '` + theirs + `' THEN RAISE 'not this one'; END IF;
				RETURN NEW;
			END $$;
			CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON session_cache FOR EACH ROW EXECUTE FUNCTION refuse()`,
	} {
		t.Run(name, func(t *testing.T) {
			pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.MaxConns = 2 })
			cache := sessioncache.New[raw](pool)
			user := raw(`{"user_id":"` + theirs + `"}`)
			if name == "unique index" {
				set(t, cache, user)
			}
			if _, err := pool.Exec(t.Context(), rule); err != nil {
				t.Fatal(err)
			}
			id := newID()
			var all sync.WaitGroup
			for i := range 64 {
				all.Go(func() {
					if i != 32 {
						if err := cache.Set(t.Context(), newID(), raw(`{}`)); err != nil {
							t.Error(err)
						}
						return
					}
					wantRejected(t, "Set", cache.Set(t.Context(), id, user), id, theirs)
				})
			}
			all.Wait()
			wantNone(t, cache, id)
			_, err := cache.Issue(t.Context(), user)
			wantRejected(t, "Issue", err, id, theirs)
			_, err = cache.Issue(t.Context(), user, sessioncache.MaxSessions(3))
			wantRejected(t, "Issue, limited", err, id, theirs)
		})
	}
}

// wantRejected expects ErrInvalidUser, with a cause that shows nothing of the row.
func wantRejected(t *testing.T, call string, err error, secrets ...string) {
	t.Helper()
	wantError(t, call, err, sessioncache.ErrInvalidUser)
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		t.Errorf("%s: the cause of %v is not the server's", call, err)
		return
	}
	for _, secret := range secrets {
		if text := fmt.Sprintf("%v %+v", err, *pgErr); strings.Contains(text, secret) {
			t.Errorf("%s: the error shows %s: %s", call, secret, text)
		}
	}
}

// TestRejectedUserCostsNoStatement: what PostgreSQL's json cannot hold is found before
// it is sent.
func TestRejectedUserCostsNoStatement(t *testing.T) {
	cache, pool := setup[raw](t)
	pool.Close() // whoever asks it gets ErrUnavailable
	for _, dict := range []string{
		`{"a":"\u0000"}`, `{"\u0000":1}`, `{"a":"\ud800"}`, `{"a":"\udc00"}`, `{"a":"\ud800\ud800"}`, `{"a":"\ud800x\udc00"}`,
		`{"a":"\ud800\n\udc00"}`, `{"a":"\\\u0000"}`, `{"a":"\uD834\uDD1E\udd1e"}`,
	} {
		wantError(t, "Set of "+dict, cache.Set(t.Context(), newID(), raw(dict)), sessioncache.ErrInvalidUser)
	}
	for _, dict := range []string{`{"a":"\\u0000"}`, `{"a":"\\ud800"}`, `{"a":"\uD834\uDD1E"}`, `{"a":"\u0001\n\u00e9\\"}`, `{"a":"\\\\u0000"}`} {
		wantError(t, "Set of "+dict, cache.Set(t.Context(), newID(), raw(dict)), sessioncache.ErrUnavailable)
	}
}

// TestStorableIsWhatTheServerStores compares that check with the server's own.
func TestStorableIsWhatTheServerStores(t *testing.T) {
	cache, pool := setup[raw](t)
	parts := []string{`\u0000`, `\ud834`, `\udd1e`, `\\`, `\n`, `u`, `é`, `\u00e9`, `\uDBFF`, `\uE000`}
	for i := range len(parts) * len(parts) * len(parts) {
		dict := `{"a":"` + parts[i%len(parts)] + parts[i/len(parts)%len(parts)] + parts[i/len(parts)/len(parts)] + `"}`
		var length int
		serverErr := pool.QueryRow(t.Context(), `SELECT length($1::text::json ->> 'a')`, dict).Scan(&length)
		err := cache.Set(t.Context(), newID(), raw(dict))
		if (err == nil) != (serverErr == nil) {
			t.Errorf("Set of %s: %v; the server says %v", dict, err, serverErr)
		}
	}
}

// TestLockedRowHoldsUpNobody: an extension passes over a row that somebody holds.
func TestLockedRowHoldsUpNobody(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.MaxConns = 3 })
	cache := sessioncache.New[raw](pool, sessioncache.WithIdleTimeout(time.Hour/2))
	id, other := set(t, cache, raw(`{}`)), set(t, cache, raw(`{}`))
	sessiontest.Elapse(t, pool, named(id), 20*time.Minute)
	sessiontest.Elapse(t, pool, named(other), 20*time.Minute)
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "SELECT FROM session_cache WHERE sessionid = $1::text::uuid FOR UPDATE", id); err != nil {
			return err
		}
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				for range 4 { // each would wait for the row
					if _, ok, err := cache.Get(ctx, id); err != nil || !ok {
						t.Errorf("Get of the locked session = %v, %v", ok, err)
					}
				}
				if _, ok, err := cache.Get(ctx, other); err != nil || !ok {
					t.Errorf("Get of another session = %v, %v", ok, err)
				}
			})
		}
		all.Wait()
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestThreeSetsOfOneID holds the promise of ErrConflict to what its documentation says:
// nobody is logged in once a Set has returned it, unless another one began before.
func TestThreeSetsOfOneID(t *testing.T) {
	cache, _ := setup[raw](t)
	for range 300 {
		id := newID()
		results := make([]error, 3)
		var all sync.WaitGroup
		for i := range results {
			all.Go(func() { results[i] = cache.Set(t.Context(), id, raw(fmt.Sprint(i))) })
		}
		all.Wait()
		stored, conflicts := 0, 0
		for _, err := range results {
			switch {
			case err == nil:
				stored++
			case errors.Is(err, sessioncache.ErrConflict):
				conflicts++
			default:
				t.Error(err)
			}
		}
		user, ok, err := cache.Get(t.Context(), id)
		if err != nil || stored == 0 || stored > 2 || conflicts == 0 {
			t.Errorf("of three Sets %d stored and %d in conflict; %v", stored, conflicts, err)
		}
		if ok && results[int(user[0]-'0')] != nil {
			t.Errorf("the Set of %s was refused, and its user is logged in", user)
		}
		// A Set that begins now is the next one's second.
		wantError(t, "Set after two", twice(t, cache, id), sessioncache.ErrConflict)
		wantNone(t, cache, id)
	}
}

// TestConflictInCallersTransaction: the deletion is part of the transaction, whatever
// becomes of it.
func TestConflictInCallersTransaction(t *testing.T) {
	cache, pool := setup[raw](t)
	id := set(t, cache, raw(`"first"`))
	conflict := func(tx pgx.Tx) error { return cache.WithTx(tx).Set(t.Context(), id, raw(`"second"`)) }
	wantError(t, "Set in BeginFunc", pgx.BeginFunc(t.Context(), pool, conflict), sessioncache.ErrConflict)
	wantUser(t, cache, id, `"first"`) // it has rolled back, because of the error
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		wantError(t, "Set", conflict(tx), sessioncache.ErrConflict)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	wantNone(t, cache, id)

	id = newID()
	err = pgx.BeginTxFunc(t.Context(), pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "SELECT FROM session_cache"); err != nil { // it sees the table as it is now
			return err
		}
		if err := cache.Set(t.Context(), id, raw(`"first"`)); err != nil {
			return err
		}
		return cache.WithTx(tx).Set(t.Context(), id, raw(`"second"`))
	})
	wantError(t, "Set at repeatable read", err, sessioncache.ErrUnavailable)
	wantUser(t, cache, id, `"first"`)
}

// TestReadsInCallersTransactionDoNotFailIt has a transaction that may not write read
// sessions that are to be extended, and tokens that somebody has kept.
func TestReadsInCallersTransactionDoNotFailIt(t *testing.T) {
	cache, pool := setup[raw](t, sessioncache.WithIdleTimeout(time.Hour/2))
	id := set(t, cache, raw(`{}`))
	sessiontest.Elapse(t, pool, named(id), 20*time.Minute)
	token, kept := issue(t, cache, raw(`{}`)), issue(t, cache, raw(`{}`))
	sessiontest.Elapse(t, pool, token.Handle(), 20*time.Minute)
	renew(t, cache, kept)
	sessiontest.Elapse(t, pool, kept.Handle(), time.Minute)
	for name, options := range map[string]pgx.TxOptions{
		"read only":       {AccessMode: pgx.ReadOnly},
		"repeatable read": {IsoLevel: pgx.RepeatableRead},
		"serializable":    {IsoLevel: pgx.Serializable},
	} {
		err := pgx.BeginTxFunc(t.Context(), pool, options, func(tx pgx.Tx) error {
			cache := cache.WithTx(tx)
			if _, ok, err := cache.Get(t.Context(), id); err != nil || !ok {
				t.Errorf("%s: Get = %v, %v", name, ok, err)
			}
			if _, ok, err := cache.Authenticate(t.Context(), token); err != nil || !ok {
				t.Errorf("%s: Authenticate = %v, %v", name, ok, err)
			}
			if _, ok, err := cache.Authenticate(t.Context(), kept); err != nil || ok {
				t.Errorf("%s: Authenticate with a superseded token = %v, %v", name, ok, err)
			}
			_, err := tx.Exec(t.Context(), "SELECT")
			return err
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTransactionSeesWhatWasStoredSince: a lookup goes by the time of its statement, not
// by that of the transaction's beginning.
func TestTransactionSeesWhatWasStoredSince(t *testing.T) {
	cache, pool := setup[raw](t)
	err := pgx.BeginTxFunc(t.Context(), pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "SELECT"); err != nil {
			return err
		}
		id, token := set(t, cache, raw(`"since"`)), issue(t, cache, raw(`"since"`))
		wantUser(t, cache.WithTx(tx), id, `"since"`)
		wantOpens(t, cache.WithTx(tx), token, `"since"`)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestWithoutBatching: each call runs under its own context.
func TestWithoutBatching(t *testing.T) {
	t.Parallel()
	type tenant struct{}
	var mu sync.Mutex
	seen := map[any]int{}
	pool := sessiontest.NewPool(t, func(c *pgxpool.Config) {
		c.MaxConns = 2
		c.PrepareConn = func(ctx context.Context, _ *pgx.Conn) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			seen[ctx.Value(tenant{})]++
			return true, nil
		}
	})
	cache := sessioncache.New[raw](pool, sessioncache.WithoutBatching())
	id := set(t, cache, raw(`{}`))
	clear(seen)
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			if _, ok, err := cache.Get(context.WithValue(t.Context(), tenant{}, i), id); err != nil || !ok {
				t.Errorf("Get = %v, %v", ok, err)
			}
		})
	}
	all.Wait()
	if len(seen) != 32 || cache.Metrics().GetBatches != 0 {
		t.Errorf("statements ran under the contexts of %d of 32 callers, %d in batches", len(seen), cache.Metrics().GetBatches)
	}
}

// TestOldSchemaStoresNothing: on a table that has migration 1 only, no login is
// acknowledged.
func TestOldSchemaStoresNothing(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	cache, pool := setup[raw](t)
	for _, statement := range []string{
		"DROP TABLE session_cache",
		"CREATE TABLE session_cache (sessionid varchar PRIMARY KEY, userdict varchar, session_startutc timestamptz, session_endutc timestamptz)",
	} {
		if _, err := pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	_, issued := cache.Issue(t.Context(), raw(`{}`))
	_, limited := cache.Issue(t.Context(), userOf("u"), sessioncache.MaxSessions(1))
	_, _, renewed := cache.Renew(t.Context(), sid.NewToken())
	_, updated := cache.Update(t.Context(), newID(), func(*raw) error { return nil })
	_, purged := cache.Purge(t.Context())
	for call, err := range map[string]error{
		"Set": cache.Set(t.Context(), newID(), raw(`{}`)), "Issue": issued, "Issue, limited": limited, "Renew": renewed, "Update": updated,
		"Purge": purged, "Delete": cache.Delete(t.Context(), newID()), "Revoke": cache.Revoke(t.Context(), sid.NewToken()),
	} {
		wantError(t, call, err, sessioncache.ErrUnavailable)
		if !strings.Contains(fmt.Sprint(err), "sessionctl migrate up") {
			t.Errorf("%s: %v; want it to say what to run", call, err)
		}
	}
	var rows int
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM session_cache").Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d rows, %v; want none", rows, err)
	}
}

// TestReadOnlyServer: everything that changes a session says what is wrong, and nothing
// else fails.
func TestReadOnlyServer(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	cache, pool := setup[raw](t)
	token, id := issue(t, cache, userOf(newID())), set(t, cache, raw(`{}`))
	config := pool.Config()
	config.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	readOnly, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(readOnly.Close)
	cache = sessioncache.New[raw](readOnly)
	wantUser(t, cache, id, `{}`)
	if _, ok, err := cache.Authenticate(t.Context(), token); err != nil || !ok {
		t.Errorf("Authenticate = %v, %v", ok, err)
	}
	_, issued := cache.Issue(t.Context(), raw(`{}`))
	_, _, renewed := cache.Renew(t.Context(), token)
	_, updated := cache.Update(t.Context(), id, func(*raw) error { return nil })
	_, deleted := cache.DeleteSession(t.Context(), token.Handle())
	for call, err := range map[string]error{
		"Set": cache.Set(t.Context(), newID(), raw(`{}`)), "Issue": issued, "Renew": renewed, "Update": updated,
		"Revoke": cache.Revoke(t.Context(), token), "Delete": cache.Delete(t.Context(), id), "DeleteSession": deleted,
	} {
		wantError(t, call, err, sessioncache.ErrUnavailable)
		if !strings.Contains(fmt.Sprint(err), "default_transaction_read_only") {
			t.Errorf("%s: %v; want it to say why", call, err)
		}
	}
}
