package systemtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

// changeKind is a way to change a session.
type changeKind string

// Those of plain sessions, and those of sessions with a token.
var (
	plainUpdates = []changeKind{"Update", "Update in Tx", "UPDATE"}
	plainEnds    = []changeKind{"Delete", "Delete in Tx", "Delete in WithTx", "DELETE", "DeleteUserSessions"}
	tokenUpdates = []changeKind{"UpdateSession", "Renew", "UPDATE"}
	tokenEnds    = []changeKind{"Revoke", "DeleteSession", "DeleteUserSessions", "DELETE"}
)

// change is one to make.
type change struct {
	Kind         changeKind
	ID           string // of the row
	Token        string
	User         string
	FirstVersion int64 // the least to write
}

// outcome is what came of it.
type outcome struct {
	span
	Version int64  // of the user that it has stored, or may have
	Token   string // the new one
	OK      bool   // it has changed something
	Unknown bool   // nobody knows
	Err     string // one that no call may end with
}

// change makes a change.
func (n *node) change(c change) (o outcome) {
	ctx, cancel := context.WithTimeout(context.Background(), n.Timeout)
	defer cancel()
	o.Begin = now()
	err := n.changeBy(ctx, c, &o)
	o.End = now()
	switch {
	case err == nil:
	case c.Kind == "UPDATE" || c.Kind == "DELETE" || c.Kind == "Delete in WithTx",
		errors.Is(err, sessioncache.ErrUnavailable), errors.Is(err, sessioncache.ErrNotAwaited):
		o.Unknown = true
	case c.Kind == "Set again" && errors.Is(err, sessioncache.ErrConflict):
		o.OK = true
	case errors.Is(err, sessioncache.ErrSuperseded): // somebody else was first
		o.OK = false
	default:
		o.Err = fmt.Sprintf("%s: %s: %v", n.Name, c.Kind, err)
	}
	return o
}

func (n *node) changeBy(ctx context.Context, c change, o *outcome) (err error) {
	add := func(user *nearUser) error { //nolint:unparam // an Update's callback
		user.Version = max(user.Version+1, c.FirstVersion)
		o.Version = user.Version
		return nil
	}
	var token sid.Token
	if c.Token != "" {
		if token, err = sid.ParseToken(c.Token); err != nil {
			return err
		}
	}
	var count int64
	o.OK = true
	switch c.Kind {
	case "Set":
		o.Version = c.FirstVersion
		return n.cache.Set(ctx, c.ID, nearUser{c.User, o.Version})
	case "Set again":
		if err = n.cache.Set(ctx, c.ID, nearUser{c.User, c.FirstVersion}); err == nil {
			err = errors.New("an id that exists was stored")
		}
		return err
	case "Issue":
		o.Version = c.FirstVersion
		token, err = n.cache.Issue(ctx, nearUser{c.User, o.Version})
		o.Token = reveal(token)
		return err
	case "Update":
		o.OK, err = n.cache.Update(ctx, c.ID, add)
		return err
	case "Update in Tx":
		return n.cache.Tx(ctx, func(_ pgx.Tx, cache *sessioncache.Cache[nearUser]) error {
			o.OK, err = cache.Update(ctx, c.ID, add)
			return err
		})
	case "UPDATE":
		return n.committed(ctx, func(tx pgx.Tx) error {
			var user nearUser
			err := tx.QueryRow(ctx, "SELECT userdict FROM session_cache WHERE sessionid = $1 FOR UPDATE", c.ID).Scan(&user)
			if errors.Is(err, pgx.ErrNoRows) {
				o.OK = false
				return nil
			} else if err != nil {
				return err
			}
			_ = add(&user)
			_, err = tx.Exec(ctx, "UPDATE session_cache SET userdict = $2 WHERE sessionid = $1", c.ID, user)
			return err
		})
	case "UpdateSession":
		o.OK, err = n.cache.UpdateSession(ctx, token, add)
		return err
	case "Renew":
		token, o.OK, err = n.cache.Renew(ctx, token)
		o.Token = reveal(token)
		return err
	case "Delete":
		return n.cache.Delete(ctx, c.ID)
	case "Delete in Tx":
		return n.cache.Tx(ctx, func(_ pgx.Tx, cache *sessioncache.Cache[nearUser]) error { return cache.Delete(ctx, c.ID) })
	case "Delete in WithTx":
		return n.committed(ctx, func(tx pgx.Tx) error { return n.cache.WithTx(tx).Delete(ctx, c.ID) })
	case "DELETE":
		if _, err = n.pool.Exec(ctx, "DELETE FROM session_cache WHERE sessionid = $1", c.ID); err == nil {
			err = n.cache.AwaitNearCaches(ctx)
		}
		return err
	case "Revoke":
		return n.cache.Revoke(ctx, token)
	case "DeleteSession":
		handle, err := sid.ParseHandle(c.ID)
		if err == nil {
			_, err = n.cache.DeleteSession(ctx, handle)
		}
		return err
	case "DeleteUserSessions":
		count, err = n.cache.DeleteUserSessions(ctx, c.User)
		if err == nil && count > 1 {
			err = fmt.Errorf("it has ended %d sessions of a user who has one", count)
		}
		return err
	}
	return fmt.Errorf("there is no change %q", c.Kind)
}

// committed runs a transaction of the application's, which knows of near caches.
func (n *node) committed(ctx context.Context, do func(tx pgx.Tx) error) error {
	if err := pgx.BeginFunc(ctx, n.pool, do); err != nil {
		return err
	}
	return n.cache.AwaitNearCaches(ctx)
}

func reveal(token sid.Token) string {
	if token.IsZero() {
		return ""
	}
	return token.Reveal()
}
