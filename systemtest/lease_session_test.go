package systemtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

// hotSession is a session that processes read again and again.
type hotSession struct {
	name string
	id   string
	user string
	old  sync.WaitGroup // watches of older tokens

	mu              sync.Mutex
	token           string // the newest that is known; none of a plain session
	secret          int64  // its number
	values, secrets []written
	seen            readResult
}

func (s *hotSession) isToken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token != ""
}

// create stores a session and has it read. It returns nil if that fails.
func (r *leaseRun) create(plain bool) *hotSession {
	r.birth.RLock()
	defer r.birth.RUnlock()
	s := &hotSession{id: sid.New().String(), user: sid.New().String()}
	s.name = s.id
	c := change{Kind: "Issue"}
	if plain {
		c.Kind = "Set"
		r.lookOn(r.procs, look{ID: s.id}) // no process may keep that there is none
	}
	o := r.change(s, c)
	if o.Unknown || !o.OK {
		return nil
	}
	if o.Token != "" {
		token, err := sid.ParseToken(o.Token)
		if err != nil {
			r.t.Error(err)
			return nil
		}
		s.id, s.token, s.secret = token.Handle().String(), o.Token, 1
	}
	r.check(r.procs, look{s.id, s.token}, "create", func(seen sight) bool { return !seen.Live })
	r.mu.Lock()
	r.sessions[s] = true
	r.mu.Unlock()
	r.watch(s)
	return s
}

// watch has a session read with its newest token.
func (r *leaseRun) watch(s *hotSession) {
	for _, p := range r.keeping() {
		p.send(request{Watch: &watch{Key: s.name, look: look{s.id, s.token}, Secret: s.secret}}, nil)
	}
}

// change makes a change in one of the processes, and notes it. When everybody has to see it,
// every process looks.
func (r *leaseRun) change(s *hotSession, c change) outcome {
	return r.changeOn(r.any(), s, c)
}

func (r *leaseRun) changeOn(on asker, s *hotSession, c change) outcome {
	c.ID, c.User = s.id, s.user
	s.mu.Lock()
	c.Token = s.token
	secret := s.secret
	s.mu.Unlock()
	o := r.makeChange(on, c)
	r.note(s, c, o, secret)
	before := r.before(c, o)
	if before == nil {
		return o
	}
	seen := look{s.id, c.Token}
	if p, ok := on.(*process); ok && o.Own {
		r.check([]*process{p}, seen, c.Kind+", own", before)
	}
	sleep(r.t.Context(), time.Duration(o.End-now()))
	r.check(r.procs, seen, c.Kind, before)
	return o
}

func (r *leaseRun) makeChange(on asker, c change) outcome {
	r.quiet.RLock()
	defer r.quiet.RUnlock()
	began := now()
	answer, ok := on.ask(request{Change: &c})
	o := answer.Outcome
	if !ok {
		o = outcome{span: span{began, notOver}, Unknown: true}
	}
	if o.Err != "" {
		r.t.Error(o.Err)
	}
	if r.changed.Add(1); o.Unknown {
		r.unknown.Add(1)
		o.End = notOver
	}
	return o
}

// before returns what tells a lookup that sees what was before a change from one that does
// not, or nil if the change says nothing.
func (r *leaseRun) before(c change, o outcome) func(seen sight) bool {
	switch {
	case o.Unknown, o.Err != "", c.Kind == "Set", c.Kind == "Issue", o.Superseded && c.Kind == "Renew in Tx":
		return nil // Tx does not wait when it rolls back
	case o.OK && o.Version != 0:
		return func(seen sight) bool { return seen.Live && seen.Version < o.Version }
	default: // the session has ended, or the token was replaced
		return func(seen sight) bool { return seen.Live }
	}
}

// note notes what a change has done, or may have.
func (r *leaseRun) note(s *hotSession, c change, o outcome, secret int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end := func() {
		s.values = append(s.values, written{gone, o.Begin, o.End, string(c.Kind)})
		s.secrets = append(s.secrets, written{gone, o.Begin, o.End, string(c.Kind)})
	}
	if o.Superseded {
		if c.Kind != "Renew in Tx" {
			s.secrets = append(s.secrets, written{secret + 1, o.Begin, o.End, string(c.Kind) + ", superseded"})
		}
		return
	}
	if o.Version != 0 {
		s.values = append(s.values, written{o.Version, o.Begin, o.End, string(c.Kind)})
	}
	switch {
	case c.Kind.ends():
		end()
	case !o.OK && !o.Unknown: // it found nothing: somebody else has ended it
		end()
	case c.Kind == "Issue", c.Kind == "Renew", c.Kind == "Renew in Tx":
		s.secrets = append(s.secrets, written{secret + 1, o.Begin, o.End, string(c.Kind)})
	}
}

// check has processes look, and counts those that see what was before.
func (r *leaseRun) check(procs []*process, l look, after changeKind, before func(seen sight) bool) {
	for i, seen := range r.lookOn(procs, l) {
		if seen.Unknown {
			continue
		}
		if r.looked.Add(1); before(seen) {
			r.stale.Add(1)
			r.t.Errorf("STALE: after %s of session %s, %s sees %+v", after, l.ID, procs[i], seen)
		}
	}
}

// lookOn has processes look at the same time.
func (r *leaseRun) lookOn(procs []*process, l look) []sight {
	seen := make([]sight, len(procs))
	var all sync.WaitGroup
	for i, p := range procs {
		all.Go(func() {
			answer, ok := p.ask(request{Look: &l})
			if seen[i] = answer.Sight; !ok {
				seen[i].Unknown = true
			}
			if seen[i].Err != "" {
				r.t.Error(seen[i].Err)
			}
		})
	}
	all.Wait()
	return seen
}

