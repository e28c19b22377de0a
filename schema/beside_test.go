package schema_test

import (
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/schema"
)

// TestBesideAnApplicationsMigrations migrates ours and those of two applications that
// use goose's own table one after the other, in every order, up and down: nothing is
// skipped, and nothing of another's is dropped.
func TestBesideAnApplicationsMigrations(t *testing.T) {
	t.Parallel()
	migration := func(table string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE " + table + " (id int);\n-- +goose Down\nDROP TABLE " + table + ";\n")}
	}
	applications := map[string]fs.FS{
		"sequential":  fstest.MapFS{"00001_a.sql": migration("app_a"), "00002_b.sql": migration("app_b"), "00003_c.sql": migration("app_c")},
		"timestamped": fstest.MapFS{"20260101000000_a.sql": migration("app_a"), "20260201000000_b.sql": migration("app_b")},
	}
	for name, migrations := range applications {
		for order, steps := range map[string][]string{
			"ours first":        {"ours up", "theirs up", "ours down", "theirs down"},
			"theirs first":      {"theirs up", "ours up", "theirs down", "ours down"},
			"ours in between":   {"theirs up", "ours up", "ours down", "theirs down"},
			"theirs in between": {"ours up", "theirs up", "theirs down", "ours down"},
		} {
			t.Run(name+", "+order, func(t *testing.T) {
				pool, ours := setup(t)
				db := stdlib.OpenDBFromPool(pool)
				t.Cleanup(func() { _ = db.Close() })
				theirs, err := goose.NewProvider(goose.DialectPostgres, db, migrations)
				if err != nil {
					t.Fatal(err)
				}
				providers := map[string]*goose.Provider{"ours": ours, "theirs": theirs}
				is := map[string]bool{}
				for _, step := range steps {
					who, direction, _ := strings.Cut(step, " ")
					if direction == "up" {
						up(t, providers[who])
					} else if _, err := providers[who].DownTo(t.Context(), 0); err != nil {
						t.Fatal(err)
					}
					is[who] = direction == "up"
					for table, of := range map[string]string{"session_cache": "ours", "app_a": "theirs", "app_b": "theirs"} {
						var there bool
						err := pool.QueryRow(t.Context(), "SELECT to_regclass($1) IS NOT NULL", table).Scan(&there)
						if err != nil || there != is[of] {
							t.Errorf("after %q: %s is there: %v, %v; want %v", step, table, there, err, is[of])
						}
					}
				}
			})
		}
	}
}

// TestMigrateAtOnce has many migrate one database at the same moment.
func TestMigrateAtOnce(t *testing.T) {
	pool, _ := setup(t)
	var all sync.WaitGroup
	for range 8 {
		migrations := suite.Migrations(t, pool)
		all.Go(func() {
			if _, err := migrations.Up(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if rows := rows(t, pool); len(rows) != 0 {
		t.Errorf("%d rows in a new table", len(rows))
	}
}

// TestAdoptsNothingElse refuses tables that are not the one of rhaptos2, says what is
// wrong with them, and leaves them as they are.
func TestAdoptsNothingElse(t *testing.T) {
	t.Parallel()
	const columns = "sessionid varchar PRIMARY KEY, userdict varchar, session_startutc timestamptz, session_endutc timestamptz"
	for name, test := range map[string]struct{ table, says string }{
		"no primary key":       {strings.Replace(columns, " PRIMARY KEY", "", 1), "no primary key on sessionid"},
		"another primary key":  {strings.Replace(columns, " PRIMARY KEY", "", 1) + ", PRIMARY KEY (sessionid, session_startutc)", "no primary key on sessionid"},
		"a column missing":     {strings.Replace(columns, "userdict varchar, ", "", 1), "is not a session table of rhaptos2"},
		"a column more":        {columns + ", note text", "is not a session table of rhaptos2"},
		"times without a zone": {strings.ReplaceAll(columns, "timestamptz", "timestamp"), "is not a session table of rhaptos2"},
		"dicts that are bytea": {strings.Replace(columns, "userdict varchar", "userdict bytea", 1), "is not a session table of rhaptos2"},
		"somebody else's":      {"id int PRIMARY KEY", "is not a session table of rhaptos2"},
	} {
		t.Run(name, func(t *testing.T) {
			pool, migrations := setup(t)
			execute(t, pool, "CREATE TABLE session_cache ("+test.table+")")
			describe := func() (description string) {
				err := pool.QueryRow(t.Context(), `
					SELECT string_agg(format('%s %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum)
					FROM pg_attribute WHERE attrelid = 'session_cache'::regclass AND attnum > 0`).Scan(&description)
				if err != nil {
					t.Fatal(err)
				}
				return description
			}
			before := describe()
			_, err := migrations.Up(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("Up: %v; want it to say %q", err, test.says)
			}
			if after := describe(); after != before {
				t.Errorf("the table was %s and is %s", before, after)
			}
		})
	}
}

// TestRoleWithoutRights has a role migrate that may not create tables.
func TestRoleWithoutRights(t *testing.T) {
	pool, _ := setup(t)
	role := suite.NewRole(t, pool)
	execute(t, pool, "DROP TABLE "+schema.VersionTable)
	execute(t, pool, `DO $$ BEGIN EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', current_schema()); END $$`)
	execute(t, pool, `DO $$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO `+role+`', current_schema()); END $$`)
	config := pool.Config().ConnConfig
	config.RuntimeParams["role"] = role
	db := stdlib.OpenDB(*config)
	defer func() { _ = db.Close() }()
	migrations, err := schema.NewProvider(db)
	if err != nil {
		t.Fatal(err)
	}
	_, err = migrations.Up(t.Context())
	if err == nil || !strings.Contains(err.Error(), "permission denied for schema") {
		t.Errorf("Up = %v; want it to say that the role may not create tables", err)
	}
}
