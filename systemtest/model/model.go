// Command nearmodel explores interleavings of the near cache's protocol and checks that no Get that begins
// after a change has returned sees what was before. See rules.go for what can be broken on purpose.
package main

import "fmt"

const (
	NS = 2 // sessions
	NR = 2 // servers; each reads, changes and has clocks of its own
	NC = 4 // changes
	NF = 5 // rows of the feed
	NG = 2 // Gets under way per server
	NL = 2 // lookups under way per server
)

// kinds of change
const (
	Update int8 = iota
	Delete
	Set // makes an absent session; adds no row to the feed, and returns at once, unless the id has been used before
)

// states of a change
const (
	idle    int8 = iota
	running      // has an xid and the row's lock
	visible      // committed
	acked        // its caller knows, and waits
	gone         // returned, or aborted, or nobody waits for it
)

type Change struct {
	Kind, Sess, Srv, St, Xid, Obs int8
	T0, Wait                      int8 // the caller's clock when it was sent; and since when it waits
	W0, Over                      int8 // by the wall clock: when it was sent, and when it was over
	Ask                           int8 // 0 has not asked for the flag, 1 waits for the answer, 2 it was unset, 3 it was set
	Lost, Zero                    bool // the answer is lost; it found nothing to change
}

// Ask is a server's reading of the flag: one at a time, for all changes that are over.
type Ask struct {
	St         int8 // 0 none, 1 sent, 2 answered
	Mono, Wall int8 // before it was sent
	Used       bool
}

// states of the flag
const (
	unused int8 = iota
	used
	draining
	off
)

type Row struct { // of the feed
	Used, Committed               bool
	Xid, Sess, Seq, Written, Seen int8
}

type Snap struct {
	Xmax int8
	Xip  uint32
}

func (s Snap) shows(xid int8) bool { return xid < s.Xmax && s.Xip&(1<<xid) == 0 }

func (s Snap) xmin() int8 {
	for x := range s.Xmax {
		if s.Xip&(1<<x) != 0 {
			return x
		}
	}
	return s.Xmax
}

type Poll struct {
	St                int8 // 0 none, 1 sent, 2 answered, 3 published and about to remove (mutation)
	Mono, Wall, Seq   int8 // when it began
	Fresh             bool // starts from the current snapshot
	Snap              Snap
	IDs               uint8
	Reset             bool
	Ident, Horizon, W int8
}

type Lookup struct {
	St, Sess, Version, Ver, Start int8 // 1 queued, 2 sent, 3 answered, 4 checked (mutation); Start: the server's, 0 in recovery
	SentAt, SentWall              int8
	Live                          bool
}

type Get struct {
	St, Sess, Req, Seq, Slot, Ver int8 // 1 begun, 2 memory is fresh, 3 needs a lookup, 4 waits for it, 5 has read the entry (mutation)
	Now                           int8
}

type Server struct {
	Mono, Wall, Coarse, SkewAt    int8
	Suspended, Paused             bool
	Has, Neg                      [NS]bool
	Ver                           [NS]int8
	Based                         bool
	Base                          Snap
	Ident, Mark                   int8
	FMono, FWall, FSeq, Begun, Vn int8
	Uses, Off                     bool // has found near caches in use; and then turned off, for good
	Quarantine                    bool // nothing is kept that was looked up within Q of
	QMono, QWall                  int8
	Ask                           Ask
	NotUsed                       bool // the flag was last read as unset, by a statement sent at
	NMono, NWall                  int8
	Poll                          Poll
	Lookups                       [NL]Lookup
	Gets                          [NG]Get
}

type State struct {
	T                      int8
	Epoch                  int8
	NextXid, Latest, MaxC  int8
	Ver, Stby, Required    [NS]int8
	Live                   [NS]uint16 // by version
	Horizon, Cand, Seq     int8
	Flag, Gen, DrainAt     int8
	Toggles, NAsk          int8
	Crashes, Burns, Purges int8
	Tricks                 int8 // suspensions, pauses and steps so far
	NChange, NGet, NPoll   int8
	Changes                [NC]Change
	Feed                   [NF]Row
	Srv                    [NR]Server
}

