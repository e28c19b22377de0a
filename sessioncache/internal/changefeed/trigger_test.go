package changefeed_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/schema"
	"github.com/rhaptos/sessiondb/sid"
)

// TestTriggers makes every kind of change, by statements of the origin and by what a
// subscription applies, and looks which sessions it tells of.
func TestTriggers(t *testing.T) {
	suite.Require(t, suite.OwnDatabase)
	t.Parallel()
	const fresh = "'aaaaaaaa-0000-4000-8000-000000000001'"
	for name, test := range map[string]struct {
		statements []string
		changed    []int // indexes of ids
		fresh      bool  // and the id that is fresh
		reset      bool
		since      string // the server version that it needs
	}{
		"insert": {statements: []string{`INSERT INTO session_cache (sessionid, userdict, session_startutc, session_endutc, session_deadlineutc)
			VALUES (gen_random_uuid(), '{}', now(), now() + interval '1 hour', now() + interval '1 hour')`}},
		"delete":           {statements: []string{"DELETE FROM session_cache WHERE sessionid = {1}"}, changed: []int{1}},
		"delete of none":   {statements: []string{"DELETE FROM session_cache WHERE false"}},
		"delete of two":    {statements: []string{"DELETE FROM session_cache WHERE sessionid IN ({0}, {2})"}, changed: []int{0, 2}},
		"update of a user": {statements: []string{`UPDATE session_cache SET userdict = '{"user_id" : "u"}' WHERE sessionid = {0}`}, changed: []int{0}},
		"renewal": {
			statements: []string{"UPDATE session_cache SET secret = sha256('a'), authenticatedutc = now() WHERE sessionid = {0}"}, changed: []int{0},
		},
		"audience":           {statements: []string{"UPDATE session_cache SET audience = 'b' WHERE sessionid = {0}"}, changed: []int{0}},
		"start":              {statements: []string{"UPDATE session_cache SET session_startutc = now() WHERE sessionid = {0}"}, changed: []int{0}},
		"deadline":           {statements: []string{"UPDATE session_cache SET session_deadlineutc = now() + interval '9 hours' WHERE sessionid = {0}"}, changed: []int{0}},
		"idle timeout":       {statements: []string{"UPDATE session_cache SET session_idle = NULL WHERE sessionid = {0}"}, changed: []int{0}},
		"update to the same": {statements: []string{"UPDATE session_cache SET userdict = userdict"}},
		"end that grows":     {statements: []string{"UPDATE session_cache SET session_endutc = session_endutc + interval '1 second'"}},
		"end that shrinks": {
			statements: []string{"UPDATE session_cache SET session_endutc = session_endutc - interval '1 second' WHERE sessionid = {2}"}, changed: []int{2},
		},
		"end that grows, and more": {
			statements: []string{`UPDATE session_cache SET session_endutc = session_endutc + interval '1 second', userdict = '{}' WHERE sessionid = {1}`},
			changed:    []int{1},
		},
		"one that grows and one that shrinks": {
			statements: []string{`UPDATE session_cache SET session_endutc = session_endutc + CASE sessionid WHEN {0} THEN 1 ELSE -1 END * interval '1 second'
				WHERE sessionid IN ({0}, {1})`},
			changed: []int{1},
		},
		"id": {statements: []string{"UPDATE session_cache SET sessionid = " + fresh + " WHERE sessionid = {0}"}, changed: []int{0}, fresh: true},
		"ids swapped": {
			statements: []string{
				`UPDATE session_cache SET userdict = '{"user_id": "other"}' WHERE sessionid = {0}`, // told of before
				"ALTER TABLE session_cache DROP CONSTRAINT session_cache_pkey, ADD PRIMARY KEY (sessionid) DEFERRABLE",
				"UPDATE session_cache SET sessionid = CASE sessionid WHEN {0} THEN {1}::uuid ELSE {0}::uuid END WHERE sessionid IN ({0}, {1})",
			}, changed: []int{0, 1},
		},
		"end and then delete": {
			statements: []string{
				"UPDATE session_cache SET session_endutc = now() - interval '2 days' WHERE sessionid = {0}", "DELETE FROM session_cache WHERE sessionid = {0}",
			}, changed: []int{0},
		},
		"truncate":         {statements: []string{"TRUNCATE session_cache"}, reset: true},
		"truncate cascade": {statements: []string{"CREATE TABLE parent (id int PRIMARY KEY)", "ALTER TABLE session_cache ADD COLUMN parent int REFERENCES parent", "TRUNCATE parent CASCADE"}, reset: true},
		"cascade": {
			statements: []string{
				"CREATE TABLE account (id int PRIMARY KEY)", "INSERT INTO account VALUES (1), (2)",
				"ALTER TABLE session_cache ADD COLUMN account int REFERENCES account ON DELETE CASCADE",
				"UPDATE session_cache SET account = 1 WHERE sessionid = {1}", // told of by nothing: no near cache has the column
				"DELETE FROM account WHERE id = 1",
			}, changed: []int{1},
		},
		"on conflict do update": {
			statements: []string{`INSERT INTO session_cache SELECT sessionid, '{}', session_startutc, session_endutc, session_deadlineutc FROM session_cache WHERE sessionid = {1}
				ON CONFLICT (sessionid) DO UPDATE SET userdict = excluded.userdict`}, changed: []int{1},
		},
		"merge": {
			statements: []string{`MERGE INTO session_cache AS s USING (VALUES ({0}::uuid), ({1}::uuid), ({2}::uuid)) AS v (id) ON s.sessionid = v.id
				WHEN MATCHED AND v.id = {0} THEN DELETE
				WHEN MATCHED AND v.id = {1} THEN UPDATE SET userdict = '{}'
				WHEN MATCHED THEN UPDATE SET session_endutc = session_endutc + interval '1 second'`}, changed: []int{0, 1}, since: "150000",
		},
		"with, both": {
			statements: []string{`WITH gone AS (DELETE FROM session_cache WHERE sessionid = {0})
				UPDATE session_cache SET userdict = '{}' WHERE sessionid = {2}`}, changed: []int{0, 2},
		},
		"rolled back": {statements: []string{"BEGIN", "DELETE FROM session_cache", "TRUNCATE session_cache", "ROLLBACK"}},
		"savepoints": {
			statements: []string{
				"BEGIN", "SAVEPOINT a", "DELETE FROM session_cache WHERE sessionid = {0}", "ROLLBACK TO a", "SAVEPOINT b",
				"DELETE FROM session_cache WHERE sessionid = {1}", "RELEASE b", "DELETE FROM session_cache WHERE sessionid = {2}", "COMMIT",
			}, changed: []int{1, 2},
		},
		"no search path": {
			statements: []string{"BEGIN", "SET LOCAL search_path = ''", "DELETE FROM public.session_cache WHERE sessionid = {0}", "COMMIT"}, changed: []int{0},
		},
	} {
		for _, role := range []string{"origin", "replica"} {
			t.Run(name+", "+role, func(t *testing.T) {
				b := setup(t)
				ids := b.insert(t, 3)
				b.wantChanged(t)
				conn := b.connect(t)
				var recent bool
				if err := conn.QueryRow(t.Context(), "SELECT current_setting('server_version_num') >= $1", test.since).Scan(&recent); err != nil {
					t.Fatal(err)
				}
				if !recent {
					t.Skip("the server does not know the statement")
				}
				if role == "replica" && strings.HasPrefix(name, "cascade") {
					t.Skip("a replica cascades nothing by itself")
				}
				execute(t, conn, nil, "SET session_replication_role = "+role)
				execute(t, conn, ids, test.statements...)
				if test.reset {
					b.wantReset(t)
					return
				}
				var want []sid.ID
				for _, i := range test.changed {
					want = append(want, ids[i])
				}
				if test.fresh {
					id, err := sid.Parse(strings.Trim(fresh, "'"))
					if err != nil {
						t.Fatal(err)
					}
					want = append(want, id)
				}
				b.wantChanged(t, want...)
				b.wantChanged(t)
			})
		}
	}
}