func (r *leaseRun) update(s *hotSession) {
	kinds := plainUpdates
	if s.isToken() {
		kinds = tokenUpdates
	}
	o := r.change(s, change{Kind: kinds[rand.IntN(len(kinds))]})
	if o.Token == "" || !o.OK || o.Unknown {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.secret
	s.token, s.secret = o.Token, s.secret+1
	r.watch(s)
	s.old.Go(func() {
		// For less than ten seconds: later, to use it ends the session.
		sleep(r.t.Context(), 200*time.Millisecond+rand.N(200*time.Millisecond))
		r.unwatch(s, before)
	})
}

// end ends a session, and tries again until it has ended.
func (r *leaseRun) end(s *hotSession) {
	kinds := plainEnds
	if s.isToken() {
		kinds = tokenEnds
	}
	kind := kinds[rand.IntN(len(kinds))]
	for deadline := time.Now().Add(2 * time.Minute); ; {
		o := r.change(s, change{Kind: kind})
		if !o.Unknown || r.t.Failed() {
			return
		}
		if time.Now().After(deadline) {
			r.t.Errorf("two minutes, and %s still fails", kind)
			return
		}
		time.Sleep(rand.N(20 * time.Millisecond)) // as a client that tries again would
		if rand.IntN(2) == 0 {
			kind = kinds[rand.IntN(len(kinds))]
		}
	}
}

// createHot returns so many sessions that are in memory by now, which nobody else changes.
// It returns none if that takes a minute.
func (r *leaseRun) createHot(n int, plain bool) []*hotSession {
	sessions := make([]*hotSession, n)
	deadline := time.Now().Add(time.Minute)
	var all sync.WaitGroup
	for i := range sessions {
		all.Go(func() {
			for sessions[i] == nil && !r.t.Failed() && time.Now().Before(deadline) {
				sessions[i] = r.create(plain)
			}
			if s := sessions[i]; s != nil {
				r.lookOn(r.procs, look{s.id, s.token})
			}
		})
	}
	all.Wait()
	if slices.Contains(sessions, nil) {
		return nil
	}
	return sessions
}

// endBy ends sessions by something else than a call. It notes that they may end before it
// does so: others end some of them, too, and have them checked meanwhile. When it is over,
// every process looks.
func (r *leaseRun) endBy(what string, sessions []*hotSession, end func() error) error {
	began := now()
	noted := make([]struct{ value, secret int }, len(sessions)) // where
	for i, s := range sessions {
		s.mu.Lock()
		noted[i].value, noted[i].secret = len(s.values), len(s.secrets)
		s.values = append(s.values, written{gone, began, notOver, what})
		s.secrets = append(s.secrets, written{gone, began, notOver, what})
		s.mu.Unlock()
	}
	err := end()
	ended := now()
	r.changed.Add(int64(len(sessions)))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	var all sync.WaitGroup
	for i, s := range sessions {
		s.mu.Lock()
		s.values[noted[i].value].end, s.secrets[noted[i].secret].end = ended, ended
		l := look{s.id, s.token}
		s.mu.Unlock()
		all.Go(func() { r.check(r.procs, l, changeKind(what), func(seen sight) bool { return seen.Live }) })
	}
	all.Wait()
	return nil
}

// endAll ends all sessions there are.
func (r *leaseRun) endAll(what string, end func() error) error {
	r.birth.Lock()
	defer r.birth.Unlock()
	return r.endBy(what, r.all(), end)
}

// execute runs statements, in which {0} stands for the first of the sessions, and waits
// for near caches.
func (r *leaseRun) execute(ctx context.Context, on interface {
	Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error)
}, sessions []*hotSession, statements ...string) error {
	for _, statement := range statements {
		for i, s := range sessions {
			statement = strings.ReplaceAll(statement, fmt.Sprintf("{%d}", i), "'"+s.id+"'")
		}
		if _, err := on.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return sessioncache.New[leaseUser](r.admin).AwaitNearCaches(ctx)
}

// onConnection does something on a connection of its own.
func (r *leaseRun) onConnection(ctx context.Context, do func(conn *pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, r.env.admin)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return do(conn)
}

// unwatch ends the reading of a session, with one of its tokens or with all (-1).
func (r *leaseRun) unwatch(s *hotSession, secret int64) {
	for _, p := range r.keeping() {
		answer, _ := p.ask(request{Unwatch: &unwatch{s.name, secret}})
		s.mu.Lock()
		s.seen.Values = append(s.seen.Values, answer.Reads.Values...)
		s.seen.Secrets = append(s.seen.Secrets, answer.Reads.Secrets...)
		s.mu.Unlock()
	}
}

// retire ends the reading of a session that has ended, and checks what was read.
func (r *leaseRun) retire(s *hotSession) {
	s.old.Wait()
	r.unwatch(s, -1)
	r.mu.Lock()
	delete(r.sessions, s)
	r.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, register := range []struct {
		what   string
		writes []written
		reads  []reads
	}{{"users", s.values, s.seen.Values}, {"tokens", s.secrets, s.seen.Secrets}} {
		r.histories.Add(1)
		if err := checkRegister(register.writes, register.reads); err != nil {
			r.impossibleHistories.Add(1)
			r.t.Errorf("%s of session %s: %v\n%s", register.what, s.name, err, describeRegister(register.writes, register.reads))
		}
	}
}
