package systemtest

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"
)

var nearFor = flag.Duration("near", time.Second, "how long TestLease goes on under each fault, at least")

// TestLease has four processes change sessions, of which three answer lookups from memory.
// After each change all of them look, and other lookups go on all the time. No lookup that
// begins after a change has returned may see what was before it.
func TestLease(t *testing.T) {
	t.Parallel()
	var table leaseTable
	t.Cleanup(func() { t.Log(table.String()) }) // after the subtests
	for name, newFault := range leaseFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startLeaseRun(t, newFault(t))
			r.load(*nearFor)
			table.add(name, r)
		})
	}
}

var leaseFaults = map[string]func(t *testing.T) leaseEnvironment{
	"no fault":          leaseNoFault,
	"processes stopped": leaseProcessesStopped,
	"pool of one":       leasePoolOfOne,
	"network":           leaseNetwork,
	"slow connections":  leaseSlowConnections,
	"answers cut":       leaseAnswersCut,
	"PgBouncer":         leasePgBouncer,
	"server restarts":   leaseRestarts,
	"server stopped":    leaseServerStopped,
	"failover":          leaseFailover,
	"repeatable read":   leaseIsolation("repeatable read"),
	"serializable":      leaseIsolation("serializable"),
	"table rewritten":   leaseRewritten,
	"schema renamed":    leaseSchemaRenamed,
	"view":              leaseView,
	"restored":          leaseRestored,
	"raw SQL":           leaseRawSQL,
	"cascade":           leaseCascade,
	"wrong clocks":      leaseWrongClocks,
}

// leaseNoFault only ends sessions by the calls that a fault would make end others.
func leaseNoFault(t *testing.T) leaseEnvironment {
	env := leaseOn(startWithTable(t))
	env.timeout, env.pause = 10*time.Second, 100*time.Millisecond
	conflicts := func(_ context.Context, r *leaseRun) error {
		sessions := r.createHot(10, true)
		defer r.retireSoon(sessions...)
		var all sync.WaitGroup
		for _, s := range sessions {
			// Nobody else ends these: a Set of an absent id would store it.
			all.Go(func() { r.change(s, change{Kind: "Set again"}) })
		}
		all.Wait()
		return nil
	}
	deleteAll := func(_ context.Context, r *leaseRun) error {
		return r.endAll("DeleteAudience", func() error {
			if o := r.makeChange(r.any(), change{Kind: "DeleteAudience"}); o.Unknown {
				return errors.New("it was not answered")
			}
			return nil
		})
	}
	return env.inTurn(conflicts, conflicts, conflicts, deleteAll)
}

// leaseProcessesStopped stops a process, for shorter or longer than an entry counts.
func leaseProcessesStopped(t *testing.T) leaseEnvironment {
	stop := func(least, most time.Duration) disturbance {
		return func(ctx context.Context, r *leaseRun) error {
			p := r.any()
			p.signal(syscall.SIGSTOP)
			sleep(ctx, least+rand.N(most-least)) // it lasts
			p.signal(syscall.SIGCONT)
			return nil
		}
	}
	env := leaseOn(startWithTable(t))
	env.pause = 100 * time.Millisecond
	short, long := stop(100*time.Millisecond, 500*time.Millisecond), stop(500*time.Millisecond, 3*time.Second)
	return env.inTurn(short, short, short, long)
}

// leasePoolOfOne gives each process one connection, which the application holds now and then.
func leasePoolOfOne(t *testing.T) leaseEnvironment {
	env := leaseOn(startWithTable(t))
	env.maxConns = 1
	env.disturb = func(_ context.Context, r *leaseRun) error {
		r.any().ask(request{Occupy: 100*time.Millisecond + rand.N(400*time.Millisecond)})
		return nil
	}
	return env
}
