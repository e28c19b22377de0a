package queries_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

func TestSessionQueries(t *testing.T) {
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, pool *pgxpool.Pool) {
		ctx := t.Context()
		tag := sid.New().String()
		id := insert(t, q, dict(tag))
		wantDict(t, q, id, dict(tag))
		wantRows(t, "InsertSession of the same id", 0)(q.InsertSession(ctx, db.InsertSessionParams{
			SessionID: id, Audience: audience, UserDict: `{}`, TTL: hour, Lifetime: hour,
		}))
		if _, err := q.GetSession(ctx, db.GetSessionParams{SessionID: id, Audience: "another"}); !errors.Is(err, pgx.ErrNoRows) {
			t.Errorf("GetSession of another audience: %v; want no rows", err)
		}

		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			q := q.WithTx(tx)
			locked, err := q.LockSession(ctx, db.LockSessionParams{SessionID: id, Audience: audience})
			if err != nil || string(locked.UserDict) != dict(tag) || locked.UserID != tag {
				t.Errorf("LockSession = %s of %s, %v", locked.UserDict, locked.UserID, err)
			}
			userID, err := q.UpdateSession(ctx, db.UpdateSessionParams{SessionID: id, Audience: audience, UserDict: `{"x": 1}`})
			if userID != "" {
				t.Errorf("UpdateSession = %q; want no user id", userID)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		wantDict(t, q, id, `{"x": 1}`)
		for _, params := range []db.LockSessionParams{
			{SessionID: id, Audience: "another"}, {SessionID: id, Audience: audience, Secret: secret("a")}, {SessionID: sid.New(), Audience: audience},
		} {
			if _, err := q.LockSession(ctx, params); !errors.Is(err, pgx.ErrNoRows) {
				t.Errorf("LockSession of %+v: %v; want no rows", params, err)
			}
			if _, err := q.UpdateSession(ctx, db.UpdateSessionParams{
				SessionID: params.SessionID, Audience: params.Audience, Secret: params.Secret, UserDict: `{}`,
			}); !errors.Is(err, pgx.ErrNoRows) {
				t.Errorf("UpdateSession of %+v: %v; want no rows", params, err)
			}
		}

		wantRows(t, "DeleteSession of another audience", 0)(q.DeleteSession(ctx, db.DeleteSessionParams{SessionID: id, Audience: "another"}))
		wantDict(t, q, id, `{"x": 1}`)
		for _, want := range []int64{1, 0} {
			wantRows(t, "DeleteSession", want)(q.DeleteSession(ctx, db.DeleteSessionParams{SessionID: id, Audience: audience}))
		}
		wantNone(t, q, id)
	})
}

// TestTimes compares the microseconds that a lookup returns with the columns.
func TestTimes(t *testing.T) {
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, pool *pgxpool.Pool) {
		for _, id := range []sid.ID{insert(t, q, `{}`, 20*minute), issue(t, q, `{"user_id": "u"}`)} {
			got, _ := get(t, q, id)
			var created, expires, deadline, authenticated int64
			err := pool.QueryRow(t.Context(), `
				SELECT (extract(epoch FROM session_startutc) * 1000000)::bigint, (extract(epoch FROM session_endutc) * 1000000)::bigint,
				       (extract(epoch FROM session_deadlineutc) * 1000000)::bigint, coalesce((extract(epoch FROM authenticatedutc) * 1000000)::bigint, 0)
				FROM session_cache WHERE sessionid = $1::text::uuid`, id.String()).Scan(&created, &expires, &deadline, &authenticated)
			if err != nil || got.Created != created || got.Expires != expires || got.Deadline != deadline || got.Authenticated != authenticated {
				t.Errorf("%+v, %v; want %d, %d, %d, %d", got, err, created, expires, deadline, authenticated)
			}
			if age := time.Since(time.UnixMicro(created)).Abs(); age > time.Minute {
				t.Errorf("it began %s ago", age)
			}
			if got.TTL > expires-created || got.TTL < expires-created-minute {
				t.Errorf("TTL = %d; want nearly %d", got.TTL, expires-created)
			}
			sessiontest.Elapse(t, pool, id, 2*time.Hour)
			if got, ok := get(t, q, id); !ok || got.TTL >= 0 || got.TTL < -2*hour {
				t.Errorf("two hours later TTL = %d, %v; want it in the past", got.TTL, ok)
			}
			sessiontest.Elapse(t, pool, id, -4*time.Hour)
			wantNone(t, q, id) // it has not begun
		}
	})
}

