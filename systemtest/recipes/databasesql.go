package recipes

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// SecondPool is for a service that has opened its *sql.DB itself, with any driver: the
// sessions get a small pool of their own. Count its connections, too, below the server's
// max_connections.
func SecondPool(ctx context.Context, databaseURL string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 4
	return pgxpool.NewWithConfig(ctx, config)
}

// OnePool is for a service that can change how it opens its *sql.DB: sessions and service
// share the connections of one pool. Closing the *sql.DB does not close the pool.
//
// A handler that holds a connection (a *sql.Tx, *sql.Rows or *sql.Conn) and calls the Manager
// waits for a second one. With all connections held like this, each request waits for the
// others until WithTimeout is over. Call the Manager before or after.
func OnePool(pool *pgxpool.Pool) *sql.DB {
	return stdlib.OpenDBFromPool(pool)
}

// DatabaseSQL is the service, with either pool.
func DatabaseSQL(database *sql.DB, sessions *sessionhttp.Manager[Account]) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", logIn(sessions))
	mux.Handle("GET /account", sessions.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := sessions.MustUser(r.Context()) // before the query, which takes a connection
		var orders int
		err := database.QueryRowContext(r.Context(), "SELECT count(*) FROM orders WHERE user_id = $1", user.ID).Scan(&orders)
		if err != nil {
			http.Error(w, "please try again", http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "The account has %d orders.", orders)
	})))
	// A session cannot be changed in a *sql.Tx: it would commit alone, whatever becomes of
	// the transaction. What must happen together, as here, runs in the transaction of
	// Manager.Tx, which is one of pgx: its statements are written for pgx.
	mux.Handle("POST /password", sessions.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, hash := sessions.MustUser(r.Context()), "hash of "+r.PostFormValue("new")
		err := sessions.Tx(w, r, func(tx pgx.Tx, session *sessionhttp.Tx[Account]) error {
			if _, err := tx.Exec(r.Context(), "UPDATE users SET password = $2 WHERE id = $1", user.ID, hash); err != nil {
				return err
			}
			if _, err := session.LogoutOthers(); err != nil {
				return err
			}
			return session.Reauthenticated()
		})
		if err != nil {
			sessions.Error(w, r, err)
		}
	})))
	return sessions.Middleware(mux)
}

// A Cache takes only what pgx opens: the compiler refuses New and WithTx with a *sql.DB or a
// *sql.Tx.
var _ sessioncache.DB = (*pgxpool.Pool)(nil)
