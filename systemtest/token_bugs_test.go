package systemtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

// TestTokenCheckerFindsBugs is TestCheckerFindsBugs for sessions with tokens.
func TestTokenCheckerFindsBugs(t *testing.T) {
	t.Parallel()
	for name, bug := range map[string]struct {
		fault string
		store func(store tokenStore, pool *pgxpool.Pool) tokenStore
	}{
		"a stale read":                   {"no fault", func(s tokenStore, _ *pgxpool.Pool) tokenStore { return &staleAuthenticate{tokenStore: s} }},
		"a superseded token admitted":    {"no fault", func(s tokenStore, p *pgxpool.Pool) tokenStore { return handleIsEnough{s, p} }},
		"two winners of one Renew":       {"no fault", func(s tokenStore, p *pgxpool.Pool) tokenStore { return unlockedRenew{s, p} }},
		"all, looked at before":          {"no fault", func(s tokenStore, _ *pgxpool.Pool) tokenStore { return revokeAllLater{s} }},
		"an update by an old secret":     {"no fault", func(s tokenStore, p *pgxpool.Pool) tokenStore { return unlockedUpdateSession{s, p} }},
		"a revoked session alive":        {"no fault", func(s tokenStore, _ *pgxpool.Pool) tokenStore { return lazyRevoke{s} }},
		"a Revoke that misses a renewal": {"no fault", func(s tokenStore, p *pgxpool.Pool) tokenStore { return revokeByCurrent{s, p} }},
		"a deletion that misses one":     {"no fault", func(s tokenStore, p *pgxpool.Pool) tokenStore { return deleteByList{s, p} }},
		"a deletion one after the other": {"no fault", func(s tokenStore, p *pgxpool.Pool) tokenStore { return deleteOneByOne{s, p} }},
		"unavailable taken for no login": {"kill -9", func(s tokenStore, _ *pgxpool.Pool) tokenStore { return falseUnknown{s} }},
		"a failed Revoke taken for done": {"backends killed", func(s tokenStore, _ *pgxpool.Pool) tokenStore { return hopefulRevoke{s} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			findBug(t, tokenModel, faults[bug.fault](t), tokenSessions(func(pool *pgxpool.Pool) tokenStore {
				return bug.store(sessioncache.New[json.RawMessage](pool), pool)
			}))
		})
	}
}

// staleAuthenticate answers from memory for a while.
type staleAuthenticate struct {
	tokenStore
	known sync.Map // from a token's text to what is remembered of it
}

type rememberedSession struct {
	session
	at time.Time
}

func (s *staleAuthenticate) Authenticate(ctx context.Context, token sid.Token) (session, bool, error) {
	if known, ok := s.known.Load(token.Reveal()); ok && time.Since(known.(rememberedSession).at) < 20*time.Millisecond {
		return known.(rememberedSession).session, true, nil
	}
	found, ok, err := s.tokenStore.Authenticate(ctx, token)
	if ok {
		s.known.Store(token.Reveal(), rememberedSession{found, time.Now()})
	}
	return found, ok, err
}

// handleIsEnough lets a superseded token in.
type handleIsEnough struct {
	tokenStore
	pool *pgxpool.Pool
}

func (s handleIsEnough) Authenticate(ctx context.Context, token sid.Token) (session, bool, error) {
	found, ok, err := s.tokenStore.Authenticate(ctx, token)
	if errors.Is(err, sessioncache.ErrSuperseded) {
		return sessioncache.New[json.RawMessage](s.pool).Session(ctx, token.Handle())
	}
	return found, ok, err
}

// unlockedRenew looks at the secret, and then replaces whatever is there.
type unlockedRenew struct {
	tokenStore
	pool *pgxpool.Pool
}

func (s unlockedRenew) Renew(ctx context.Context, token sid.Token, _ ...sessioncache.RenewOption) (sid.Token, bool, error) {
	if _, ok, err := s.Authenticate(ctx, token); !ok {
		return sid.Token{}, false, err
	}
	renewed := token.Renewed()
	digest := renewed.Digest("")
	tag, err := s.pool.Exec(ctx, `
		UPDATE session_cache SET renewals = renewals + 1, renewedutc = now(), secret = $2 WHERE sessionid = $1`,
		token.Handle().String(), digest[:])
	return renewed, tag.RowsAffected() > 0, err
}

