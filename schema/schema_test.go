package schema_test

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

// legacyTable is the table as rhaptos2 made it.
const legacyTable = `
	CREATE TABLE session_cache (
		sessionid varchar PRIMARY KEY,
		userdict varchar,
		session_startutc timestamptz,
		session_endutc timestamptz
	)`

// TestAdopt migrates a table of some thousand legacy rows, good and bad ones mixed.
func TestAdopt(t *testing.T) {
	var dropped int
	pool, migrations := setup(t, func(c *pgxpool.Config) {
		c.ConnConfig.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
			var n int
			if _, err := fmt.Sscanf(notice.Message, "session_cache: %d rows dropped", &n); err == nil {
				dropped += n
			}
		}
	})
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
		`'abcdef00-0000-0000-0000-000000000009', '{"large": "` + strings.Repeat("é", 150_000) + `"}', now(), ` + hour,
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
	if dropped != len(bad)+1000 {
		t.Errorf("the notices say that %d rows were dropped; want %d", dropped, len(bad)+1000)
	}
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

	// Its end is its deadline, and none has a token.
	var odd int
	err := pool.QueryRow(t.Context(), `
		SELECT count(*) FROM session_cache
		WHERE session_deadlineutc <> session_endutc OR audience <> '' OR secret IS NOT NULL OR session_idle IS NOT NULL OR session_usedutc <> session_startutc`).Scan(&odd)
	if err != nil || odd != 0 {
		t.Errorf("%d legacy sessions are no plain ones, %v", odd, err)
	}

	// The user's id is a column now.
	var n int
	err = pool.QueryRow(t.Context(), `SELECT count(*) FROM session_cache WHERE user_id = 'cnxuser:1' OR user_id = '42'`).Scan(&n)
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
	// A row that is right, but for the columns that a test gives other values.
	insert := func(values map[string]string) error {
		row := map[string]string{
			"sessionid": "gen_random_uuid()", "userdict": "'{}'", "session_startutc": "now()",
			"session_endutc": "now() + interval '1 hour'", "session_deadlineutc": "now() + interval '2 hours'",
		}
		maps.Copy(row, values)
		columns := slices.Sorted(maps.Keys(row))
		list := make([]string, len(columns))
		for i, column := range columns {
			list[i] = row[column]
		}
		_, err := pool.Exec(t.Context(), "INSERT INTO session_cache ("+strings.Join(columns, ", ")+") VALUES ("+strings.Join(list, ", ")+")")
		return err
	}
	id := "'" + sid.New().String() + "'"
	const digest = "sha256('a')"
	for name, values := range map[string]map[string]string{
		"plain":                {"sessionid": id},
		"idle":                 {"session_idle": "1"},
		"token":                {"secret": digest, "family": digest, "authenticatedutc": "now()"},
		"renewed":              {"secret": digest, "family": digest, "renewals": "1", "renewedutc": "now()"},
		"remembered":           {"secret": digest, "family": digest, "remembered": "true", "device": "repeat(chr(223), 200)"},
		"long user id":         {"userdict": `('{"user_id":"' || repeat('x', 2600) || '"}')::json`},
		"ends at the deadline": {"session_endutc": "now() + interval '2 hours'"},
	} {
		if err := insert(values); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, refused := range []struct {
		says   string
		values map[string]string
	}{
		{"", map[string]string{"sessionid": "NULL"}}, // Citus has words of its own for it
		{"session_cache_pkey", map[string]string{"sessionid": id}},
		{"session_cache_ends_after_start", map[string]string{"session_endutc": "now()"}},
		{"session_cache_ends_by_deadline", map[string]string{"session_deadlineutc": "now()"}},
		{"session_cache_times_are_finite", map[string]string{"session_deadlineutc": "'infinity'"}},
		{"session_cache_times_are_finite", map[string]string{"session_startutc": "'-infinity'"}},
		{"session_cache_user_id_fits_index", map[string]string{"userdict": `('{"user_id":"' || repeat('x', 2601) || '"}')::json`}},
		{"session_cache_idle_is_positive", map[string]string{"session_idle": "0"}},
		{"session_cache_secrets_are_digests", map[string]string{"secret": "'short'", "family": digest}},
		{"session_cache_secrets_are_digests", map[string]string{"secret": digest, "family": "'short'"}},
		{"session_cache_secret_has_a_family", map[string]string{"secret": digest}},
		{"session_cache_secret_has_a_family", map[string]string{"family": digest}},
		{"session_cache_times_are_finite", map[string]string{"session_usedutc": "'infinity'"}},
		{"session_cache_plain_has_no_token", map[string]string{"authenticatedutc": "now()"}},
		{"session_cache_plain_has_no_token", map[string]string{"renewals": "1", "renewedutc": "now()"}},
		{"session_cache_plain_has_no_token", map[string]string{"remembered": "true"}},
		{"session_cache_plain_has_no_token", map[string]string{"device": "'phone'"}},
		{"session_cache_renewals_have_a_time", map[string]string{"secret": digest, "family": digest, "renewals": "1"}},
		{"session_cache_renewals_have_a_time", map[string]string{"secret": digest, "family": digest, "renewedutc": "now()"}},
		{"session_cache_renewals_have_a_time", map[string]string{"secret": digest, "family": digest, "renewals": "-1", "renewedutc": "now()"}},
		{"session_cache_device_is_short", map[string]string{"secret": digest, "family": digest, "device": "repeat('x', 201)"}},
		{"session_cache_device_is_short", map[string]string{"secret": digest, "family": digest, "device": "''"}},
		{`"userdict"`, map[string]string{"userdict": "NULL"}},
		{`"session_startutc"`, map[string]string{"session_startutc": "NULL"}},
		{`"session_endutc"`, map[string]string{"session_endutc": "NULL"}},
		{`"session_deadlineutc"`, map[string]string{"session_deadlineutc": "NULL"}},
		{`"audience"`, map[string]string{"audience": "NULL"}},
		{"type json", map[string]string{"userdict": "'no JSON'"}},
		{"type uuid", map[string]string{"sessionid": "'no UUID'"}},
	} {
		if err := insert(refused.values); err == nil || !strings.Contains(err.Error(), refused.says) {
			t.Errorf("inserting %s: %v; want it refused for %s", refused.values, err, refused.says)
		}
	}
}