// Rules say what the protocol does. The zero value of each bool is the right way.
type Rules struct {
	DH, DW, Q int8 // a hit counts within DH, a change waits DW, a near cache keeps nothing for Q after the feed's identity has changed

	NoOverlap, FreshAtEnd, WaitFromSend, MonoOnly, WallOnly, Watermark, PurgeByWritten, PurgeBySeen bool
	Negative, JoinSent, ZeroReturns, StartTimeOnly, AnyServer, StandbyPoll, RacyInsert, EntryFirst  bool
	PublishFirst, CoarseClock, NoHorizon, EarlyReturn, NoQuarantine, NoElapsed, WallAbs             bool
	ReusedSet, AgeAtSend, JoinAsk, NoGenQuarantine, NoGeneration, ForgetAtOnce, StaysOn             bool

	// the world
	T, MaxChanges, MaxGets, MaxPolls       int8
	Skew, Suspend, VMPause, Step, Crash    bool
	Standby, PurgeOn, Losses, ReadIndex    bool
	Readers, Sessions                      int8
	OnlyUpdates, Exhaustive, Register, Set bool
	Toggle                                 bool // near caches are turned off, and on again by somebody else
	MaxAsks                                int8 // readings of the flag for no change (AwaitNearCaches)
}

func initial(r *Rules) State {
	var s State
	s.NextXid, s.Latest, s.Cand = 3, 2, 3
	for i := range s.Ver {
		s.Live[i] = 1 // version 0 is a live session …
	}
	if r.Set {
		s.Live[1] = 0 // … but of the second one, where Set is to make it
	}
	for i := range s.Srv {
		s.Srv[i].Mono, s.Srv[i].Wall, s.Srv[i].Coarse, s.Srv[i].SkewAt = 10, 10, 10, -20
		s.Srv[i].Uses = !r.Register
	}
	if !r.Register {
		s.Flag, s.Gen = used, 1
	}
	if r.Toggle && !r.Register { // a near cache that has been in use for long, and silent for a while
		for i := range s.Srv {
			v := &s.Srv[i]
			v.Based, v.Base, v.Ident, v.FMono, v.FWall = true, s.snap(), s.ident(r), -20, -20
		}
	}
	return s
}

func (s *State) live(sess int8) bool { return s.Live[sess]&(1<<s.Ver[sess]) != 0 }

func (s *State) snap() Snap {
	sn := Snap{Xmax: s.Latest + 1}
	for i := range s.Changes {
		if c := &s.Changes[i]; c.St == running && c.Xid > 0 && c.Xid < sn.Xmax {
			sn.Xip |= 1 << c.Xid
		}
	}
	return sn
}

func (s *State) locked(sess int8) bool {
	for i := range s.Changes {
		if s.Changes[i].St == running && s.Changes[i].Sess == sess {
			return true
		}
	}
	return false
}

// ident is what a poll says about the feed: the server's start, the epoch, the generation.
func (s *State) ident(r *Rules) int8 {
	ident := 1 + 10*s.Gen
	if r.NoGeneration {
		ident = 1
	}
	if !r.StartTimeOnly {
		ident += s.Epoch
	}
	return ident
}

// What a lookup says about the server: its start, which a crash of a backend does not change, or that it is in recovery.
const (
	standbyStart int8 = iota
	primaryStart
)

// notUsed tells whether the last reading of the flag, unset, is young enough for a change that was over at the given time.
func (v *Server) notUsed(r *Rules, mono, wall int8) bool {
	m, w := mono-v.NMono, wall-v.NWall
	return v.NotUsed && m >= 0 && w >= 0 && (r.NoElapsed || m < r.Q-2 && w < r.Q-2)
}

// quarantined tells whether a lookup was sent too early to be kept.
func (v *Server) quarantined(r *Rules, mono, wall int8) bool {
	m, w := mono-v.QMono, wall-v.QWall
	switch {
	case !r.EarlyReturn || r.NoQuarantine || !v.Quarantine:
		return false
	case m < 0:
		return true
	case w < 0: // start again
		v.QMono, v.QWall = mono, wall
		return true
	}
	return m < r.Q || w < r.Q
}

func (v *Server) fresh(r *Rules) bool { return v.freshAt(r, v.Mono, v.Wall) }

func (v *Server) freshAt(r *Rules, mono, wall int8) bool {
	if !v.Based {
		return false
	}
	if r.CoarseClock {
		mono, wall = v.Coarse, wall-(v.Mono-v.Coarse)
	}
	m, w := mono-v.FMono, wall-v.FWall
	if r.MonoOnly {
		return m < r.DH
	}
	if r.WallOnly {
		return w >= 0 && w < r.DH
	}
	if r.WallAbs {
		return m < r.DH && w < r.DH
	}
	return m < r.DH && w >= 0 && w < r.DH
}

type emit func(next State, label string, bad string)

