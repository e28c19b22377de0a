package sessioncache_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

var (
	ctx  = context.Background()
	pool *pgxpool.Pool
)

// TestMain provides the database of the examples.
func TestMain(m *testing.M) {
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

	id := sid.New().String() // goes into the cookie
	if err := cache.Set(ctx, id, Account{ID: "u1", Name: "Ed"}); err != nil {
		log.Fatal(err)
	}
	account, ok, err := cache.Get(ctx, id) // on any server
	if err != nil {
		log.Fatal(err) // nothing is known: answer 503, not "please log in"
	}
	fmt.Println(account.Name, ok)

	if err := cache.Delete(ctx, id); err != nil { // logs out on all servers
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

func ExampleCache_Rotate() {
	cache := sessioncache.New[Account](pool)
	oldID, newID := sid.New().String(), sid.New().String()
	if err := cache.Set(ctx, oldID, Account{ID: "u4", Name: "Ed"}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(cache.Rotate(ctx, oldID, newID))
	_, old, _ := cache.Get(ctx, oldID)
	account, ok, _ := cache.Get(ctx, newID)
	fmt.Println(old, ok, account.Name)
	// Output:
	// true <nil>
	// false true Ed
}

func ExampleCache_UserSessions() {
	cache := sessioncache.New[Account](pool)
	user := "user-" + rand.Text()
	for range 2 { // on two devices
		if err := cache.Set(ctx, sid.New().String(), Account{ID: user}); err != nil {
			log.Fatal(err)
		}
	}
	sessions, err := cache.UserSessions(ctx, user)
	if err != nil {
		log.Fatal(err)
	}
	for _, session := range sessions {
		fmt.Println(session.End.Sub(session.Start))
	}
	// Output:
	// 1h0m0s
	// 1h0m0s
}

func ExampleCache_DeleteUser() {
	cache := sessioncache.New[Account](pool)
	user, here := "user-"+rand.Text(), sid.New().String()
	for _, id := range []string{here, sid.New().String(), sid.New().String()} {
		if err := cache.Set(ctx, id, Account{ID: user}); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(cache.DeleteUser(ctx, user, here)) // everywhere else
	fmt.Println(cache.DeleteUser(ctx, user))       // everywhere
	// Output:
	// 2 <nil>
	// 1 <nil>
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

func ExampleCache_Stats() {
	cache := sessioncache.New[Account](pool)
	if err := cache.Set(ctx, sid.New().String(), Account{ID: "u8"}); err != nil {
		log.Fatal(err)
	}
	stats, err := cache.Stats(ctx)
	fmt.Println(stats.Live > 0, err)
	// Output: true <nil>
}
