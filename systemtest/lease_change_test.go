package systemtest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

// changeKind is a way to change a session.
type changeKind string

// Those of plain sessions, and those of sessions with a token.
var (
	plainUpdates = []changeKind{"Update", "Update unawaited", "Update in Tx", "UPDATE", "UPDATE not awaited"}
	plainEnds    = []changeKind{
		"Delete", "Delete in Tx", "Delete in WithTx", "Delete in a savepoint of another's Tx",
		"DELETE", "DELETE not awaited", "DeleteUserSessions",
	}
	tokenUpdates = []changeKind{"UpdateSession", "UpdateSession unawaited", "Renew", "Renew in Tx", "UPDATE", "UPDATE not awaited"}
	tokenEnds    = []changeKind{"Revoke", "Revoke in Tx", "Retire", "DeleteSession", "DeleteUserSessions", "DELETE", "DELETE not awaited"}
)

var (
	// unawaited are the changes that return at once, but are seen in the Cache that made them.
	unawaited = []changeKind{"Update unawaited", "UpdateSession unawaited", "Retire"}
	// rawUnawaited are the changes that no Cache knows of.
	rawUnawaited = []changeKind{"UPDATE not awaited", "DELETE not awaited"}
	// bySQL are the changes that this test makes by itself, whose errors are the driver's.
	bySQL = []changeKind{"UPDATE", "UPDATE not awaited", "DELETE", "DELETE not awaited", "Delete in WithTx", "Delete in a savepoint of another's Tx"}
)

func (k changeKind) ends() bool {
	return slices.Contains(plainEnds, k) || slices.Contains(tokenEnds, k) || k == "Set again" || k == "DeleteAudience"
}

// change is one to make.
type change struct {
	Kind  changeKind
	ID    string // of the row
	Token string
	User  string
}

// outcome is what came of it.
type outcome struct {
	span              // End is when everybody has to see it
	Own        bool   // the node that made it has to see it before that
	Version    int64  // of the user that it has stored, or may have
	Token      string // the new one
	OK         bool   // it has changed something
	Superseded bool   // it says that its token was replaced
	Unknown    bool   // nobody knows
	Err        string // one that no call may end with
}

// change makes a change.
func (n *node) change(c change) (o outcome) {
	ctx, cancel := context.WithTimeout(context.Background(), n.Timeout)
	defer cancel()
	o.Begin = now()
	err := n.changeBy(ctx, c, &o)
	o.End = now()
	if slices.Contains(unawaited, c.Kind) {
		o.Own = true
		o.End += instant(n.Lease)
	} else if slices.Contains(rawUnawaited, c.Kind) {
		o.End += instant(n.Lease)
	}
	switch {
	case err == nil:
	case c.Kind == "Set again" && errors.Is(err, sessioncache.ErrConflict):
	case errors.Is(err, sessioncache.ErrSuperseded): // somebody else was first
		o.OK, o.Superseded = false, true
	case slices.Contains(bySQL, c.Kind), errors.Is(err, sessioncache.ErrUnavailable), errors.Is(err, sessioncache.ErrNotAwaited):
		o.Unknown = true
	default:
		o.Err = fmt.Sprintf("%s: %s: %v", n.Name, c.Kind, err)
	}
	return o
}