// TestRowTriggers turns the statements' triggers off: what they write, a subscription
// does not.
func TestRowTriggers(t *testing.T) {
	b := setup(t)
	ids := b.insert(t, 6)
	execute(t, b.pool, ids, "UPDATE session_cache SET session_endutc = now() - interval '2 minutes' WHERE sessionid = {5}")
	b.wantChanged(t, ids[5])
	conn := b.connect(t)
	execute(t, conn, ids,
		"SET session_replication_role = replica",
		"BEGIN",
		"ALTER TABLE session_cache DISABLE TRIGGER session_cache_deleted, DISABLE TRIGGER session_cache_updated",
		"DELETE FROM session_cache WHERE sessionid IN ({0}, {5})",
		"UPDATE session_cache SET userdict = '{}' WHERE sessionid = {1}",
		"UPDATE session_cache SET session_endutc = session_endutc + interval '1 second' WHERE sessionid = {2}",
		"UPDATE session_cache SET session_endutc = session_endutc - interval '1 second' WHERE sessionid = {3}",
		"UPDATE session_cache SET sessionid = 'aaaaaaaa-0000-4000-8000-000000000001' WHERE sessionid = {4}",
	)
	rows, err := conn.Query(t.Context(), "SELECT sessionid FROM session_change WHERE xact = pg_current_xact_id()")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[sid.ID])
	if err != nil {
		t.Fatal(err)
	}
	moved, err := sid.Parse("aaaaaaaa-0000-4000-8000-000000000001")
	if err != nil {
		t.Fatal(err)
	}
	if want := set([]sid.ID{ids[0], ids[1], ids[3], ids[4], moved}); len(got) != len(want) || !slices.Equal(set(got), want) {
		t.Errorf("the triggers of rows wrote %v; want %v", got, want)
	}
}

