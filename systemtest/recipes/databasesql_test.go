package recipes_test

import (
	"database/sql"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/systemtest/recipes"
)

func TestDatabaseSQL(t *testing.T) {
	t.Parallel()
	for name, openBoth := range map[string]func(t *testing.T) (*pgxpool.Pool, *sql.DB){
		"a second pool": func(t *testing.T) (*pgxpool.Pool, *sql.DB) {
			address := sessiontest.NewDatabase(t).URL
			database, err := sql.Open("pgx", address)
			if err != nil {
				t.Fatal(err)
			}
			pool, err := recipes.SecondPool(t.Context(), address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(pool.Close)
			return pool, database
		},
		"one pool": func(t *testing.T) (*pgxpool.Pool, *sql.DB) {
			pool := sessiontest.NewPool(t)
			return pool, recipes.OnePool(pool)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool, database := openBoth(t)
			defer func() { _ = database.Close() }()
			execute(t, pool, `CREATE TABLE users (id text PRIMARY KEY, password text);
				CREATE TABLE orders (user_id text REFERENCES users);
				CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE check_violation; END';
				CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED
					FOR EACH ROW WHEN (NEW.password = 'hash of refused') EXECUTE FUNCTION refuse();
				INSERT INTO users VALUES ('Ada', 'old'), ('Eve', 'old'); INSERT INTO orders VALUES ('Ada'), ('Ada')`)
			sessions := sessionhttp.New(sessioncache.New[recipes.Account](pool))
			ada := open(t, recipes.DatabaseSQL(database, sessions))
			other, eve := ada.another(), ada.another()
			wantPassword := func(want string) {
				t.Helper()
				var got string
				if err := pool.QueryRow(t.Context(), "SELECT password FROM users WHERE id = 'Ada'").Scan(&got); err != nil || got != want {
					t.Errorf("the password is %q, %v; want %q", got, err, want)
				}
			}

			ada.want("GET", "/account", nil, http.StatusUnauthorized, "")
			ada.want("POST", "/password", url.Values{"new": {"guessed"}}, http.StatusUnauthorized, "")
			ada.logIn(origin, "Ada")
			other.logIn(origin, "Ada")
			eve.logIn(origin, "Eve")
			ada.want("GET", "/account", nil, http.StatusOK, "The account has 2 orders.")
			eve.want("GET", "/account", nil, http.StatusOK, "The account has 0 orders.")
			eve.want("POST", "/password", url.Values{"new": {"evil"}}, http.StatusOK, "")
			wantPassword("old")

			// All or nothing: the commit fails, after all statements.
			token := ada.token()
			ada.want("POST", "/password", url.Values{"new": {"refused"}}, http.StatusServiceUnavailable, "")
			other.want("GET", "/account", nil, http.StatusOK, "2 orders")
			wantPassword("old")
			if ada.token().Reveal() != token.Reveal() {
				t.Error("the browser has the token of a renewal that has not happened")
			}
			ada.want("GET", "/account", nil, http.StatusOK, "2 orders")
			ada.want("POST", "/password", url.Values{"new": {"better"}}, http.StatusOK, "")
			wantPassword("hash of better")
			other.want("GET", "/account", nil, http.StatusUnauthorized, "")
			ada.want("GET", "/account", nil, http.StatusOK, "2 orders")
			eve.want("GET", "/account", nil, http.StatusOK, "0 orders")
		})
	}
}

// TestDatabaseSQLMistakes shows what the recipe avoids.
func TestDatabaseSQLMistakes(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t, func(config *pgxpool.Config) { config.MaxConns = 1 })
	database := recipes.OnePool(pool)
	defer func() { _ = database.Close() }()
	cache := sessioncache.New[recipes.Account](pool)
	sessions := sessionhttp.New(cache, sessionhttp.WithTimeout(200*time.Millisecond))
	mux := http.NewServeMux()
	mux.Handle("POST /login", recipes.DatabaseSQL(database, sessions))
	mux.HandleFunc("GET /holds", func(w http.ResponseWriter, r *http.Request) {
		tx, err := database.BeginTx(r.Context(), nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = tx.Rollback() }()
		if _, _, err := sessions.User(r.Context()); err != nil { // waits for the connection that tx has
			sessions.Error(w, r, err)
		}
	})
	ada := open(t, sessions.Middleware(mux))
	ada.logIn(origin, "Ada")
	ada.want("GET", "/holds", nil, http.StatusServiceUnavailable, "")

	// What is changed beside a *sql.Tx is not rolled back with it.
	two := sessiontest.NewPool(t)
	outside := recipes.OnePool(two)
	defer func() { _ = outside.Close() }()
	cache = sessioncache.New[recipes.Account](two)
	token, err := cache.Issue(t.Context(), recipes.Account{ID: "Ada"})
	if err != nil {
		t.Fatal(err)
	}
	tx, err := outside.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cache.DeleteUserSessions(t.Context(), "Ada"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := cache.Authenticate(t.Context(), token); ok || err != nil {
		t.Errorf("the session is back after the rollback: %v, %v", ok, err)
	}
}

func execute(t *testing.T, pool *pgxpool.Pool, statements string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), statements); err != nil {
		t.Fatal(err)
	}
}
