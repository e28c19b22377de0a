package queries_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

// modes are all the ways that pgx has to send a query.
var modes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement,
	pgx.QueryExecModeCacheDescribe,
	pgx.QueryExecModeDescribeExec,
	pgx.QueryExecModeExec,
	pgx.QueryExecModeSimpleProtocol,
}

// printing are settings of a server that change how values are printed, and so what a
// query returns as text.
var printing = map[string]string{
	"DateStyle": "German, DMY", "IntervalStyle": "sql_standard", "bytea_output": "escape",
	"TimeZone": "Asia/Kathmandu", "extra_float_digits": "-15",
}

// inEveryMode runs a test once for each exec mode, on a database of its own. The modes
// differ in what travels as text: so it prints in an unusual way.
func inEveryMode(t *testing.T, test func(t *testing.T, q *db.Queries, pool *pgxpool.Pool)) {
	t.Helper()
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			database := sessiontest.NewDatabase(t)
			pool := newPool(t, database.URL, func(c *pgxpool.Config) {
				c.ConnConfig.DefaultQueryExecMode = mode
				// Behind a pooler others may get the connection after this one. Citus writes times
				// for its workers in the style of the coordinator.
				if database.Shared || os.Getenv("SESSIONCACHE_TEST_AFTER_MIGRATE") != "" {
					return
				}
				c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
					for name, value := range printing {
						if _, err := conn.Exec(ctx, "SELECT set_config($1, $2, false)", name, value); err != nil {
							return err
						}
					}
					return nil
				}
			})
			test(t, db.New(pool), pool)
		})
	}
}

func newPool(t *testing.T, url string, configure func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	configure(config)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

const (
	audience = "shop"
	hour     = int64(time.Hour / time.Microsecond)
	minute   = hour / 60
)

// dict is a user that quoting and escaping could go wrong on; tag keeps the user
// ids of tests that share a table apart.
func dict(tag string) string {
	return `{"user_id": "` + tag + `", "name": "O'Neil \\ \"Ed\" <é> {a,b} \u0041", "n": 1e3 }`
}

// insert stores a plain session that lives for an hour, and with an idle timeout for that.
func insert(t *testing.T, q *db.Queries, dict string, idle ...time.Duration) sid.ID {
	t.Helper()
	params := db.InsertSessionParams{SessionID: sid.New(), Audience: audience, UserDict: dict, Lifetime: time.Hour}
	if len(idle) > 0 {
		params.IdleTimeout = idle[0]
	}
	if n, err := q.InsertSession(t.Context(), params); n != 1 || err != nil {
		t.Fatalf("InsertSession = %d, %v", n, err)
	}
	return params.SessionID
}

// secret is the digest of a secret with this name.
func secret(name string) []byte {
	digest := sha256.Sum256([]byte(name))
	return digest[:]
}

// issue stores a session with a token that lives for an hour, under secret("a") of the
// family secret("family").
func issue(t *testing.T, q *db.Queries, dict string, anonymous ...bool) sid.ID {
	t.Helper()
	params := db.InsertSessionParams{
		SessionID: sid.New(), Audience: audience, Secret: secret("a"), Family: secret("family"), UserDict: dict, Lifetime: time.Hour,
		Anonymous: len(anonymous) > 0,
	}
	if n, err := q.InsertSession(t.Context(), params); n != 1 || err != nil {
		t.Fatalf("InsertSession = %d, %v", n, err)
	}
	return params.SessionID
}

// ttl is how long a session had to live when the database answered, in microseconds.
func ttl(row *db.GetSessionRow) int64 {
	return row.ExpiresMicros - row.NowMicros
}

func get(t *testing.T, q *db.Queries, id sid.ID) (row *db.GetSessionRow, ok bool) {
	t.Helper()
	row, err := q.GetSession(t.Context(), db.GetSessionParams{SessionID: id, Audience: audience})
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Error(err)
	}
	if err != nil {
		return new(db.GetSessionRow), false
	}
	return row, true
}

func wantDict(t *testing.T, q *db.Queries, id sid.ID, want string) {
	t.Helper()
	if got, ok := get(t, q, id); !ok || string(got.UserDict) != want {
		t.Errorf("GetSession = %s, %v; want %s", got.UserDict, ok, want)
	}
}

func wantNone(t *testing.T, q *db.Queries, id sid.ID) {
	t.Helper()
	if got, ok := get(t, q, id); ok {
		t.Errorf("GetSession = %s; want no row", got.UserDict)
	}
}

// wantRows compares how many rows a statement has changed.
func wantRows(t *testing.T, query string, want int64) func(int64, error) {
	return func(got int64, err error) {
		t.Helper()
		if err != nil || got != want {
			t.Errorf("%s = %d, %v; want %d", query, got, err, want)
		}
	}
}

// wantIDs is wantRows for a query that returns the ids of the rows.
func wantIDs(t *testing.T, query string, want int64) func([]sid.ID, error) {
	return func(got []sid.ID, err error) {
		t.Helper()
		wantRows(t, query, want)(int64(len(got)), err)
	}
}

// one is the number of rows of a query that returns at most one.
func one(err error) (int64, error) {
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return 1, err
}

// statements are those of the query files without their comments, by name.
func statements(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("no queries, %v", err)
	}
	statements := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(text), "-- name: ")[1:] {
			name, rest, _ := strings.Cut(part, " ")
			_, rest, _ = strings.Cut(rest, "\n")
			statements[name] = regexp.MustCompile(`(?m)^--.*\n`).ReplaceAllString(rest, "")
		}
	}
	return statements
}
