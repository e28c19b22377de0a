package systemtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

// nearTurnedOff turns near caches off, as sessionctl near-cache off does, and on again
// by new processes, while sessions are changed; or replaces the processes without that.
func nearTurnedOff(t *testing.T) nearEnvironment {
	return nearOn(startWithTable(t)).inTurn(
		func(ctx context.Context, r *nearRun) error {
			asleep := r.reader() // which sees none of it, half of the time
			if rand.IntN(2) == 0 {
				asleep.signal(syscall.SIGSTOP)
			}
			defer asleep.signal(syscall.SIGCONT)
			if err := r.turnOff(ctx); err != nil {
				return err
			}
			// Changes no longer wait. Those who ask for the first time learn it at once.
			eventually(r.t, "a change is over before near caches would have seen it", func() bool {
				began := time.Now()
				err := sessioncache.New[nearUser](r.admin).Delete(ctx, sid.New().String())
				return err == nil && time.Since(began) < sessioncache.NearCacheStaleness
			})
			sleep(ctx, rand.N(300*time.Millisecond)) // for the others to learn it
			asleep.signal(syscall.SIGCONT)
			r.replaceReaders()
			r.awaitHits("turned on again")
			return nil
		},
		func(_ context.Context, r *nearRun) error {
			r.replaceReaders()
			r.awaitHits("with other processes")
			return nil
		},
	)
}

// turnOff has near caches stop, and changes no longer wait for them.
func (r *nearRun) turnOff(ctx context.Context) error {
	queries := db.New(r.admin)
	n, err := queries.DrainNearCaches(ctx)
	if err != nil || n != 1 {
		return fmt.Errorf("%d near caches are drained, %w", n, err)
	}
	sleep(ctx, sessioncache.NearCacheStaleness) // what they know from their last poll counts until then
	n, err = queries.ForgetNearCaches(ctx)
	if err != nil || n != 1 {
		return fmt.Errorf("%d near caches are forgotten, %w", n, err)
	}
	return nil
}

// replaceReaders has new processes read the sessions that are stored from now on. The
// ones before end when the sessions that they read have been retired.
func (r *nearRun) replaceReaders() {
	r.birth.Lock() // no session is stored meanwhile, which both would read, or neither
	defer r.birth.Unlock()
	r.mu.Lock()
	before := r.procs
	r.procs, r.replaced = nil, append(r.replaced, before...)
	r.nodes = withoutProcesses(r.nodes, before)
	var theirs []*hotSession
	for s := range r.sessions {
		theirs = append(theirs, s)
	}
	r.mu.Unlock()
	for i := range before {
		r.addReader(fmt.Sprintf("reader %d after %s", i+1, before[i].name))
	}
	r.retiring.Go(func() {
		eventually(r.t, "the sessions of the processes before are retired", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, s := range theirs {
				if r.sessions[s] {
					return false
				}
			}
			return true
		})
		for _, p := range before {
			r.count(p)
			p.close()
		}
	})
}

func withoutProcesses(nodes []asker, processes []*process) (rest []asker) {
	gone := map[asker]bool{}
	for _, p := range processes {
		gone[p] = true
	}
	for _, n := range nodes {
		if !gone[n] {
			rest = append(rest, n)
		}
	}
	return rest
}
