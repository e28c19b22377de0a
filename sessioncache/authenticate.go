package sessioncache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sid"
)

const (
	// supersededGrace is how long after a renewal a request with a former token may still be
	// in flight.
	supersededGrace = 10 * time.Second

	// supersededRenewals is how many renewals old the token of such a request is at most.
	// Without the limit, a thief who renews every ten seconds would never be found. The
	// queries have the same number.
	supersededRenewals = 3
)

// Authenticate returns the session that a token opens. ok is false, and err nil, when
// the token opens none: the session is absent or expired, or the secret is wrong.
// Authenticate extends a session that has an idle timeout.
//
// A token that [Cache.Renew] has replaced, however many renewals ago, opens no session. If
// it is used within ten seconds of the last renewal, and is at most three renewals old, the
// error is [ErrSuperseded], because the request was in flight: sent again with the new token
// it succeeds. Otherwise somebody has kept the token: ok is false and the session ends,
// because two parties hold its tokens, and nobody can tell which of them is the user (RFC
// 9700 section 4.14.2). If the last renewal was a re-authentication the session stays,
// because the holder of the new token is the user. It then ends when such a token is used
// after a later renewal. (The number of renewals is counted modulo 65,536: a token that is
// more than 32,767 renewals old is unknown.)
//
// With [ErrUnreadableSession] the session exists, but T does not decode its user.
//
// When ok is false, session is filled without its User, and its State tells why, if the
// session is still stored and the token is its current or a superseded one.
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
	session, ok, err = c.authenticate(ctx, op, c.keyWith(token, bytes.Clone(digest[:])))
	c.shared.metrics.get(start, ok, err)
	return session, ok, err
}

// authenticateNear finds a session in memory. If its secret is another one, the database
// decides: the token may be newer than memory.
func (c *Cache[T]) authenticateNear(id sid.ID, digest []byte) (session Session[T], ok bool) {
	k, age, ok := c.near.get(id, func(k *kept[T]) bool {
		return !k.plain && subtle.ConstantTimeCompare(k.secret[:], digest) == 1
	})
	if !ok {
		return session, false
	}
	session = k.session
	session.TTL -= age
	session.User = c.near.clone(k.user)
	return session, true
}

func (c *Cache[T]) authenticate(ctx context.Context, op string, k key) (session Session[T], ok bool, err error) {
	r, err := c.lookUp(ctx, k.id)
	if err != nil {
		return session, false, interpret(op, err)
	}
	switch verdict := judge(r, k); verdict {
	case isUnknown:
		return session, false, nil
	case isExpired:
		return describe[T](r, StateExpired), false, nil
	case isInFlight, isStolen:
		return describe[T](r, StateSuperseded), false, c.superseded(ctx, op, k, verdict)
	}
	session = describe[T](r, StateLive)
	if session.User, err = c.decode(op, r.UserDict); err != nil {
		session.State = StateUnreadable
		return session, false, err
	}
	c.near.keep(r, session)
	if r.extend() {
		c.extend(ctx, k)
	}
	return session, true, nil
}

// verdict is the result of comparing a key with a row.
type verdict int

const (
	isUnknown  verdict = iota // no session, or not its key
	isLive                    // the key opens the session
	isExpired                 // it did
	isInFlight                // the token was superseded a moment ago
	isStolen                  // it was superseded before, and somebody kept it
)

// judge decides what a key opens. It compares the secret before it looks whether the
// session is live: with a wrong secret nothing can be learned.
func judge(r *row, k key) verdict {
	if r == nil {
		return isUnknown
	}
	current := equalDigest(r.SecretHex, k.digest) // two empty ones, for a plain session
	switch {
	case current && r.ttl() >= 0:
		return isLive
	case current:
		return isExpired
	case r.ttl() < 0, k.token.IsZero(), r.Renewals == 0, !equalDigest(r.FamilyHex, k.family()):
		return isUnknown
	}
	age := (int(r.Renewals) - int(k.token.Number())) & 0xFFFF
	switch {
	case age == 0, age > min(int(r.Renewals), 0x7FFF): // ahead of a row that is old itself, or invented
		return isUnknown
	case age <= supersededRenewals && duration(r.NowMicros-r.RenewedMicros) <= supersededGrace:
		return isInFlight
	default:
		return isStolen
	}
}

// equalDigest compares in constant time. The empty text is no digest.
func equalDigest(text string, digest []byte) bool {
	var buffer [2 * sha256.Size]byte
	return subtle.ConstantTimeCompare([]byte(text), hex.AppendEncode(buffer[:0], digest)) == 1
}

// superseded is the result of a call with a superseded token.
func (s *store) superseded(ctx context.Context, op string, k key, verdict verdict) error {
	s.shared.metrics.superseded.Add(1)
	if s.config.inFlight || verdict == isInFlight {
		return fmt.Errorf("sessioncache: %s: %w", op, ErrSuperseded)
	}
	ended := false
	if !s.inCallersTx() { // where a read must not be what fails; the next use ends it
		rows, err := retryWrite(ctx, s, func(ctx context.Context, queries *db.Queries) (int64, error) {
			return queries.DeleteStolenSession(ctx, db.DeleteStolenSessionParams{
				Handle:   k.id,
				Audience: s.config.audience,
				Family:   k.family(),
				Renewals: int32(k.token.Number()),
				Grace:    supersededGrace,
			})
		})
		s.forget([]sid.ID{k.id})
		if err != nil {
			return interpret(op, err)
		}
		ended = rows > 0
	}
	logSession(ctx, s.config, slog.LevelWarn, "superseded token used again", k, slog.Bool("ended", ended))
	return nil
}

// whyNot looks up why a token opened no session. It returns ErrSuperseded if the token was
// in flight.
func (s *store) whyNot(ctx context.Context, op string, k key) error {
	r, err := s.lookUp(ctx, k.id)
	if err != nil {
		return interpret(op, err)
	}
	switch verdict := judge(r, k); verdict {
	case isInFlight, isStolen:
		return s.superseded(ctx, op, k, verdict)
	}
	return nil
}

// Alive reports for each token whether it opens a live session. It is one statement for
// all tokens that reads no users. It always asks the database, and neither extends nor ends
// a session.
func (s *store) Alive(ctx context.Context, tokens ...sid.Token) ([]bool, error) {
	const op = "alive"
	keys, handles := make([]key, len(tokens)), make(sid.IDs, len(tokens))
	for i, token := range tokens {
		k, err := s.keyOf(op, token)
		if err != nil {
			return nil, err
		}
		keys[i], handles[i] = k, k.id
	}
	live, err := retryRead(ctx, s, func(ctx context.Context, queries *db.Queries) ([]*db.GetLiveSecretsRow, error) {
		return queries.GetLiveSecrets(ctx, db.GetLiveSecretsParams{Handles: handles, Audience: s.config.audience})
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
		alive[i] = equalDigest(secrets[k.id], k.digest)
	}
	return alive, nil
}
