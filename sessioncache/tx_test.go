package sessioncache_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

func TestTx(t *testing.T) {
	cache, pool := setup[raw](t)
	kept, undone, gone := newID(), newID(), newID()
	refusal := errors.New("refused")
	err := cache.Tx(t.Context(), func(tx pgx.Tx, inTx *sessioncache.Cache[raw]) error {
		if err := inTx.Set(t.Context(), kept, raw(`{}`)); err != nil {
			return err
		}
		wantNone(t, cache, kept)
		// A savepoint: its failure is not the transaction's.
		err := inTx.Tx(t.Context(), func(_ pgx.Tx, inner *sessioncache.Cache[raw]) error {
			return errors.Join(inner.Set(t.Context(), undone, raw(`{}`)), refusal)
		})
		wantErrorIs(t, "the inner Tx", err, refusal)
		_, err = tx.Exec(t.Context(), "SELECT")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantUser(t, cache, kept, `{}`)
	wantNone(t, cache, undone)

	err = cache.Tx(t.Context(), func(_ pgx.Tx, inTx *sessioncache.Cache[raw]) error {
		if err := inTx.Set(t.Context(), gone, raw(`{}`)); err != nil {
			return err
		}
		return refusal
	})
	if err != refusal { //nolint:errorlint // as it is, not wrapped
		t.Errorf("Tx = %v; want the error of the function as it is", err)
	}
	suite.WantPanic(t, func() {
		_ = cache.Tx(t.Context(), func(_ pgx.Tx, inTx *sessioncache.Cache[raw]) error {
			_ = inTx.Set(t.Context(), gone, raw(`{}`))
			panic("in the function")
		})
	})
	ctx, cancel := context.WithCancel(t.Context())
	err = cache.Tx(ctx, func(_ pgx.Tx, inTx *sessioncache.Cache[raw]) error {
		defer cancel()
		return inTx.Set(ctx, gone, raw(`{}`))
	})
	wantError(t, "Tx whose context ends before it commits", err, sessioncache.ErrUnavailable)
	wantNone(t, cache, gone)
	wantGivenBack(t, pool)
}

// TestTxIsReadCommitted: a transaction of the Cache's own says so itself, whatever the
// default.
func TestTxIsReadCommitted(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	t.Parallel()
	cache := sessioncache.New[raw](sessiontest.NewPool(t, func(c *pgxpool.Config) {
		c.ConnConfig.RuntimeParams["default_transaction_isolation"] = "serializable"
	}))
	me := newID()
	issue(t, cache, userOf(me))
	err := cache.Tx(t.Context(), func(_ pgx.Tx, inTx *sessioncache.Cache[raw]) error {
		return second(inTx.DeleteUserSessions(t.Context(), me))
	})
	if err != nil {
		t.Errorf("DeleteUserSessions in a Tx: %v", err)
	}
	wantSessions(t, cache, me, issue(t, cache, userOf(me), sessioncache.MaxSessions(1)))
}
