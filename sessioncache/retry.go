package sessioncache

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/db"
)

// Which statements are run again. A read may be: a server that restarts, or a firewall
// that drops idle connections, so costs a Get a few milliseconds and no error. A write
// is run again only if it has certainly not happened. In a transaction, or on a single
// connection, nothing is run again, because the connection itself was lost.

const (
	readAttempts = 3
	readPause    = 10 * time.Millisecond // before the second attempt; doubled before the third

	rolledBackAttempts = 10
)

// retryUnsent runs a statement once more if it never reached the server, because the
// pool's connection was dead.
func retryUnsent[T, R any](ctx context.Context, c *Cache[T], run func(context.Context) (R, error)) (R, error) {
	result, err := run(ctx)
	if c.pooled() && pgconn.SafeToRetry(err) && ctx.Err() == nil {
		return run(ctx)
	}
	return result, err
}

// retryWrite runs a statement, and again if it has not happened. If the server has
// rolled it back, for a serialization failure or a deadlock, it runs again in a
// transaction at read committed: there it waits for the other transaction instead of
// failing.
func retryWrite[T, R any](ctx context.Context, c *Cache[T], statement func(context.Context, *db.Queries) (R, error)) (R, error) {
	result, err := retryUnsent(ctx, c, func(ctx context.Context) (R, error) { return statement(ctx, c.queries) })
	if !c.pooled() || !rolledBack(err) {
		return result, err
	}
	err = c.inTx(ctx, func(queries *db.Queries) error {
		result, err = statement(ctx, queries)
		return err
	})
	return result, err
}

// retryRead runs a statement that changes nothing up to three times, as long as the
// connection fails. It waits a random moment in between.
func retryRead[T, R any](ctx context.Context, c *Cache[T], statement func(context.Context, *db.Queries) (R, error)) (R, error) {
	pause := readPause
	for attempt := 1; ; attempt++ {
		result, err := retryWrite(ctx, c, statement)
		if !c.pooled() || attempt == readAttempts || !connectionLost(err) || ctx.Err() != nil {
			return result, err
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
			pause *= 2
		case <-ctx.Done():
			return result, err
		}
	}
}

// pooled tells whether there can be another connection.
func (c *Cache[T]) pooled() bool {
	_, pooled := c.db.(*pgxpool.Pool)
	return pooled
}

// rolledBack tells whether the server has rolled a statement back which may succeed
// when it is run again.
func rolledBack(err error) bool {
	return hasCode(err, serializationFailure) || hasCode(err, deadlockDetected)
}

// connectionLost tells whether a statement failed because its connection did, or
// because there was none.
func connectionLost(err error) bool {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pgErr.Code {
		case adminShutdown, crashShutdown, cannotConnectNow, tooManyConnections:
			return true
		}
		return false
	}
	if netErr, ok := errors.AsType[net.Error](err); ok {
		return !netErr.Timeout() // that was the context
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || pgconn.SafeToRetry(err)
}
