package sessioncache_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

var (
	ctx  = context.Background()
	pool *pgxpool.Pool
)

// TestMain provides the database of the examples, and keeps the log quiet: attacks are
// tests here.
func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	server, err := sessiontest.Shared()
	if err != nil {
		log.Fatal(err)
	}
	database, err := server.NewDatabase(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if err := os.Setenv("DATABASE_URL", database.URL); err != nil {
		log.Fatal(err)
	}
	pool, err = pgxpool.New(ctx, database.URL)
	if err != nil {
		log.Fatal(err)
	}
	code := m.Run()
	pool.Close()
	if err := database.Drop(ctx); err != nil {
		log.Fatal(err)
	}
	os.Exit(code)
}

// Account is the user of the examples; a field user_id makes its sessions
// listable.
type Account struct {
	ID   string `json:"user_id"`
	Name string `json:"name"`
}

func Example() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	cache := sessioncache.New[Account](pool)

	token, err := cache.Issue(ctx, Account{ID: "u1", Name: "Ed"}) // token.Reveal() goes into the cookie
	if err != nil {
		log.Fatal(err)
	}
	session, ok, err := cache.Authenticate(ctx, token) // on any server
	if err != nil {
		log.Fatal(err) // nothing is known: answer 503, not "please log in"
	}
	fmt.Println(session.User.Name, ok)

	if err := cache.Revoke(ctx, token); err != nil { // logs out on all servers
		log.Fatal(err)
	}
	// Output: Ed true
}

func ExampleCache_Set() {
	cache := sessioncache.New[Account](pool)
	id := sid.New().String()
	fmt.Println(cache.Set(ctx, id, Account{ID: "u2"}))

	// The same id again is an attack or a bug: the session is gone.
	err := cache.Set(ctx, id, Account{ID: "mallory"})
	fmt.Println(errors.Is(err, sessioncache.ErrConflict))
	_, ok, err := cache.Get(ctx, id)
	fmt.Println(ok, err)

	err = cache.Set(ctx, "Dr. Evil", Account{})
	fmt.Println(errors.Is(err, sessioncache.ErrMalformedID))
	// Output:
	// <nil>
	// true
	// false <nil>
	// true
}

func ExampleCache_Get() {
	cache := sessioncache.New[Account](pool)
	_, ok, err := cache.Get(ctx, sid.New().String())
	switch {
	case errors.Is(err, sessioncache.ErrUnavailable):
		fmt.Println("503: the database does not answer")
	case err != nil:
		fmt.Println("400:", err)
	case !ok:
		fmt.Println("please log in")
	}
	// Output: please log in
}

func ExampleCache_Delete() {
	cache := sessioncache.New[Account](pool)
	fmt.Println(cache.Delete(ctx, sid.New().String())) // absent is fine
	// Output: <nil>
}

func ExampleCache_Update() {
	cache := sessioncache.New[Account](pool)
	id := sid.New().String()
	if err := cache.Set(ctx, id, Account{ID: "u3", Name: "Ed"}); err != nil {
		log.Fatal(err)
	}
	ok, err := cache.Update(ctx, id, func(a *Account) error {
		a.Name += " Woodward"
		return nil
	})
	fmt.Println(ok, err)
	account, _, _ := cache.Get(ctx, id)
	fmt.Println(account.Name)
	// Output:
	// true <nil>
	// Ed Woodward
}

func ExampleCache_Issue() {
	cache := sessioncache.New[Account](pool)
	user := "user-" + rand.Text()
	token, err := cache.Issue(ctx, Account{ID: user}, // at a login
		sessioncache.Lifetime(30*24*time.Hour), // remember me
		sessioncache.IdleTimeout(14*24*time.Hour),
		sessioncache.MaxSessions(5),
	)
	fmt.Println(token, err)          // safe to log
	fmt.Println(len(token.Reveal())) // goes to the user, and nowhere else
	// Output:
	// [redacted token] <nil>
	// 64
}

