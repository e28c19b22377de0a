package sessionhttp_test

import (
	"context"
	"errors"
	"fmt"
	"html"
	"log"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// Account is the user of the examples.
type Account struct {
	ID     string `json:"user_id"`
	Name   string `json:"name"`
	Basket []string
}

// sessions is what New has returned in the examples.
var sessions *sessionhttp.Manager[Account]

// authenticate stands for a service's own way to tell who somebody is.
func authenticate(r *http.Request) (account Account, ok bool) {
	return Account{ID: r.FormValue("name"), Name: r.FormValue("name")}, r.FormValue("name") != ""
}

// Example is a service with a login, a page that needs it, and a logout.
func Example() {
	pool, closePool := examplePool()
	defer closePool()

	sessions := sessionhttp.New(sessioncache.New[Account](pool), sessionhttp.WithLoginPage("/login"))

	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, `<form method="post"><input name="name" placeholder="Name"><button>Log in</button></form>`)
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		account, ok := authenticate(r)
		if !ok {
			http.Error(w, "please try again", http.StatusUnauthorized)
		} else if err := sessions.Login(w, r, account); err != nil {
			sessions.Error(w, r, err) // 503 when the database does not answer
		} else {
			http.Redirect(w, r, sessions.Next(r, "/"), http.StatusSeeOther)
		}
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if err := sessions.Logout(w, r); err != nil {
			sessions.Error(w, r, err)
		} else {
			http.Redirect(w, r, "/login", http.StatusSeeOther)
		}
	})
	mux.Handle("GET /{$}", sessions.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `Hello %s<form method="post" action="/logout"><button>Log out</button></form>`,
			html.EscapeString(sessions.MustUser(r.Context()).Name))
	})))
	// The middleware refuses requests that other sites forge, too.
	server := httptest.NewTLSServer(sessions.Middleware(mux))
	defer server.Close()

	browser := server.Client()
	browser.Jar, _ = cookiejar.New(nil)
	response, err := browser.Post(server.URL+"/login?name=Ed", "", nil)
	if err != nil {
		log.Panic(err)
	}
	defer func() { _ = response.Body.Close() }()
	var hello, name string
	_, err = fmt.Fscanf(response.Body, "%s %2s", &hello, &name)
	fmt.Println(hello, name, err)
	// Output: Hello Ed <nil>
}

// The options that a service is likely to choose.
func ExampleNew() {
	pool, err := pgxpool.New(context.Background(), os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	cache := sessioncache.New[Account](pool,
		sessioncache.WithLifetime(12*time.Hour),
		sessioncache.WithIdleTimeout(30*time.Minute),
	)
	sessions = sessionhttp.New(cache,
		sessionhttp.WithLoginPage("/login"),
		sessionhttp.WithReauthenticationPage("/confirm"),
		sessionhttp.WithProfile(func(a Account) any { return map[string]string{"name": a.Name} }), // for the page's scripts
		sessionhttp.WithEvents(func(ctx context.Context, e sessionhttp.Event) {
			slog.InfoContext(ctx, string(e.Kind), "session", e.Handle, "user", e.UserID, "remote", e.RemoteAddr)
		}),
	)
}

// A session that is issued together with the account.
func ExampleManager_Accept() {
	var (
		pool  *pgxpool.Pool
		cache *sessioncache.Cache[Account] // with an audience, of which the Manager takes tokens
	)
	http.HandleFunc("POST /register", func(w http.ResponseWriter, r *http.Request) {
		account, _ := authenticate(r)
		tx, err := pool.Begin(r.Context())
		if err != nil {
			sessions.Error(w, r, err)
			return
		}
		defer func() { _ = tx.Rollback(r.Context()) }()
		_, err = tx.Exec(r.Context(), "INSERT INTO users (id) VALUES ($1)", account.ID)
		token, ierr := cache.WithTx(tx).Issue(r.Context(), account)
		if err = errors.Join(err, ierr); err == nil {
			err = tx.Commit(r.Context())
		}
		if err == nil {
			err = sessions.Accept(w, r, token)
		}
		if err != nil {
			sessions.Error(w, r, err)
		}
	})
}

// A basket of somebody who has not logged in.
func ExampleManager_Begin() {
	http.HandleFunc("POST /basket", func(w http.ResponseWriter, r *http.Request) {
		err := sessions.Begin(w, r, func(visitor *Account) error {
			visitor.Basket = append(visitor.Basket, r.FormValue("item"))
			return nil
		})
		if err != nil {
			sessions.Error(w, r, err)
		}
	})
}

// Server-sent events that end with the session.
func ExampleManager_Context() {
	http.HandleFunc("GET /clock", func(w http.ResponseWriter, r *http.Request) {
		ctx := sessions.Context(r)
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			select {
			case <-ctx.Done():
				return // logged out, expired or gone: context.Cause(ctx) tells
			case now := <-time.After(time.Second):
				fmt.Fprintf(w, "data: %s\n\n", now)
				_ = http.NewResponseController(w).Flush()
			}
		}
	})
}