// next lists everything that may happen.
func next(s *State, r *Rules, out emit) {
	do := func(label string, f func(n *State)) {
		n := *s
		f(&n)
		out(n, label, "")
	}
	if s.T < r.T {
		do("tick", func(n *State) { n.tick(r, -1, 0) })
		if r.Skew {
			for i := range NR {
				if s.T-s.Srv[i].SkewAt > r.DH+r.DW+2 && !s.Srv[i].Suspended && !s.Srv[i].Paused {
					do(fmt.Sprintf("tick, S%d's clocks stand still", i), func(n *State) { n.tick(r, i, -1) })
					do(fmt.Sprintf("tick, S%d's clocks go twice", i), func(n *State) { n.tick(r, i, 1) })
				}
			}
		}
	}
	s.database(r, do)
	for i := range s.Changes {
		s.change(r, i, do)
	}
	for i := range int8(NR) {
		v := &s.Srv[i]
		if v.Suspended {
			do(fmt.Sprintf("S%d wakes up", i), func(n *State) { n.Srv[i].Suspended = false })
			continue
		}
		if v.Paused {
			do(fmt.Sprintf("S%d's machine goes on", i), func(n *State) { n.Srv[i].Paused = false })
			continue
		}
		if s.Tricks == 0 {
			if r.Suspend {
				do(fmt.Sprintf("S%d suspends", i), func(n *State) { n.Srv[i].Suspended = true; n.Tricks++ })
			}
			if r.VMPause {
				do(fmt.Sprintf("S%d's machine is paused", i), func(n *State) { n.Srv[i].Paused = true; n.Tricks++ })
			}
			if r.Step {
				do(fmt.Sprintf("S%d's wall clock steps back", i), func(n *State) { n.Srv[i].Wall -= 4; n.Tricks++ })
				do(fmt.Sprintf("S%d's wall clock steps forward", i), func(n *State) { n.Srv[i].Wall += 4; n.Tricks++ })
			}
		}
		if r.CoarseClock && v.Coarse != v.Mono {
			do(fmt.Sprintf("S%d updates its coarse clock", i), func(n *State) { n.Srv[i].Coarse = n.Srv[i].Mono })
		}
		if r.EarlyReturn {
			s.ask(r, i, do)
		}
		if i < r.Readers {
			s.reader(r, i, do, out)
		}
	}
}

func (s *State) tick(r *Rules, skewed int, by int8) {
	s.T++
	for i := range s.Srv {
		v := &s.Srv[i]
		if v.Paused {
			continue
		}
		d := int8(1)
		if i == skewed {
			d += by
			v.SkewAt = s.T
		}
		v.Wall += d
		if !v.Suspended {
			v.Mono += d
		}
		if v.Mono-v.Coarse > 4 {
			v.Coarse = v.Mono - 4
		}
	}
}

func (s *State) database(r *Rules, do func(string, func(*State))) {
	if r.Standby {
		for i := range s.Ver {
			if s.Stby[i] < s.Ver[i] {
				do("the standby catches up", func(n *State) { n.Stby = n.Ver })
				break
			}
		}
	}
	if r.Crash && s.Crashes == 0 {
		if s.Burns < 2 && s.NextXid < 30 {
			do("some transaction aborts", func(n *State) { n.Burns++; n.Latest = n.NextXid; n.NextXid++ })
		}
		do("a backend is killed: the server starts over", func(n *State) {
			n.Crashes++
			n.Epoch++
			n.NextXid = n.MaxC + 1
			if n.NextXid < 3 {
				n.NextXid = 3
			}
			n.Latest = n.NextXid - 1
			for i := range n.Changes {
				if n.Changes[i].St == running {
					n.Changes[i].St = gone
				}
			}
			for i := range n.Feed {
				if !n.Feed[i].Committed { // the feed is logged; the epoch is not, and so begins anew
					n.Feed[i] = Row{}
				}
			}
			n.Horizon, n.Cand = 0, 0
		})
	}
	if r.Toggle {
		switch {
		case s.Flag == used && s.Toggles == 0:
			do("near caches are drained", func(n *State) { n.Toggles++; n.Flag, n.DrainAt = draining, n.T })
		case s.Flag == draining && (r.ForgetAtOnce || s.T-s.DrainAt >= r.DW):
			do("near caches are off", func(n *State) { n.Flag = off })
		case s.Flag == off:
			do("another near cache registers", func(n *State) { n.Flag = used; n.Gen++ })
		}
	}
	if r.PurgeOn {
		switch {
		case r.PurgeByWritten || r.PurgeBySeen:
			for i := range s.Feed {
				f := &s.Feed[i]
				if !f.Committed {
					continue
				}
				if r.PurgeBySeen && f.Seen == 0 {
					do("purge sees a row", func(n *State) { n.Feed[i].Seen = n.T + 1 })
				}
				if (r.PurgeByWritten && s.T-f.Written >= 5) || (r.PurgeBySeen && f.Seen > 0 && s.T+1-f.Seen >= 5) {
					do("purge removes a row", func(n *State) { n.Feed[i] = Row{} })
				}
			}
		case s.Purges < 3:
			do("purge", func(n *State) {
				n.Purges++
				if n.Cand > n.Horizon {
					n.Horizon = n.Cand
				}
				for i := range n.Feed {
					if n.Feed[i].Committed && n.Feed[i].Xid < n.Horizon {
						n.Feed[i] = Row{}
					}
				}
				n.Cand = n.snap().xmin()
			})
		}
	}
}

