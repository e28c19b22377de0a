// The webapp example is a small shop with logins, to try in a browser: fill a basket, log
// in, list your devices, log them out, change the password.
//
// It runs on a throwaway PostgreSQL. With a flag it runs on another database, which it
// migrates and adds demo users to.
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
	_ "github.com/rhaptos/sessiondb/sessioncache/sessiontest/docker"
)

func main() {
	var c config
	var d databaseFlags
	addr := flag.String("addr", "localhost:8080", "the address to listen on")
	flag.DurationVar(&c.lifetime, "lifetime", sessioncache.DefaultLifetime, "how long a login lasts at most")
	flag.DurationVar(&c.idle, "idle", 0, "how long an unused login lasts (0: no idle timeout)")
	flag.BoolVar(&c.insecure, "insecure", false, "cookies for plain HTTP, for a browser that does not treat localhost as secure (Safari)")
	flag.StringVar(&d.url, "database", "", "use the database at this `URL`: migrate it and add demo users, as whom anybody can log in")
	flag.BoolVar(&d.useEnvironment, "use-database-url", false, "the same with the URL in DATABASE_URL")
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

// databaseFlags name a database that already runs.
type databaseFlags struct {
	url            string
	useEnvironment bool
	environment    string // the value of DATABASE_URL
}

var (
	errTwoDatabases  = errors.New("-database and -use-database-url name two databases")
	errNoDatabaseURL = errors.New("-use-database-url: DATABASE_URL is not set")
	errShared        = errors.New("the server of SESSIONCACHE_DATABASE_URL offers no database of its own for this example: name one with -database")
)

// use runs the service on a throwaway database, or on the one that the flags name. It
// does not use DATABASE_URL without a flag, because that may be a database of real users.
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
		fmt.Fprintln(out, "All data is stored on a throwaway server:", server)
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

// serve answers requests until ctx ends, and waits for those in progress.
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
