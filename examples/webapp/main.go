// The webapp example is a small service with logins, to look at in a browser: log
// in as one of the fake users, see your sessions, end them, watch them expire.
//
// It runs on the database at DATABASE_URL, which it migrates, or on a throwaway
// PostgreSQL when that is unset.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

func main() {
	addr := flag.String("addr", "localhost:8080", "where to listen")
	lifetime := flag.Duration("lifetime", sessioncache.SessionDuration, "how long a login lasts at most")
	idle := flag.Duration("idle", 0, "how long an unused one lasts (0: as long as any)")
	insecure := flag.Bool("insecure", false, "cookies for plain HTTP, for a browser that does not take localhost for secure (Safari)")
	flag.Parse()
	if err := run(*addr, *lifetime, *idle, *insecure); err != nil {
		fmt.Fprintln(os.Stderr, "webapp:", err)
		os.Exit(1)
	}
}

func run(addr string, lifetime, idle time.Duration, insecure bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	options := []sessioncache.Option{sessioncache.WithDuration(lifetime)}
	if idle > 0 {
		options = append(options, sessioncache.WithIdleTimeout(idle))
	}
	return withDatabase(ctx, func(pool *pgxpool.Pool) error {
		return serve(ctx, addr, newApp(sessioncache.New[login](pool, options...), insecure).handler())
	})
}

// withDatabase has the service run on the database that there is.
func withDatabase(ctx context.Context, service func(pool *pgxpool.Pool) error) error {
	if url := os.Getenv("DATABASE_URL"); url != "" {
		return withPool(ctx, url, service)
	}
	return sessiontest.Use(ctx, func(server *sessiontest.Server, database *sessiontest.Database) error {
		fmt.Println("Sessions are on a throwaway", server)
		return withPool(ctx, database.URL, service)
	})
}

func withPool(ctx context.Context, url string, service func(pool *pgxpool.Pool) error) error {
	if err := sessiontest.Migrate(ctx, url); err != nil {
		return err
	}
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

func newApp(cache *sessioncache.Cache[login], insecure bool) *app {
	options := []sessionhttp.Option{
		sessionhttp.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil))),
		sessionhttp.WithProfile(func(l login) any { return profile{l.name()} }),
		sessionhttp.WithErrorHandler(showError),
	}
	if insecure {
		options = append(options, sessionhttp.WithInsecureCookies())
	}
	return &app{sessionhttp.New(cache, options...)}
}
