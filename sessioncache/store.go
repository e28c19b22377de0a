package sessioncache

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache/internal/coalesce"
	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sid"
)

// store is what a [Cache] does that does not depend on the type of its users.
type store struct {
	db      DB
	queries *db.Queries
	config  config
	shared  *shared

	// Lookups and insertions in batches. Both are nil unless the store is on a pool.
	lookups *coalesce.Group[sid.ID, *row]
	inserts *coalesce.Group[insertion, bool]
}

// shared is state shared with the copies that WithTx makes.
type shared struct {
	metrics    metrics
	near       *nearcache.Cache // for changes; a copy in a transaction reads none
	noRowLocks atomic.Bool      // the server refuses to lock rows in a query
	purging    sync.Mutex       // held by the janitor that purges
}

func newStore(database DB, config config, shared *shared) *store {
	s := &store{
		db:      database,
		queries: db.New(database),
		config:  config,
		shared:  shared,
	}
	if pool, ok := database.(*pgxpool.Pool); ok && !config.single {
		s.batch(pool)
	}
	return s
}

// configured returns a store on the same sessions with another configuration.
func (s *store) configured(change func(*config)) *store {
	changed := *s
	change(&changed.config)
	return &changed
}

// inFlight is for a call that has found its token live ([Cache.WithInFlight]).
func inFlight(config *config) {
	config.inFlight = true
}

// limit returns the context of one use of the database ([Cache.WithTimeout]).
func (s *store) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.config.timeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.config.timeout)
}

// Audience returns the application that the sessions belong to, as [WithAudience]
// has set it.
func (s *store) Audience() string {
	return s.config.audience
}

// Lifetime returns how long a session lives at most, as [WithLifetime] has set it.
func (s *store) Lifetime() time.Duration {
	return s.config.timeouts.lifetime
}
