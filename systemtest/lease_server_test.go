package systemtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"
)

// fastRecovery has a server not sync every file that it has when it recovers. What it has
// written is there all the same: it is the server that crashes, not the machine.
const fastRecovery = "fsync = off"

// leaseRestarts ends the server in each way, and starts it again.
func leaseRestarts(t *testing.T) leaseEnvironment {
	c := startWithTable(t, fastRecovery)
	restart := func(end func()) disturbance {
		return func(ctx context.Context, r *leaseRun) error {
			sleep(ctx, rand.N(100*time.Millisecond)) // in the middle of something
			end()
			c.start(t)
			r.admin.Reset()
			return nil
		}
	}
	return leaseOn(c).inTurn(
		restart(c.kill),
		restart(func() { c.end(syscall.SIGINT) }),
		restart(func() { c.end(syscall.SIGQUIT) }),
	)
}

// leaseServerStopped stops every process of the server, for longer than a lease.
func leaseServerStopped(t *testing.T) leaseEnvironment {
	c := startWithTable(t)
	env := leaseOn(c)
	env.pause = time.Second
	env.disturb = func(ctx context.Context, _ *leaseRun) error {
		c.signal(syscall.SIGSTOP)
		sleep(ctx, 200*time.Millisecond+rand.N(time.Second)) // it lasts
		c.signal(syscall.SIGCONT)
		return nil
	}
	return env
}

// leaseFailover kills the primary and promotes its synchronous standby.
func leaseFailover(t *testing.T) leaseEnvironment {
	p := newPair(t)
	url := multiHost("sessions", p.primary, p.standby)
	env := leaseOn(p.primary)
	env.admin, env.urls = patient(url), []string{url}
	env.atLeast = 1
	env.disturb = func(context.Context, *leaseRun) error {
		p.fail(t, func() {})
		p.attach(t)
		return nil
	}
	return env
}

// leaseIsolation makes another isolation level the database's default, and terminates
// connections.
func leaseIsolation(level string) func(t *testing.T) leaseEnvironment {
	return func(t *testing.T) leaseEnvironment {
		env := leaseOn(startWithTable(t, fmt.Sprintf("default_transaction_isolation = '%s'", level)))
		env.pause, env.disturb = time.Second, leaseTerminate
		return env
	}
}
