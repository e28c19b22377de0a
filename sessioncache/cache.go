package sessioncache

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/db"
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
// T is any type that encoding/json can encode and decode. With T = [encoding/json.RawMessage] the JSON is stored and
// returned byte for byte.
//
// Any number of goroutines may use a Cache on a pool at once. A Cache on a connection or
// a transaction is for one goroutine at a time, like the connection. A Cache needs no
// closing: it has goroutines only while calls are under way.
type Cache[T any] struct {
	*store
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
	near := newNear[T](database, config)
	shared := &shared{}
	if near != nil {
		shared.near = near.memory
	}
	return &Cache[T]{newStore(database, config, shared), near}
}

// WithTokenScope returns a Cache on the same sessions whose tokens are valid only for
// Caches of the same scope. Two programs can then share an audience, and list and end
// each other's sessions, without accepting each other's tokens. The returned Cache
// shares batches and metrics with c.
//
// Default: the scope is the audience.
func (c *Cache[T]) WithTokenScope(scope string) *Cache[T] {
	return c.with(func(config *config) { config.tokenScope = scope })
}

// WithInFlight returns a Cache on the same sessions for requests that are under way: their
// token was live when they began. If it has been superseded since, Authenticate,
// UpdateSession and Renew return [ErrSuperseded], however long ago that was, and end no
// session. The returned Cache shares batches and metrics with c.
//
// Default: ten seconds after its renewal a token counts as kept (see [Cache.Authenticate]).
func (c *Cache[T]) WithInFlight() *Cache[T] {
	return c.with(inFlight)
}

// WithTimeout returns a Cache on the same sessions that limits each use of the database: a
// lookup, a statement, a transaction of its own, and of [Cache.Tx] the begin and the commit,
// each by itself. Functions of the caller and the wait for near caches are not limited. When
// the time is over, the error is [ErrUnavailable] and matches [context.DeadlineExceeded]. The
// returned Cache shares batches and metrics with c. WithTimeout panics if d is not positive.
//
// Default: only the context limits a call.
func (c *Cache[T]) WithTimeout(d time.Duration) *Cache[T] {
	if d <= 0 {
		panic(fmt.Sprintf("sessioncache: WithTimeout: %s is not a valid time", d))
	}
	return c.with(func(config *config) { config.timeout = d })
}

func (c *Cache[T]) with(change func(*config)) *Cache[T] {
	return &Cache[T]{c.configured(change), c.near}
}