// TestPurgeOfSessionsWritesNothing deletes sessions that ended more than a minute ago,
// and one that ended just now.
func TestPurgeOfSessionsWritesNothing(t *testing.T) {
	b := setup(t)
	ids := b.insert(t, 2)
	execute(t, b.pool, ids,
		"UPDATE session_cache SET session_endutc = now() - interval '61 seconds' WHERE sessionid = {0}",
		"UPDATE session_cache SET session_endutc = now() - interval '1 second' WHERE sessionid = {1}",
	)
	b.wantChanged(t, ids...)
	if n, err := db.New(b.pool).DeleteExpiredSessions(t.Context(), 10); err != nil || n != 2 {
		t.Fatal(n, err)
	}
	b.wantChanged(t, ids[1])
}

// TestExtendSessionWritesNothing extends a session as a lookup does.
func TestExtendSessionWritesNothing(t *testing.T) {
	b := setup(t)
	ids := b.insert(t, 1)
	if n, err := db.New(b.pool).ExtendSession(t.Context(), db.ExtendSessionParams{SessionID: ids[0]}); err != nil || n != 1 {
		t.Fatalf("ExtendSession = %d, %v", n, err)
	}
	b.wantChanged(t)
	// The one that was over long ago and lives again.
	execute(t, b.pool, ids, "UPDATE session_cache SET session_endutc = now() - interval '1 hour'")
	b.wantChanged(t, ids[0])
	execute(t, b.pool, ids, "UPDATE session_cache SET session_endutc = now() + interval '1 hour'")
	b.wantChanged(t)
	execute(t, b.pool, ids, "DELETE FROM session_cache")
	b.wantChanged(t, ids[0])
}

