package sessionhttp_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// neverAsk makes sure that nobody learns of anything by asking now and then.
func (s *site) neverAsk() { s.sessions.SetWatch(time.Hour, time.Hour) }

// TestContextFollowsTheFeed: what ends a session on one server, or its token, ends the
// contexts on another with a near cache, which does not wait for the interval.
func TestContextFollowsTheFeed(t *testing.T) {
	database := nearDatabase(t)
	here, there := nearServer(t, database), server(t, database)
	here.neverAsk()
	ctx := t.Context()
	for name, end := range map[string]func(user account, token, other string) error{
		"Logout": func(_ account, token, _ string) error {
			_, _, err := attempt(ctx, there.sessions, token, there.sessions.Logout)
			return err
		},
		"Renew": func(_ account, token, _ string) error {
			_, _, err := attempt(ctx, there.sessions, token, there.sessions.Renew)
			return err
		},
		"Login in its place": func(_ account, token, _ string) error {
			_, _, err := attempt(ctx, there.sessions, token, func(w http.ResponseWriter, r *http.Request) error {
				return there.sessions.Login(w, r, newUser())
			})
			return err
		},
		"LogoutOthers": func(_ account, _, other string) error {
			_, _, err := attempt(ctx, there.sessions, other, there.calls()["LogoutOthers"])
			return err
		},
		"DeleteUserSessions": func(user account, _, _ string) error {
			return second(there.cache.DeleteUserSessions(ctx, user.ID))
		},
		"raw SQL": func(_ account, token, _ string) error {
			return second(there.pool.Exec(ctx, "DELETE FROM session_cache WHERE sessionid = $1::text::uuid", handleOf(t, token).String()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			ed := newUser()
			token, other, somebody := loginTo(t, there.sessions, "", ed), loginTo(t, there.sessions, "", ed), loginTo(t, there.sessions, "", newUser())
			waiting, others := waitWith(t.Context(), here.sessions, token), waitWith(t.Context(), here.sessions, somebody)
			if err := waiting.Err(); err != nil {
				t.Fatalf("the context has ended by %v", context.Cause(waiting))
			}
			if err := end(ed, token, other); err != nil {
				t.Error(err)
			}
			wantEnd(waiting, t, name, sessionhttp.ErrNoSession)
			if others.Err() != nil {
				t.Errorf("another user's context has ended by %v", context.Cause(others))
			}
		})
	}
}

// TestContextGoesOnFollowing after a change that ends nothing, after the feed has told
// that anything may have changed, and after it has failed.
func TestContextGoesOnFollowing(t *testing.T) {
	database := nearDatabase(t)
	here, there := nearServer(t, database), server(t, database)
	here.neverAsk()
	var asked atomic.Int64
	here.sessions.CountAsked(&asked)
	execute := func(statement string) {
		if _, err := there.pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	token := loginTo(t, there.sessions, "", newUser())
	waiting := waitWith(t.Context(), here.sessions, token)
	goesOn := func(after string, happen func()) {
		t.Helper()
		before := asked.Load()
		happen()
		suite.Eventually(t, "the session is asked for after "+after, func() bool { return asked.Load() > before })
		if waiting.Err() != nil {
			t.Fatalf("%s has ended the context by %v", after, context.Cause(waiting))
		}
	}
	for range 2 {
		goesOn("a change of the user", func() {
			if _, _, err := attempt(t.Context(), there.sessions, token, there.sessionCalls()["Tx with Update"]); err != nil {
				t.Error(err)
			}
		})
		goesOn("a change of any session", func() { execute("INSERT INTO session_change (sessionid) VALUES (NULL)") })
		goesOn("a failure of the feed", func() { execute("ALTER TABLE session_cache DISABLE TRIGGER USER") })
		goesOn("its return", func() {
			execute("ALTER TABLE session_cache ENABLE ALWAYS TRIGGER session_cache_deleted")
			execute("ALTER TABLE session_cache ENABLE ALWAYS TRIGGER session_cache_updated")
			execute("ALTER TABLE session_cache ENABLE ALWAYS TRIGGER session_cache_truncated")
			execute("ALTER TABLE session_cache ENABLE REPLICA TRIGGER session_cache_row_deleted")
			execute("ALTER TABLE session_cache ENABLE REPLICA TRIGGER session_cache_row_updated")
		})
	}
	if _, _, err := attempt(t.Context(), there.sessions, token, there.sessions.Logout); err != nil {
		t.Error(err)
	}
	wantEnd(waiting, t, "Logout", sessionhttp.ErrNoSession)
}

// TestContextBeforeTheFirstPoll: a request that waits from before the near cache has
// polled for the first time learns of the end, too.
func TestContextBeforeTheFirstPoll(t *testing.T) {
	database := nearDatabase(t)
	here, there := server(t, database, sessioncache.WithNearCache(10)), server(t, database)
	here.neverAsk()
	token := loginTo(t, there.sessions, "", newUser())
	waiting := waitWith(t.Context(), here.sessions, token)
	if waiting.Err() != nil {
		t.Fatalf("the context has ended by %v", context.Cause(waiting))
	}
	if _, _, err := attempt(t.Context(), there.sessions, token, there.sessions.Logout); err != nil {
		t.Error(err)
	}
	wantEnd(waiting, t, "Logout", sessionhttp.ErrNoSession)
}

// TestContextInARaceWithALogoutElsewhere: a session that memory still has when a request
// begins to wait ends its context all the same.
func TestContextInARaceWithALogoutElsewhere(t *testing.T) {
	database := nearDatabase(t)
	here, there := nearServer(t, database), server(t, database)
	here.neverAsk()
	const logouts = 400
	var begun atomic.Int64
	inParallel(logouts, func(int) {
		token := loginTo(t, there.sessions, "", newUser())
		here.remember(t.Context(), t, token)
		var logout sync.WaitGroup
		logout.Go(func() {
			if _, _, err := attempt(t.Context(), there.sessions, token, there.sessions.Logout); err != nil {
				t.Error(err)
			}
		})
		<-time.After(rand.N(sessioncache.NearCacheStaleness / 2))
		waiting := waitWith(t.Context(), here.sessions, token)
		if waiting.Err() == nil {
			begun.Add(1)
		}
		wantEnd(waiting, t, "Logout", sessionhttp.ErrNoSession)
		logout.Wait()
		if waitWith(t.Context(), here.sessions, token).Err() == nil {
			t.Error("after a Logout has returned a request waits for the end of its session")
		}
	})
	if begun.Load() == 0 {
		t.Error("that was no race")
	}
	t.Logf("%d of %d requests have begun to wait during the logout", begun.Load(), logouts)
}

// TestContextsOfAFeedAskForFew: of a thousand requests that wait, a logout has only those
// asked for whose session it is.
func TestContextsOfAFeedAskForFew(t *testing.T) {
	database := nearDatabase(t)
	here, there := nearServer(t, database), server(t, database)
	here.neverAsk()
	var asked atomic.Int64
	here.sessions.CountAsked(&asked)
	const requests, sessions = 1000, 50
	tokens := make([]string, sessions)
	for i := range tokens {
		tokens[i] = loginTo(t, there.sessions, "", newUser())
	}
	waiting := make([]context.Context, requests)
	inParallel(requests, func(i int) { waiting[i-1] = waitWith(t.Context(), here.sessions, tokens[i%sessions]) })
	before := here.cache.Metrics().NearCache
	if _, _, err := attempt(t.Context(), there.sessions, tokens[7], there.sessions.Logout); err != nil {
		t.Error(err)
	}
	for i := range waiting {
		if (i+1)%sessions == 7 {
			wantEnd(waiting[i], t, "the one that was logged out", sessionhttp.ErrNoSession)
		} else if waiting[i].Err() != nil {
			t.Errorf("another has ended by %v", context.Cause(waiting[i]))
		}
	}
	after := here.cache.Metrics().NearCache
	all := after.FailedPolls > before.FailedPolls || after.Resets > before.Resets // the feed could not tell whose
	if n := asked.Load(); n != requests/sessions && !all {
		t.Errorf("%d sessions were asked for; want %d", n, requests/sessions)
	}
}

// TestContextOfAFeedLeavesNothing: with the request that waits, what follows the feed for
// it ends, and so does the polling.
func TestContextOfAFeedLeavesNothing(t *testing.T) {
	database := nearDatabase(t)
	here, there := server(t, database, sessioncache.WithNearCache(10)), server(t, database)
	here.neverAsk()
	// Goroutines have the labels of the one that has started them.
	pprof.Do(t.Context(), pprof.Labels("test", t.Name()), func(labelled context.Context) {
		running := func(what string) (n int) {
			var all strings.Builder
			if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
				t.Fatal(err)
			}
			for stack := range strings.SplitSeq(all.String(), "\n\n") {
				if strings.Contains(stack, fmt.Sprintf("%q:%q", "test", t.Name())) && strings.Contains(stack, what) {
					n++
				}
			}
			return n
		}
		for name, end := range map[string]func(token string, cancel func()) error{
			"the end of the requests": func(_ string, cancel func()) error { cancel(); return nil },
			"a change and their end": func(token string, cancel func()) error {
				_, _, err := attempt(labelled, there.sessions, token, there.sessionCalls()["Tx with Update"])
				cancel()
				return err
			},
			"a logout elsewhere": func(token string, _ func()) error {
				_, _, err := attempt(labelled, there.sessions, token, there.sessions.Logout)
				return err
			},
		} {
			ctx, cancel := context.WithCancel(labelled)
			token := loginTo(t, there.sessions, "", newUser())
			waiting := []context.Context{waitWith(ctx, here.sessions, token), waitWith(ctx, here.sessions, token)}
			suite.Eventually(t, "the feed is followed", func() bool { return running("(*watcher).follow") > 0 && running("(*poller).run") > 0 })
			if err := end(token, cancel); err != nil {
				t.Error(err)
			}
			for _, w := range waiting {
				<-w.Done()
			}
			suite.Eventually(t, "after "+name+" nobody follows the feed", func() bool {
				return running("(*watcher).") == 0 && running("(*poller).run") == 0 && here.sessions.Waiting() == 0
			})
			cancel()
		}
	})
}
