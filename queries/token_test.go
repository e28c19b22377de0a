package queries_test

import (
	"encoding/hex"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

func TestTokenQueries(t *testing.T) {
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, pool *pgxpool.Pool) {
		ctx := t.Context()
		tag := sid.New().String()
		handle := issue(t, q, dict(tag))
		row, ok := get(t, q, handle)
		if !ok || row.SecretHex != hex.EncodeToString(secret("a")) || row.FamilyHex != hex.EncodeToString(secret("family")) ||
			row.Renewals != 0 || row.RenewedMicros != 0 || row.UserID != tag || row.AuthenticatedMicros != row.CreatedMicros {
			t.Errorf("GetSession = %+v, %v", row, ok)
		}

		renew := func(from, to string) (int64, error) {
			return q.RenewSession(ctx, db.RenewSessionParams{Handle: handle, Audience: audience, Secret: secret(from), NewSecret: secret(to)})
		}
		wantRows(t, "RenewSession with another secret", 0)(renew("b", "c"))
		wantRows(t, "RenewSession", 1)(renew("a", "b"))
		wantRows(t, "RenewSession with a superseded secret", 0)(renew("a", "c"))
		renewed, _ := get(t, q, handle)
		if renewed.SecretHex != hex.EncodeToString(secret("b")) || renewed.FamilyHex != row.FamilyHex || renewed.Renewals != 1 ||
			renewed.NowMicros-renewed.RenewedMicros < 0 || renewed.NowMicros-renewed.RenewedMicros > minute {
			t.Errorf("after RenewSession: %+v", renewed)
		}
		if renewed.CreatedMicros != row.CreatedMicros || renewed.ExpiresMicros != row.ExpiresMicros || renewed.DeadlineMicros != row.DeadlineMicros ||
			renewed.AuthenticatedMicros != row.AuthenticatedMicros {
			t.Errorf("RenewSession has changed the times from %+v to %+v", row, renewed)
		}

		sessiontest.Elapse(t, pool, handle, 40*time.Minute)
		wantRows(t, "ReauthenticateSession", 1)(q.ReauthenticateSession(ctx, db.ReauthenticateSessionParams{
			Handle: handle, Audience: audience, Secret: secret("b"), NewSecret: secret("c"),
		}))
		again, _ := get(t, q, handle)
		if again.DeadlineMicros-again.AuthenticatedMicros != hour || ttl(again) < 59*minute || again.CreatedMicros != row.CreatedMicros-40*minute ||
			again.RenewedMicros != again.AuthenticatedMicros || again.Renewals != 2 {
			t.Errorf("after ReauthenticateSession: %+v", again)
		}
		for want, key := range map[string][]byte{tag: secret("c"), "": secret("b")} {
			userID, err := q.LockSession(ctx, db.LockSessionParams{Handle: handle, Audience: audience, Secret: key})
			if userID != want || (err != nil) != (want == "") {
				t.Errorf("LockSession = %q, %v; want %q", userID, err, want)
			}
		}

		plain := insert(t, q, `{}`)
		for handle, want := range map[sid.ID]int64{issue(t, q, `{}`): 1, plain: 0, sid.New(): 0} {
			wantRows(t, "DeleteSessionByHandle of another audience", 0)(q.DeleteSessionByHandle(ctx, db.DeleteSessionByHandleParams{Handle: handle, Audience: "another"}))
			wantRows(t, "DeleteSessionByHandle", want)(q.DeleteSessionByHandle(ctx, db.DeleteSessionByHandleParams{Handle: handle, Audience: audience}))
		}
		wantDict(t, q, plain, `{}`)
	})
}

