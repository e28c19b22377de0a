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
	level   int      // zero: the transaction
	ended   bool
}

// Changes are those of a transaction.
type Changes struct {
	Await  bool     // near caches on other servers have to be awaited
	Stored bool     // a user was stored, which a deferred constraint may refuse
	Forget []func() // near caches of this process forget what has changed

	undo [][]func() // for the transaction and each open savepoint

	// A savepoint could not be ended, for example because its context had: nobody knows what
	// the transaction holds.
	broken bool
}

// New returns a transaction that has just begun.
func New(tx pgx.Tx) *Tx {
	return &Tx{Tx: tx, Changes: &Changes{undo: make([][]func(), 1)}}
}

// Of returns the transaction that a pgx.Tx is, or nil if it is of another kind.
func Of(tx any) *Tx {
	t, _ := tx.(*Tx)
	return t
}

// OnRollback has undo called when the innermost open savepoint is rolled back, or one
// around it. Of several functions the last is called first.
func (c *Changes) OnRollback(undo func()) {
	last := len(c.undo) - 1
	c.undo[last] = append(c.undo[last], undo)
}

// Begin begins a savepoint.
func (t *Tx) Begin(ctx context.Context) (pgx.Tx, error) {
	savepoint, err := t.Tx.Begin(ctx)
	if err != nil {
		return nil, err
	}
	t.Changes.undo = append(t.Changes.undo, nil)
	return &Tx{Tx: savepoint, Changes: t.Changes, level: len(t.Changes.undo) - 1}, nil
}

// Commit ends the savepoint, or the transaction.
func (t *Tx) Commit(ctx context.Context) error {
	if t.level == 0 && t.Changes.broken {
		return errors.Join(errBroken, t.Rollback(ctx))
	}
	if err := t.Tx.Commit(ctx); err != nil {
		t.noteBroken(err)
		return err
	}
	t.end(false)
	return nil
}

// Rollback undoes the savepoint, or the transaction.
func (t *Tx) Rollback(ctx context.Context) error {
	err := t.Tx.Rollback(ctx)
	t.noteBroken(err)
	t.end(true)
	return err
}

var errBroken = errors.New("a savepoint could not be ended")

func (t *Tx) noteBroken(err error) {
	if err != nil && t.level > 0 && !t.ended && !errors.Is(err, pgx.ErrTxClosed) {
		t.Changes.broken = true
	}
}

func (t *Tx) end(undone bool) {
	undo := t.Changes.undo
	if t.ended || t.level >= len(undo) {
		return
	}
	t.ended = true
	inside := undo[t.level:]
	if undone {
		for i := len(inside) - 1; i >= 0; i-- {
			for j := len(inside[i]) - 1; j >= 0; j-- {
				inside[i][j]()
			}
		}
	} else if t.level > 0 {
		for _, functions := range inside {
			undo[t.level-1] = append(undo[t.level-1], functions...)
		}
	}
	if t.level > 0 {
		t.Changes.undo = undo[:t.level]
	}
}