// Telling a user why they are logged out.
func ExampleManager_Current() {
	http.HandleFunc("GET /session", func(w http.ResponseWriter, r *http.Request) {
		current, err := sessions.Current(r.Context())
		switch {
		case errors.Is(err, sessionhttp.ErrExpiredSession):
			fmt.Fprintln(w, "Your session has expired.")
		case err != nil:
			sessions.Error(w, r, err)
		default:
			fmt.Fprintln(w, "Your session ends in", current.TTL)
		}
	})
}

func ExampleManager_Error() {
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		account, ok, err := sessions.User(r.Context())
		if err != nil {
			sessions.Error(w, r, err) // 503: nobody knows
			return
		}
		fmt.Fprintln(w, ok, html.EscapeString(account.Name))
	})
}

// A token for a program, which a Manager with WithBearer takes.
func ExampleManager_IssueBearer() {
	http.HandleFunc("POST /tokens", func(w http.ResponseWriter, r *http.Request) {
		token, err := sessions.IssueBearer(r.Context(), sessions.MustUser(r.Context()), sessioncache.Lifetime(90*24*time.Hour))
		if err != nil {
			sessions.Error(w, r, err)
			return
		}
		fmt.Fprintln(w, token.Reveal()) // once
	})
}

// A login that is remembered, takes over the visitor's basket, and is one of five at
// most.
func ExampleManager_Login() {
	http.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		account, ok := authenticate(r)
		if !ok {
			http.Error(w, "please try again", http.StatusUnauthorized)
			return
		}
		options := []sessionhttp.LoginOption{
			sessionhttp.MaxSessions(5),
			sessionhttp.Carry(func(visitor Account, account *Account) error {
				account.Basket = append(account.Basket, visitor.Basket...)
				return nil
			}),
		}
		if r.FormValue("remember") != "" {
			options = append(options, sessionhttp.Remember(30*24*time.Hour, 14*24*time.Hour))
		}
		if err := sessions.Login(w, r, account, options...); err != nil {
			sessions.Error(w, r, err)
			return
		}
		http.Redirect(w, r, sessions.Next(r, "/"), http.StatusSeeOther)
	})
}

func ExampleManager_Logout() {
	http.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if err := sessions.Logout(w, r); err != nil {
			sessions.Error(w, r, err) // still logged in
			return
		}
		http.Redirect(w, r, "/login", http.StatusSeeOther)
	})
}

func ExampleManager_LogoutEverywhere() {
	http.HandleFunc("POST /logout-everywhere", func(w http.ResponseWriter, r *http.Request) {
		n, err := sessions.LogoutEverywhere(w, r)
		if err != nil {
			sessions.Error(w, r, err)
			return
		}
		fmt.Fprintln(w, n, "devices logged out")
	})
}

func ExampleManager_LogoutOthers() {
	http.HandleFunc("POST /logout-others", func(w http.ResponseWriter, r *http.Request) {
		n, err := sessions.LogoutOthers(r)
		if err != nil {
			sessions.Error(w, r, err)
			return
		}
		fmt.Fprintln(w, n, "other devices logged out")
	})
}

func ExampleManager_LogoutSession() {
	http.HandleFunc("POST /logout-device", func(w http.ResponseWriter, r *http.Request) {
		err := sessions.LogoutSession(w, r, r.FormValue("handle"))
		if err != nil && !errors.Is(err, sessionhttp.ErrUnknownHandle) { // it has ended already
			sessions.Error(w, r, err)
			return
		}
		http.Redirect(w, r, "/devices", http.StatusSeeOther)
	})
}

func ExampleManager_Middleware() {
	mux := http.NewServeMux() // or any other router
	log.Fatal(http.ListenAndServe("localhost:8080", sessions.Middleware(mux)))
}

func ExampleManager_MustUser() {
	account := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "Hello", html.EscapeString(sessions.MustUser(r.Context()).Name))
	}
	http.Handle("GET /account", sessions.Require(http.HandlerFunc(account)))
}

// A login page that passes the page to return to on in its form.
func ExampleManager_Next() {
	http.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `<form method="post" action="/login"><input type="hidden" name="next" value="%s">
			<input name="name" placeholder="Name"><button>Log in</button></form>`, html.EscapeString(sessions.Next(r, "/")))
	})
}