func (s *State) freeRow() int {
	for i := range s.Feed {
		if !s.Feed[i].Used {
			return i
		}
	}
	return -1
}

func (s *State) change(r *Rules, i int, do func(string, func(*State))) {
	c := &s.Changes[i]
	name := func(what string) string {
		return fmt.Sprintf("C%d (%s X%d by S%d) %s", i, [...]string{"Update", "Delete", "Set"}[c.Kind], c.Sess, c.Srv, what)
	}
	switch c.St {
	case idle:
		if int(s.NChange) != i || s.NChange >= r.MaxChanges {
			return
		}
		for srv := range int8(NR) {
			if r.Readers == 1 && srv == 0 {
				continue // with one reader the other server changes
			}
			if s.Srv[srv].Suspended || s.Srv[srv].Paused {
				continue
			}
			for sess := range r.Sessions {
				if s.locked(sess) { // it would wait
					continue
				}
				for _, kind := range []int8{Update, Delete, Set} {
					live := s.live(sess)
					if (kind == Set) != (r.Set && !live) && (kind == Set || (kind == Update && !live)) {
						continue
					}
					if kind == Delete && r.OnlyUpdates {
						continue
					}
					if kind == Update && !live || kind == Set && live {
						continue
					}
					free := s.freeRow()
					if live && free < 0 || s.NextXid >= 31 || s.Ver[sess] >= 14 {
						continue
					}
					do(fmt.Sprintf("C%d: S%d sends %s X%d", i, srv, [...]string{"Update", "Delete", "Set"}[kind], sess), func(n *State) {
						n.NChange++
						d := &n.Changes[i]
						*d = Change{Kind: kind, Sess: sess, Srv: srv, St: running, T0: n.Srv[srv].Mono, W0: n.Srv[srv].Wall}
						if !live && kind == Delete { // nothing to change
							d.St, d.Zero, d.Obs = visible, true, n.Ver[sess]
							return
						}
						d.Xid = n.NextXid
						n.NextXid++
						if kind != Set {
							n.Seq++
							n.Feed[free] = Row{Used: true, Xid: d.Xid, Sess: sess, Seq: n.Seq, Written: n.T}
						}
					})
				}
			}
		}
	case running:
		do(name("commits"), func(n *State) {
			d := &n.Changes[i]
			d.St = visible
			if d.Lost {
				d.St = gone
			}
			n.Ver[d.Sess]++
			if d.Kind != Delete {
				n.Live[d.Sess] |= 1 << n.Ver[d.Sess]
			}
			d.Obs = n.Ver[d.Sess]
			n.Latest, n.MaxC = max(n.Latest, d.Xid), max(n.MaxC, d.Xid)
			for j := range n.Feed {
				if n.Feed[j].Used && !n.Feed[j].Committed && n.Feed[j].Xid == d.Xid {
					n.Feed[j].Committed = true
				}
			}
		})
		if r.Losses && !c.Lost {
			do(name("loses its connection"), func(n *State) { n.Changes[i].Lost = true })
		}
	case visible:
		if s.Srv[c.Srv].Suspended || s.Srv[c.Srv].Paused {
			return
		}
		if r.Losses {
			do(name("loses its answer"), func(n *State) { n.Changes[i].St = gone })
		}
		do(name("is acknowledged"), func(n *State) {
			d := &n.Changes[i]
			d.St, d.Wait, d.Over = acked, n.Srv[d.Srv].Mono, n.Srv[d.Srv].Wall
			if r.WaitFromSend {
				d.Wait = d.T0
			}
		})
	case acked:
		if s.Srv[c.Srv].Suspended || s.Srv[c.Srv].Paused {
			return
		}
		v := &s.Srv[c.Srv]
		if r.EarlyReturn && c.Ask == 0 && (v.Ask.St == 0 || r.JoinAsk) {
			do(name("asks whether near caches are in use"), func(n *State) { n.Changes[i].Ask = 1; n.Srv[c.Srv].send() })
		}
		over, overWall := c.Wait, c.Over
		if r.AgeAtSend {
			over, overWall = c.T0, c.W0
		}
		early := c.Kind == Set && (c.Obs == 1 || r.ReusedSet) || (r.ZeroReturns && c.Zero) ||
			(r.EarlyReturn && (c.Ask == 2 || c.Ask == 0 && v.notUsed(r, over, overWall)))
		if early || s.Srv[c.Srv].Mono-c.Wait >= r.DW {
			do(name("returns"), func(n *State) {
				d := &n.Changes[i]
				d.St = gone
				n.Required[d.Sess] = max(n.Required[d.Sess], d.Obs)
			})
		}
	}
}

