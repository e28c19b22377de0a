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
// that drops idle connections, then costs a Get a few milliseconds and no error. A write
// is run again only if it has certainly not happened. In a transaction, or on a single
// connection, nothing is run again, because the connection itself was lost.

const (
	readAttempts = 3
	readPause    = 10 * time.Millisecond // before the second attempt; doubled before the third

	rolledBackAttempts = 10
)

// onConnection runs a statement on a connection of the pool, or on the only connection that
// there is. It closes a connection that the server keeps read-only, because such a
// connection stays so when the database can be written to again.
func onConnection[R any](ctx context.Context, s *store, statement func(context.Context, *db.Queries) (R, error)) (result R, err error) {
	pool, ok := s.db.(*pgxpool.Pool)
	if !ok {
		return statement(ctx, s.queries)
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return result, err
	}
	defer conn.Release()
	result, err = statement(ctx, db.New(conn))
	if hasCode(err, readOnlyTransaction) {
		_ = conn.Conn().Close(ctx)
	}
	return result, err
}

// retryUnsent runs a function once more if it has changed nothing, because the pool's
// connection was dead or read-only.
func retryUnsent[R any](ctx context.Context, s *store, run func(context.Context) (R, error)) (R, error) {
	result, err := run(ctx)
	if s.pooled() && (pgconn.SafeToRetry(err) || hasCode(err, readOnlyTransaction)) && ctx.Err() == nil {
		return run(ctx)
	}
	return result, err
}

// retryWrite runs a statement, and again if it has not happened. If the server has
// rolled it back, for a serialization failure or a deadlock, it runs again in a
// transaction at read committed: there it waits for the other transaction instead of
// failing.
func retryWrite[R any](ctx context.Context, s *store, statement func(context.Context, *db.Queries) (R, error)) (R, error) {
	ctx, cancel := s.limit(ctx)
	defer cancel()
	return retryRolledBack(ctx, s, statement)
}

func retryRolledBack[R any](ctx context.Context, s *store, statement func(context.Context, *db.Queries) (R, error)) (R, error) {
	result, err := retryUnsent(ctx, s, func(ctx context.Context) (R, error) { return onConnection(ctx, s, statement) })
	if s.pooled() && rolledBack(err) {
		return atReadCommitted(ctx, s, statement)
	}
	return result, err
}

// atReadCommitted runs a statement in a transaction at read committed.
func atReadCommitted[R any](ctx context.Context, s *store, statement func(context.Context, *db.Queries) (R, error)) (result R, err error) {
	err = s.inTx(ctx, func(in *store) error {
		result, err = statement(ctx, in.queries)
		return err
	})
	return result, err
}

// retryRead runs a statement that changes nothing up to three times, as long as the
// connection fails. It waits a random moment in between.
func retryRead[R any](ctx context.Context, s *store, statement func(context.Context, *db.Queries) (R, error)) (R, error) {
	ctx, cancel := s.limit(ctx)
	defer cancel()
	pause := readPause
	for attempt := 1; ; attempt++ {
		result, err := retryRolledBack(ctx, s, statement)
		if !s.pooled() || attempt == readAttempts || !connectionLost(err) || ctx.Err() != nil {
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

// pooled reports whether there can be another connection.
func (s *store) pooled() bool {
	_, pooled := s.db.(*pgxpool.Pool)
	return pooled
}

// rolledBack reports whether the server has rolled a statement back which may succeed
// when it is run again.
func rolledBack(err error) bool {
	return hasCode(err, serializationFailure) || hasCode(err, deadlockDetected)
}

// connectionLost reports whether a statement failed because its connection did, or
// because there was none.
func connectionLost(err error) bool {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pgErr.Code {
		case adminShutdown, crashShutdown, cannotConnectNow, idleSessionTimeout, tooManyConnections:
			return true
		}
		return false
	}
	if netErr, ok := errors.AsType[net.Error](err); ok {
		return !netErr.Timeout() // that was the context
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || pgconn.SafeToRetry(err)
}
