package sessioncache

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sid"
)

// supersededGrace is how long a request with the superseded token may still be in flight.
const supersededGrace = 10 * time.Second

// Issue stores a session for a user and returns the token that opens it. The table
// holds only a digest of the token's secret, so nobody can read the token again later.
// The session is live from now on. Its lifetime and idle timeout are those of the
// Cache, unless options change them. Unless the session is [Anonymous], its time of
// authentication is now.
func (c *Cache[T]) Issue(ctx context.Context, user T, options ...SessionOption) (token sid.Token, err error) {
	start := monotonicNow()
	token, err = c.issueToken(ctx, user, options)
	c.shared.metrics.set(start, err)
	return token, err
}

func (c *Cache[T]) issueToken(ctx context.Context, user T, options []SessionOption) (token sid.Token, err error) {
	const op = "issue"
	dict, err := c.encode(op, user)
	if err != nil {
		return sid.Token{}, err
	}
	token = sid.NewToken()
	k, err := c.keyOf(op, token)
	if err != nil {
		return sid.Token{}, err
	}
	session := c.newSession(options)
	params := db.IssueSessionParams{
		Handle:    k.id,
		Audience:  c.config.audience,
		Secret:    k.secret,
		UserDict:  dict,
		TTL:       session.timeouts.ttlMicros(),
		Lifetime:  session.timeouts.lifetimeMicros(),
		Idle:      session.timeouts.idleMicros(),
		Anonymous: session.anonymous,
	}
	if session.limit > 0 && !session.anonymous { // a claimed user_id ends no sessions
		err = c.issueLimited(ctx, op, params, session.limit)
	} else {
		err = c.issue(ctx, op, params)
	}
	if err != nil {
		return sid.Token{}, err
	}
	logSession(ctx, c.config.logger, slog.LevelDebug, "session issued", token.Handle())
	return token, nil
}

func (c *Cache[T]) issue(ctx context.Context, op string, params db.IssueSessionParams) error {
	_, err := retryWrite(ctx, c, func(ctx context.Context, queries *db.Queries) (string, error) {
		return queries.IssueSession(ctx, params)
	})
	ok, err := found(err)
	if err == nil && !ok { // two equal values of 128 random bits: the generator is broken
		err = ErrConflict
	}
	return interpretStore(op, err)
}

// issueLimited issues a session and ends the user's oldest ones above the limit. It
// locks the user after the insertion, and the deletion sees all that was committed
// before it began. So the last one to get the lock sees every session.
func (c *Cache[T]) issueLimited(ctx context.Context, op string, params db.IssueSessionParams, limit int) error {
	if err := c.checkIsolation(ctx, op); err != nil {
		return err
	}
	var ended []sid.ID
	err := c.inTx(ctx, func(queries *db.Queries) error {
		userID, err := queries.IssueSession(ctx, params)
		ok, err := found(err)
		switch {
		case err != nil:
			return err
		case !ok:
			return ErrConflict
		case userID == "":
			return errNoUserID
		}
		if err := queries.LockUser(ctx, db.LockUserParams{Audience: params.Audience, UserID: userID}); err != nil {
			return err
		}
		ended, err = queries.DeleteOldestUserSessions(ctx, db.DeleteOldestUserSessionsParams{
			Audience: params.Audience, UserID: userID, Newest: params.Handle, Keep: int64(limit - 1),
		})
		return err
	})
	if err != nil {
		return interpretStore(op, err)
	}
	c.forget(ended)
	return nil
}

// Authenticate returns the session that a token opens. ok is false, and err nil, when
// the token opens none: the session is absent or expired, or the secret is wrong.
// Authenticate extends a session that has an idle timeout.
//
// A token that [Cache.Renew] has replaced opens nothing. If it is used within ten
// seconds of the renewal, the error is [ErrSuperseded], because the request was in
// flight: sent again with the new token it succeeds. If it is used later, ok is false
// and the session ends, because two parties hold its tokens, and nobody can tell which
// of them is the user (RFC 9700 section 4.14.2). After a re-authentication the session
// stays, because the holder of the new token is the user. Only the last superseded
// token is known. An older one is like any unknown token.
//
// With [ErrUnreadableSession] the session exists, but T does not decode its user.
//
// When ok is false, session is filled without its User, and its State tells why, if the
// session is still stored and the token is its current or last superseded one.
// Otherwise session is zero.
func (c *Cache[T]) Authenticate(ctx context.Context, token sid.Token) (session Session[T], ok bool, err error) {
	const op = "authenticate"
	if err := checkToken(op, token); err != nil {
		c.shared.metrics.failed(err)
		return session, false, err
	}
	digest := token.Digest(c.config.tokenScope) // which stays on the stack, unlike a key
	if session, ok = c.authenticateNear(sid.ID(token.Handle()), digest[:]); ok {
		return session, true, nil
	}
	start := monotonicNow()
	session, ok, err = c.authenticate(ctx, op, sid.ID(token.Handle()), digest[:])
	c.shared.metrics.get(start, ok, err)
	return session, ok, err
}

