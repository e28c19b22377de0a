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

// What may be run again, and when. A read may, whatever became of it: so a
// server that restarts, or a firewall that drops idle connections, costs a Get a
// few milliseconds and no error. A write may only if it has not happened: to run one
// twice is not the same as once. In a transaction, or on a single connection,
// nothing may: the connection or the transaction is what was lost.

const (
	readAttempts = 3
	readPause    = 10 * time.Millisecond // before the second attempt; doubled before the third

	rolledBackAttempts = 10
)

// retryUnsent runs what has not happened once more: it never reached the server,
// because the connection that the pool gave it was dead.
func retryUnsent[T, R any](ctx context.Context, c *Cache[T], run func(context.Context) (R, error)) (R, error) {
	result, err := run(ctx)
	if c.pooled() && pgconn.SafeToRetry(err) && ctx.Err() == nil {
		return run(ctx)
	}
	return result, err
}

// retryWrite runs a statement, and runs it again if it has not happened. Where the
// server says so, because it got in the way of another's (a serialization failure, a
// deadlock), that is in a transaction at read committed, whatever the default is: there
// the statement waits for the other one instead of failing.
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

// retryRead runs a statement that changes nothing up to three times, as long as
// what fails is the connection. It waits a little in between, each caller for
// another while.
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

// pooled tells whether another connection is to be had. In a transaction, or on a
// single connection, it is not.
func (c *Cache[T]) pooled() bool {
	_, pooled := c.db.(*pgxpool.Pool)
	return pooled
}

// rolledBack tells whether the server says that something has not happened, and may
// if it is run again.
func rolledBack(err error) bool {
	return hasCode(err, serializationFailure) || hasCode(err, deadlockDetected)
}

// connectionLost tells whether a statement failed because the connection did, or
// none was to be had, and not because of what it said.
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