// send sends a reading of the flag, unless one has been sent.
func (v *Server) send() {
	if v.Ask.St == 0 {
		v.Ask = Ask{St: 1, Mono: v.Mono, Wall: v.Wall}
	}
}

// asking tells whether a server has a change that may use a reading of the flag.
func (s *State) asking(i int8) bool {
	for j := range s.Changes {
		if d := &s.Changes[j]; d.Srv == i && d.St > idle && d.St < gone {
			return true
		}
	}
	return false
}

// ask is how a server that changes something reads the flag.
func (s *State) ask(r *Rules, i int8, do func(string, func(*State))) {
	switch a := s.Srv[i].Ask; a.St {
	case 0:
		if s.NAsk < r.MaxAsks && (s.NChange < r.MaxChanges || s.asking(i)) && (r.Readers > 1 || i > 0) {
			do(fmt.Sprintf("S%d asks whether near caches are in use", i), func(n *State) { n.NAsk++; n.Srv[i].send() })
		}
	case 1:
		do(fmt.Sprintf("S%d's question is answered: the flag is %d", i, s.Flag), func(n *State) {
			n.Srv[i].Ask.St, n.Srv[i].Ask.Used = 2, n.Flag == used || n.Flag == draining
		})
	case 2:
		do(fmt.Sprintf("S%d knows whether near caches are in use: %v", i, a.Used), func(n *State) {
			w := &n.Srv[i]
			w.Ask, w.NotUsed, w.NMono, w.NWall = Ask{}, !a.Used, a.Mono, a.Wall
			for j := range n.Changes {
				if d := &n.Changes[j]; d.Srv == i && d.Ask == 1 {
					d.Ask = 2
					if a.Used {
						d.Ask = 3
					}
				}
			}
		})
	}
}

func (s *State) reader(r *Rules, i int8, do func(string, func(*State)), out emit) {
	v := &s.Srv[i]
	s.poll(r, i, do)
	for l := range v.Lookups {
		s.lookup(r, i, l, do, out)
	}
	for g := range v.Gets {
		s.get(r, i, g, do, out)
	}
}

