package sessioncache

import (
	"context"
	"log/slog"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sid"
)

// Renew gives a session a new token. Call it whenever a user's privileges change (OWASP
// Session Management Cheat Sheet, "Renew the Session ID After Any Privilege Level
// Change"). The session keeps its handle and its user, and its times unless the renewal
// is [Reauthenticated]. In the database there is no moment at which both tokens open
// the session, or neither.
//
// ok is false when the token opens no session. If several calls renew one token at
// once, one succeeds and the others return [ErrSuperseded]. If the answer of a renewal
// is lost, nobody has the new token: the user has to log in again.
func (s *store) Renew(ctx context.Context, token sid.Token, options ...RenewOption) (renewed sid.Token, ok bool, err error) {
	renewed, ok, err = s.renew(ctx, token, options)
	s.shared.metrics.call(&s.shared.metrics.renewals, ok, err)
	return renewed, ok, s.await(ctx, err, sid.ID(token.Handle()))
}

func (s *store) renew(ctx context.Context, token sid.Token, options []RenewOption) (renewed sid.Token, ok bool, err error) {
	const op = "renew"
	k, err := s.keyOf(op, token)
	if err != nil {
		return sid.Token{}, false, err
	}
	renewed = token.Renewed()
	digest := renewed.Digest(s.config.tokenScope)
	var r renewal
	for _, option := range options {
		option(&r)
	}
	params := db.RenewSessionParams{
		Handle: k.id, Audience: s.config.audience, Secret: k.digest, NewSecret: digest[:],
	}
	rows, err := retryWrite(ctx, s, func(ctx context.Context, queries *db.Queries) (int64, error) {
		if r.reauthenticated {
			return queries.ReauthenticateSession(ctx, db.ReauthenticateSessionParams(params))
		}
		return queries.RenewSession(ctx, params)
	})
	if err != nil {
		return sid.Token{}, false, interpret(op, err)
	}
	if rows == 0 {
		return sid.Token{}, false, s.whyNot(ctx, op, k)
	}
	logSession(ctx, s.config, slog.LevelDebug, "session renewed", k)
	return renewed, true, nil
}

// Retire ends the session that a login replaces, and reports whether the token opened it.
// Call it in the transaction that issues the new session ([Replacing] does it for Issue).
// Requests in flight with the old token get [ErrSuperseded] for ten seconds, so that they
// are sent again. After [Cache.Revoke] such requests would find the user logged out. A
// superseded token ends the session as Revoke does.
//
// Retire does not wait for near caches ([NearCacheStaleness]): other servers may accept the
// old token for 200 ms.
func (s *store) Retire(ctx context.Context, token sid.Token) (was bool, err error) {
	const op = "retire"
	k, err := s.keyOf(op, token)
	if err != nil {
		return false, err
	}
	was, err = s.retire(ctx, k, nil)
	s.forget([]sid.ID{k.id})
	if err != nil {
		return false, interpret(op, err)
	}
	logSession(ctx, s.config, slog.LevelDebug, "session retired", k)
	return was, nil
}

// retire ends the session that a login replaces. If user is not nil and the session holds
// another user by now, or has ended, the error is errChanged.
func (s *store) retire(ctx context.Context, k key, user *string) (was bool, err error) {
	unknown := k.token.Renewed().Digest(k.scope) // nobody gets this token
	params := db.RetireSessionParams{
		Handle: k.id, Audience: s.config.audience, Secret: k.digest, NewSecret: unknown[:], Grace: supersededGrace,
		OldUserDict: user,
	}
	rows, err := retryWrite(ctx, s, func(ctx context.Context, queries *db.Queries) (int64, error) {
		return queries.RetireSession(ctx, params)
	})
	switch {
	case rows > 0 || err != nil:
		return rows > 0, err
	case user != nil:
		return false, errChanged
	}
	r, err := s.lookUp(ctx, k.id)
	if err != nil {
		return false, err
	}
	switch judge(r, k) {
	case isInFlight, isStolen:
		if r.isRetired() { // another login has just done it
			return false, nil
		}
	}
	return false, s.revoke(ctx, k)
}
