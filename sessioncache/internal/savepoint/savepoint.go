// Package savepoint has a transaction that knows its savepoints: what a caller has noted
// beside a change is taken back when the savepoint that holds the change is rolled back.
package savepoint

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// Tx is a transaction, or a savepoint of it. Of both only one is used at a time, like the
// connection.
type Tx struct {
	pgx.Tx
	Changes *Changes // shared by a transaction and its savepoints
	nested  bool     // a savepoint
	from    int      // how many functions of Changes.undo belong to what was before
	ended   bool
}

// Changes are those of a transaction.
type Changes struct {
	Await  bool     // near caches on other servers have to be awaited
	Stored bool     // a user was stored, which a deferred constraint may refuse
	Forget []func() // near caches of this process forget what has changed

	undo []func() // in the order of the changes; those of a savepoint that has ended well stay

	// A savepoint could not be ended, for example because its context had: nobody knows what
	// the transaction holds.
	broken bool
}

// New returns a transaction that has just begun.
func New(tx pgx.Tx) *Tx {
	return &Tx{Tx: tx, Changes: new(Changes)}
}

// Of returns the transaction that a pgx.Tx is, or nil if it is of another kind.
func Of(tx any) *Tx {
	t, _ := tx.(*Tx)
	return t
}

// OnRollback has undo called when the innermost open savepoint is rolled back, or one
// around it. Of several functions the last is called first.
func (c *Changes) OnRollback(undo func()) {
	c.undo = append(c.undo, undo)
}

// Begin begins a savepoint.
func (t *Tx) Begin(ctx context.Context) (pgx.Tx, error) {
	savepoint, err := t.Tx.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return &Tx{Tx: savepoint, Changes: t.Changes, nested: true, from: len(t.Changes.undo)}, nil
}

// Commit ends the savepoint, or the transaction.
func (t *Tx) Commit(ctx context.Context) error {
	if !t.nested && t.Changes.broken {
		return errors.Join(errBroken, t.Rollback(ctx))
	}
	if err := t.Tx.Commit(ctx); err != nil {
		t.noteBroken(err)
		return err
	}
	t.ended = true
	return nil
}

// Rollback undoes the savepoint, or the transaction.
func (t *Tx) Rollback(ctx context.Context) error {
	err := t.Tx.Rollback(ctx)
	t.noteBroken(err)
	t.takeBack()
	return err
}

var errBroken = errors.New("a savepoint could not be ended")

func (t *Tx) noteBroken(err error) {
	if err != nil && t.nested && !t.ended && !errors.Is(err, pgx.ErrTxClosed) {
		t.Changes.broken = true
	}
}

// takeBack calls the functions of this savepoint and of those in it, unless it has ended.
func (t *Tx) takeBack() {
	if t.ended {
		return
	}
	t.ended = true
	undo := t.Changes.undo
	for i := len(undo) - 1; i >= t.from; i-- {
		undo[i]()
	}
	t.Changes.undo = undo[:min(t.from, len(undo))]
}