// TestManyChanges is on both sides of the two limits.
func TestManyChanges(t *testing.T) {
	b := setup(t)
	ids := b.insert(t, 1000)
	execute(t, b.pool, nil, "UPDATE session_cache SET userdict = '{}'")
	b.wantChanged(t, ids...)
	execute(t, b.pool, nil, "DELETE FROM session_cache")
	b.wantChanged(t, ids...)

	b.insert(t, 3000)
	execute(t, b.pool, nil, "UPDATE session_cache SET userdict = '{}'")
	b.wantReset(t)
	execute(t, b.pool, nil, "UPDATE session_cache SET session_endutc = session_endutc + interval '1 second'")
	b.wantChanged(t)
	execute(t, b.pool, nil, "DELETE FROM session_cache")
	b.wantReset(t)
	var rows int
	if err := b.pool.QueryRow(t.Context(), "SELECT count(*) FROM session_change").Scan(&rows); err != nil || rows > 2*(1000+1002) {
		t.Errorf("%d rows of the feed, %v", rows, err)
	}

	const inserted = "INSERT INTO session_change (sessionid) SELECT gen_random_uuid() FROM generate_series(1, 10000)"
	execute(t, b.pool, nil, inserted)
	if poll := b.poll(t); poll.Reset || len(poll.Changed) != 10_000 {
		t.Errorf("10,000 changes: %d, reset %v", len(poll.Changed), poll.Reset)
	}
	execute(t, b.pool, nil, inserted, "INSERT INTO session_change (sessionid) VALUES (gen_random_uuid())")
	b.wantReset(t)
	b.wantChanged(t)
}

// TestRestrictedRole changes sessions as a role that may do that and no more, which sets
// a trap in its search path.
func TestRestrictedRole(t *testing.T) {
	suite.Require(t, suite.OwnDatabase)
	b := setup(t)
	ids := b.insert(t, 3)
	role := suite.NewRole(t, b.pool)
	execute(t, b.pool, nil, "GRANT SELECT, UPDATE, DELETE ON session_cache TO "+role, "CREATE SCHEMA trap AUTHORIZATION "+role)
	conn := b.connect(t)
	execute(t, conn, ids,
		"SET ROLE "+role,
		`CREATE FUNCTION trap.caught() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'run with the rights of %', current_user; END $$`,
		`CREATE FUNCTION trap.caught(uuid, uuid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM trap.caught(); RETURN true; END $$`,
		`CREATE FUNCTION trap.caught(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM trap.caught(); RETURN true; END $$`,
		`CREATE FUNCTION trap.caught(timestamptz, interval) RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM trap.caught(); RETURN $1; END $$`,
		`CREATE FUNCTION trap.caught(bigint, integer) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM trap.caught(); RETURN true; END $$`,
		`CREATE OPERATOR trap.<> (FUNCTION = trap.caught, LEFTARG = uuid, RIGHTARG = uuid)`,
		`CREATE OPERATOR trap.= (FUNCTION = trap.caught, LEFTARG = uuid, RIGHTARG = uuid)`,
		`CREATE OPERATOR trap.>= (FUNCTION = trap.caught, LEFTARG = timestamptz, RIGHTARG = timestamptz)`,
		`CREATE OPERATOR trap.> (FUNCTION = trap.caught, LEFTARG = timestamptz, RIGHTARG = timestamptz)`,
		`CREATE OPERATOR trap.< (FUNCTION = trap.caught, LEFTARG = timestamptz, RIGHTARG = timestamptz)`,
		`CREATE OPERATOR trap.- (FUNCTION = trap.caught, LEFTARG = timestamptz, RIGHTARG = interval)`,
		`CREATE OPERATOR trap.> (FUNCTION = trap.caught, LEFTARG = bigint, RIGHTARG = integer)`,
		`CREATE FUNCTION trap.statement_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM trap.caught(); RETURN now(); END $$`,
		`CREATE FUNCTION trap.pg_current_xact_id() RETURNS xid8 LANGUAGE plpgsql AS $$ BEGIN PERFORM trap.caught(); RETURN '1'; END $$`,
		`CREATE TABLE trap.session_change (xact xid8, sessionid uuid)`,
		`CREATE TEMPORARY TABLE session_change (xact xid8, sessionid uuid)`,
		`CREATE DOMAIN trap.int8 AS text`, `CREATE DOMAIN trap.interval AS text`,
	)
	for _, statement := range []string{
		"DELETE FROM public.session_cache WHERE sessionid OPERATOR(pg_catalog.=) {0}",
		"UPDATE public.session_cache SET userdict = '{}' WHERE sessionid OPERATOR(pg_catalog.=) {1}",
	} {
		execute(t, conn, ids, "SET search_path = trap, pg_catalog, public", statement)
	}
	execute(t, conn, ids, "SET ROLE NONE", "SET session_replication_role = replica",
		"UPDATE public.session_cache SET sessionid = 'aaaaaaaa-0000-4000-8000-000000000001' WHERE sessionid OPERATOR(pg_catalog.=) {2}",
		"DELETE FROM public.session_cache WHERE sessionid OPERATOR(pg_catalog.=) 'aaaaaaaa-0000-4000-8000-000000000001'")
	moved, err := sid.Parse("aaaaaaaa-0000-4000-8000-000000000001")
	if err != nil {
		t.Fatal(err)
	}
	b.wantChanged(t, append(ids, moved)...)

	execute(t, conn, nil, "SET session_replication_role = origin", "SET ROLE "+role)
	_, err = conn.Exec(t.Context(), `CREATE TRIGGER mine AFTER DELETE ON trap.session_change
		FOR EACH ROW EXECUTE FUNCTION public.session_cache_row_deleted()`)
	if err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("a role puts the function on a table of its own: %v", err)
	}
}

