package sessioncache

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache/internal/nearcache"
	"github.com/rhaptos/sessiondb/sid"
)

// WithNearCache has Get and Authenticate answer from memory, which holds up to entries
// sessions of at most 64 kB each. A lookup that begins after a change of the session has
// returned nil, on any server, never shows what was before the change. For this, changes
// take [NearCacheStaleness] longer. A change by raw SQL is seen within that time. After a
// transaction of your own, call [Cache.AwaitNearCaches].
//
// Give the option to every program that shares the table and changes sessions. With zero
// entries a Cache keeps nothing, and its changes wait. If a program lacks the option, other
// servers may show what it has changed for 200 ms more. To roll it out, deploy
// WithNearCache(0) everywhere first, then entries.
//
// The promise is for ids that are stored once: a Set within 250 ms of the end of the same id
// may show the old user elsewhere.
//
// All callers get the same user: do not change what its pointers, maps and slices refer
// to, or set [WithClone]. Only a Cache on a pool keeps sessions. WithNearCache panics if
// entries is negative. New panics if entries is positive together with [WithoutBatching].
//
// Default: every lookup asks the database, and no change waits.
func WithNearCache(entries int) Option {
	if entries < 0 {
		panic(fmt.Sprintf("sessioncache: WithNearCache: %d is not a valid number of sessions", entries))
	}
	return func(c *config) { c.awaitsNearCaches, c.nearEntries = true, entries }
}

// WithClone gives each caller a copy of a user that the near cache holds. A copy must
// not share with its original anything that a caller changes. WithClone panics if the
// function is nil. New panics if the function is for another type than the Cache's.
//
// Default: all callers get the same value. What its pointers, maps and slices refer to
// is shared.
func WithClone[T any](clone func(user T) T) Option {
	if clone == nil {
		panic("sessioncache: WithClone: the function is nil")
	}
	return func(c *config) { c.clone = clone }
}

// near is the near cache of a Cache. A nil *near holds nothing.
type near[T any] struct {
	memory *nearcache.Cache
	clone  func(T) T
}

// kept is a session in memory. The fields that a hit of Get reads come first, so that they
// share a cache line with the entry.
type kept[T any] struct {
	nearcache.Entry
	user    T
	plain   bool
	secret  [sha256.Size]byte // of a session with a token
	session Session[T]        // without its user
}

// newNear returns nil unless the Cache is on a pool and the options ask for entries.
func newNear[T any](database DB, config config) *near[T] {
	n := &near[T]{clone: func(user T) T { return user }}
	if config.clone != nil {
		clone, ok := config.clone.(func(T) T)
		if !ok {
			panic(fmt.Sprintf("sessioncache: New: WithClone clones a user of another type: %T", config.clone))
		}
		n.clone = clone
	}
	if _, ok := database.(*pgxpool.Pool); !ok || config.nearEntries == 0 {
		return nil
	}
	n.memory = nearcache.New(config.nearEntries, nearcache.Now)
	return n
}

// get returns a session from memory that counts and that the caller may see, and how long ago
// it was looked up.
func (n *near[T]) get(id sid.ID, opens func(*kept[T]) bool) (k *kept[T], age time.Duration, ok bool) {
	if n == nil {
		return nil, 0, false
	}
	value, age, ok := n.memory.Get(id)
	if ok {
		k = value.(*kept[T])
		ok = opens(k)
	}
	n.memory.Count(ok)
	return k, age, ok
}

// keep stores a live session in memory that a lookup has found.
func (n *near[T]) keep(r *row, session Session[T]) {
	if n == nil {
		return
	}
	k := &kept[T]{user: n.clone(session.User), plain: r.isPlain(), session: session}
	var none T
	k.session.User = none
	if _, err := hex.Decode(k.secret[:], []byte(r.SecretHex)); err != nil {
		return // never: PostgreSQL has written it, and a CHECK its length
	}
	n.memory.Keep(r.sent, r.SessionID, k, len(r.UserDict), r.keepFor())
}