// authenticateNear finds a session in memory. If its secret is another one, the database
// decides: the token may be newer than memory.
func (c *Cache[T]) authenticateNear(id sid.ID, digest []byte) (session Session[T], ok bool) {
	k, age, ok := c.near.get(id, func(k *kept[T]) bool { return judge(&k.row, digest) == isLive })
	if !ok {
		return session, false
	}
	session = describe[T](&k.row, StateLive)
	session.TTL -= age
	session.User = c.near.clone(k.user)
	return session, true
}

func (c *Cache[T]) authenticate(ctx context.Context, op string, id sid.ID, digest []byte) (session Session[T], ok bool, err error) {
	r, err := c.lookUp(ctx, id)
	if err != nil {
		return session, false, interpret(op, err)
	}
	switch judge(r, digest) {
	case isUnknown:
		return session, false, nil
	case isExpired:
		return describe[T](r, StateExpired), false, nil
	case isInFlight, isKept:
		return describe[T](r, StateSuperseded), false, c.superseded(ctx, op, key{r.id, bytes.Clone(digest)}, r)
	}
	session = describe[T](r, StateLive)
	if session.User, err = c.decode(op, r.userDict); err != nil {
		session.State = StateUnreadable
		return session, false, err
	}
	c.near.keep(r, session.User)
	if r.extend() {
		c.extend(ctx, key{r.id, bytes.Clone(digest)})
	}
	return session, true, nil
}

// verdict is the result of comparing a token with a row.
type verdict int

const (
	isUnknown  verdict = iota // no session, or not its token
	isLive                    // the token opens the session
	isExpired                 // it did
	isInFlight                // it was renewed a moment ago
	isKept                    // it was renewed long ago
)

// judge decides what a secret opens. It compares the secret before it looks whether the
// session is live: with a wrong secret nothing can be learned.
func judge(r *row, secret []byte) verdict {
	if r == nil {
		return isUnknown
	}
	current := subtle.ConstantTimeCompare(secret, r.secret()) == 1
	superseded := subtle.ConstantTimeCompare(secret, r.superseded()) == 1
	switch {
	case current && r.ttl() >= 0:
		return isLive
	case current:
		return isExpired
	case !superseded || r.ttl() < 0:
		return isUnknown
	case duration(r.now-r.renewed) <= supersededGrace:
		return isInFlight
	default:
		return isKept
	}
}

// superseded is the result of a call with a superseded token.
func (c *Cache[T]) superseded(ctx context.Context, op string, k key, r *row) error {
	c.shared.metrics.superseded.Add(1)
	if judge(r, k.secret) == isInFlight {
		return fmt.Errorf("sessioncache: %s: %w", op, ErrSuperseded)
	}
	ended := false
	if !c.inCallersTx() { // where a read must not be what fails; the next use ends it
		var err error
		ended, err = c.revoke(ctx, k)
		c.forget([]sid.ID{k.id})
		if err != nil {
			return interpret(op, err)
		}
	}
	logSession(ctx, c.config.logger, slog.LevelWarn, "superseded token used again", k, slog.Bool("ended", ended))
	return nil
}

// whyNot looks up why a token opened nothing. It returns ErrSuperseded if the token was
// just replaced.
func (c *Cache[T]) whyNot(ctx context.Context, op string, k key) error {
	r, err := c.lookUp(ctx, k.id)
	if err != nil {
		return interpret(op, err)
	}
	switch judge(r, k.secret) {
	case isInFlight, isKept:
		return c.superseded(ctx, op, k, r)
	}
	return nil
}

// Alive reports for each token whether it opens a live session. It is one statement for
// all tokens that reads no users. It always asks the database, and neither extends nor ends
// a session.
func (c *Cache[T]) Alive(ctx context.Context, tokens ...sid.Token) ([]bool, error) {
	const op = "alive"
	keys, handles := make([]key, len(tokens)), make(sid.IDs, len(tokens))
	for i, token := range tokens {
		k, err := c.keyOf(op, token)
		if err != nil {
			return nil, err
		}
		keys[i], handles[i] = k, k.id
	}
	live, err := retryRead(ctx, c, func(ctx context.Context, queries *db.Queries) ([]db.GetLiveSecretsRow, error) {
		return queries.GetLiveSecrets(ctx, db.GetLiveSecretsParams{Handles: handles, Audience: c.config.audience})
	})
	if err != nil {
		return nil, interpret(op, err)
	}
	secrets := make(map[sid.ID]string, len(live))
	for _, session := range live {
		secrets[session.SessionID] = session.SecretHex
	}
	alive := make([]bool, len(tokens))
	for i, k := range keys {
		secret, ok := secrets[k.id]
		alive[i] = ok && subtle.ConstantTimeCompare([]byte(hex.EncodeToString(k.secret)), []byte(secret)) == 1
	}
	return alive, nil
}