// TestColumnsCompared: of the columns of the table all are compared, but the end.
func TestColumnsCompared(t *testing.T) {
	b := setup(t)
	var missing []string
	err := b.pool.QueryRow(t.Context(), `
		SELECT coalesce(array_agg(attname::text) FILTER (WHERE (length(prosrc) - length(regexp_replace(prosrc, '\m' || attname || '\M', '', 'g'))) / length(attname) < 2), '{}')
		FROM pg_attribute, pg_proc
		WHERE attrelid = 'session_cache'::regclass AND attnum > 0 AND NOT attisdropped AND proname = 'session_cache_updated'`).Scan(&missing)
	if err != nil || len(missing) != 0 {
		t.Errorf("session_cache_updated() does not compare %v, %v", missing, err)
	}
}

func TestFeedRefusesTruncate(t *testing.T) {
	b := setup(t)
	for _, role := range []string{"origin", "replica"} {
		conn := b.connect(t)
		execute(t, conn, nil, "SET session_replication_role = "+role)
		for _, tables := range []string{"session_change", "session_cache, session_change"} {
			if _, err := conn.Exec(t.Context(), "TRUNCATE "+tables); err == nil || !strings.Contains(err.Error(), "must not be truncated") {
				t.Errorf("TRUNCATE %s, %s: %v", tables, role, err)
			}
		}
	}
}

// TestAnotherSchema migrates with the table in one schema and new tables going to
// another.
func TestAnotherSchema(t *testing.T) {
	suite.Require(t, suite.OwnDatabase)
	b := setup(t)
	text, err := schema.FS.ReadFile("00003_session_change_feed.sql")
	if err != nil {
		t.Fatal(err)
	}
	upText, downText, _ := strings.Cut(string(text), "-- +goose Down")
	conn := b.connect(t)
	execute(t, conn, nil, "CREATE SCHEMA elsewhere", `CREATE SCHEMA "it's %I; mine"`, downText)
	run := func(path string) error {
		return pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
			execute(t, tx, nil, "SET LOCAL search_path = "+path)
			_, err := tx.Exec(t.Context(), upText)
			return err
		})
	}
	if err := run("elsewhere, public"); err == nil || !strings.Contains(err.Error(), "session_cache is in schema public, but new tables are made in elsewhere") {
		t.Errorf("Up: %v", err)
	}
	execute(t, conn, nil, `ALTER TABLE session_cache SET SCHEMA "it's %I; mine"`)
	if err := run(`"it's %I; mine"`); err != nil {
		t.Fatal(err)
	}
	execute(t, conn, nil, `DELETE FROM "it's %I; mine".session_cache`, `TRUNCATE "it's %I; mine".session_cache`)
}
