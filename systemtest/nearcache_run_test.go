package systemtest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

const (
	nearReaders = 3  // processes with a near cache, which read
	nearSlots   = 30 // sessions that are being changed at any time
)

// nearEnvironment is where near caches meet a fault.
type nearEnvironment struct {
	admin   string        // where the test itself looks at the database
	readers []string      // the readers' connections go to one of them each
	changes []string      // and those of the other nodes; empty: the same
	timeout time.Duration // of each call
	renewal time.Duration // after which readers replace a connection; 0: never
	pause   time.Duration // between one disturbance and the next

	hitsOnly bool // what the database answers may be old
	plain    bool // only sessions without tokens
	noFault  bool // every call is answered

	// disturb makes the fault once, from beginning to end. It may be nil.
	disturb func(ctx context.Context, r *nearRun) error
	atLeast int // so many times
}

// nearRun is a service with near caches whose sessions are read and changed.
type nearRun struct {
	t   *testing.T
	env nearEnvironment

	birth sync.RWMutex // held while a session is stored, and by who ends all of them
	quiet sync.RWMutex // held while a change is made, and by who wants none
	admin *pgxpool.Pool

	mu       sync.Mutex
	procs    []*process // which read
	replaced []*process // which read until their sessions are retired
	nodes    []asker    // which make changes
	sessions map[*hotSession]bool

	retiring                          sync.WaitGroup
	began                             time.Time
	hasRead, hits, polls, resets      uint64
	checked, changed, unknown, faults atomic.Int64
}

// hotSession is a session that all readers read as fast as they can.
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

func startNearRun(t *testing.T, env nearEnvironment) *nearRun {
	t.Helper()
	r := &nearRun{t: t, env: env, sessions: map[*hotSession]bool{}, began: time.Now()}
	if len(env.changes) == 0 {
		r.env.changes = env.readers
	}
	for i := range nearReaders {
		r.addReader(fmt.Sprintf("reader %d", i+1))
	}
	config, err := pgxpool.ParseConfig(env.admin)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 12
	admin, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.Close)
	r.admin = admin
	r.addChanger(t, "test", false)
	r.addChanger(t, "test with a near cache", true)
	other := startProcess(t, nodeConfig{Name: "changer", URLs: r.env.changes, Timeout: env.timeout})
	r.nodes = append(r.nodes, other)
	return r
}

func (r *nearRun) addReader(name string) {
	r.t.Helper()
	p := startProcess(r.t, nodeConfig{
		Name: name, URLs: r.env.readers, NearCache: true, HitsOnly: r.env.hitsOnly, Timeout: r.env.timeout, Lifetime: r.env.renewal,
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.procs = append(r.procs, p)
	if len(r.env.readers) == 1 {
		r.nodes = append(r.nodes, p)
	}
}

func (r *nearRun) addChanger(t *testing.T, name string, near bool) {
	t.Helper()
	n, err := startNode(nodeConfig{Name: name, URLs: r.env.changes, NearCache: near, Timeout: r.env.timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.pool.Close)
	r.nodes = append(r.nodes, n)
}

// load has sessions read and changed for a while, and the fault happen again and again.
// In the end near caches must work.
func (r *nearRun) load(d time.Duration) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	var all sync.WaitGroup
	for range nearSlots {
		all.Go(func() {
			for ctx.Err() == nil && !r.t.Failed() {
				r.live(ctx)
			}
		})
	}
	r.awaitHits("before the fault")
	for end := time.Now().Add(d); r.faults.Load() < int64(max(1, r.env.atLeast)) || time.Now().Before(end); {
		if r.env.disturb != nil {
			if err := r.env.disturb(ctx, r); err != nil {
				r.t.Error(err)
			}
		}
		r.faults.Add(1)
		sleep(ctx, max(r.env.pause, 10*time.Millisecond))
		if r.t.Failed() {
			break
		}
	}
	r.awaitHits("after the fault")
	cancel()
	all.Wait()
	r.retiring.Wait()
	for _, p := range r.readers() {
		r.count(p)
	}
}

// readers are the processes that read. Some faults replace them.
func (r *nearRun) readers() []*process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.procs)
}

// reader is one of the processes that read.
func (r *nearRun) reader() *process {
	readers := r.readers()
	return readers[rand.IntN(len(readers))]
}

