package systemtest

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// terminateBackends ends every connection of the database but its own.
const terminateBackends = `
	SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE datname = current_database() AND pid <> pg_backend_pid()`

// leaseTerminate has all processes connect again. A server that does nothing but start
// backends answers nobody: pause for a second.
func leaseTerminate(ctx context.Context, r *leaseRun) error {
	_, err := r.admin.Exec(ctx, terminateBackends)
	return err
}

// leaseNetwork cuts connections, delays answers, and swallows answers and requests.
func leaseNetwork(t *testing.T) leaseEnvironment {
	c := startWithTable(t)
	proxy, url := newProxy(t, c)
	env := leaseOn(c)
	env.urls = []string{url}
	faults := []disturbance{leaseTerminate}
	for _, toxic := range []string{
		`{"type": "reset_peer", "stream": "upstream"}`,
		`{"type": "latency", "attributes": {"latency": 150, "jitter": 150}}`,
		`{"type": "limit_data", "attributes": {"bytes": 700}}`,
		`{"type": "timeout", "attributes": {"timeout": 0}}`,
		`{"type": "timeout", "stream": "upstream", "attributes": {"timeout": 0}}`,
	} {
		faults = append(faults, func(ctx context.Context, _ *leaseRun) error {
			wrapper, err := proxy.Toxics.AddToxicJson(strings.NewReader(toxic))
			if err != nil {
				return err
			}
			sleep(ctx, 100*time.Millisecond+rand.N(400*time.Millisecond)) // shorter and longer than a lease
			return proxy.Toxics.RemoveToxic(ctx, wrapper.Name)
		})
	}
	return env.inTurn(faults...)
}

// leaseSlowConnections has some connections of each pool answer late: lookups overtake each
// other, and many answers come when their lease is over.
func leaseSlowConnections(t *testing.T) leaseEnvironment {
	c := startWithTable(t)
	proxy, slow := newProxy(t, c)
	if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(`{"type": "latency", "attributes": {"latency": 200, "jitter": 200}}`)); err != nil {
		t.Fatal(err)
	}
	env := leaseOn(c)
	env.urls = append(env.urls, slow)
	env.timeout = 5 * time.Second
	return env
}

// leasePgBouncer has all connections but the test's own go through PgBouncer in transaction
// mode, and the pooler's connections be cut.
func leasePgBouncer(t *testing.T) leaseEnvironment {
	c := startWithTable(t)
	env := leaseOn(c)
	// Without prepared statements, which PgBouncer carries since 1.21 only.
	env.urls = []string{startPgBouncerOn(t, uint16(c.port), "sessions") + "&default_query_exec_mode=cache_describe"}
	env.pause = time.Second
	env.disturb = leaseTerminate
	return env
}
