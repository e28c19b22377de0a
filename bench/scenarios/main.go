// Scenarios measures batches of lookups and Sets under uneven load: with a delay to the
// server, both kinds mixed, a statement that waits for a row lock, connections that others
// hold, and a delay that changes. It also measures near caches: with page views on several
// servers, and with a database that is far away.
//
//	go run ./scenarios                  (from bench/; five minutes)
//	go run ./scenarios -only pages      (one of them; writes pages.md)
//
// Each is measured with and without what it is about. Samples of the two sides alternate;
// the table shows their medians and the ratio of those.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/bench/internal/proxy"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	_ "github.com/rhaptos/sessiondb/sessioncache/sessiontest/docker"
	"github.com/rhaptos/sessiondb/sid"
)

// connections is MaxConns of every pool.
const connections = 16

// options are what the command line says.
type options struct {
	rounds   int
	sample   time.Duration
	sessions int
	only     string
	out      string
	command  string
}

func main() {
	o := options{command: strings.Join(append([]string{"go run ./scenarios"}, os.Args[1:]...), " ")}
	flag.IntVar(&o.rounds, "rounds", 7, "how many samples of each side")
	flag.DurationVar(&o.sample, "sample", time.Second, "how long a sample takes")
	flag.IntVar(&o.sessions, "sessions", 100_000, "how many sessions are stored before")
	flag.StringVar(&o.only, "only", "", "measure only this: delay, mixed, lock, pool, change, pages or far")
	flag.StringVar(&o.out, "out", "results", "where to write the table")
	flag.Parse()
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "scenarios:", err)
		os.Exit(1)
	}
}

// bench is the server and what a scenario needs of it.
type bench struct {
	options
	ctx     context.Context
	keys    []string
	user    json.RawMessage
	direct  *pgxpool.Pool
	proxy   *proxy.Proxy
	delayed *pgxpool.Pool // through the proxy
	rows    []string      // of the table
}

func run(ctx context.Context, o options) (err error) {
	b := &bench{ctx: ctx, options: o, user: json.RawMessage(`{"user_id":"u","fullname":"Ed Woodward","biography":"` + strings.Repeat("x", 510) + `"}`)}
	server, err := sessiontest.Start(ctx, "listen_addresses = '127.0.0.1'", "fsync = on", "full_page_writes = on", "max_connections = 200")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	database, err := server.NewDatabase(ctx)
	if err != nil {
		return err
	}
	if b.direct, err = open(ctx, database.URL, ""); err != nil {
		return err
	}
	defer b.direct.Close()
	if b.proxy, err = proxy.Listen(fmt.Sprintf("127.0.0.1:%d", b.direct.Config().ConnConfig.Port)); err != nil {
		return err
	}
	defer b.proxy.Close()
	go func() { _ = b.proxy.Serve() }()
	if b.delayed, err = open(ctx, database.URL, b.proxy.Address()); err != nil {
		return err
	}
	defer b.delayed.Close()
	if err := b.fill(); err != nil {
		return err
	}
	if err := b.measure(); err != nil {
		return err
	}
	fmt.Print(b.markdown())
	return os.WriteFile(filepath.Join(o.out, cmp.Or(o.only, "scenarios")+".md"), []byte(b.markdown()), 0o644)
}

// measure runs the scenarios that are asked for.
func (b *bench) measure() error {
	for _, scenario := range []struct {
		name string
		run  func() error
	}{{"delay", b.delay}, {"mixed", b.mixed}, {"lock", b.lock}, {"pool", b.pool}, {"change", b.change}, {"pages", b.pages}, {"far", b.far}} {
		if b.only != "" && b.only != scenario.name {
			continue
		}
		if err := scenario.run(); err != nil {
			return err
		}
	}
	if b.rows == nil {
		return fmt.Errorf("there is no scenario %q", b.only)
	}
	return nil
}

func (b *bench) markdown() string {
	return fmt.Sprintf("# Scenarios\n\n    cd bench && %s\n\n", b.command) +
		fmt.Sprintf("%d sessions of %d bytes, MaxConns %d. Medians of %d samples of %s each; the two sides alternate.\n\n",
			b.sessions, len(b.user), connections, b.rounds, b.sample) +
		"| scenario | figure | with | without | ratio |\n|---|---|---:|---:|---:|\n" + strings.Join(b.rows, "")
}

// open returns a pool on the database, through a proxy if there is one.
func open(ctx context.Context, url, address string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = connections
	if address != "" {
		host, port, _ := strings.Cut(address, ":")
		config.ConnConfig.Host = host
		if _, err := fmt.Sscan(port, &config.ConnConfig.Port); err != nil {
			return nil, err
		}
		config.ConnConfig.Fallbacks = nil
	}
	return pgxpool.NewWithConfig(ctx, config)
}

// fill stores the sessions that get looks up.
func (b *bench) fill() (err error) {
	rows, _ := b.direct.Query(b.ctx, `
		INSERT INTO session_cache (sessionid, userdict, session_startutc, session_endutc, session_deadlineutc)
		SELECT gen_random_uuid(), $2::json, now(), now() + interval '1 day', now() + interval '1 day' FROM generate_series(1, $1::int)
		RETURNING sessionid::text`, b.sessions, string(b.user))
	if b.keys, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil { // Query's error, too
		return err
	}
	_, err = b.direct.Exec(b.ctx, "VACUUM ANALYZE session_cache")
	return err
}

// get looks one of the sessions up.
func (b *bench) get(cache *sessioncache.Cache[json.RawMessage]) call {
	return func(ctx context.Context, i int) error {
		_, ok, err := cache.Get(ctx, b.keys[i%len(b.keys)])
		if err == nil && !ok {
			return errors.New("a session that was stored is not there")
		}
		return err
	}
}

// set stores a new one.
func (b *bench) set(cache *sessioncache.Cache[json.RawMessage]) call {
	return func(ctx context.Context, _ int) error { return cache.Set(ctx, sid.New().String(), b.user) }
}

// side takes a sample of one side of a scenario: a value of each figure.
type side func() ([]float64, error)

// compare takes samples of two sides alternately, and adds a row for each figure.
func (b *bench) compare(scenario string, figures []string, with, without side) error {
	fmt.Fprintln(os.Stderr, scenario)
	sides := [2]side{with, without}
	var results [2][][]float64
	for round := range b.rounds {
		for i := range sides {
			n := (i + round) % 2 // neither is always first
			values, err := sides[n]()
			if err != nil {
				return fmt.Errorf("%s: %w", scenario, err)
			}
			results[n] = append(results[n], values)
		}
	}
	for i, figure := range figures {
		x, y := median(results[0], i), median(results[1], i)
		ratio := "–"
		if y != 0 {
			ratio = fmt.Sprintf("%.2f", x/y)
		}
		b.rows = append(b.rows, fmt.Sprintf("| %s | %s | %.0f | %.0f | %s |\n", scenario, figure, x, y, ratio))
	}
	return nil
}

// median is that of one figure over the samples.
func median(samples [][]float64, figure int) float64 {
	var values []float64
	for _, sample := range samples {
		values = append(values, sample[figure])
	}
	slices.Sort(values)
	return values[len(values)/2]
}
