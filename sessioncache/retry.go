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
)

// What may be run again, and when. A read may, whatever became of it: so a
// server that restarts, or a firewall that drops idle connections, costs a Get a
// few milliseconds and no error. A write may only if it never reached the server:
// to run one twice is not the same as once. In a transaction, or on a single
// connection, nothing may: the connection is what was lost.

const (
	readAttempts = 3
	readPause    = 10 * time.Millisecond // before the second attempt; doubled before the third
)

// retryUnsent runs a statement once more if it never reached the server, because
// the connection that the pool gave it was dead. Nothing else is safe to run
// twice without being told to.
func retryUnsent[T, R any](ctx context.Context, c *Cache[T], statement func(context.Context) (R, error)) (R, error) {
	result, err := statement(ctx)
	if _, pooled := c.db.(*pgxpool.Pool); pooled && pgconn.SafeToRetry(err) && ctx.Err() == nil {
		return statement(ctx)
	}
	return result, err
}

// retryRead runs a statement that changes nothing up to three times, as long as
// what fails is the connection. It waits a little in between, each caller for
// another while.
func retryRead[T, R any](ctx context.Context, c *Cache[T], statement func(context.Context) (R, error)) (R, error) {
	pause := readPause
	for attempt := 1; ; attempt++ {
		result, err := retryUnsent(ctx, c, statement)
		_, pooled := c.db.(*pgxpool.Pool)
		if !pooled || attempt == readAttempts || !connectionLost(err) || ctx.Err() != nil {
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
