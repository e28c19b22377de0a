package schema_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/rhaptos/sessiondb/schema"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// legacyTable is the table as rhaptos2 made it.
const legacyTable = `
	CREATE TABLE session_cache (
		sessionid varchar PRIMARY KEY,
		userdict varchar,
		session_startutc timestamptz,
		session_endutc timestamptz
	)`

// setup returns a pool on a database that no migration has touched, and goose
// for it. A table that has been distributed cannot go back there: its key's type
// may not change any more.
func setup(t *testing.T) (*pgxpool.Pool, *goose.Provider) {
	t.Helper()
	t.Parallel()
	pool := sessiontest.NewPool(t)
	db := stdlib.OpenDBFromPool(pool)
	t.Cleanup(func() { _ = db.Close() })
	migrations, err := goose.NewProvider(goose.DialectPostgres, db, schema.FS)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrations.DownTo(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	return pool, migrations
}

func up(t *testing.T, migrations *goose.Provider) {
	t.Helper()
	if _, err := migrations.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func execute(t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// row is a session as text, so that rows of both schemas can be compared.
type row struct {
	id, dict, start, end string
}

func rows(t *testing.T, pool *pgxpool.Pool) map[string]row {
	t.Helper()
	result, err := pool.Query(t.Context(), `
		SELECT sessionid::text, userdict::text, session_startutc::text, session_endutc::text
		FROM session_cache`)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]row{}
	var r row
	_, err = pgx.ForEachRow(result, []any{&r.id, &r.dict, &r.start, &r.end}, func() error {
		all[r.id] = r
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestAdoptWholeTableUndistributed migrates a table of some thousand legacy rows,
// good and bad ones mixed.
func TestAdoptWholeTableUndistributed(t *testing.T) {
	pool, migrations := setup(t)
	execute(t, pool, legacyTable)

	const hour, longAgo = "now() + interval '1 hour'", "now() - interval '1 day'"
	good := []string{ // id, dict, start, end
		`'00000000-0000-0000-0000-000000000000', '{"user_id": "cnxuser:1"}', now(), ` + hour,
		`'ABCDEF00-0000-0000-0000-000000000001', '{"upper": "case"}', now(), ` + hour,
		`'abcdef00-0000-0000-0000-000000000002', '{"expired": true}', ` + longAgo + `, ` + longAgo + ` + interval '1 hour'`,
		`'abcdef00-0000-0000-0000-000000000003', ' {"white" : "space",  "kept":1.0}  ', now(), ` + hour,
		`'abcdef00-0000-0000-0000-000000000004', '{}', '2013-05-01 12:00:00.123456+02', '2013-05-01 13:00:00.123456+02'`,
		`'abcdef00-0000-0000-0000-000000000005', '{"user_id": 42}', now(), ` + hour,
		`'abcdef00-0000-0000-0000-000000000006', '42', now(), ` + hour,
		`'abcdef00-0000-0000-0000-000000000007', '["an", "array"]', now(), ` + hour,
		`'abcdef00-0000-0000-0000-000000000008', '{"escaped": "\\u0000 is no NUL"}', now(), '9999-12-31'`,
		`'abcdef00-0000-0000-0000-000000000009', '{"large": "` + strings.Repeat("☃", 100_000) + `"}', now(), ` + hour,
	}
	bad := []string{
		`'Dr. Evil', '{}', now(), ` + hour,
		`'', '{}', now(), ` + hour,
		`'gggggggg-0000-0000-0000-000000000001', '{}', now(), ` + hour,
		`'{abcdef00-0000-0000-0000-00000000001a}', '{}', now(), ` + hour,
		`'abcdef0000000000000000000000001b', '{}', now(), ` + hour,
		`'abcdef00-0000-0000-0000-00000000001c' || chr(10), '{}', now(), ` + hour,
		`'abcdef00-0000-0000-0000-000000000010', 'not JSON', now(), ` + hour,
		`'abcdef00-0000-0000-0000-000000000011', '', now(), ` + hour,
		`'abcdef00-0000-0000-0000-000000000012', '{''python'': ''repr''}', now(), ` + hour,
		`'abcdef00-0000-0000-0000-000000000013', NULL, now(), ` + hour,
		`'abcdef00-0000-0000-0000-000000000014', '{}', NULL, ` + hour,
		`'abcdef00-0000-0000-0000-000000000015', '{}', now(), NULL`,
		`'abcdef00-0000-0000-0000-000000000016', '{}', NULL, NULL`,
		`'abcdef00-0000-0000-0000-000000000017', '{"a": "\u0000"}', now(), ` + hour,
		`'abcdef00-0000-0000-0000-000000000018', '{"user_id": "\u0000"}', now(), ` + hour,
		`'abcdef00-0000-0000-0000-000000000019', '{"\u0000": 1}', now(), ` + hour,
		`'abcdef00-0000-0000-0000-00000000001d', '{"a": "\ud800"}', now(), ` + hour,
		`'abcdef00-0000-0000-0000-00000000001e', '{}', now(), now()`,
		`'abcdef00-0000-0000-0000-00000000001f', '{}', ` + hour + `, now()`,
		`'abcdef00-0000-0000-0000-000000000023', '{}', now(), 'infinity'`,
		`'abcdef00-0000-0000-0000-000000000024', '{}', '-infinity', now()`,
		`'abcdef00-0000-0000-0000-000000000020', repeat('[', 50000) || repeat(']', 50000), now(), ` + hour,
		`'abcdef00-0000-0000-0000-000000000021', '{"user_id": "` + strings.Repeat("0123456789abcdefghij", 1000) + `"}', now(), ` + hour,
		// Ids that are one id in two cases: nobody can tell whose it is.
		`'abcdef00-0000-0000-0000-000000000022', '{"twin": 1}', now(), ` + hour,
		`'ABCDEF00-0000-0000-0000-000000000022', '{"twin": 2}', now(), ` + hour,
	}
	execute(t, pool, `INSERT INTO session_cache VALUES (`+strings.Join(good, "), (")+`)`)
	execute(t, pool, `
		INSERT INTO session_cache
		SELECT gen_random_uuid(), '{"user_id": "cnxuser:' || n % 100 || '"}', now(), now() + n * interval '1 second'
		FROM generate_series(1, 3000) AS n`)
	want := map[string]row{}
	for id, r := range rows(t, pool) {
		r.id = strings.ToLower(id)
		want[r.id] = r
	}
	execute(t, pool, `INSERT INTO session_cache VALUES (`+strings.Join(bad, "), (")+`)`)
	execute(t, pool, `
		INSERT INTO session_cache
		SELECT gen_random_uuid(), '{"cut": "off', now(), now() + interval '1 hour' FROM generate_series(1, 1000)`)

	up(t, migrations)
	got := rows(t, pool)
	for id, r := range want {
		if got[id] != r {
			t.Errorf("%s was lost or changed: %.100v; want %.100v", id, got[id], r)
		}
	}
	for id, r := range got {
		if _, ok := want[id]; !ok {
			t.Errorf("%s cannot be a session and was kept: %.100v", id, r)
		}
	}

	// The user's id is a column now.
	var n int
	err := pool.QueryRow(t.Context(), `SELECT count(*) FROM session_cache WHERE user_id = 'cnxuser:1' OR user_id = '42'`).Scan(&n)
	if err != nil || n != 32 {
		t.Errorf("%d sessions have these user ids, %v; want 32", n, err)
	}

	// Down brings the columns back, with every row as it is now; up again takes
	// them all.
	if _, err := migrations.DownTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	var column string
	err = pool.QueryRow(t.Context(), `
		SELECT string_agg(format('%s %s %s %s', column_name, data_type, is_nullable, column_default), ', ' ORDER BY ordinal_position)
		FROM information_schema.columns
		WHERE table_name = 'session_cache' AND table_schema = current_schema()`).Scan(&column)
	const untyped = "sessionid character varying NO , userdict character varying YES , " +
		"session_startutc timestamp with time zone YES , session_endutc timestamp with time zone YES "
	if err != nil || column != untyped {
		t.Errorf("after down the columns are %q, %v; want %q", column, err, untyped)
	}
	if n := len(rows(t, pool)); n != len(want) {
		t.Errorf("after down there are %d rows; want %d", n, len(want))
	}
	up(t, migrations)
	if n := len(rows(t, pool)); n != len(want) {
		t.Errorf("after down and up there are %d rows; want %d", n, len(want))
	}
}

func TestTyped(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t)
	session := "'" + sid.New().String() + `', '{}', now(), now() + interval '1 hour'`
	execute(t, pool, `INSERT INTO session_cache VALUES (`+session+`)`)
	for refusal, values := range map[string]string{
		"":                               `NULL, '{}', now(), now() + interval '1 hour'`, // of the key: Citus has words of its own for it
		"session_cache_pkey":             session,
		"session_cache_ends_after_start": `gen_random_uuid(), '{}', now(), now()`,
		"session_cache_times_are_finite": `gen_random_uuid(), '{}', now(), 'infinity'`,
		`"userdict"`:                     `gen_random_uuid(), NULL, now(), now() + interval '1 hour'`,
		`"session_startutc"`:             `gen_random_uuid(), '{}', NULL, now() + interval '1 hour'`,
		`"session_endutc"`:               `gen_random_uuid(), '{}', now(), NULL`,
		"type json":                      `gen_random_uuid(), 'no JSON', now(), now() + interval '1 hour'`,
		"type uuid":                      `'no UUID', '{}', now(), now() + interval '1 hour'`,
	} {
		_, err := pool.Exec(t.Context(), `INSERT INTO session_cache VALUES (`+values+`)`)
		if err == nil || !strings.Contains(err.Error(), refusal) {
			t.Errorf("inserting %s: %v; want it refused for %s", values, err, refusal)
		}
	}
	id := sid.New().String()
	execute(t, pool, `
		INSERT INTO session_cache (sessionid, userdict, session_endutc)
		VALUES ('`+id+`', '{}', now() + interval '1 hour')`)
	var start time.Time
	if err := pool.QueryRow(t.Context(), `SELECT session_startutc FROM session_cache WHERE sessionid = $1`, id).Scan(&start); err != nil || start.IsZero() {
		t.Errorf("the start is %v, %v; want now() by default", start, err)
	}
}

func TestEveryColumnIsCommented(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t)
	var missing sql.NullString
	err := pool.QueryRow(context.Background(), `
		SELECT string_agg(attname, ', ')
		FROM pg_attribute
		WHERE attrelid = 'session_cache'::regclass AND attnum > 0 AND NOT attisdropped
		  AND col_description(attrelid, attnum) IS NULL`).Scan(&missing)
	if err != nil || missing.Valid {
		t.Error(fmt.Sprint("columns without a comment: ", missing.String, err))
	}
}
