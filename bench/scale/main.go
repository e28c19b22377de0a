// Scale measures what takes many rows and minutes, on a throwaway PostgreSQL of
// its own: lookups among millions of sessions, purging under load, and a day of
// sessions that are created and expire. It writes a page and a chart.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	_ "github.com/rhaptos/sessiondb/sessioncache/sessiontest/docker"
)

type options struct {
	many    int           // sessions, for lookups among many
	expired int           // sessions to purge
	day     time.Duration // how long the day takes
	rate    int           // logins a second in it
	huge    bool          // pages of memory for shared buffers
	only    string
	out     string
}

// settings are for a server of this size; the rest are PostgreSQL's own.
var settings = []string{
	"fsync = on", "full_page_writes = on", "shared_buffers = 9GB", "max_wal_size = 8GB", "maintenance_work_mem = 1GB",
	"max_parallel_maintenance_workers = 2",
	"autovacuum_naptime = 1s", // an hour is some seconds here, and so is its minute
}

func main() {
	var o options
	flag.IntVar(&o.many, "many", 10_000_000, "how many sessions are many")
	flag.IntVar(&o.expired, "expired", 1_000_000, "how many expired sessions to purge")
	flag.DurationVar(&o.day, "day", 5*time.Minute, "how long a day takes")
	flag.IntVar(&o.rate, "rate", 4000, "logins a second in it")
	flag.BoolVar(&o.huge, "huge-pages", false, "keep shared buffers in huge pages (first: sysctl -w vm.nr_hugepages=4900)")
	flag.StringVar(&o.only, "only", "", "measure only the part whose name holds this (many, purge or day), and write no page")
	flag.StringVar(&o.out, "out", "results", "where to write the results")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(o options) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	huge := "huge_pages = off"
	if o.huge {
		huge = "huge_pages = on" // and no server without them
	}
	settings := append(settings, huge)
	server, err := sessiontest.Start(ctx, settings...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}

	var page strings.Builder
	fmt.Fprintf(&page, "# At scale\n\nOn a throwaway %s, client and server on one machine. Settings beside the defaults: `%s`.\n",
		server, strings.Join(settings, "`, `"))
	for _, part := range []struct {
		name    string
		measure func(context.Context, *sessiontest.Server, options, *strings.Builder) error
	}{{"many", many}, {"purge", purge}, {"day", day}} {
		if !strings.Contains(part.name, o.only) {
			continue
		}
		before := page.Len()
		if err := part.measure(ctx, server, o, &page); err != nil {
			return err
		}
		fmt.Print(page.String()[before:])
	}
	if o.only != "" {
		return nil // a part must not take the place of the whole page
	}
	return os.WriteFile(filepath.Join(o.out, "scale.md"), []byte(page.String()), 0o644)
}

// newPool is a pool on a database of its own, as a service would have it.
func newPool(ctx context.Context, server *sessiontest.Server) (*pgxpool.Pool, error) {
	database, err := server.NewDatabase(ctx)
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(database.URL)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 6
	return pgxpool.NewWithConfig(ctx, config)
}

// store stores n sessions that were created so long ago and last an hour, of users of
// about 570 bytes.
func store(ctx context.Context, pool *pgxpool.Pool, n int, ago time.Duration) error {
	for n > 0 {
		batch := min(n, 500_000)
		n -= batch
		_, err := pool.Exec(ctx, `
			INSERT INTO session_cache (sessionid, userdict, session_startutc, session_endutc, session_deadlineutc)
			SELECT gen_random_uuid(),
			       json_build_object('user_id', 'cnxuser:' || (random() * 1e9)::int, 'fullname', repeat(md5(random()::text), 16)),
			       now() - $2::interval, now() - $2::interval + interval '1 hour', now() - $2::interval + interval '1 hour'
			FROM generate_series(1, $1::int)`, batch, ago)
		if err != nil {
			return err
		}
	}
	_, err := pool.Exec(ctx, "VACUUM (ANALYZE) session_cache")
	return err
}

// sampleIDs returns the ids of about n sessions from all over the table.
func sampleIDs(ctx context.Context, pool *pgxpool.Pool, n, of int) (ids []string, err error) {
	rows, _ := pool.Query(ctx, fmt.Sprintf("SELECT sessionid::text FROM session_cache TABLESAMPLE BERNOULLI (%f)", min(100, 100*float64(n)/float64(of))))
	return pgx.CollectRows(rows, pgx.RowTo[string]) // Query's error, too
}
