package sessioncache

// NewUnchecked is New for a database that New refuses: one that a test wraps to have the
// server refuse a statement.
func NewUnchecked[T any](database DB) *Cache[T] {
	return &Cache[T]{store: newStore(database, newConfig(nil), &shared{})}
}
