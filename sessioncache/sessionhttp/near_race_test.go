package sessionhttp_test

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// TestNearCachesAfterLogout: a request that begins after a Logout has been answered is not let
// in with the former token, on any server, though all servers answer from memory up to then.
// A Login in place of a session does not wait; the own server sees it at once. In the request
// itself both show at once.
func TestNearCachesAfterLogout(t *testing.T) {
	t.Parallel()
	database := sessiontest.NewDatabase(t)
	servers := []*site{nearServer(t, database), nearServer(t, database)}
	rounds := 1000
	if testing.Short() {
		rounds = 200
	}
	var admitted, own atomic.Int64
	inParallel(rounds, func(i int) {
		ctx := t.Context()
		here, there := servers[i%2], servers[1-i%2]
		ed := newUser()
		token := loginTo(t, here.sessions, "", ed)
		there.remember(ctx, t, token)
		here.remember(ctx, t, token)

		stop := make(chan struct{})
		var readers sync.WaitGroup
		for _, server := range servers { // which have the session kept again if they can
			readers.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(5 * time.Millisecond):
					}
					if _, _, err := userOf(ctx, server.sessions, token); err != nil && !errors.Is(err, sessioncache.ErrSuperseded) {
						t.Errorf("User = %v", err)
					}
				}
			})
		}
		kate := newUser()
		renewed, _, err := attempt(ctx, here.sessions, token, func(w http.ResponseWriter, r *http.Request) error {
			if _, ok, err := here.sessions.User(r.Context()); !ok || err != nil {
				t.Errorf("before: User = %v, %v", ok, err)
			}
			var err error
			if i%3 == 0 {
				err = here.sessions.Login(w, r, kate)
			} else {
				err = here.sessions.Logout(w, r)
			}
			user, ok, asked := here.sessions.User(r.Context())
			if asked != nil || ok != (i%3 == 0) || ok && user != kate {
				own.Add(1)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		if _, ok, _ := userOf(ctx, here.sessions, token); ok {
			admitted.Add(1)
		}
		if i%3 == 0 {
			if err := here.cache.AwaitNearCaches(ctx); err != nil {
				t.Error(err)
			}
		}
		for _, server := range []*site{there, here} {
			if _, ok, _ := userOf(ctx, server.sessions, token); ok {
				admitted.Add(1)
			}
			if i%3 == 0 {
				if user, ok, err := userOf(ctx, server.sessions, renewed); !ok || user != kate {
					t.Errorf("with the new token: User = %v, %v, %v", user, ok, err)
				}
			}
		}
		close(stop)
		readers.Wait()
		if _, ok, _ := userOf(ctx, there.sessions, token); ok {
			admitted.Add(1)
		}
	})
	if admitted.Load() != 0 || own.Load() != 0 {
		t.Errorf("of %d, %d were let in with a former token, and %d requests did not see their own change", rounds, admitted.Load(), own.Load())
	}
	for _, server := range servers {
		m := server.cache.Metrics().NearCache
		t.Logf("%+v", m)
		if m.Hits < uint64(rounds) {
			t.Errorf("%+v: memory was hardly used", m)
		}
		if n := len(ofKind(server.events.take(), sessionhttp.EventLogout)); n == 0 {
			t.Error("nobody has logged out")
		}
	}
}
