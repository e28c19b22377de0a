package nearcache

// apply applies the result of a poll. It removes entries before it publishes the poll's
// start, which makes the other entries count. It returns whether memory was emptied.
func (c *Cache[V]) apply(poll uint64, start Instant, changes Changes) (emptied bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case changes.Quarantine:
		c.restarts++
		c.quarantine.begin(c.now())
		emptied = true
	case changes.Reset, changes.Server != c.server, c.history.start == 0: // the last condition: this is the first poll
		c.resets++
		emptied = true
	}
	if emptied {
		c.history.reset(poll)
		c.memory = newMemory[V](c.size) // takes no time, however much the old one holds
	} else {
		c.history.add(poll, changes.Changed)
		for _, id := range changes.Changed {
			c.memory.Invalidate(id)
		}
	}
	c.server = changes.Server
	c.base.Store(&base[V]{poll: poll, start: start, memory: c.memory})
	return emptied
}

// disable makes no entry count until a poll is applied. The entries stay: the next poll
// returns the changes since the last applied one.
func (c *Cache[V]) disable() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base.Store(nil)
}
