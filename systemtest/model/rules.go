package main

type configuration struct {
	name string
	r    Rules
}

// small worlds, looked at in full
func small() []configuration {
	base := Rules{DH: 2, DW: 2, Q: 4, T: 5, MaxChanges: 1, MaxGets: 2, MaxPolls: 2, Readers: 1, Sessions: 1, Exhaustive: true}
	with := func(name string, f func(*Rules)) configuration {
		r := base
		f(&r)
		return configuration{name, r}
	}
	return []configuration{
		with("one change, two polls, two Gets", func(r *Rules) {}),
		with("two changes, lost answers", func(r *Rules) { r.MaxChanges = 2; r.Losses = true; r.T = 4 }),
		with("clocks at different rates", func(r *Rules) { r.DW = 4; r.Skew = true; r.T = 6; r.OnlyUpdates = true }),
		with("suspended", func(r *Rules) { r.Suspend = true; r.OnlyUpdates = true }),
		with("wall clock steps", func(r *Rules) { r.Step = true; r.OnlyUpdates = true }),
		with("purge", func(r *Rules) { r.PurgeOn = true; r.OnlyUpdates = true; r.MaxPolls = 3; r.MaxGets = 2; r.T = 4 }),
		with("crash, xids used again", func(r *Rules) { r.Crash = true; r.OnlyUpdates = true; r.T = 4 }),
		with("lookups on a standby", func(r *Rules) { r.Standby = true; r.OnlyUpdates = true }),
		with("two sessions out of order", func(r *Rules) {
			r.Sessions = 2
			r.MaxChanges = 2
			r.OnlyUpdates = true
			r.T = 3
			r.MaxGets = 2
			r.MaxPolls = 3
		}),
		with("a call waits for the next poll", func(r *Rules) { r.ReadIndex = true; r.OnlyUpdates = true }),
		with("only that, no clocks, no wait", func(r *Rules) {
			r.ReadIndex = true
			r.DH = 0
			r.DW = 0
			r.Suspend = true
			r.VMPause = true
			r.T = 4
			r.MaxPolls = 3
		}),
		with("early return while nobody is registered", func(r *Rules) { r.EarlyReturn = true; r.Register = true; r.OnlyUpdates = true; r.T = 6; r.MaxAsks = 1 }),
		with("turned off, and on again", func(r *Rules) {
			r.EarlyReturn = true
			r.Toggle = true
			r.OnlyUpdates = true
			r.Q = 3
			r.T = 5
			r.MaxAsks = 1
		}),
	}
}

func world() Rules {
	return Rules{DH: 3, DW: 5, Q: 6, T: 30, MaxChanges: NC, MaxGets: 40, MaxPolls: 14, Readers: 2, Sessions: 2,
		Skew: true, Losses: true, ReadIndex: true, PurgeOn: true, Crash: true, Standby: true}
}

// large worlds, looked at by chance
func large() []configuration {
	with := func(name string, f func(*Rules)) configuration {
		r := world()
		f(&r)
		return configuration{name, r}
	}
	return []configuration{
		with("everything, suspends", func(r *Rules) { r.Suspend = true }),
		with("everything, wall steps", func(r *Rules) { r.Step = true }),
		with("everything, Set", func(r *Rules) { r.Set = true; r.Suspend = true }),
		with("everything, early return", func(r *Rules) { r.EarlyReturn = true; r.Register = true; r.MaxAsks = 4 }),
		with("everything, early return, suspends", func(r *Rules) { r.EarlyReturn = true; r.Register = true; r.MaxAsks = 4; r.Suspend = true }),
		with("everything, early return, wall steps", func(r *Rules) { r.EarlyReturn = true; r.Register = true; r.MaxAsks = 4; r.Step = true }),
		with("everything, turned off and on", func(r *Rules) {
			r.EarlyReturn = true
			r.Register = true
			r.MaxAsks = 4
			r.Toggle = true
			r.Suspend = true
		}),
		with("read index only, machine pauses, no wait", func(r *Rules) { r.DH = 0; r.DW = 0; r.VMPause = true }),
	}
}

func early(r *Rules) {
	r.EarlyReturn = true
	r.Register = true
	r.OnlyUpdates = true
	r.MaxAsks = 1
}