func (s *State) poll(r *Rules, i int8, do func(string, func(*State))) {
	v := &s.Srv[i]
	p := &v.Poll
	switch p.St {
	case 0:
		if s.NPoll < r.MaxPolls && !v.Off {
			do(fmt.Sprintf("S%d begins a poll", i), func(n *State) {
				w := &n.Srv[i]
				n.NPoll++
				w.Begun++
				w.Poll = Poll{St: 1, Mono: w.Mono, Wall: w.Wall, Seq: w.Begun}
				// "has not polled for a minute": here 4 ticks, while a row of the feed is kept for 5
				w.Poll.Fresh = !w.Based || ((r.PurgeByWritten || r.PurgeBySeen) && max(w.Mono-w.FMono, w.Wall-w.FWall) > 4)
			})
		}
	case 1:
		if s.Flag == unused || s.Flag == off && !v.Uses {
			do(fmt.Sprintf("S%d registers", i), func(n *State) { n.Flag = used; n.Gen++ }) // and polls again
			return
		}
		if s.Flag != used && !r.StaysOn {
			do(fmt.Sprintf("S%d's poll finds near caches turned off", i), func(n *State) {
				w := &n.Srv[i]
				w.Poll, w.Based, w.Off = Poll{}, false, w.Uses
			})
			return
		}
		do(fmt.Sprintf("S%d's poll is answered by the primary", i), func(n *State) {
			n.Srv[i].Uses = true
			w := &n.Srv[i]
			q := &w.Poll
			q.St, q.Snap, q.Ident, q.Horizon, q.W = 2, n.snap(), n.ident(r), n.Horizon, w.Mark
			for j := range n.Feed {
				f := &n.Feed[j]
				if !f.Committed {
					continue
				}
				if r.Watermark {
					if f.Seq > w.Mark {
						q.IDs |= 1 << f.Sess
					}
					q.W = max(q.W, f.Seq)
				} else if !w.Base.shows(f.Xid) {
					q.IDs |= 1 << f.Sess
				}
			}
		})
		if r.StandbyPoll && r.Standby {
			do(fmt.Sprintf("S%d's poll is answered by the standby", i), func(n *State) {
				q := &n.Srv[i].Poll
				q.St, q.Snap, q.Ident, q.Horizon = 2, Snap{Xmax: n.Srv[i].Base.Xmax, Xip: n.Srv[i].Base.Xip}, n.ident(r), n.Horizon // it lags: nothing new
			})
		}
	case 2:
		do(fmt.Sprintf("S%d applies its poll", i), func(n *State) {
			w := &n.Srv[i]
			q := w.Poll
			reset := q.Fresh || !w.Based || q.Ident != w.Ident
			if r.PurgeOn && !r.NoHorizon && !r.PurgeByWritten && !r.PurgeBySeen && q.Horizon > w.Base.xmin() {
				reset = true
			}
			if r.NoGenQuarantine && w.Based && q.Ident%10 == w.Ident%10 {
				// only another server, or epoch, begins a quarantine
			} else if !w.Based || q.Ident != w.Ident {
				w.Quarantine, w.QMono, w.QWall = true, w.Mono, w.Wall
			}
			w.Vn++
			w.Based, w.Base, w.Ident, w.FSeq, w.Mark = true, q.Snap, q.Ident, q.Seq, q.W
			w.FMono, w.FWall = q.Mono, q.Wall
			if r.FreshAtEnd {
				w.FMono, w.FWall = w.Mono, w.Wall
			}
			if reset {
				q.IDs = 255
			}
			for l := range w.Lookups {
				if k := &w.Lookups[l]; k.St >= 2 && k.Version == w.Vn-1 && q.IDs&(1<<k.Sess) == 0 {
					k.Version = w.Vn
				}
			}
			if r.PublishFirst {
				w.Poll.St, w.Poll.IDs = 3, q.IDs
				return
			}
			w.remove(q.IDs)
		})
		do(fmt.Sprintf("S%d's poll is lost", i), func(n *State) { n.Srv[i].Poll = Poll{} })
	case 3:
		do(fmt.Sprintf("S%d removes what its poll says", i), func(n *State) { n.Srv[i].remove(n.Srv[i].Poll.IDs) })
	}
}

func (v *Server) remove(ids uint8) {
	v.Poll = Poll{}
	for x := range int8(NS) {
		if ids&(1<<x) != 0 {
			v.Has[x], v.Neg[x], v.Ver[x] = false, false, 0
		}
	}
}