func TestBatchQueries(t *testing.T) {
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, pool *pgxpool.Pool) {
		ctx := t.Context()
		tag := sid.New().String()
		taken, expired := insert(t, q, `{"was": "here"}`), insert(t, q, `{}`)
		sessiontest.Elapse(t, pool, expired, time.Hour+time.Second)
		token := issue(t, q, `{}`)
		a, b, absent := sid.New(), sid.New(), sid.New()
		idle := 20 * minute
		stored, err := q.InsertSessions(ctx, db.InsertSessionsParams{
			SessionIDs: sid.IDs{a, taken, b, a, token},
			Audience:   audience,
			UserDicts:  []string{dict(tag), `{}`, `[1, "two"]`, `{"second": "a"}`, `{}`},
			TTL:        idle, Lifetime: hour, Idle: &idle,
		})
		if err != nil || len(stored) != 2 || !slices.Contains(stored, a) || !slices.Contains(stored, b) {
			t.Errorf("InsertSessions = %v, %v; want %v and %v", stored, err, a, b)
		}

		rows, err := q.GetSessions(ctx, db.GetSessionsParams{SessionIDs: sid.IDs{b, absent, token, a, expired, taken, b}, Audience: audience})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSortedFunc(rows, func(a, b db.GetSessionsRow) int { return a.SessionID.Compare(b.SessionID) }) {
			t.Errorf("GetSessions = %v; want them in order of their ids", rows)
		}
		want := map[sid.ID]string{a: dict(tag), b: `[1, "two"]`, taken: `{"was": "here"}`, expired: `{}`, token: `{}`}
		if len(rows) != len(want) {
			t.Errorf("GetSessions = %d rows; want %d", len(rows), len(want))
		}
		for _, stored := range rows {
			row := read(t, db.GetSessionRow(stored))
			one, _ := get(t, q, row.SessionID)
			if string(row.UserDict) != want[row.SessionID] || row.Expires != one.Expires || row.Secret != one.Secret || (row.Secret == "") == (row.SessionID == token) {
				t.Errorf("GetSessions has %+v; want %s, and what GetSession returns: %+v", row, want[row.SessionID], one)
			}
		}
		for name, none := range map[string]sid.IDs{"nil": nil, "empty": {}} {
			if rows, err := q.GetSessions(ctx, db.GetSessionsParams{SessionIDs: none, Audience: audience}); err != nil || len(rows) != 0 || rows == nil {
				t.Errorf("GetSessions of %s = %v, %v; want an empty list", name, rows, err)
			}
			stored, err := q.InsertSessions(ctx, db.InsertSessionsParams{SessionIDs: none, UserDicts: []string{}, TTL: hour, Lifetime: hour})
			if err != nil || len(stored) != 0 {
				t.Errorf("InsertSessions of %s = %v, %v; want none", name, stored, err)
			}
		}
	})
}

func TestExtendSession(t *testing.T) {
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, pool *pgxpool.Pool) {
		plain := func(elapsed time.Duration, idle ...int64) sid.ID {
			id := insert(t, q, `{}`, idle...)
			sessiontest.Elapse(t, pool, id, elapsed)
			return id
		}
		token := issue(t, q, `{}`)
		if _, err := pool.Exec(t.Context(), `
			UPDATE session_cache SET session_idle = $1, session_endutc = (session_startutc AT TIME ZONE 'UTC' + interval '2 minutes') AT TIME ZONE 'UTC'
			WHERE sessionid = $2::text::uuid`, 20*minute, token.String()); err != nil {
			t.Fatal(err)
		}
		for name, test := range map[string]struct {
			id       sid.ID
			secret   []byte
			audience string
			extend   bool
			want     int64
		}{
			"fresh":                {plain(time.Minute, 20*minute), nil, audience, false, 0},
			"used":                 {plain(6*time.Minute, 20*minute), nil, audience, true, 1},
			"no timeout":           {plain(6 * time.Minute), nil, audience, false, 0},
			"at its deadline":      {plain(50*time.Minute, hour), nil, audience, false, 0},
			"of another audience":  {plain(6*time.Minute, 20*minute), nil, "another", true, 0},
			"with a token":         {token, secret("a"), audience, true, 1},
			"with another token":   {plain(6*time.Minute, 20*minute), secret("b"), audience, true, 0},
			"expired":              {plain(21*time.Minute, 20*minute), nil, audience, true, 0},
			"absent, with a token": {sid.New(), secret("a"), audience, false, 0},
		} {
			if row, ok := get(t, q, test.id); ok && row.Extend != test.extend {
				t.Errorf("%s: GetSession says extend is %v", name, row.Extend)
			}
			for _, want := range []int64{test.want, 0} {
				wantRows(t, "ExtendSession, "+name, want)(q.ExtendSession(t.Context(), db.ExtendSessionParams{
					SessionID: test.id, Audience: test.audience, Secret: test.secret,
				}))
			}
			if row, ok := get(t, q, test.id); test.want == 1 && (!ok || row.TTL < 19*minute || row.TTL > 20*minute) {
				t.Errorf("%s: TTL is %d after that", name, row.TTL)
			}
		}
	})
}

// TestLookupsAreAlike: a row of one converts to a row of the other.
func TestLookupsAreAlike(t *testing.T) {
	t.Parallel()
	statements := statements(t)
	list := func(name string) string {
		columns, _, _ := strings.Cut(statements[name], "FROM session_cache")
		return columns
	}
	if list("GetSession") != list("GetSessions") || list("GetSession") == "" {
		t.Error("GetSession and GetSessions differ in their columns")
	}
}
