package sessioncache

// NewUnchecked is New for a database that New refuses: one that a test wraps to have the
// server refuse a statement.
func NewUnchecked[T any](database DB) *Cache[T] {
	c := newCache[T](database, newConfig(nil), &shared{})
	c.shared.mark = c.near.mark
	return c
}
