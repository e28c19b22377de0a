package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sid"
)

const (
	polls        = 1000
	olderChanges = 60_000
	foundChanges = 100
	changes      = 5000
)

// feed measures the server's CPU: of a poll of the change feed, and of a change with the
// feed and without. It is that of the backend that runs the statements (schedstat, Linux).
func (b *bench) feed() error {
	with, err := b.openVersion(3) // migration 3 adds the feed
	if err != nil {
		return err
	}
	defer with.Close()
	without, err := b.openVersion(2)
	if err != nil {
		return err
	}
	defer without.Close()
	if _, err := with.Exec(b.ctx, `INSERT INTO session_change (sessionid) SELECT gen_random_uuid() FROM generate_series(1, $1::int)`, olderChanges); err != nil {
		return err
	}
	if _, err := with.Exec(b.ctx, "VACUUM ANALYZE session_change"); err != nil {
		return err
	}
	figures := []string{"CPU of the server, µs"}
	err = b.compare(fmt.Sprintf("a poll that finds %d changes against one that finds none", foundChanges), figures,
		func() ([]float64, error) { return b.pollCPU(with, foundChanges) },
		func() ([]float64, error) { return b.pollCPU(with, 0) })
	if err != nil {
		return err
	}
	for _, change := range []string{
		"DELETE FROM session_cache WHERE sessionid = $1::uuid",
		"UPDATE session_cache SET userdict = '{}' WHERE sessionid = $1::uuid",
	} {
		err := b.compare(change[:len("DELETE")]+" of a session, with the change feed against without", figures,
			func() ([]float64, error) { return b.changeCPU(with, change) },
			func() ([]float64, error) { return b.changeCPU(without, change) })
		if err != nil {
			return err
		}
	}
	return nil
}

// pollCPU is what a poll costs the server, if it finds so many changes.
func (b *bench) pollCPU(pool *pgxpool.Pool, found int) ([]float64, error) {
	var took time.Duration
	err := onConnection(b.ctx, pool, func(conn *pgx.Conn) error {
		queries := db.New(conn)
		last, err := queries.PollChanges(b.ctx, db.PollChangesParams{})
		if err != nil {
			return err
		}
		for range polls {
			if found > 0 {
				if _, err := pool.Exec(b.ctx, `INSERT INTO session_change (sessionid) SELECT gen_random_uuid() FROM generate_series(1, $1::int)`, found); err != nil {
					return err
				}
			}
			start, err := backendCPU(conn)
			if err != nil {
				return err
			}
			if last, err = queries.PollChanges(b.ctx, db.PollChangesParams{Xmax: last.Xmax, Xip: last.Xip}); err != nil {
				return err
			}
			if len(last.SessionIDs) != found {
				return fmt.Errorf("a poll found %d changes; want %d", len(last.SessionIDs), found)
			}
			end, err := backendCPU(conn)
			if err != nil {
				return err
			}
			took += end - start
		}
		return nil
	})
	return []float64{micros(took) / polls}, err
}

// changeCPU is what a statement that changes a session costs the server.
func (b *bench) changeCPU(pool *pgxpool.Pool, change string) ([]float64, error) {
	ids, err := b.store(pool, changes)
	if err != nil {
		return nil, err
	}
	var took time.Duration
	err = onConnection(b.ctx, pool, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(b.ctx, change, sid.New().String()); err != nil { // prepares it
			return err
		}
		start, err := backendCPU(conn)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if _, err := conn.Exec(b.ctx, change, id); err != nil {
				return err
			}
		}
		end, err := backendCPU(conn)
		took = end - start
		return err
	})
	return []float64{micros(took) / changes}, err
}

func onConnection(ctx context.Context, pool *pgxpool.Pool, do func(*pgx.Conn) error) error {
	return pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error { return do(conn.Conn()) })
}

// backendCPU is the CPU time that the backend of a connection has had.
func backendCPU(conn *pgx.Conn) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", conn.PgConn().PID()))
	if err != nil {
		return 0, err
	}
	var running time.Duration
	_, err = fmt.Sscan(string(stat), &running)
	return running, err
}

func micros(d time.Duration) float64 {
	return float64(d) / float64(time.Microsecond)
}
