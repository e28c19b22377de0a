// Scenarios measures how the batches of lookups and Sets behave where the load is not
// even: far from the server, both kinds mixed, one statement stuck, connections taken by
// others, and a distance that changes.
//
//	go run ./scenarios        (from bench/; two minutes)
//
// Each is measured with and without what it is about, in turns of one run; the table
// shows medians of the turns and their ratio.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// connections is MaxConns of every pool.
const connections = 16

func main() {
	rounds := flag.Int("rounds", 7, "how many turns each side has")
	turn := flag.Duration("turn", time.Second, "how long a turn takes")
	sessions := flag.Int("sessions", 100_000, "how many sessions are stored before")
	out := flag.String("out", "results/scenarios.md", "where to write the table")
	flag.Parse()
	if err := run(*rounds, *turn, *sessions, *out); err != nil {
		fmt.Fprintln(os.Stderr, "scenarios:", err)
		os.Exit(1)
	}
}

// bench is the server and what a scenario needs of it.
type bench struct {
	ctx    context.Context
	rounds int
	turn   time.Duration
	keys   []string
	user   json.RawMessage
	near   *pgxpool.Pool
	proxy  *proxy
	far    *pgxpool.Pool // through the proxy
	rows   []string      // of the table
}

func run(rounds int, turn time.Duration, sessions int, out string) (err error) {
	ctx := context.Background()
	host, err := sessiontest.Start(ctx, "listen_addresses = '127.0.0.1'", "fsync = on", "full_page_writes = on", "max_connections = 200")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	database, err := host.NewDatabase(ctx)
	if err != nil {
		return err
	}
	b := &bench{ctx: ctx, rounds: rounds, turn: turn, user: json.RawMessage(`{"user_id":"u","fullname":"Ed Woodward","biography":"` + strings.Repeat("x", 510) + `"}`)}
	if b.near, err = open(ctx, database.URL, ""); err != nil {
		return err
	}
	defer b.near.Close()
	var port int
	if err := b.near.QueryRow(ctx, "SHOW port").Scan(&port); err != nil {
		var text string
		if err := b.near.QueryRow(ctx, "SHOW port").Scan(&text); err != nil {
			return err
		}
		if _, err := fmt.Sscan(text, &port); err != nil {
			return err
		}
	}
	if b.proxy, err = newProxy(fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
		return err
	}
	defer b.proxy.close()
	if b.far, err = open(ctx, database.URL, b.proxy.address()); err != nil {
		return err
	}
	defer b.far.Close()
	if err := b.fill(sessions); err != nil {
		return err
	}
	for _, scenario := range []func() error{b.distance, b.mix, b.lock, b.taken, b.change} {
		if err := scenario(); err != nil {
			return err
		}
	}
	text := "# Scenarios\n\n    cd bench && go run ./scenarios\n\n" +
		fmt.Sprintf("%d sessions of %d bytes, MaxConns %d. Medians of %d turns of %s each, the two sides in turns.\n\n", sessions, len(b.user), connections, rounds, turn) +
		"| scenario | figure | with | without | ratio |\n|---|---|---:|---:|---:|\n" + strings.Join(b.rows, "")
	fmt.Print(text)
	return os.WriteFile(out, []byte(text), 0o644)
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

func (b *bench) fill(sessions int) error {
	_, err := b.near.Exec(b.ctx, `
		INSERT INTO session_cache (sessionid, userdict, session_startutc, session_endutc, session_deadlineutc)
		SELECT md5(n::text)::uuid, $2::json, now(), now() + interval '1 day', now() + interval '1 day' FROM generate_series(1, $1) AS n`,
		sessions, string(b.user))
	if err != nil {
		return err
	}
	if _, err := b.near.Exec(b.ctx, "VACUUM ANALYZE session_cache"); err != nil {
		return err
	}
	rows, err := b.near.Query(b.ctx, "SELECT sessionid::text FROM session_cache")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			return err
		}
		b.keys = append(b.keys, key)
	}
	return rows.Err()
}

// get looks one of the sessions up.
func (b *bench) get(cache *sessioncache.Cache[json.RawMessage]) call {
	return func(ctx context.Context, i int) error {
		_, ok, err := cache.Get(ctx, b.keys[i%len(b.keys)])
		if err == nil && !ok {
			return errors.New("a session is lost")
		}
		return err
	}
}

// set stores a new one.
func (b *bench) set(cache *sessioncache.Cache[json.RawMessage]) call {
	return func(ctx context.Context, _ int) error { return cache.Set(ctx, sid.New().String(), b.user) }
}

// compare has two sides take turns, and adds a line for each figure.
func (b *bench) compare(scenario string, figures []string, with, without func() ([]float64, error)) error {
	fmt.Fprintln(os.Stderr, scenario)
	results := [2][][]float64{make([][]float64, len(figures)), make([][]float64, len(figures))}
	for round := range b.rounds {
		for turn := range 2 {
			side := (round + turn) % 2
			values, err := []func() ([]float64, error){with, without}[side]()
			if err != nil {
				return fmt.Errorf("%s: %w", scenario, err)
			}
			for i, value := range values {
				results[side][i] = append(results[side][i], value)
			}
		}
	}
	for i, figure := range figures {
		x, y := median(results[0][i]), median(results[1][i])
		b.rows = append(b.rows, fmt.Sprintf("| %s | %s | %.0f | %.0f | %.2f |\n", scenario, figure, x, y, x/y))
	}
	return nil
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}
