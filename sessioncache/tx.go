package sessioncache

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/db"
)

var errRawTransaction = errors.New("the connection is in a transaction that was begun in SQL: begin it with pgx, and use WithTx")

// WithTx returns a Cache with the same options that runs its statements in a
// transaction. Its changes take effect when tx commits, or not at all. After
// [ErrUnavailable] or [ErrInvalidUser] the transaction must be rolled back. After any
// other error it can go on; after [ErrConflict] it should be committed (see
// [Cache.Set]). Get and Authenticate extend no session in it.
//
// Lock your own rows, such as the user's, before the first call that changes a session.
// In the other order, two such transactions can deadlock. After the commit, call
// [Cache.AwaitNearCaches].
func (c *Cache[T]) WithTx(tx pgx.Tx) *Cache[T] {
	if tx == nil {
		panic("sessioncache: WithTx: the transaction is nil")
	}
	return newCache[T](tx, c.config, c.shared)
}

// Tx runs fn in a transaction at isolation level read committed, and commits it when fn
// returns nil. cache is this Cache in the transaction (see [Cache.WithTx]). If cache
// has changed sessions, Tx waits for near caches after the commit
// ([NearCacheStaleness]).
//
// An error of fn rolls the transaction back and is returned as it is. If the
// transaction cannot begin, the error is [ErrUnavailable] and nothing has happened. If
// the commit fails, the error is ErrUnavailable and the transaction may have been
// committed or not.
//
// On a Cache in a transaction, Tx makes a savepoint instead. The isolation level is
// that of the transaction, and after its commit you call [Cache.AwaitNearCaches].
func (c *Cache[T]) Tx(ctx context.Context, fn func(tx pgx.Tx, cache *Cache[T]) error) error {
	const op = "transaction"
	tx, err := c.begin(ctx)
	if err != nil {
		return interpret(op, err)
	}
	defer func() { _ = tx.Rollback(ctx) }() // does nothing after Commit
	cache := c.WithTx(tx)
	if cache.changed = c.changed; cache.changed == nil {
		cache.changed = new(atomic.Bool)
	}
	if err := fn(tx, cache); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil || !cache.changed.Load() {
		return interpret(op, err)
	}
	return c.propagate(ctx, nil)
}

// begin begins a transaction at read committed, whatever the default of the server or
// the role is, or a savepoint. It refuses a connection that is in a transaction which
// pgx did not begin: a commit would end the caller's transaction.
func (c *Cache[T]) begin(ctx context.Context) (pgx.Tx, error) {
	if _, ok := c.db.(*pgx.Conn); ok && c.inCallersTx() {
		return nil, errRawTransaction
	}
	return retryUnsent(ctx, c, func(ctx context.Context) (pgx.Tx, error) {
		if starter, ok := c.db.(interface {
			BeginTx(context.Context, pgx.TxOptions) (pgx.Tx, error)
		}); ok {
			return starter.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
		}
		return c.db.Begin(ctx)
	})
}

// inTx runs statements in a transaction, and again if the server has rolled it back.
func (c *Cache[T]) inTx(ctx context.Context, statements func(queries *db.Queries) error) error {
	for attempt := 1; ; attempt++ {
		err := c.inTxOnce(ctx, statements)
		if attempt == rolledBackAttempts || !c.pooled() || !rolledBack(err) || ctx.Err() != nil {
			return err
		}
	}
}

func (c *Cache[T]) inTxOnce(ctx context.Context, statements func(queries *db.Queries) error) error {
	tx, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }() // does nothing after Commit
	if err := statements(c.queries.WithTx(tx)); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// inCallersTx tells whether statements run in a transaction that the Cache has not
// begun.
func (c *Cache[T]) inCallersTx() bool {
	switch database := c.db.(type) {
	case *pgxpool.Pool:
		return false
	case *pgx.Conn:
		return database.PgConn().TxStatus() != 'I'
	default:
		return true
	}
}

// checkIsolation refuses a caller's transaction that does not see what others have
// committed since it began.
func (c *Cache[T]) checkIsolation(ctx context.Context, op string) error {
	if !c.inCallersTx() {
		return nil
	}
	level, err := c.queries.GetIsolation(ctx)
	if err != nil {
		return interpret(op, err)
	}
	if level != "read committed" && level != "read uncommitted" { // which PostgreSQL runs as read committed
		return fmt.Errorf("sessioncache: %s: %w: it is %s", op, ErrIsolation, level)
	}
	return nil
}
