// The webapp example is a small shop with logins, to look at in a browser: fill a
// basket, log in, see your devices, log them out, change the password.
//
// It runs on a throwaway PostgreSQL. On another database, which it migrates and adds
// demo users to, it runs only if a flag says so.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

func main() {
	var c config
	var d databaseFlags
	addr := flag.String("addr", "localhost:8080", "where to listen")
	flag.DurationVar(&c.lifetime, "lifetime", sessioncache.DefaultLifetime, "how long a login lasts at most")
	flag.DurationVar(&c.idle, "idle", 0, "how long an unused one lasts (0: as long as any)")
	flag.BoolVar(&c.insecure, "insecure", false, "cookies for plain HTTP, for a browser that does not take localhost for secure (Safari)")
	flag.StringVar(&d.url, "database", "", "migrate and use the database at this `URL`; anybody can log in as its demo users")
	flag.BoolVar(&d.useEnvironment, "use-database-url", false, "the same with the database at DATABASE_URL")
	flag.Parse()
	d.environment = os.Getenv("DATABASE_URL")
	c.iterations = iterations
	c.logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(*addr, d, c); err != nil {
		fmt.Fprintln(os.Stderr, "webapp:", err)
		os.Exit(1)
	}
}

func run(addr string, d databaseFlags, c config) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return d.use(ctx, os.Stdout, func(pool *pgxpool.Pool) error {
		app := newApp(ctx, pool, c)
		if err := app.accounts.addDemoUsers(ctx); err != nil {
			return err
		}
		return serve(ctx, addr, app.handler())
	})
}

// databaseFlags name a database that somebody else has started.
type databaseFlags struct {
	url            string
	useEnvironment bool
	environment    string // what DATABASE_URL holds
}

var (
	errTwoDatabases  = errors.New("-database and -use-database-url name two databases")
	errNoDatabaseURL = errors.New("-use-database-url: DATABASE_URL is not set")
	errShared        = errors.New("the server of SESSIONCACHE_DATABASE_URL has no database of our own for us: name one with -database")
)

// use has the service run on a throwaway database, or on the one that the flags name.
// The environment alone names none: it may be a database of real users.
func (d databaseFlags) use(ctx context.Context, out io.Writer, service func(pool *pgxpool.Pool) error) error {
	switch {
	case d.url != "" && d.useEnvironment:
		return errTwoDatabases
	case d.useEnvironment && d.environment == "":
		return errNoDatabaseURL
	case d.useEnvironment:
		d.url = d.environment
	}
	if d.url != "" {
		if err := sessiontest.Migrate(ctx, d.url); err != nil {
			return err
		}
		return withPool(ctx, d.url, service)
	}
	if d.environment != "" {
		fmt.Fprintln(out, "The database at DATABASE_URL is not used: add -use-database-url to use it")
	}
	return sessiontest.Use(ctx, func(server *sessiontest.Server, database *sessiontest.Database) error {
		if database.Shared {
			return errShared
		}
		fmt.Fprintln(out, "Everything is stored on a throwaway", server)
		return withPool(ctx, database.URL, service)
	})
}

func withPool(ctx context.Context, url string, service func(pool *pgxpool.Pool) error) error {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	return service(pool)
}

// serve answers requests until ctx ends, and finishes those under way.
func serve(ctx context.Context, addr string, handler http.Handler) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		stopped <- server.Shutdown(ctx)
	})
	fmt.Printf("Open http://%s (Ctrl-C stops it)\n", addr)
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}