func TestAnonymousQueries(t *testing.T) {
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, _ *pgxpool.Pool) {
		ctx := t.Context()
		visitor, user := issue(t, q, `{}`, true), issue(t, q, `{}`)
		if row, _ := get(t, q, visitor); row.AuthenticatedMicros != 0 {
			t.Errorf("an anonymous session: %+v", row)
		}
		wantRows(t, "ReauthenticateSession of a visitor", 0)(q.ReauthenticateSession(ctx, db.ReauthenticateSessionParams{
			Handle: visitor, Audience: audience, Secret: secret("a"), NewSecret: secret("b"),
		}))
		for handle, want := range map[sid.ID]int64{visitor: 1, user: 1, sid.New(): 0} {
			wantRows(t, "RetireSession", want)(q.RetireSession(ctx, db.RetireSessionParams{
				Handle: handle, Audience: audience, Secret: secret("a"), NewSecret: secret("b"), Grace: time.Minute,
			}))
		}
		for _, handle := range []sid.ID{visitor, user} {
			row, ok := get(t, q, handle)
			if !ok || row.Renewals != 1 || ttl(row) > minute || row.DeadlineMicros != row.ExpiresMicros || row.AuthenticatedMicros != 0 || row.UserID != "" {
				t.Errorf("after RetireSession: %+v, %v", row, ok)
			}
		}
	})
}

// TestRetireUnchanged: a login that takes over a visitor's data ends the visitor's session
// only if it still holds them.
func TestRetireUnchanged(t *testing.T) {
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, _ *pgxpool.Pool) {
		visitor := issue(t, q, `{"n":  1}`, true)
		for text, want := range map[string]int64{`{"n": 1}`: 0, `{"n":  1}`: 1} {
			wantRows(t, "RetireSession of "+text, want)(q.RetireSession(t.Context(), db.RetireSessionParams{
				Handle: visitor, Audience: audience, Secret: secret("a"), NewSecret: secret("b"), Grace: time.Minute, OldUserDict: &text,
			}))
		}
	})
}

// TestRenewalsAreHOT renews sessions of a large table: PostgreSQL then has nothing to
// change in any index.
func TestRenewalsAreHOT(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	t.Parallel()
	pool := sessiontest.NewPool(t)
	q := db.New(pool)
	const rows, renewals = 100_000, 5_000
	// An ANALYZE that starts meanwhile would keep dead versions in their pages.
	if _, err := pool.Exec(t.Context(), "ALTER TABLE session_cache SET (autovacuum_enabled = off)"); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), `
		INSERT INTO session_cache (sessionid, audience, userdict, secret, family, session_startutc, session_endutc, session_deadlineutc, session_usedutc, authenticatedutc)
		SELECT md5(n::text)::uuid, '', ('{"user_id":"' || md5(n::text) || '","x":"' || repeat('x', 500) || '"}')::json, sha256('0'), sha256('0'), now(), now() + '1h', now() + '1h', now(), now()
		FROM generate_series(1, $1) AS n`, rows); err != nil {
		t.Fatal(err)
	}
	handles := make(sid.IDs, 0, rows)
	ids, err := pool.Query(t.Context(), "SELECT sessionid FROM session_cache")
	if err != nil {
		t.Fatal(err)
	}
	var id sid.ID
	if _, err := pgx.ForEachRow(ids, []any{&id}, func() error { handles = append(handles, id); return nil }); err != nil {
		t.Fatal(err)
	}
	rand.Shuffle(len(handles), func(i, j int) { handles[i], handles[j] = handles[j], handles[i] })
	for _, handle := range handles[:renewals] {
		wantRows(t, "RenewSession", 1)(q.RenewSession(t.Context(), db.RenewSessionParams{Handle: handle, Secret: secret("0"), NewSecret: secret("1")}))
	}
	pool.Reset() // a connection that ends reports what it has counted
	var updates, hot int64
	suite.Eventually(t, "all updates are counted", func() bool {
		err := pool.QueryRow(t.Context(), `
			SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'session_cache'::regclass`).Scan(&updates, &hot)
		if err != nil {
			t.Fatal(err)
		}
		return updates >= renewals
	})
	t.Logf("%.1f %% of %d renewals were HOT", 100*float64(hot)/float64(updates), updates)
	// While a transaction lasts, in any database, no page gets rid of its dead versions,
	// and 98 % are HOT.
	if hot*100 < updates*97 {
		t.Errorf("%d of %d renewals were HOT; want 97 %%", hot, updates)
	}
}