// count adds up what a process has read.
func (r *nearRun) count(p *process) {
	answer, ok := p.ask(request{Metrics: true})
	if !ok {
		return
	}
	m := answer.Metrics.NearCache
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hits, r.polls, r.resets = r.hits+m.Hits, r.polls+m.Polls, r.resets+m.Resets+m.Restarts
	r.hasRead += uint64(answer.HasRead)
}

// awaitHits waits until every reader is answered from memory.
func (r *nearRun) awaitHits(when string) {
	r.t.Helper()
	for _, p := range r.readers() {
		before, ok := p.ask(request{Metrics: true})
		if !ok {
			r.t.Errorf("%s has gone", p)
			continue
		}
		eventually(r.t, fmt.Sprintf("%s: %s reads from memory", when, p), func() bool {
			after, ok := p.ask(request{Metrics: true})
			return r.t.Failed() || ok && after.Metrics.NearCache.Hits > before.Metrics.NearCache.Hits+100
		})
	}
}

// live is a session's life, from login to logout and a moment longer.
func (r *nearRun) live(ctx context.Context) {
	s := r.create()
	if s == nil {
		sleep(ctx, rand.N(50*time.Millisecond))
		return
	}
	sleep(ctx, rand.N(300*time.Millisecond))
	for range rand.IntN(3) {
		if rand.IntN(4) == 0 { // two at once
			var other sync.WaitGroup
			other.Go(func() { r.update(s) })
			r.update(s)
			other.Wait()
		} else {
			r.update(s)
		}
		sleep(ctx, rand.N(100*time.Millisecond))
	}
	if rand.IntN(8) == 0 {
		var other sync.WaitGroup
		other.Go(func() { r.update(s) })
		r.end(s)
		other.Wait()
	} else {
		r.end(s)
	}
	r.retireSoon(s)
}

// retireSoon has sessions that have ended read a moment longer.
func (r *nearRun) retireSoon(sessions ...*hotSession) {
	r.retiring.Go(func() {
		time.Sleep(100*time.Millisecond + rand.N(150*time.Millisecond))
		for _, s := range sessions {
			r.retire(s)
		}
	})
}

func (r *nearRun) node() asker {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nodes[rand.IntN(len(r.nodes))]
}

// change makes a change on some node, and notes it.
func (r *nearRun) change(s *hotSession, c change) outcome {
	return r.changeOn(r.node(), s, c)
}

