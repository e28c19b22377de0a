package systemtest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/db"
)

// nearServerStopped stops every process of the server for two seconds: as long as callers
// wait, and longer than a poll may take.
func nearServerStopped(t *testing.T) nearEnvironment {
	const stopped = 2 * time.Second
	c := startWithTable(t)
	env := nearOn(c)
	env.disturb = func(ctx context.Context, r *nearRun) error {
		c.signal(syscall.SIGSTOP)
		most := 0
		for end := time.Now().Add(stopped); time.Now().Before(end); sleep(ctx, 20*time.Millisecond) {
			n, err := connectionsTo(c.port)
			if err != nil {
				return err
			}
			most = max(most, n)
		}
		c.signal(syscall.SIGCONT)
		continued := time.Now()
		// Of each connection there may be one more, which asks to cancel its statement.
		limit := 2 * ((nearReaders+3)*nodeConns + int(r.admin.Config().MaxConns))
		if most > limit {
			r.t.Errorf("there are %d connections to a server that does not answer; want %d at most", most, limit)
		}
		r.awaitHits("the server goes on")
		took := time.Since(continued)
		if r.t.Logf("up to %d connections while the server is stopped; hits %s after it", most, took); took > 5*time.Second {
			r.t.Errorf("memory answers %s after the server does", took)
		}
		return nil
	}
	return env
}

// connectionsTo is how many connections of clients to a port of this machine there are,
// those under way included.
func connectionsTo(port int) (n int, err error) {
	const timeWait = 6
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return 0, err
	}
	remote := fmt.Sprintf(":%04X", port)
	for _, line := range strings.Split(string(table), "\n")[1:] {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasSuffix(fields[2], remote) {
			continue
		}
		if state, err := strconv.ParseUint(fields[3], 16, 8); err == nil && state != timeWait {
			n++
		}
	}
	return n, nil
}

// nearMassDelete deletes many sessions in one transaction, by one statement or by many.
// To each near cache this is one reset, and a poll that tells of no ids.
func nearMassDelete(t *testing.T) nearEnvironment {
	many := 100_000
	if *nearFor >= soakFor {
		many = 1_000_000
	}
	c := startWithTable(t, fastRecovery, "max_wal_size = 8GB")
	env := nearOn(c)
	env.pause = 50 * time.Millisecond
	fill := func(ctx context.Context, prefix string) error {
		return c.sql(ctx, fmt.Sprintf(`
			INSERT INTO session_cache (sessionid, userdict, session_startutc, session_endutc, session_deadlineutc)
			SELECT ('%s' || lpad(n::text, 12, '0'))::uuid, '{"user_id": "many"}',
				now(), now() + interval '1 hour', now() + interval '1 hour'
			FROM generate_series(0, %d) AS n`, prefix, many-1))
	}
	remove := func(prefix string, statements int) func(ctx context.Context, r *nearRun) error {
		if err := fill(t.Context(), prefix); err != nil { // for the first time: while nobody works
			t.Fatal(err)
		}
		filled := true
		return func(ctx context.Context, r *nearRun) error {
			if !filled {
				if err := fill(ctx, prefix); err != nil {
					return err
				}
			}
			filled = false
			r.awaitHits("before the sessions are deleted")
			queries := db.New(r.admin)
			before, err := queries.PollChanges(ctx, db.PollChangesParams{Xmax: math.MaxInt64})
			if err != nil {
				return err
			}
			resets := map[*process]uint64{}
			for _, p := range r.readers() {
				answer, _ := p.ask(request{Metrics: true})
				resets[p] = answer.Metrics.NearCache.Resets
			}
			err = pgx.BeginFunc(ctx, r.admin, func(tx pgx.Tx) error {
				for i := range statements {
					_, err := tx.Exec(ctx, `
						DELETE FROM session_cache
						WHERE sessionid BETWEEN ($1 || lpad($2::text, 12, '0'))::uuid AND ($1 || lpad($3::text, 12, '0'))::uuid`,
						prefix, strconv.Itoa(i*many/statements), strconv.Itoa((i+1)*many/statements-1))
					if err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			after, err := queries.PollChanges(ctx, db.PollChangesParams{Xmax: before.Xmax, Xip: before.Xip})
			if err != nil {
				return err
			}
			if !after.Everything || len(after.SessionIDs) > 0 {
				return fmt.Errorf("a poll tells of %d ids, and everything is %t", len(after.SessionIDs), after.Everything)
			}
			r.awaitPolls(3)
			for p, before := range resets {
				answer, ok := p.ask(request{Metrics: true})
				if resets := answer.Metrics.NearCache.Resets - before; !ok || resets != 1 {
					err = errors.Join(err, fmt.Errorf("%s has reset its memory %d times", p, resets))
				}
			}
			return err
		}
	}
	return env.inTurn(remove("00000000-0000-4000-8000-", 1), remove("00000000-0000-4000-8001-", many/1000))
}

// awaitPolls waits until every reader has polled so many times.
func (r *nearRun) awaitPolls(n uint64) {
	r.t.Helper()
	polls := func(p *process) uint64 {
		answer, ok := p.ask(request{Metrics: true})
		if !ok {
			return math.MaxUint64 // it has gone
		}
		return answer.Metrics.NearCache.Polls
	}
	readers := r.readers()
	var before []uint64
	for _, p := range readers {
		before = append(before, polls(p))
	}
	for i, p := range readers {
		eventually(r.t, fmt.Sprintf("%s polls", p), func() bool {
			now := polls(p)
			return now == math.MaxUint64 || now > before[i]+n
		})
	}
}