// TestDownEndsTokens: without the column secret, the handle of a session with a token
// would be its key.
func TestDownEndsTokens(t *testing.T) {
	pool, migrations := setup(t)
	up(t, migrations)
	plain, handle := sid.New().String(), sid.New().String()
	execute(t, pool, `
		INSERT INTO session_cache (sessionid, userdict, session_startutc, session_endutc, session_deadlineutc, secret, family)
		VALUES ('`+plain+`', '{}', now(), now() + interval '1 hour', now() + interval '1 hour', NULL, NULL),
		       ('`+handle+`', '{}', now(), now() + interval '1 hour', now() + interval '1 hour', sha256('a'), sha256('b'))`)
	if _, err := migrations.DownTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	rows := rows(t, pool)
	if _, ok := rows[plain]; !ok || len(rows) != 1 {
		t.Errorf("after down there are %v; want the plain session alone", rows)
	}
}

// TestDownAndUp compares the table before and after it went down and up: its columns,
// constraints, indexes, storage parameters and comments.
func TestDownAndUp(t *testing.T) {
	pool, migrations := setup(t)
	describe := func() (description string) {
		t.Helper()
		err := pool.QueryRow(t.Context(), `
			SELECT string_agg(line, E'\n' ORDER BY line)
			FROM (
			    SELECT concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull, attcollation::regcollation, pg_get_expr(adbin, adrelid),
			        col_description(attrelid, attnum))
			    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
			    WHERE attrelid = 'session_cache'::regclass AND attnum > 0 AND NOT attisdropped
			    UNION ALL SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'session_cache'::regclass
			    UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'session_cache'::regclass
			    UNION ALL SELECT unnest(reloptions) FROM pg_class WHERE oid = 'session_cache'::regclass
			    UNION ALL SELECT obj_description('session_cache'::regclass)
			) AS description (line)`).Scan(&description)
		if err != nil {
			t.Fatal(err)
		}
		return description
	}
	if _, err := migrations.UpTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	untyped := describe()
	up(t, migrations)
	typed := describe()
	if !strings.Contains(typed, "fillfactor=85") {
		t.Errorf("no room for new versions of rows in:\n%s", typed)
	}
	for range 2 {
		if _, err := migrations.DownTo(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if now := describe(); now != untyped {
			t.Errorf("after down the table is\n%s\nand was\n%s", now, untyped)
		}
		up(t, migrations)
		if now := describe(); now != typed {
			t.Errorf("after down and up the table is\n%s\nand was\n%s", now, typed)
		}
	}
}

// TestNoIndexNamesSecrets keeps renewals from having to change an index.
func TestNoIndexNamesSecrets(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t)
	var indexes int
	var named sql.NullString
	err := pool.QueryRow(t.Context(), `
		SELECT count(*), string_agg(pg_get_indexdef(indexrelid), '; ') FILTER (WHERE pg_get_indexdef(indexrelid) ~ 'secret|family|renew|authenticated')
		FROM pg_index WHERE indrelid = 'session_cache'::regclass`).Scan(&indexes, &named)
	if err != nil || indexes != 3 || named.Valid {
		t.Errorf("%d indexes, these name secrets: %s, %v", indexes, named.String, err)
	}
	var collations int
	err = pool.QueryRow(t.Context(), `
		SELECT count(*) FROM pg_attribute WHERE attrelid = 'session_cache'::regclass AND attname IN ('audience', 'user_id') AND attcollation = '"C"'::regcollation`).Scan(&collations)
	if err != nil || collations != 2 {
		t.Errorf("%d columns of text have collation C, %v; want two", collations, err)
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