func (r *nearRun) changeOn(on asker, s *hotSession, c change) outcome {
	c.ID, c.User, c.FirstVersion = s.id, s.user, 1
	s.mu.Lock()
	c.Token = s.token
	secret := s.secret
	s.mu.Unlock()
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
	if !o.OK && !o.Unknown {
		return o
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.Version != 0 {
		s.values = append(s.values, written{o.Version, o.Begin, o.End, string(c.Kind)})
	}
	switch {
	case c.Kind == "Issue" || c.Kind == "Renew":
		s.secrets = append(s.secrets, written{secret + 1, o.Begin, o.End, string(c.Kind)})
	case isEnd(c.Kind):
		s.values = append(s.values, written{gone, o.Begin, o.End, string(c.Kind)})
		s.secrets = append(s.secrets, written{gone, o.Begin, o.End, string(c.Kind)})
	}
	return o
}

func isEnd(kind changeKind) bool {
	return slices.Contains(plainEnds, kind) || slices.Contains(tokenEnds, kind) || kind == "Set again"
}

// create stores a session and has it read. It returns nil if that fails.
func (r *nearRun) create() *hotSession {
	r.birth.RLock()
	defer r.birth.RUnlock()
	s := &hotSession{id: sid.New().String(), user: sid.New().String()}
	s.name = s.id
	c := change{Kind: "Set"}
	if !r.env.plain && rand.IntN(2) == 0 {
		c.Kind = "Issue"
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
	r.mu.Lock()
	r.sessions[s] = true
	r.mu.Unlock()
	r.watch(s)
	return s
}

// watch has a session read with its newest token.
func (r *nearRun) watch(s *hotSession) {
	for _, p := range r.readers() {
		p.send(request{Watch: &watch{Key: s.name, ID: s.id, Token: s.token, Secret: s.secret}}, nil)
	}
}

func (r *nearRun) update(s *hotSession) {
	kinds := plainUpdates
	if s.isToken() {
		kinds = tokenUpdates
	}
	c := change{Kind: kinds[rand.IntN(len(kinds))]}
	o := r.change(s, c)
	if c.Kind != "Renew" || !o.OK || o.Unknown {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.secret
	s.token, s.secret = o.Token, s.secret+1
	r.watch(s)
	s.old.Go(func() {
		// For ten seconds at most: later, to use it ends the session.
		sleep(r.t.Context(), 200*time.Millisecond+rand.N(200*time.Millisecond))
		r.unwatch(s, before)
	})
}

func (s *hotSession) isToken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token != ""
}

// end ends a session, and tries again until it has ended.
func (r *nearRun) end(s *hotSession) {
	kinds := plainEnds
	if s.isToken() {
		kinds = tokenEnds
	}
	kind := kinds[rand.IntN(len(kinds))]
	if r.env.noFault && !s.isToken() && rand.IntN(len(kinds)) == 0 {
		kind = "Set again"
	}
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
func (r *nearRun) createHot(n int) (sessions []*hotSession) {
	for deadline := time.Now().Add(time.Minute); len(sessions) < n; {
		if s := r.create(); s != nil {
			sessions = append(sessions, s)
		}
		if r.t.Failed() || time.Now().After(deadline) {
			return nil
		}
	}
	r.awaitPolls(2)
	return sessions
}

// endBy ends sessions by something else than a call. It notes that they may end before it
// does so: others end some of them, too, and have them checked meanwhile.
func (r *nearRun) endBy(what string, sessions []*hotSession, end func() error) error {
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
	for i, s := range sessions {
		s.mu.Lock()
		s.values[noted[i].value].end, s.secrets[noted[i].secret].end = ended, ended
		s.mu.Unlock()
	}
	return nil
}

// endAll ends all sessions there are.
func (r *nearRun) endAll(what string, end func() error) error {
	r.birth.Lock()
	defer r.birth.Unlock()
	r.mu.Lock()
	sessions := slices.Collect(maps.Keys(r.sessions))
	r.mu.Unlock()
	return r.endBy(what, sessions, end)
}

// execute runs statements, in which {0} stands for the first of the sessions, and waits
// for near caches.
func (r *nearRun) execute(ctx context.Context, on interface {
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
	return sessioncache.New[nearUser](r.admin).AwaitNearCaches(ctx)
}

// unwatch ends the reading of a session, with one of its tokens or with all (-1).
func (r *nearRun) unwatch(s *hotSession, secret int64) {
	r.mu.Lock()
	procs := slices.Concat(r.procs, r.replaced)
	r.mu.Unlock()
	for _, p := range procs {
		answer, _ := p.ask(request{Unwatch: &unwatch{s.name, secret}})
		s.mu.Lock()
		s.seen.Values = append(s.seen.Values, answer.Reads.Values...)
		s.seen.Secrets = append(s.seen.Secrets, answer.Reads.Secrets...)
		s.mu.Unlock()
	}
}

// retire ends the reading of a session that has ended, and checks what was read.
func (r *nearRun) retire(s *hotSession) {
	s.old.Wait()
	r.unwatch(s, -1)
	r.mu.Lock()
	delete(r.sessions, s)
	r.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	r.checked.Add(1)
	for _, register := range []struct {
		what   string
		writes []written
		reads  []reads
	}{{"users", s.values, s.seen.Values}, {"tokens", s.secrets, s.seen.Secrets}} {
		if err := checkRegister(register.writes, register.reads); err != nil {
			r.t.Errorf("%s of session %s: %v\n%s", register.what, s.name, err, describeRegister(register.writes, register.reads))
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// nearTable is the report of several runs.
type nearTable struct {
	mu   sync.Mutex
	rows []string
}

func (t *nearTable) add(name string, r *nearRun) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, fmt.Sprintf("| %s | %s | %d | %d | %d | %d | %d | %d | %.2f | %d |", name, time.Since(r.began).Round(100*time.Millisecond),
		r.faults.Load(), r.checked.Load(), r.changed.Load(), r.unknown.Load(), r.hasRead, r.hits, 100*float64(r.hits)/max(1, float64(r.hasRead)), r.resets))
}

func (t *nearTable) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return "\n| fault | time | faults | sessions | changes | unknown | reads | hits | % | resets |\n|---|---|---|---|---|---|---|---|---|---|\n" +
		strings.Join(t.rows, "\n")
}
