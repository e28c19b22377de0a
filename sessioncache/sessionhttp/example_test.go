package sessionhttp_test

import (
	"context"
	"fmt"
	"html"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// Account is the user of the example.
type Account struct {
	ID   string `json:"user_id"`
	Name string `json:"name"`
}

// authenticate stands for a service's own way to tell who somebody is.
func authenticate(r *http.Request) (Account, bool) {
	return Account{ID: "u1", Name: r.FormValue("name")}, true
}

func Example() {
	pool, closePool := examplePool()
	defer closePool()

	sessions := sessionhttp.New(sessioncache.New[Account](pool))
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		account, ok := authenticate(r) // yours: a password, a passkey, OpenID Connect
		if !ok {
			http.Error(w, "please try again", http.StatusForbidden)
		} else if err := sessions.Login(w, r, account); err != nil {
			sessions.Error(w, r, err) // 503 when the database does not answer
		} else {
			http.Redirect(w, r, "/account", http.StatusSeeOther)
		}
	})
	page := func(w http.ResponseWriter, r *http.Request) {
		account, err := sessions.User(r.Context()) // has been looked up already
		fmt.Fprintln(w, "Hello", html.EscapeString(account.Name), err)
	}
	toLogin := http.RedirectHandler("/login", http.StatusSeeOther)
	mux.Handle("GET /account", sessions.Require(http.HandlerFunc(page), toLogin))
	handler := http.NewCrossOriginProtection().Handler(sessions.Middleware(mux))

	server := httptest.NewTLSServer(handler)
	defer server.Close()
	browser := server.Client()
	browser.Jar, _ = cookiejar.New(nil)
	response, err := browser.Post(server.URL+"/login?name=Ed", "", nil)
	if err != nil {
		log.Panic(err)
	}
	defer func() { _ = response.Body.Close() }()
	var hello, name string
	_, err = fmt.Fscan(response.Body, &hello, &name)
	fmt.Println(hello, name, err)
	// Output: Hello Ed <nil>
}

// examplePool is a pool on a throwaway database.
func examplePool() (pool *pgxpool.Pool, closePool func()) {
	ctx := context.Background()
	server, err := sessiontest.Shared()
	if err != nil {
		log.Fatal(err)
	}
	database, err := server.NewDatabase(ctx)
	if err != nil {
		log.Fatal(err)
	}
	pool, err = pgxpool.New(ctx, database.URL)
	if err != nil {
		log.Fatal(err)
	}
	return pool, func() {
		pool.Close()
		if err := database.Drop(ctx); err != nil {
			log.Print(err)
		}
	}
}
