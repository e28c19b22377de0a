package nearcache

// Marked returns how many marks are held.
func (c *Cache) Marked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.marks.young) + len(c.marks.old)
}