// unlockedUpdateSession looks at the secret, and then writes whatever it is.
type unlockedUpdateSession struct {
	tokenStore
	pool *pgxpool.Pool
}

func (s unlockedUpdateSession) UpdateSession(ctx context.Context, token sid.Token, change func(*json.RawMessage) error, _ ...sessioncache.UpdateOption) (bool, error) {
	found, ok, err := s.Authenticate(ctx, token)
	if !ok {
		return false, err
	}
	if err := change(&found.User); err != nil {
		return false, err
	}
	_, err = s.pool.Exec(ctx, "UPDATE session_cache SET userdict = $2 WHERE sessionid = $1", token.Handle().String(), string(found.User))
	return err == nil, err
}

// revokeAllLater looks at the token's session, and later ends what the user has then.
type revokeAllLater struct{ tokenStore }

func (s revokeAllLater) RevokeAll(ctx context.Context, token sid.Token) (n int64, ok bool, err error) {
	found, ok, err := s.Authenticate(ctx, token)
	if !ok || err != nil {
		return 0, ok, err
	}
	n, err = s.DeleteUserSessions(ctx, found.UserID)
	return n, err == nil, err
}

// lazyRevoke forgets some logouts.
type lazyRevoke struct{ tokenStore }

func (s lazyRevoke) Revoke(ctx context.Context, tokens ...sid.Token) error {
	if rand.IntN(5) == 0 {
		return nil
	}
	return s.tokenStore.Revoke(ctx, tokens...)
}

// revokeByCurrent ends no session that was renewed meanwhile.
type revokeByCurrent struct {
	tokenStore
	pool *pgxpool.Pool
}

func (s revokeByCurrent) Revoke(ctx context.Context, tokens ...sid.Token) error {
	digest := tokens[0].Digest("")
	_, err := s.pool.Exec(ctx, "DELETE FROM session_cache WHERE sessionid = $1 AND secret = $2", tokens[0].Handle().String(), digest[:])
	return err
}

// deleteByList ends the sessions that it has found under the secrets that they had.
type deleteByList struct {
	tokenStore
	pool *pgxpool.Pool
}

func (s deleteByList) DeleteUserSessions(ctx context.Context, userID string, except ...sid.Handle) (int64, error) {
	rows, err := s.pool.Query(ctx, "SELECT secret FROM session_cache WHERE user_id = $1 AND sessionid <> $2", userID, exception(except))
	if err != nil {
		return 0, err
	}
	secrets, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return 0, err
	}
	tag, err := s.pool.Exec(ctx, "DELETE FROM session_cache WHERE secret = ANY ($1)", secrets)
	if err != nil { // a deadlock
		err = fmt.Errorf("%w: %w", sessioncache.ErrUnavailable, err)
	}
	return tag.RowsAffected(), err
}

// deleteOneByOne ends a user's sessions in as many statements.
type deleteOneByOne struct {
	tokenStore
	pool *pgxpool.Pool
}

func (s deleteOneByOne) DeleteUserSessions(ctx context.Context, userID string, except ...sid.Handle) (n int64, err error) {
	rows, err := s.pool.Query(ctx, "SELECT sessionid::text FROM session_cache WHERE user_id = $1 AND sessionid <> $2", userID, exception(except))
	if err != nil {
		return 0, err
	}
	handles, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, handle := range handles {
		tag, err := s.pool.Exec(ctx, "DELETE FROM session_cache WHERE sessionid = $1", handle)
		if err != nil {
			return 0, err
		}
		n += tag.RowsAffected()
	}
	return n, err
}

// exception is the handle of a list, or one that no session has.
func exception(except []sid.Handle) string {
	return append(except, sid.Handle{})[0].String()
}

// falseUnknown takes an error for a token that nobody has.
type falseUnknown struct{ tokenStore }

func (s falseUnknown) Authenticate(ctx context.Context, token sid.Token) (found session, ok bool, err error) {
	err = ignoreUnavailable(ctx, func(ctx context.Context) (err error) {
		found, ok, err = s.tokenStore.Authenticate(ctx, token)
		return err
	})
	return found, ok, err
}

// hopefulRevoke takes an error for a session that has ended.
type hopefulRevoke struct{ tokenStore }

func (s hopefulRevoke) Revoke(ctx context.Context, tokens ...sid.Token) error {
	return ignoreUnavailable(ctx, func(ctx context.Context) error { return s.tokenStore.Revoke(ctx, tokens...) })
}
