package queries_test

import (
	"encoding/hex"
	"errors"
	"reflect"
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
	inEveryMode(t, func(t *testing.T, q *db.Queries, _ *pgxpool.Pool) {
		ctx := t.Context()
		tag := sid.New().String()
		id := insert(t, q, dict(tag))
		wantDict(t, q, id, dict(tag))
		if n, err := q.InsertSession(ctx, db.InsertSessionParams{
			SessionID: id, Audience: audience, UserDict: `{}`, Lifetime: time.Hour,
		}); n != 0 || err != nil {
			t.Errorf("InsertSession of the same id = %d, %v; want none", n, err)
		}
		if _, err := q.GetSession(ctx, db.GetSessionParams{SessionID: id, Audience: "another"}); !errors.Is(err, pgx.ErrNoRows) {
			t.Errorf("GetSession of another audience: %v; want no rows", err)
		}

		update := func(params db.UpdateSessionParams) (same bool, err error) {
			if params.UserDict == "" {
				params.UserDict = `{"x": 1, "user_id": "` + tag + `"}`
			}
			return q.UpdateSession(ctx, params)
		}
		for name, params := range map[string]db.UpdateSessionParams{
			"another audience": {SessionID: id, Audience: "another", OldUserDict: dict(tag)},
			"a token":          {SessionID: id, Audience: audience, Secret: secret("a"), OldUserDict: dict(tag)},
			"an absent id":     {SessionID: sid.New(), Audience: audience, OldUserDict: dict(tag)},
			"another text":     {SessionID: id, Audience: audience, OldUserDict: dict(tag) + " "},
		} {
			if _, err := update(params); !errors.Is(err, pgx.ErrNoRows) {
				t.Errorf("UpdateSession of %s: %v; want no rows", name, err)
			}
		}
		for _, user := range []string{`{}`, `{"user_id": null}`, `{"user_id": "another"}`, `[]`} {
			same, err := update(db.UpdateSessionParams{SessionID: id, Audience: audience, OldUserDict: dict(tag), UserDict: user})
			if err != nil || same {
				t.Errorf("UpdateSession to %s = %v, %v; want it refused", user, same, err)
			}
		}
		wantDict(t, q, id, dict(tag))
		same, err := update(db.UpdateSessionParams{SessionID: id, Audience: audience, OldUserDict: dict(tag)})
		if err != nil || !same {
			t.Errorf("UpdateSession = %v, %v", same, err)
		}
		wantDict(t, q, id, `{"x": 1, "user_id": "`+tag+`"}`)

		wantRows(t, "DeleteSession of another audience", 0)(q.DeleteSession(ctx, db.DeleteSessionParams{SessionID: id, Audience: "another"}))
		wantDict(t, q, id, `{"x": 1, "user_id": "`+tag+`"}`)
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
		for _, id := range []sid.ID{insert(t, q, `{}`, 20*time.Minute), issue(t, q, `{"user_id": "u"}`)} {
			got, _ := get(t, q, id)
			var created, expires, deadline, authenticated int64
			err := pool.QueryRow(t.Context(), `
				SELECT (extract(epoch FROM session_startutc) * 1000000)::bigint, (extract(epoch FROM session_endutc) * 1000000)::bigint,
				       (extract(epoch FROM session_deadlineutc) * 1000000)::bigint, coalesce((extract(epoch FROM authenticatedutc) * 1000000)::bigint, 0)
				FROM session_cache WHERE sessionid = $1::text::uuid`, id.String()).Scan(&created, &expires, &deadline, &authenticated)
			if err != nil || got.CreatedMicros != created || got.ExpiresMicros != expires || got.DeadlineMicros != deadline || got.AuthenticatedMicros != authenticated || got.UsedMicros != created {
				t.Errorf("%+v, %v; want %d, %d, %d, %d", got, err, created, expires, deadline, authenticated)
			}
			if age := time.Since(time.UnixMicro(created)).Abs(); age > time.Minute {
				t.Errorf("it began %s ago", age)
			}
			if ttl(got) > expires-created || ttl(got) < expires-created-minute {
				t.Errorf("TTL = %d; want nearly %d", ttl(got), expires-created)
			}
			sessiontest.Elapse(t, pool, id, 2*time.Hour)
			if got, ok := get(t, q, id); !ok || ttl(got) >= 0 || ttl(got) < -2*hour {
				t.Errorf("two hours later TTL = %d, %v; want it in the past", ttl(got), ok)
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
		withToken := sid.New()
		stored, err := q.InsertSessions(ctx, db.InsertSessionsParams{
			Audience:     audience,
			SessionIDs:   sid.IDs{a, taken, b, a, token, withToken},
			Secrets:      [][]byte{nil, nil, nil, nil, nil, secret("a")},
			Families:     [][]byte{nil, nil, nil, nil, nil, secret("family")},
			UserDicts:    []string{dict(tag), `{}`, `[1, "two"]`, `{"second": "a"}`, `{}`, `{"user_id": "u"}`},
			Lifetimes:    []time.Duration{time.Hour, time.Hour, 2 * time.Hour, time.Hour, time.Hour, 30 * time.Minute},
			IdleTimeouts: []time.Duration{20 * time.Minute, 0, 0, 0, 0, 3 * time.Hour},
			Anonymous:    []bool{false, false, false, false, false, true},
			Remembered:   []bool{false, false, false, false, false, true},
			Devices:      []string{"", "", "", "", "", `"{a,b} ß`},
		})
		if err != nil || len(stored) != 3 || !slices.Contains(stored, a) || !slices.Contains(stored, b) || !slices.Contains(stored, withToken) {
			t.Errorf("InsertSessions = %v, %v; want %v, %v and %v", stored, err, a, b, withToken)
		}
		if row, _ := get(t, q, withToken); row.SecretHex != hex.EncodeToString(secret("a")) || row.FamilyHex != hex.EncodeToString(secret("family")) ||
			row.AuthenticatedMicros != 0 || !row.Remembered || row.Device != `"{a,b} ß` || row.UserID != "" ||
			row.ExpiresMicros != row.DeadlineMicros || row.DeadlineMicros-row.CreatedMicros != hour/2 || row.IdleMicros != 3*hour {
			t.Errorf("InsertSessions has stored %+v", row)
		}
		if row, _ := get(t, q, a); row.IdleMicros != 20*minute || row.ExpiresMicros-row.CreatedMicros != 20*minute || row.DeadlineMicros-row.CreatedMicros != hour {
			t.Errorf("InsertSessions has stored %+v", row)
		}

		rows, err := q.GetSessions(ctx, db.GetSessionsParams{SessionIDs: sid.IDs{b, absent, token, a, expired, taken, b}, Audience: audience})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSortedFunc(rows, func(a, b *db.GetSessionsRow) int { return a.SessionID.Compare(b.SessionID) }) {
			t.Errorf("GetSessions = %v; want them in order of their ids", rows)
		}
		want := map[sid.ID]string{a: dict(tag), b: `[1, "two"]`, taken: `{"was": "here"}`, expired: `{}`, token: `{}`}
		if len(rows) != len(want) {
			t.Errorf("GetSessions = %d rows; want %d", len(rows), len(want))
		}
		for _, stored := range rows {
			row := db.GetSessionRow(*stored)
			one, _ := get(t, q, row.SessionID)
			row.NowMicros = one.NowMicros
			if string(row.UserDict) != want[row.SessionID] || !reflect.DeepEqual(row, *one) || (row.SecretHex == "") == (row.SessionID == token) {
				t.Errorf("GetSessions has %+v; want %s, and what GetSession returns: %+v", row, want[row.SessionID], one)
			}
		}
		for name, none := range map[string]sid.IDs{"nil": nil, "empty": {}} {
			if rows, err := q.GetSessions(ctx, db.GetSessionsParams{SessionIDs: none, Audience: audience}); err != nil || len(rows) != 0 || rows == nil {
				t.Errorf("GetSessions of %s = %v, %v; want an empty list", name, rows, err)
			}
			stored, err := q.InsertSessions(ctx, db.InsertSessionsParams{SessionIDs: none, UserDicts: []string{}})
			if err != nil || len(stored) != 0 {
				t.Errorf("InsertSessions of %s = %v, %v; want none", name, stored, err)
			}
		}
	})
}

func TestExtendSession(t *testing.T) {
	t.Parallel()
	inEveryMode(t, func(t *testing.T, q *db.Queries, pool *pgxpool.Pool) {
		plain := func(elapsed time.Duration, idle ...time.Duration) sid.ID {
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
			want     int64
		}{
			"fresh":                {plain(time.Minute, 20*time.Minute), nil, audience, 0},
			"used":                 {plain(6*time.Minute, 20*time.Minute), nil, audience, 1},
			"no timeout":           {plain(6 * time.Minute), nil, audience, 0},
			"at its deadline":      {plain(50*time.Minute, time.Hour), nil, audience, 0},
			"of another audience":  {plain(6*time.Minute, 20*time.Minute), nil, "another", 0},
			"with a token":         {token, secret("a"), audience, 1},
			"with another token":   {plain(6*time.Minute, 20*time.Minute), secret("b"), audience, 0},
			"expired":              {plain(21*time.Minute, 20*time.Minute), nil, audience, 0},
			"absent, with a token": {sid.New(), secret("a"), audience, 0},
		} {
			before, _ := get(t, q, test.id)
			for _, want := range []int64{test.want, 0} {
				wantRows(t, "ExtendSession, "+name, want)(q.ExtendSession(t.Context(), db.ExtendSessionParams{
					SessionID: test.id, Audience: test.audience, Secret: test.secret,
				}))
			}
			row, ok := get(t, q, test.id)
			if test.want == 1 && (!ok || ttl(row) < 19*minute || ttl(row) > 20*minute || row.NowMicros-row.UsedMicros > minute) {
				t.Errorf("%s: %+v after that", name, row)
			}
			if test.want == 0 && (row.UsedMicros != before.UsedMicros || row.ExpiresMicros != before.ExpiresMicros) {
				t.Errorf("%s: %+v became %+v", name, before, row)
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
	for _, name := range []string{"GetSessions", "ListUserSessions"} {
		if list("GetSession") != list(name) || list("GetSession") == "" {
			t.Errorf("GetSession and %s differ in their columns", name)
		}
	}
}