// The page that RequireFresh sends to.
func ExampleManager_Reauthenticated() {
	http.HandleFunc("POST /confirm", func(w http.ResponseWriter, r *http.Request) {
		account, ok := authenticate(r)
		if !ok || account.ID != sessions.MustUser(r.Context()).ID {
			http.Error(w, "please try again", http.StatusUnauthorized)
			return
		}
		if err := sessions.Reauthenticated(w, r); err != nil {
			sessions.Error(w, r, err)
			return
		}
		http.Redirect(w, r, sessions.Next(r, "/account"), http.StatusSeeOther)
	})
}

// A user who becomes an administrator.
func ExampleManager_Renew() {
	http.HandleFunc("POST /promote", func(w http.ResponseWriter, r *http.Request) {
		if err := sessions.Renew(w, r); err != nil {
			sessions.Error(w, r, err)
		}
	})
}

// All pages of a part of the service.
func ExampleManager_Require() {
	private := http.NewServeMux()
	private.HandleFunc("GET /account", func(http.ResponseWriter, *http.Request) {})
	private.HandleFunc("GET /orders", func(http.ResponseWriter, *http.Request) {})
	mux := http.NewServeMux()
	mux.Handle("/", sessions.Require(private))
	mux.HandleFunc("GET /login", func(http.ResponseWriter, *http.Request) {})
}

func ExampleManager_RequireFresh() {
	password := func(http.ResponseWriter, *http.Request) {}
	http.Handle("POST /password", sessions.RequireFresh(5*time.Minute, http.HandlerFunc(password)))
}

// The page of a user's devices.
func ExampleManager_Sessions() {
	http.HandleFunc("GET /devices", func(w http.ResponseWriter, r *http.Request) {
		list, err := sessions.Sessions(r.Context())
		if err != nil {
			sessions.Error(w, r, err)
			return
		}
		for _, session := range list {
			fmt.Fprintln(w, session.Handle, session.CreatedAt, session.ExpiresAt, session.Current)
		}
	})
}

// A change of the password, and the login that it cannot miss.
func ExampleManager_Tx() {
	http.HandleFunc("POST /password", func(w http.ResponseWriter, r *http.Request) {
		account, newHash := sessions.MustUser(r.Context()), "…"
		err := sessions.Tx(w, r, func(tx pgx.Tx, session *sessionhttp.Tx[Account]) error {
			if _, err := tx.Exec(r.Context(), "UPDATE users SET password = $2 WHERE id = $1", account.ID, newHash); err != nil {
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
	})
	http.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		account, _ := authenticate(r) // slow, in no transaction
		verified := "…"
		err := sessions.Tx(w, r, func(tx pgx.Tx, session *sessionhttp.Tx[Account]) error {
			var stored string
			err := tx.QueryRow(r.Context(), "SELECT password FROM users WHERE id = $1 FOR SHARE", account.ID).Scan(&stored)
			if err == nil && stored != verified {
				err = errors.New("the password has just been changed")
			}
			if err != nil {
				return err
			}
			return session.Login(account)
		})
		if err != nil {
			sessions.Error(w, r, err)
		}
	})
}

func ExampleManager_Update() {
	http.HandleFunc("POST /rename", func(w http.ResponseWriter, r *http.Request) {
		err := sessions.Update(w, r, func(account *Account) error {
			account.Name = r.FormValue("name")
			return nil
		})
		if err != nil {
			sessions.Error(w, r, err)
		}
	})
}

// A page for everybody that knows its user, if there is one.
func ExampleManager_User() {
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		account, ok, err := sessions.User(r.Context())
		switch {
		case err != nil:
			sessions.Error(w, r, err) // 503: nobody knows
		case ok:
			fmt.Fprintln(w, "Hello", html.EscapeString(account.Name))
		default:
			fmt.Fprintln(w, "Hello")
		}
	})
}

func ExampleManager_Visitor() {
	http.HandleFunc("GET /basket", func(w http.ResponseWriter, r *http.Request) {
		visitor, _, err := sessions.Visitor(r.Context()) // a user's, too
		if err != nil {
			sessions.Error(w, r, err)
			return
		}
		fmt.Fprintln(w, len(visitor.Basket), "items")
	})
}

// TestEveryCallHasAnExample: the examples are the documentation that is known to
// compile.
func TestEveryCallHasAnExample(t *testing.T) {
	t.Parallel()
	examples, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for method := range reflect.TypeFor[*sessionhttp.Manager[Account]]().Methods() {
		switch method.Name {
		case "Age", "CountAsked", "SetWatch", "Waiting": // of export_test.go
			continue
		}
		if !strings.Contains(string(examples), "\nfunc ExampleManager_"+method.Name+"() {") {
			t.Errorf("Manager.%s has no example", method.Name)
		}
	}
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
