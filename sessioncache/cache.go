package sessioncache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/internal/coalesce"
	"github.com/rhaptos/sessiondb/sid"
)

// DB is what a [Cache] runs its statements on: a *[pgxpool.Pool], a *[pgxpool.Conn], a
// *[pgx.Conn] or a [pgx.Tx]. Its owner opens and closes it.
type DB interface {
	db.DBTX
	Begin(ctx context.Context) (pgx.Tx, error)
}

var (
	_ DB = (*pgxpool.Pool)(nil)
	_ DB = (*pgxpool.Conn)(nil)
	_ DB = (*pgx.Conn)(nil)
	_ DB = pgx.Tx(nil)
)

// Cache keeps sessions in the table session_cache: each has a user, which is a T
// stored as JSON.
//
// T is any type that encoding/json can encode and decode; [User] is the one this
// module comes with. With T = [encoding/json.RawMessage] the JSON is stored and
// returned byte for byte.
//
// Any number of goroutines may use a Cache on a pool at once. A Cache on a connection or
// a transaction is for one goroutine at a time, like the connection. A Cache needs no
// closing: it has goroutines only while calls are under way.
type Cache[T any] struct {
	db      DB
	queries *db.Queries
	config  config
	shared  *shared

	// Lookups and Sets in batches. Both are nil unless the Cache is on a pool.
	gets *coalesce.Group[sid.ID, *row]
	sets *coalesce.Group[insertion, bool]

	near *near[T] // nil without a near cache
}

// New returns a Cache on a database that has been migrated (see package schema). It does
// not touch the database.
//
// It panics if database is nil or none of the four types of [DB], or if an option is not
// valid: these are mistakes in the program. A type of your own around a pool would hide
// whether a statement runs in a transaction.
func New[T any](database DB, options ...Option) *Cache[T] {
	switch database.(type) {
	case nil:
		panic("sessioncache: New: the database is nil")
	case *pgxpool.Pool, *pgxpool.Conn, *pgx.Conn, pgx.Tx:
	default:
		panic(fmt.Sprintf("sessioncache: New: a %T is not supported: pass a *pgxpool.Pool, a *pgxpool.Conn, a *pgx.Conn or a pgx.Tx", database))
	}
	config := newConfig(options)
	if config.single && config.nearEntries > 0 {
		panic("sessioncache: New: WithoutBatching is for pools that read a tenant from the context, " +
			"and a near cache would answer one tenant with the session of another: pass WithNearCache(0)")
	}
	c := newCache[T](database, config, &shared{})
	c.near = newNear[T](database, config)
	c.shared.mark = c.near.mark
	return c
}

// shared is state shared with the copies that WithTx makes.
type shared struct {
	metrics    metrics
	mark       func(ids []sid.ID) // near.mark; a copy in a transaction has no near cache of its own
	noRowLocks atomic.Bool        // the server refuses to lock rows in a query
	purging    sync.Mutex         // held by the janitor that purges
}

func newCache[T any](database DB, config config, shared *shared) *Cache[T] {
	c := &Cache[T]{
		db:      database,
		queries: db.New(database),
		config:  config,
		shared:  shared,
	}
	if pool, ok := database.(*pgxpool.Pool); ok && !config.single {
		c.batch(pool)
	}
	return c
}

// Audience returns the application that the sessions belong to, as [WithAudience]
// has set it.
func (c *Cache[T]) Audience() string {
	return c.config.audience
}

// Lifetime returns how long a session lives at most, as [WithLifetime] has set it.
func (c *Cache[T]) Lifetime() time.Duration {
	return c.config.timeouts.lifetime
}

// WithTokenScope returns a Cache on the same sessions whose tokens are valid only for
// Caches of the same scope. So two programs can share an audience, and list and end
// each other's sessions, without accepting each other's tokens. The returned Cache
// shares batches and metrics with c.
//
// Default: the scope is the audience.
func (c *Cache[T]) WithTokenScope(scope string) *Cache[T] {
	scoped := *c
	scoped.config.tokenScope = scope
	return &scoped
}

// found turns pgx.ErrNoRows into ok == false.
func found(err error) (bool, error) {
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