// Renew gives a session a new token. Call it whenever a user's privileges change (OWASP
// Session Management Cheat Sheet, "Renew the Session ID After Any Privilege Level
// Change"). The session keeps its handle and its user, and its times unless the renewal
// is [Reauthenticated]. In the database there is no moment at which both tokens open
// the session, or neither.
//
// ok is false when the token opens no session. If several calls renew one token at
// once, one succeeds and the others return [ErrSuperseded]. If the answer of a renewal
// is lost, nobody has the new token: the user has to log in again.
func (c *Cache[T]) Renew(ctx context.Context, token sid.Token, options ...RenewOption) (renewed sid.Token, ok bool, err error) {
	renewed, ok, err = c.renew(ctx, token, options)
	c.shared.metrics.call(&c.shared.metrics.renewals, ok, err)
	return renewed, ok, c.await(ctx, err, sid.ID(token.Handle()))
}

func (c *Cache[T]) renew(ctx context.Context, token sid.Token, options []RenewOption) (renewed sid.Token, ok bool, err error) {
	const op = "renew"
	k, err := c.keyOf(op, token)
	if err != nil {
		return sid.Token{}, false, err
	}
	renewed = token.Renewed()
	newKey, err := c.keyOf(op, renewed)
	if err != nil {
		return sid.Token{}, false, err
	}
	var r renewal
	for _, option := range options {
		option(&r)
	}
	params := db.RenewSessionParams{
		Handle: k.id, Audience: c.config.audience, Secret: k.secret, NewSecret: newKey.secret,
	}
	rows, err := retryWrite(ctx, c, func(ctx context.Context, queries *db.Queries) (int64, error) {
		if r.reauthenticated {
			return queries.ReauthenticateSession(ctx, db.ReauthenticateSessionParams(params))
		}
		return queries.RenewSession(ctx, params)
	})
	if err != nil {
		return sid.Token{}, false, interpret(op, err)
	}
	if rows == 0 {
		return sid.Token{}, false, c.whyNot(ctx, op, k)
	}
	logSession(ctx, c.config.logger, slog.LevelDebug, "session renewed", k)
	return renewed, true, nil
}

// Revoke ends the session that a token opens. Once it has returned nil, the token opens
// no session on any server. A token that opens no session is not an error.
//
// The last superseded token ends the session, too. The exception is a token that a
// re-authentication replaced more than ten seconds ago: then the holder of the new
// token is the user, and Revoke ends nothing. An older token is unknown and ends
// nothing.
func (c *Cache[T]) Revoke(ctx context.Context, token sid.Token) error {
	err := c.revokeToken(ctx, token)
	c.shared.metrics.call(&c.shared.metrics.deletes, true, err)
	return c.await(ctx, err, sid.ID(token.Handle()))
}

func (c *Cache[T]) revokeToken(ctx context.Context, token sid.Token) error {
	const op = "revoke"
	k, err := c.keyOf(op, token)
	if err != nil {
		return err
	}
	if _, err := c.revoke(ctx, k); err != nil {
		return interpret(op, err)
	}
	logSession(ctx, c.config.logger, slog.LevelDebug, "session revoked", k)
	return nil
}

func (c *Cache[T]) revoke(ctx context.Context, k key) (ended bool, err error) {
	rows, err := retryWrite(ctx, c, func(ctx context.Context, queries *db.Queries) (int64, error) {
		return queries.RevokeSession(ctx, db.RevokeSessionParams{
			Handle:   k.id,
			Audience: c.config.audience,
			Secret:   k.secret,
			Grace:    supersededGrace.Microseconds(),
		})
	})
	return rows > 0, err
}

// Retire ends the session that a login replaces, and reports whether the token opened it.
// Call it in the transaction that issues the new session. Requests in flight with the old
// token get [ErrSuperseded] for ten seconds, so that they are sent again. After
// [Cache.Revoke] such requests would find the user logged out. A superseded token ends the
// session as Revoke does.
//
// Retire does not wait for near caches ([NearCacheStaleness]): other servers may accept the
// old token for 200 ms.
func (c *Cache[T]) Retire(ctx context.Context, token sid.Token) (was bool, err error) {
	const op = "retire"
	k, err := c.keyOf(op, token)
	if err != nil {
		return false, err
	}
	was, err = c.retire(ctx, k, token)
	c.forget([]sid.ID{k.id})
	if err != nil {
		return false, interpret(op, err)
	}
	logSession(ctx, c.config.logger, slog.LevelDebug, "session retired", k)
	return was, nil
}

func (c *Cache[T]) retire(ctx context.Context, k key, token sid.Token) (was bool, err error) {
	unknown, err := c.keyOf("retire", token.Renewed())
	if err != nil {
		return false, err
	}
	rows, err := retryWrite(ctx, c, func(ctx context.Context, queries *db.Queries) (int64, error) {
		return queries.RetireSession(ctx, db.RetireSessionParams{
			Handle:    k.id,
			Audience:  c.config.audience,
			Secret:    k.secret,
			NewSecret: unknown.secret,
			Grace:     supersededGrace.Microseconds(),
		})
	})
	if rows > 0 || err != nil {
		return rows > 0, err
	}
	r, err := c.lookUp(ctx, k.id)
	if err != nil {
		return false, err
	}
	switch judge(r, k.secret) {
	case isInFlight, isKept:
		if r.authenticated == 0 { // another login has just retired it
			return false, nil
		}
	}
	_, err = c.revoke(ctx, k)
	return false, err
}