func (s *State) lookup(r *Rules, i int8, l int, do func(string, func(*State)), out emit) {
	v := &s.Srv[i]
	switch k := &v.Lookups[l]; k.St {
	case 1:
		do(fmt.Sprintf("S%d sends lookup %d of X%d", i, l, k.Sess), func(n *State) {
			m := &n.Srv[i].Lookups[l]
			m.St, m.Version, m.SentAt, m.SentWall = 2, n.Srv[i].Vn, n.Srv[i].Mono, n.Srv[i].Wall
		})
	case 2:
		do(fmt.Sprintf("S%d's lookup %d of X%d is answered by the primary", i, l, k.Sess), func(n *State) {
			m := &n.Srv[i].Lookups[l]
			m.St, m.Ver, m.Live, m.Start = 3, n.Ver[m.Sess], n.live(m.Sess), primaryStart
		})
		// A replica's answer is its caller's own fault, but it must not stay: nobody is let in by it here, it is only kept or not.
		if r.Standby && s.Stby[k.Sess] < s.Ver[k.Sess] {
			do(fmt.Sprintf("S%d's lookup %d of X%d is answered by the standby", i, l, k.Sess), func(n *State) {
				m := &n.Srv[i].Lookups[l]
				m.St, m.Ver, m.Live, m.Start = 3, n.Stby[m.Sess], n.Live[m.Sess]&(1<<n.Stby[m.Sess]) != 0, standbyStart
			})
		}
	case 3:
		n := *s
		w := &n.Srv[i]
		m := w.Lookups[l]
		keep := w.Based && (m.Live || r.Negative) &&
			(m.Version == w.Vn || r.NoOverlap) &&
			(m.Start == primaryStart || r.AnyServer) &&
			!w.quarantined(r, m.SentAt, m.SentWall)
		bad := ""
		for g := range w.Gets {
			if q := &w.Gets[g]; q.St == 4 && int(q.Slot) == l {
				if m.Ver < q.Req && m.Start != standbyStart {
					bad = fmt.Sprintf("a Get of X%d on S%d saw version %d; version %d had returned before it began", q.Sess, i, m.Ver, q.Req)
				}
				*q = Get{}
			}
		}
		if keep && r.RacyInsert {
			w.Lookups[l].St = 4
		} else {
			if keep {
				w.Has[m.Sess], w.Neg[m.Sess], w.Ver[m.Sess] = true, !m.Live, m.Ver
			}
			w.Lookups[l] = Lookup{}
		}
		out(n, fmt.Sprintf("S%d has lookup %d's answer: X%d is at version %d; kept: %v", i, l, m.Sess, m.Ver, keep), bad)
	case 4:
		do(fmt.Sprintf("S%d keeps lookup %d's answer", i, l), func(n *State) {
			w := &n.Srv[i]
			m := w.Lookups[l]
			w.Has[m.Sess], w.Neg[m.Sess], w.Ver[m.Sess] = true, !m.Live, m.Ver
			w.Lookups[l] = Lookup{}
		})
	}
}

func (s *State) get(r *Rules, i int8, g int, do func(string, func(*State)), out emit) {
	v := &s.Srv[i]
	q := &v.Gets[g]
	switch q.St {
	case 0:
		if s.NGet >= r.MaxGets || g > 0 && (v.Gets[g-1].St == 0 || r.Exhaustive) {
			return
		}
		for x := range r.Sessions {
			do(fmt.Sprintf("S%d: Get %d of X%d begins (version %d has returned)", i, g, x, s.Required[x]), func(n *State) {
				n.NGet++
				n.Srv[i].Gets[g] = Get{St: 1, Sess: x, Req: n.Required[x], Seq: n.Srv[i].Begun}
			})
		}
	case 1:
		if r.EntryFirst {
			do(fmt.Sprintf("S%d: Get %d reads the entry", i, g), func(n *State) {
				w := &n.Srv[i]
				w.Gets[g].St = 3
				if w.Has[q.Sess] {
					w.Gets[g].St, w.Gets[g].Ver = 5, w.Ver[q.Sess]
				}
			})
			return
		}
		if v.fresh(r) || (r.ReadIndex && v.Based && v.FSeq > q.Seq) {
			do(fmt.Sprintf("S%d: Get %d finds memory fresh", i, g), func(n *State) { n.Srv[i].Gets[g].St = 2 })
		} else {
			do(fmt.Sprintf("S%d: Get %d finds memory stale", i, g), func(n *State) { n.Srv[i].Gets[g].St = 3 })
		}
	case 2, 5:
		if q.St == 5 && !v.fresh(r) || q.St == 2 && !v.Has[q.Sess] {
			do(fmt.Sprintf("S%d: Get %d has to ask", i, g), func(n *State) { n.Srv[i].Gets[g].St = 3 })
			return
		}
		ver := v.Ver[q.Sess]
		if q.St == 5 {
			ver = q.Ver
		}
		n := *s
		n.Srv[i].Gets[g] = Get{}
		bad := ""
		if ver < q.Req {
			bad = fmt.Sprintf("a Get of X%d on S%d saw version %d in memory; version %d had returned before it began", q.Sess, i, ver, q.Req)
		}
		out(n, fmt.Sprintf("S%d: Get %d answers version %d from memory", i, g, ver), bad)
	case 3:
		for l := range v.Lookups {
			k := &v.Lookups[l]
			if k.Sess == q.Sess && (k.St == 1 || r.JoinSent && (k.St == 2 || k.St == 3)) {
				do(fmt.Sprintf("S%d: Get %d joins lookup %d", i, g, l), func(n *State) {
					n.Srv[i].Gets[g].St, n.Srv[i].Gets[g].Slot = 4, int8(l)
				})
			}
		}
		for l := range v.Lookups {
			if v.Lookups[l].St == 0 {
				do(fmt.Sprintf("S%d: Get %d queues lookup %d", i, g, l), func(n *State) {
					n.Srv[i].Gets[g].St, n.Srv[i].Gets[g].Slot = 4, int8(l)
					n.Srv[i].Lookups[l] = Lookup{St: 1, Sess: q.Sess}
				})
				break
			}
		}
	}
}