func (n *node) changeBy(ctx context.Context, c change, o *outcome) (err error) {
	var token sid.Token
	if c.Token != "" {
		if token, err = sid.ParseToken(c.Token); err != nil {
			return err
		}
	}
	o.OK = true
	if c.Kind.ends() {
		return n.end(ctx, c, token)
	}
	add := func(user *leaseUser) error { //nolint:unparam // an Update's callback
		user.Version++
		o.Version = user.Version
		return nil
	}
	switch c.Kind {
	case "Set":
		o.Version = 1
		return n.cache.Set(ctx, c.ID, leaseUser{c.User, o.Version})
	case "Issue":
		o.Version = 1
		token, err = n.cache.Issue(ctx, leaseUser{c.User, o.Version})
		o.Token = reveal(token)
	case "Update":
		o.OK, err = n.cache.Update(ctx, c.ID, add)
	case "Update unawaited":
		o.OK, err = n.cache.Update(ctx, c.ID, add, sessioncache.Unawaited())
	case "Update in Tx":
		err = n.cache.Tx(ctx, func(_ pgx.Tx, cache *sessioncache.Cache[leaseUser]) error {
			o.OK, err = cache.Update(ctx, c.ID, add)
			return err
		})
	case "UPDATE":
		if o.OK, err = n.update(ctx, c.ID, add); err == nil {
			err = n.cache.AwaitNearCaches(ctx)
		}
	case "UPDATE not awaited":
		o.OK, err = n.update(ctx, c.ID, add)
	case "UpdateSession":
		o.OK, err = n.cache.UpdateSession(ctx, token, add)
	case "UpdateSession unawaited":
		o.OK, err = n.cache.UpdateSession(ctx, token, add, sessioncache.Unawaited())
	case "Renew":
		token, o.OK, err = n.cache.Renew(ctx, token)
		o.Token = reveal(token)
	case "Renew in Tx":
		var renewed sid.Token
		err = n.cache.Tx(ctx, func(_ pgx.Tx, cache *sessioncache.Cache[leaseUser]) error {
			renewed, o.OK, err = cache.Renew(ctx, token)
			return err
		})
		o.Token = reveal(renewed)
	default:
		err = fmt.Errorf("there is no change %q", c.Kind)
	}
	return err
}

// end makes a change after which the session is no more, whether it was there or not.
func (n *node) end(ctx context.Context, c change, token sid.Token) (err error) {
	switch c.Kind {
	case "Set again":
		if err = n.cache.Set(ctx, c.ID, leaseUser{c.User, 1}); err == nil {
			err = errors.New("an id that exists was stored")
		}
	case "Delete":
		err = n.cache.Delete(ctx, c.ID)
	case "Delete in Tx":
		err = n.cache.Tx(ctx, func(_ pgx.Tx, cache *sessioncache.Cache[leaseUser]) error { return cache.Delete(ctx, c.ID) })
	case "Delete in WithTx":
		err = pgx.BeginFunc(ctx, n.pool, func(tx pgx.Tx) error { return n.cache.WithTx(tx).Delete(ctx, c.ID) })
		if err == nil {
			err = n.cache.AwaitNearCaches(ctx)
		}
	case "Delete in a savepoint of another's Tx":
		err = n.other.Tx(ctx, func(tx pgx.Tx, _ *sessioncache.Cache[leaseUser]) error {
			return pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error { return n.cache.WithTx(savepoint).Delete(ctx, c.ID) })
		})
	case "DELETE", "DELETE not awaited":
		_, err = n.pool.Exec(ctx, "DELETE FROM session_cache WHERE sessionid = $1", c.ID)
		if err == nil && c.Kind == "DELETE" {
			err = n.cache.AwaitNearCaches(ctx)
		}
	case "Revoke":
		err = n.cache.Revoke(ctx, token)
	case "Revoke in Tx":
		err = n.cache.Tx(ctx, func(_ pgx.Tx, cache *sessioncache.Cache[leaseUser]) error { return cache.Revoke(ctx, token) })
	case "Retire":
		_, err = n.cache.Retire(ctx, token)
	case "DeleteSession":
		var handle sid.Handle
		if handle, err = sid.ParseHandle(c.ID); err == nil {
			_, err = n.cache.DeleteSession(ctx, handle)
		}
	case "DeleteUserSessions":
		var count int64
		count, err = n.cache.DeleteUserSessions(ctx, c.User)
		if err == nil && count > 1 {
			err = fmt.Errorf("it has ended %d sessions of a user who has one", count)
		}
	case "DeleteAudience":
		_, err = n.cache.DeleteAudience(ctx)
	}
	return err
}

// update is a transaction of the application's, on the table itself.
func (n *node) update(ctx context.Context, id string, change func(user *leaseUser) error) (ok bool, err error) {
	err = pgx.BeginFunc(ctx, n.pool, func(tx pgx.Tx) error {
		var user leaseUser
		err := tx.QueryRow(ctx, "SELECT userdict FROM session_cache WHERE sessionid = $1 FOR UPDATE", id).Scan(&user)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		} else if err != nil {
			return err
		}
		if err := change(&user); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, "UPDATE session_cache SET userdict = $2 WHERE sessionid = $1", id, user)
		ok = tag.RowsAffected() == 1
		return err
	})
	return ok, err
}

func reveal(token sid.Token) string {
	if token.IsZero() {
		return ""
	}
	return token.Reveal()
}
