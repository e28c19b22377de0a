package main

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

// plainGet is the target that Authenticate is compared with.
const plainGet = "Get, raw JSON"

func newTokens(n int) []sid.Token {
	tokens := make([]sid.Token, n)
	for i := range tokens {
		tokens[i] = sid.NewToken()
	}
	return tokens
}

// fillBothKinds stores plain sessions and sessions with tokens alternately, all with the
// same user: neither kind has pages of its own.
func (pg *postgres) fillBothKinds(ctx context.Context) error {
	pool, err := newPool(ctx, pg.bothKinds, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	handles := make(sid.IDs, len(pg.tokens))
	digests, families := make([][]byte, len(pg.tokens)), make([][]byte, len(pg.tokens))
	for i, token := range pg.tokens {
		digest, family := token.Digest(""), token.FamilyDigest("")
		handles[i], digests[i], families[i] = sid.ID(token.Handle()), digest[:], family[:]
	}
	_, err = pool.Exec(ctx, `
		INSERT INTO session_cache (sessionid, secret, family, authenticatedutc, userdict, session_startutc, session_endutc, session_deadlineutc)
		SELECT each.sessionid, each.secret, each.family, CASE WHEN each.secret IS NOT NULL THEN now() END,
		       $4::json, now(), now() + interval '1 day', now() + interval '1 day'
		FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $5::bytea[]) WITH ORDINALITY AS pair (id, handle, digest, family, n)
		CROSS JOIN LATERAL (VALUES (pair.id, NULL, NULL), (pair.handle, pair.digest, pair.family)) AS each (sessionid, secret, family)
		ORDER BY pair.n`, sid.IDs(pg.stored.ids[:len(pg.tokens)]), handles, digests, string(pg.stored.user), families)
	if err != nil {
		return err
	}
	_, err = pool.Exec(ctx, "VACUUM ANALYZE session_cache")
	return err
}

func (pg *postgres) plain(_ context.Context, pool *pgxpool.Pool) (target, error) {
	cache := sessioncache.New[json.RawMessage](pool)
	keys := pg.stored.keys[:len(pg.tokens)]
	return target{name: plainGet, operations: map[string]operation{
		"authenticate": func(ctx context.Context, i int) error {
			_, ok, err := cache.Get(ctx, keys[i%len(keys)])
			return requireFound(ok, err)
		},
	}}, nil
}

func (pg *postgres) authenticate(_ context.Context, pool *pgxpool.Pool) (target, error) {
	cache := sessioncache.New[json.RawMessage](pool)
	return target{name: "Authenticate, raw JSON", operations: map[string]operation{
		"authenticate": func(ctx context.Context, i int) error {
			_, ok, err := cache.Authenticate(ctx, pg.tokens[i%len(pg.tokens)])
			return requireFound(ok, err)
		},
	}}, nil
}

// parseAndAuthenticate reads each token from its text, as it arrives in a request. Get
// does that with its id by itself.
func (pg *postgres) parseAndAuthenticate(_ context.Context, pool *pgxpool.Pool) (target, error) {
	cache := sessioncache.New[json.RawMessage](pool)
	texts := make([]string, len(pg.tokens))
	for i, token := range pg.tokens {
		texts[i] = token.Reveal()
	}
	return target{name: "ParseToken and Authenticate, raw JSON", operations: map[string]operation{
		"authenticate": func(ctx context.Context, i int) error {
			token, err := sid.ParseToken(texts[i%len(texts)])
			if err != nil {
				return err
			}
			_, ok, err := cache.Authenticate(ctx, token)
			return requireFound(ok, err)
		},
	}}, nil
}