// canon is s without what makes no difference to what may happen from here on: two states with one canon have
// the same futures.
func (s *State) canon(r *Rules) State {
	c := *s
	if !r.Watermark {
		c.Seq = 0
	}
	for i := range c.Feed {
		c.Feed[i].Written = 0
		if !r.Watermark {
			c.Feed[i].Seq = 0
		}
	}
	age := func(now, then, most int8) int8 { return max(min(now-then, most), -1) }
	far := func(now, then int8) int8 { return max(min(now-then, r.Q+r.DW), -r.Q-r.DW) }
	c.DrainAt = age(s.T, s.DrainAt, r.DW)
	if s.Flag != draining {
		c.DrainAt = 0
	}
	for i := range c.Changes {
		d := &c.Changes[i]
		if d.St == gone {
			*d = Change{St: gone}
			continue
		}
		now := s.Srv[d.Srv].Mono
		d.T0 = age(now, d.T0, r.Q)
		if d.St == acked {
			d.Wait = age(now, d.Wait, r.DW)
		}
		if !r.EarlyReturn {
			d.T0, d.W0, d.Over = 0, 0, 0
			continue
		}
		d.T0, d.W0 = 0, 0
		if r.AgeAtSend {
			d.T0, d.W0 = far(now, s.Changes[i].T0), far(s.Srv[d.Srv].Wall, s.Changes[i].W0)
		}
		if d.St == acked {
			d.Over = far(s.Srv[d.Srv].Wall, d.Over)
		}
	}
	for i := range c.Srv {
		v := &c.Srv[i]
		mono, wall := v.Mono, v.Wall
		v.Mono, v.Wall, v.Coarse = 0, 0, 0
		if r.Skew {
			v.SkewAt = age(s.T, v.SkewAt, r.DH+r.DW+2)
		} else {
			v.SkewAt = 0
		}
		v.FMono, v.FWall = age(mono, v.FMono, r.DH), age(wall, v.FWall, r.DH)
		if v.FWall < 0 {
			v.FWall = wall - s.Srv[i].FWall // how far the clock went back matters
		}
		v.Poll.Mono, v.Poll.Wall = age(mono, v.Poll.Mono, r.DH), age(wall, v.Poll.Wall, r.DH)
		if v.Poll.Wall < 0 {
			v.Poll.Wall = wall - s.Srv[i].Poll.Wall
		}
		if v.Poll.St == 0 {
			v.Poll = Poll{}
		}
		if !r.EarlyReturn {
			v.Quarantine = false
		}
		if v.Quarantine {
			v.QMono, v.QWall = age(mono, v.QMono, r.Q), far(wall, v.QWall)
		} else {
			v.QMono, v.QWall = 0, 0
		}
		if most := r.Q - 2; v.NotUsed && !r.NoElapsed && !r.AgeAtSend &&
			(mono-v.NMono >= most+r.DW || mono-v.NMono >= most && !s.asking(int8(i)) || s.NChange == r.MaxChanges && !s.asking(int8(i))) {
			v.NotUsed = false // too old for all changes that do not return anyway
		}
		if v.NotUsed {
			v.NMono, v.NWall = far(mono, v.NMono), far(wall, v.NWall)
		} else {
			v.NMono, v.NWall = 0, 0
		}
		if v.Ask.St > 0 {
			v.Ask.Mono, v.Ask.Wall = far(mono, v.Ask.Mono), far(wall, v.Ask.Wall)
		}
		if !r.ReadIndex {
			v.Begun, v.FSeq, v.Poll.Seq = 0, 0, 0
		}
		for l := range v.Lookups {
			k := &v.Lookups[l]
			k.SentAt, k.SentWall = age(k.SentAt, s.Srv[i].QMono, r.Q), far(k.SentWall, s.Srv[i].QWall)
			if k.St < 2 {
				k.SentAt, k.SentWall, k.Version = 0, 0, 0
			} else {
				k.Version = min(1, v.Vn-k.Version) // whether a poll has been applied since
			}
			if !v.Quarantine {
				k.SentAt, k.SentWall = 0, 0
			}
		}
		for g := range v.Gets {
			if q := &v.Gets[g]; q.St == 0 {
				*q = Get{}
			} else if !r.ReadIndex {
				q.Seq = 0
			}
		}
		v.Vn = 0
	}
	return c
}
