package systemtest

import (
	"context"
	"flag"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var nearFor = flag.Duration("near", time.Second, "how long TestNearCache goes on under each fault, at least")

// soakFor is the least of -near that has faults made that take long.
const soakFor = 20 * time.Second

// TestNearCache has several processes read sessions as fast as they can, from memory,
// while others change them, under each fault. No lookup that begins after a change has
// returned may see what was before it.
func TestNearCache(t *testing.T) {
	t.Parallel()
	var table nearTable
	t.Cleanup(func() { t.Log(table.String()) }) // after the subtests
	for name, newFault := range nearFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startNearRun(t, newFault(t))
			r.load(*nearFor)
			table.add(name, r)
		})
	}
}

var nearFaults = map[string]func(t *testing.T) nearEnvironment{
	"no fault": func(t *testing.T) nearEnvironment {
		env := nearOn(startWithTable(t))
		env.noFault, env.timeout = true, 10*time.Second
		return env
	},
	"network":             nearNetwork,
	"slow connections":    nearSlowConnections,
	"readers stopped":     nearReadersStopped,
	"server restarts":     nearRestarts,
	"raw SQL":             nearRawSQL,
	"prepared logouts":    nearPrepared,
	"ids used again":      nearIDsUsedAgain,
	"purge of the feed":   nearPurge,
	"turned off":          nearTurnedOff,
	"server stopped":      nearServerStopped,
	"mass delete":         nearMassDelete,
	"schema changed":      nearSchemaChanged,
	"logical replication": nearLogicalReplication,
	"failover":            nearFailover,
	"replica":             nearReplica,
	"PgBouncer":           nearPgBouncer,
	"answers cut":         nearAnswersCut,
}

// fastRecovery has a server not sync every file that it has when it recovers. What it has
// written is there all the same: it is the server that crashes, not the machine.
const fastRecovery = "fsync = off"

// nearOn is an environment on one server.
func nearOn(c *cluster) nearEnvironment {
	url := c.url("sessions")
	return nearEnvironment{admin: url, readers: []string{url}, timeout: 2 * time.Second, pause: 300 * time.Millisecond}
}

// inTurn makes one fault after another, each at least once.
func (env nearEnvironment) inTurn(faults ...func(ctx context.Context, r *nearRun) error) nearEnvironment {
	var turn atomic.Int64
	turn.Store(rand.Int64N(int64(len(faults))))
	env.atLeast = len(faults)
	env.disturb = func(ctx context.Context, r *nearRun) error {
		return faults[turn.Add(1)%int64(len(faults))](ctx, r)
	}
	return env
}

// nearNetwork cuts connections, delays answers, and swallows answers and requests.
func nearNetwork(t *testing.T) nearEnvironment {
	c := startWithTable(t)
	proxy, url := newProxy(t, c)
	env := nearOn(c)
	env.readers = []string{url}
	faults := []func(ctx context.Context, r *nearRun) error{
		func(ctx context.Context, r *nearRun) error {
			_, err := r.admin.Exec(ctx, `
				SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid()`)
			return err
		},
	}
	for _, toxic := range []string{
		`{"type": "reset_peer", "stream": "upstream"}`,
		`{"type": "latency", "attributes": {"latency": 150, "jitter": 150}}`,
		`{"type": "limit_data", "attributes": {"bytes": 700}}`,
		`{"type": "timeout", "attributes": {"timeout": 0}}`,
		`{"type": "timeout", "stream": "upstream", "attributes": {"timeout": 0}}`,
	} {
		faults = append(faults, func(ctx context.Context, _ *nearRun) error {
			wrapper, err := proxy.Toxics.AddToxicJson(strings.NewReader(toxic))
			if err != nil {
				return err
			}
			sleep(ctx, 100*time.Millisecond+rand.N(400*time.Millisecond)) // shorter and longer than memory counts
			return proxy.Toxics.RemoveToxic(ctx, wrapper.Name)
		})
	}
	return env.inTurn(faults...)
}

// nearSlowConnections has some connections of each pool answer late: lookups overtake
// each other, and polls them.
func nearSlowConnections(t *testing.T) nearEnvironment {
	c := startWithTable(t)
	proxy, slow := newProxy(t, c)
	if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(`{"type": "latency", "attributes": {"latency": 200, "jitter": 200}}`)); err != nil {
		t.Fatal(err)
	}
	env := nearOn(c)
	env.readers = append(env.readers, slow)
	env.changes = []string{c.url("sessions")}
	return env
}

// nearReadersStopped stops a process that reads, for shorter or longer than memory counts.
func nearReadersStopped(t *testing.T) nearEnvironment {
	stop := func(least, most time.Duration) func(ctx context.Context, r *nearRun) error {
		return func(_ context.Context, r *nearRun) error {
			p := r.reader()
			p.signal(syscall.SIGSTOP)
			time.Sleep(least + rand.N(most-least)) // it lasts
			p.signal(syscall.SIGCONT)
			return nil
		}
	}
	env := nearOn(startWithTable(t))
	env.pause = 100 * time.Millisecond
	short, long := stop(100*time.Millisecond, 500*time.Millisecond), stop(500*time.Millisecond, 5*time.Second)
	faults := []func(ctx context.Context, r *nearRun) error{short, short, short, long}
	if *nearFor >= soakFor {
		env.plain = true // nobody may use a replaced token later than ten seconds
		faults = append(slices.Repeat(faults, 4), stop(70*time.Second, 71*time.Second))
	}
	return env.inTurn(faults...)
}

// nearRestarts ends the server, or has it recover from the crash of one process.
func nearRestarts(t *testing.T) nearEnvironment {
	c := startWithTable(t, fastRecovery)
	restart := func(end func()) func(ctx context.Context, r *nearRun) error {
		return func(ctx context.Context, _ *nearRun) error {
			sleep(ctx, rand.N(100*time.Millisecond)) // in the middle of something
			end()
			c.start(t)
			return nil
		}
	}
	return nearOn(c).inTurn(
		restart(c.kill),
		func(ctx context.Context, r *nearRun) error { return r.crash(ctx, nil) },
		restart(func() { c.end(syscall.SIGINT) }),
		restart(func() { c.end(syscall.SIGQUIT) }),
		func(ctx context.Context, r *nearRun) error { return r.crash(ctx, nil) },
	)
}