func mutations() []configuration {
	// a quiet world, so that the mutation is found by itself
	quiet := Rules{DH: 3, DW: 5, Q: 6, T: 24, MaxChanges: 2, MaxGets: 16, MaxPolls: 8, Readers: 1, Sessions: 1}
	with := func(name string, f func(*Rules)) configuration {
		r := quiet
		f(&r)
		return configuration{name, r}
	}
	return []configuration{
		with("no overlap check", func(r *Rules) { r.NoOverlap = true }),
		with("check and insertion not one step", func(r *Rules) { r.RacyInsert = true }),
		with("freshness published before the removals", func(r *Rules) { r.PublishFirst = true }),
		with("entry read before freshness", func(r *Rules) { r.EntryFirst = true; r.DW = 4 }),
		with("freshness measured at the poll's end", func(r *Rules) { r.FreshAtEnd = true }),
		with("a cached clock that lags", func(r *Rules) { r.CoarseClock = true; r.DW = 3; r.OnlyUpdates = true }),
		with("wait from before the commit", func(r *Rules) { r.WaitFromSend = true }),
		with("no margin for clock rates", func(r *Rules) { r.Skew = true; r.DW = 3; r.OnlyUpdates = true; r.MaxChanges = 1 }),
		with("only the monotonic clock, suspends", func(r *Rules) { r.MonoOnly = true; r.Suspend = true; r.DW = 3; r.OnlyUpdates = true; r.MaxChanges = 1 }),
		with("only the wall clock, steps", func(r *Rules) { r.WallOnly = true; r.Step = true; r.DH = 3 }),
		with("row id watermark", func(r *Rules) { r.Watermark = true; r.Sessions = 2; r.MaxChanges = 4; r.OnlyUpdates = true }),
		with("feed purged by the time written", func(r *Rules) { r.PurgeOn = true; r.PurgeByWritten = true; r.OnlyUpdates = true }),
		with("feed purged by the time seen, age checked before the poll is sent", func(r *Rules) { r.PurgeOn = true; r.PurgeBySeen = true; r.OnlyUpdates = true }),
		with("feed purged without a horizon", func(r *Rules) { r.PurgeOn = true; r.NoHorizon = true; r.OnlyUpdates = true }),
		with("negative caching", func(r *Rules) { r.Negative = true; r.Set = true; r.Sessions = 2 }),
		with("Set under an id that was deleted a moment ago returns at once", func(r *Rules) { r.ReusedSet = true; r.Set = true; r.Sessions = 2; r.Losses = true; r.MaxChanges = 4 }),
		with("joins a lookup already sent", func(r *Rules) { r.JoinSent = true }),
		with("a Delete that finds nothing does not wait", func(r *Rules) { r.ZeroReturns = true; r.Losses = true }),
		with("identity is the postmaster's start, a backend is killed", func(r *Rules) { r.StartTimeOnly = true; r.Crash = true; r.OnlyUpdates = true }),
		with("a lookup's server is not checked", func(r *Rules) { r.AnyServer = true; r.Standby = true; r.OnlyUpdates = true }),
		with("a standby may answer polls", func(r *Rules) { r.StandbyPoll = true; r.Standby = true; r.OnlyUpdates = true }),
		with("early return, no quarantine", func(r *Rules) { early(r); r.NoQuarantine = true }),
		with("early return, however long the change took", func(r *Rules) { early(r); r.AgeAtSend = true; r.MaxChanges = 1 }),
		with("the flag read before the change counts however long ago", func(r *Rules) { early(r); r.NoElapsed = true; r.MaxChanges = 1 }),
		with("joins a reading of the flag already sent", func(r *Rules) { early(r); r.JoinAsk = true; r.MaxChanges = 1 }),
		with("no quarantine after near caches were turned off and on again", func(r *Rules) { early(r); r.Register = false; r.Toggle = true; r.NoGenQuarantine = true }),
		with("generation ignored", func(r *Rules) { early(r); r.Register = false; r.Toggle = true; r.NoGeneration = true }),
		with("turned off without draining", func(r *Rules) { early(r); r.Toggle = true; r.ForgetAtOnce = true }),
		with("a poll that finds near caches turned off counts", func(r *Rules) { early(r); r.Toggle = true; r.StaysOn = true }),
		with("(not covered) the machine is paused with both its clocks", func(r *Rules) { r.VMPause = true; r.OnlyUpdates = true; r.DW = 3; r.MaxChanges = 1 }),
	}
}

// smallMutations breaks the small worlds: each must be found out, or the worlds are too small to say anything.
func smallMutations() []configuration {
	var all []configuration
	add := func(world, name string, f func(*Rules)) {
		for _, c := range small() {
			if c.name == world {
				f(&c.r)
				all = append(all, configuration{name, c.r})
			}
		}
	}
	one := "one change, two polls, two Gets"
	add(one, "no overlap check", func(r *Rules) { r.NoOverlap = true })
	add(one, "check and insertion not one step", func(r *Rules) { r.RacyInsert = true })
	add(one, "freshness published before the removals", func(r *Rules) { r.PublishFirst = true })
	add(one, "entry read before freshness", func(r *Rules) { r.EntryFirst = true })
	add(one, "freshness measured at the poll's end", func(r *Rules) { r.FreshAtEnd = true })
	add(one, "wait from before the commit", func(r *Rules) { r.WaitFromSend = true })
	add("two changes, lost answers", "a Delete that finds nothing does not wait", func(r *Rules) { r.ZeroReturns = true })
	add("clocks at different rates", "no margin for clock rates", func(r *Rules) { r.DW = 2 })
	add("suspended", "only the monotonic clock", func(r *Rules) { r.MonoOnly = true })
	add("suspended", "(not covered) both clocks paused", func(r *Rules) { r.VMPause = true })
	add("wall clock steps", "only the wall clock", func(r *Rules) { r.WallOnly = true })
	add("purge", "feed purged without a horizon", func(r *Rules) { r.NoHorizon = true })
	add("crash, xids used again", "identity is the postmaster's start", func(r *Rules) { r.StartTimeOnly = true })
	add("lookups on a standby", "a lookup's server is not checked", func(r *Rules) { r.AnyServer = true })
	add("two sessions out of order", "row id watermark", func(r *Rules) { r.Watermark = true })
	add("early return while nobody is registered", "no quarantine", func(r *Rules) { r.NoQuarantine = true })
	add("early return while nobody is registered", "however long the change took", func(r *Rules) { r.AgeAtSend = true; r.Q = 3 })
	add("early return while nobody is registered", "the flag read before the change counts however long ago", func(r *Rules) { r.NoElapsed = true; r.Q = 3 })
	add("early return while nobody is registered", "joins a reading of the flag already sent", func(r *Rules) { r.JoinAsk = true; r.Q = 3 })
	add("turned off, and on again", "no quarantine after near caches were turned off and on again", func(r *Rules) { r.NoGenQuarantine = true })
	add("turned off, and on again", "generation ignored", func(r *Rules) { r.NoGeneration = true })
	add("turned off, and on again", "turned off without draining", func(r *Rules) { r.ForgetAtOnce = true; r.Q = 2 })
	add("turned off, and on again", "a poll that finds near caches turned off counts", func(r *Rules) { r.StaysOn = true; r.Q = 2 })
	return all
}
