package sessioncache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache/internal/savepoint"
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
// [Cache.AwaitNearCaches], unless tx is that of a [Cache.Tx].
func (c *Cache[T]) WithTx(tx pgx.Tx) *Cache[T] {
	if tx == nil {
		panic("sessioncache: WithTx: the transaction is nil")
	}
	return &Cache[T]{store: newStore(tx, c.config, c.shared)}
}

// Tx runs fn in a transaction at isolation level read committed, and commits it when fn
// returns nil. cache is this Cache in the transaction (see [Cache.WithTx]). After the commit
// Tx waits once for near caches ([NearCacheStaleness]), if a call that has to wait ran in
// the transaction: through cache, or through WithTx(tx) of another Cache with
// [WithNearCache].
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
	begun, err := c.begin(ctx)
	if err != nil {
		return interpret(op, err)
	}
	tx := savepoint.Of(begun)
	outermost := tx == nil
	if outermost {
		tx = savepoint.New(begun)
	}
	defer func() { // does nothing after Commit
		limited, cancel := c.limit(ctx)
		defer cancel()
		_ = tx.Rollback(limited)
	}()
	if err := fn(tx, c.WithTx(tx)); err != nil {
		c.closeReadOnly(ctx, begun, err)
		return err
	}
	err = c.commit(ctx, op, tx)
	if !outermost { // a savepoint: the outermost Tx does the rest
		return err
	}
	for _, forget := range tx.Changes.Forget {
		forget()
	}
	if err != nil || !tx.Changes.Await || c.inCallersTx() {
		return err
	}
	return awaitNearCaches(ctx)
}

func (s *store) commit(ctx context.Context, op string, tx *savepoint.Tx) error {
	ctx, cancel := s.limit(ctx)
	defer cancel()
	err := tx.Commit(ctx)
	if tx.Changes.Stored { // a deferred constraint may be against the user
		return interpretStore(op, err)
	}
	return interpret(op, err)
}

// begin begins a transaction at read committed, whatever the default of the server or
// the role is, or a savepoint. It refuses a connection that is in a transaction which
// pgx did not begin: a commit would end the caller's transaction.
func (s *store) begin(ctx context.Context) (pgx.Tx, error) {
	if _, isTx := s.db.(pgx.Tx); !isTx && s.inCallersTx() {
		return nil, errRawTransaction
	}
	ctx, cancel := s.limit(ctx)
	defer cancel()
	return retryUnsent(ctx, s, func(ctx context.Context) (pgx.Tx, error) {
		if starter, ok := s.db.(interface {
			BeginTx(context.Context, pgx.TxOptions) (pgx.Tx, error)
		}); ok {
			return starter.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
		}
		return s.db.Begin(ctx)
	})
}

// rollbackTimeout is how long the rollback of a savepoint takes at most.
const rollbackTimeout = time.Second

// inTx runs statements in a transaction, and again if nothing of it has happened: the
// server has rolled it back, or the connection was read-only.
func (s *store) inTx(ctx context.Context, statements func(in *store) error) error {
	ctx, cancel := s.limit(ctx)
	defer cancel()
	for attempt := 1; ; attempt++ {
		err := s.inTxOnce(ctx, statements)
		again := rolledBack(err) && attempt < rolledBackAttempts || hasCode(err, readOnlyTransaction) && attempt == 1
		if !again || !s.pooled() || ctx.Err() != nil {
			return err
		}
	}
}

func (s *store) inTxOnce(ctx context.Context, statements func(in *store) error) error {
	tx, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer func() { // does nothing after Commit
		if s.inCallersTx() { // the savepoint must not stay in a transaction that goes on
			limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
			defer cancel()
			_ = tx.Rollback(limited)
			return
		}
		_ = tx.Rollback(ctx)
	}()
	if err := statements(newStore(tx, s.config, s.shared)); err != nil {
		s.closeReadOnly(ctx, tx, err)
		return err
	}
	return tx.Commit(ctx)
}

// closeReadOnly closes a connection of the pool on which a transaction failed because the
// server keeps it read-only (see onConnection).
func (s *store) closeReadOnly(ctx context.Context, tx pgx.Tx, err error) {
	if s.pooled() && hasCode(err, readOnlyTransaction) {
		_ = tx.Conn().Close(ctx)
	}
}

// inCallersTx reports whether statements run in a transaction that the Cache has not
// begun.
func (s *store) inCallersTx() bool {
	switch database := s.db.(type) {
	case *pgxpool.Pool:
		return false
	case *pgx.Conn:
		return inTransaction(database)
	case *pgxpool.Conn:
		return inTransaction(database.Conn())
	default:
		return true
	}
}

// inTransaction reports whether a connection is in a transaction, by the server's last word.
func inTransaction(conn *pgx.Conn) bool {
	return conn.PgConn().TxStatus() != 'I'
}

// checkIsolation refuses a caller's transaction that does not see what others have
// committed since it began.
func (s *store) checkIsolation(ctx context.Context, op string) error {
	if !s.inCallersTx() {
		return nil
	}
	ctx, cancel := s.limit(ctx)
	defer cancel()
	level, err := s.queries.GetIsolation(ctx)
	if err != nil {
		return interpret(op, err)
	}
	if level != "read committed" && level != "read uncommitted" { // which PostgreSQL runs as read committed
		return fmt.Errorf("sessioncache: %s: %w: it is %s", op, ErrIsolation, level)
	}
	return nil
}