func ExampleCache_Authenticate() {
	cache := sessioncache.New[Account](pool)
	issued, err := cache.Issue(ctx, Account{ID: "u5", Name: "Ed"})
	if err != nil {
		log.Fatal(err)
	}
	token, err := sid.ParseToken(issued.Reveal()) // as it arrived in a request
	if err != nil {
		log.Fatal(err)
	}
	session, ok, err := cache.Authenticate(ctx, token)
	switch {
	case errors.Is(err, sessioncache.ErrUnavailable), errors.Is(err, sessioncache.ErrSuperseded):
		fmt.Println("503: ask again")
	case errors.Is(err, sessioncache.ErrUnreadableSession), err == nil && !ok:
		fmt.Println("please log in")
	case err != nil:
		fmt.Println("400:", err)
	default:
		fmt.Println(session.User.Name, session.UserID, session.State, session.Anonymous())
	}
	// Output: Ed u5 live false
}

func ExampleCache_UpdateSession() {
	cache := sessioncache.New[Account](pool)
	token, err := cache.Issue(ctx, Account{ID: "u5", Name: "Ed"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(cache.UpdateSession(ctx, token, func(a *Account) error {
		a.Name += " Woodward"
		return nil
	}))
	// Output: true <nil>
}

func ExampleCache_Renew() {
	cache := sessioncache.New[Account](pool)
	token, err := cache.Issue(ctx, Account{ID: "u6"})
	if err != nil {
		log.Fatal(err)
	}
	renewed, ok, err := cache.Renew(ctx, token, sessioncache.Reauthenticated()) // the password was right
	fmt.Println(ok, err, renewed.Handle() == token.Handle())
	_, ok, err = cache.Authenticate(ctx, token) // a request in flight with the old token
	fmt.Println(ok, errors.Is(err, sessioncache.ErrSuperseded))
	// Output:
	// true <nil> true
	// false true
}

func ExampleCache_Revoke() {
	cache := sessioncache.New[Account](pool)
	token, err := cache.Issue(ctx, Account{ID: "u6"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(cache.Revoke(ctx, token)) // a logout
	_, ok, err := cache.Authenticate(ctx, token)
	fmt.Println(ok, err)
	// Output:
	// <nil>
	// false <nil>
}

func ExampleCache_RevokeAll() {
	cache := sessioncache.New[Account](pool)
	here, there := issueTwo(cache)
	fmt.Println(cache.RevokeAll(ctx, here)) // everywhere
	fmt.Println(cache.Alive(ctx, here, there))
	// Output:
	// 2 true <nil>
	// [false false] <nil>
}

func ExampleCache_RevokeOthers() {
	cache := sessioncache.New[Account](pool)
	here, there := issueTwo(cache)
	fmt.Println(cache.RevokeOthers(ctx, here)) // everywhere else
	fmt.Println(cache.Alive(ctx, here, there))
	// Output:
	// 1 true <nil>
	// [true false] <nil>
}

func ExampleCache_RevokeSession() {
	cache := sessioncache.New[Account](pool)
	here, there := issueTwo(cache)
	fmt.Println(cache.RevokeSession(ctx, here, there.Handle())) // the user chose a device from a list
	fmt.Println(cache.Alive(ctx, here, there))
	// Output:
	// true true <nil>
	// [true false] <nil>
}

// issueTwo logs a user in on two devices.
func issueTwo(cache *sessioncache.Cache[Account]) (here, there sid.Token) {
	user := Account{ID: "user-" + rand.Text()}
	here, err := cache.Issue(ctx, user)
	if err != nil {
		log.Fatal(err)
	}
	if there, err = cache.Issue(ctx, user); err != nil {
		log.Fatal(err)
	}
	return here, there
}

func ExampleCache_UserID() {
	cache := sessioncache.New[Account](pool)
	fmt.Println(cache.UserID(Account{ID: "u6"}))
	// Output: u6 <nil>
}

func ExampleCache_WithInFlight() {
	cache := sessioncache.New[Account](pool)
	token, err := cache.Issue(ctx, Account{ID: "u6"})
	if err != nil {
		log.Fatal(err)
	}
	_, ok, err := cache.Authenticate(ctx, token) // at the beginning of an upload
	fmt.Println(ok, err)
	if _, _, err := cache.Renew(ctx, token); err != nil { // another tab
		log.Fatal(err)
	}
	_, ok, err = cache.WithInFlight().Authenticate(ctx, token) // at the end of the upload
	fmt.Println(ok, errors.Is(err, sessioncache.ErrSuperseded))
	// Output:
	// true <nil>
	// false true
}

func ExampleCache_Retire() {
	cache := sessioncache.New[Account](pool)
	visitor, err := cache.Issue(ctx, Account{}, sessioncache.Anonymous())
	if err != nil {
		log.Fatal(err)
	}
	err = cache.Tx(ctx, func(_ pgx.Tx, cache *sessioncache.Cache[Account]) error { // the visitor logs in
		if _, err := cache.Retire(ctx, visitor); err != nil {
			return err
		}
		_, err := cache.Issue(ctx, Account{ID: "u6"})
		return err
	})
	fmt.Println(err)
	_, ok, err := cache.Authenticate(ctx, visitor) // a request in flight with the visitor's token
	fmt.Println(ok, errors.Is(err, sessioncache.ErrSuperseded))
	// Output:
	// <nil>
	// false true
}

func ExampleCache_Alive() {
	cache := sessioncache.New[Account](pool)
	token, err := cache.Issue(ctx, Account{ID: "u6"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(cache.Alive(ctx, token, sid.NewToken()))
	// Output: [true false] <nil>
}

func ExampleCache_Session() {
	cache := sessioncache.New[Account](pool)
	token, err := cache.Issue(ctx, Account{ID: "u6", Name: "Ed"})
	if err != nil {
		log.Fatal(err)
	}
	session, ok, err := cache.Session(ctx, token.Handle()) // an administrator looks
	fmt.Println(session.User.Name, session.State, ok, err)
	// Output: Ed live true <nil>
}

func ExampleCache_DeleteSession() {
	cache := sessioncache.New[Account](pool)
	token, err := cache.Issue(ctx, Account{ID: "u6"})
	if err != nil {
		log.Fatal(err)
	}
	handle, err := sid.ParseHandle(token.Handle().String()) // as a form sends it
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(cache.DeleteSession(ctx, handle)) // log out that device
	// Output: true <nil>
}

func ExampleCache_UserSessions() {
	cache := sessioncache.New[Account](pool)
	user := "user-" + rand.Text()
	for _, device := range []string{"laptop", "phone"} {
		if _, err := cache.Issue(ctx, Account{ID: user, Name: device}); err != nil {
			log.Fatal(err)
		}
	}
	sessions, err := cache.UserSessions(ctx, user)
	if err != nil {
		log.Fatal(err)
	}
	for _, session := range sessions { // newest first
		fmt.Println(session.User.Name, session.ExpiresAt.Sub(session.CreatedAt))
	}
	// Output:
	// phone 1h0m0s
	// laptop 1h0m0s
}

func ExampleCache_DeleteUserSessions() {
	cache := sessioncache.New[Account](pool)
	user := "user-" + rand.Text()
	var here sid.Token
	for range 3 {
		var err error
		if here, err = cache.Issue(ctx, Account{ID: user}); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(cache.DeleteUserSessions(ctx, user, here.Handle())) // everywhere else
	fmt.Println(cache.DeleteUserSessions(ctx, user))                // everywhere
	// Output:
	// 2 <nil>
	// 1 <nil>
}

func ExampleCache_Tx() {
	cache := sessioncache.New[Account](pool)
	var token sid.Token
	err := cache.Tx(ctx, func(tx pgx.Tx, cache *sessioncache.Cache[Account]) (err error) {
		// The application's own rows first, then the sessions.
		if _, err = tx.Exec(ctx, "SELECT 'the user''s row, FOR SHARE'"); err != nil {
			return err
		}
		token, err = cache.Issue(ctx, Account{ID: "u7"})
		return err
	})
	fmt.Println(token.IsZero(), err)
	// Output: false <nil>
}

func ExampleCache_WithTx() {
	cache := sessioncache.New[Account](pool)
	id := sid.New().String()
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		// … what else belongs to a login, then:
		return cache.WithTx(tx).Set(ctx, id, Account{ID: "u7"})
	})
	fmt.Println(err)
	// Output: <nil>
}

func ExampleCache_Purge() {
	cache := sessioncache.New[Account](pool)
	n, err := cache.Purge(ctx) // from cron, or every few minutes
	if err != nil {
		log.Fatal(err)
	}
	log.Println("expired sessions removed:", n)
	// Output:
}

func ExampleCache_RunJanitor() {
	cache := sessioncache.New[Account](pool)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go cache.RunJanitor(ctx, 5*time.Minute)
	// … serve …

	// Output:
}

func ExampleCache_Stats() {
	cache := sessioncache.New[Account](pool)
	if err := cache.Set(ctx, sid.New().String(), Account{ID: "u8"}); err != nil {
		log.Fatal(err)
	}
	stats, err := cache.Stats(ctx)
	fmt.Println(stats.Live > 0, err)
	// Output: true <nil>
}

// Once a month, from cron.
func ExampleCache_Reindex() {
	cache := sessioncache.New[Account](pool)
	if err := cache.Reindex(ctx); err != nil {
		log.Fatal(err)
	}
}

func ExampleCache_DeleteAudience() {
	cache := sessioncache.New[Account](pool, sessioncache.WithAudience("example-"+rand.Text()))
	if _, err := cache.Issue(ctx, Account{ID: "u9"}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(cache.DeleteAudience(ctx)) // everybody logs in again
	// Output: 1 <nil>
}

func ExampleCache_Metrics() {
	cache := sessioncache.New[Account](pool)
	if _, _, err := cache.Get(ctx, sid.New().String()); err != nil {
		log.Fatal(err)
	}
	metrics := cache.Metrics()
	fmt.Println(metrics.Gets, metrics.Hits, metrics.Misses)
	// Output: 1 0 1
}

func ExampleCache_WithTokenScope() {
	browsers := sessioncache.New[Account](pool)
	programs := browsers.WithTokenScope("api")
	token, err := programs.Issue(ctx, Account{ID: "u9"})
	if err != nil {
		log.Fatal(err)
	}
	_, browser, err := browsers.Authenticate(ctx, token)
	fmt.Println(browser, err)
	_, program, err := programs.Authenticate(ctx, token)
	fmt.Println(program, err)
	// Output:
	// false <nil>
	// true <nil>
}

func ExampleCache_Audience() {
	cache := sessioncache.New[Account](pool, sessioncache.WithAudience("admin"))
	fmt.Println(cache.Audience())
	// Output: admin
}

func ExampleCache_Lifetime() {
	cache := sessioncache.New[Account](pool, sessioncache.WithLifetime(12*time.Hour))
	fmt.Println(cache.Lifetime())
	// Output: 12h0m0s
}

func ExampleWithNearCache() {
	cache := sessioncache.New[Account](pool, sessioncache.WithNearCache(100_000))
	token, err := cache.Issue(ctx, Account{ID: "u5", Name: "Ed"})
	if err != nil {
		log.Fatal(err)
	}
	for range 3 { // the first asks the database; later ones need not
		session, ok, err := cache.Authenticate(ctx, token)
		fmt.Println(session.User.Name, ok, err)
	}
	fmt.Println(cache.Revoke(ctx, token)) // returns when no server lets the token in any more
	_, ok, err := cache.Authenticate(ctx, token)
	fmt.Println(ok, err)
	// Output:
	// Ed true <nil>
	// Ed true <nil>
	// Ed true <nil>
	// <nil>
	// false <nil>
}

func ExampleCache_AwaitNearCaches() {
	cache := sessioncache.New[Account](pool)
	if _, err := pool.Exec(ctx, "DELETE FROM session_cache WHERE user_id = $1", "u6"); err != nil { // raw SQL
		log.Fatal(err)
	}
	fmt.Println(cache.AwaitNearCaches(ctx)) // from here on no server shows those sessions
	// Output: <nil>
}

func ExampleCache_WithTimeout() {
	cache := sessioncache.New[Account](pool).WithTimeout(3 * time.Second)
	_, ok, err := cache.Get(ctx, sid.New().String()) // ErrUnavailable if it takes longer
	fmt.Println(ok, err)
	// Output: false <nil>
}
