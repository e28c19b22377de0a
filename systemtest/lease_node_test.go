package systemtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

// readerPause is for how long a reader pauses after a lookup, on average. It is much shorter
// than a lease, so that memory has an answer at most times. It is not shorter, because the
// database needs the processors.
const readerPause = 20 * time.Millisecond

// nodeConfig says what a [node] is.
type nodeConfig struct {
	Name     string
	URLs     []string // the connections go to one after the other
	Entries  int      // of WithNearCache
	MaxConns int32    // of the pool
	Timeout  time.Duration
	Lease    time.Duration // for so long a near cache may show what was before a change that did not wait

	dial pgconn.DialFunc // for a node of this process; nil: the ordinary one

	// For a process of its own: what it runs instead of this program, and what is wrong with its
	// clocks.
	program, clock string
}

// node is one of the servers of a service, with a Cache on a pool of its own.
type node struct {
	nodeConfig
	pool  *pgxpool.Pool
	cache *sessioncache.Cache[leaseUser]
	other *sessioncache.Cache[leaseUser] // of another part of the program, which keeps nothing

	mu      sync.Mutex
	watched []*watched

	hasRead atomic.Int64
}

// leaseUser is a session's user. Each write of a session adds one to its version at
// least.
type leaseUser struct {
	UserID  string `json:"user_id"`
	Version int64  `json:"version"`
}

func startNode(config nodeConfig) (*node, error) {
	poolConfig, err := pgxpool.ParseConfig(config.URLs[0])
	if err != nil {
		return nil, err
	}
	poolConfig.MaxConns = config.MaxConns
	if config.dial != nil {
		poolConfig.ConnConfig.DialFunc = config.dial
	}
	if len(config.URLs) > 1 {
		var places []*pgx.ConnConfig
		for _, url := range config.URLs {
			place, err := pgx.ParseConfig(url)
			if err != nil {
				return nil, err
			}
			places = append(places, place)
		}
		var next atomic.Uint64
		poolConfig.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
			place := places[next.Add(1)%uint64(len(places))]
			c.Host, c.Port, c.Fallbacks = place.Host, place.Port, nil
			return nil
		}
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), poolConfig)
	if err != nil {
		return nil, err
	}
	return &node{
		nodeConfig: config, pool: pool,
		cache: sessioncache.New[leaseUser](pool, sessioncache.WithNearCache(config.Entries)),
		other: sessioncache.New[leaseUser](pool, sessioncache.WithNearCache(0)),
	}, nil
}

// look is a lookup of a session, with a token if it has any.
type look struct{ ID, Token string }

// sight is what a lookup has seen.
type sight struct {
	span
	Live    bool
	Version int64 // of the user
	Unknown bool  // the database has not answered
	Err     string
}

func (n *node) look(l look) (seen sight) {
	ctx, cancel := context.WithTimeout(context.Background(), n.Timeout)
	defer cancel()
	var user leaseUser
	var token sid.Token
	var err error
	if l.Token != "" {
		if token, err = sid.ParseToken(l.Token); err != nil {
			return sight{Err: err.Error()}
		}
	}
	seen.Begin = now()
	if l.Token == "" {
		user, seen.Live, err = n.cache.Get(ctx, l.ID)
	} else {
		var session sessioncache.Session[leaseUser]
		session, seen.Live, err = n.cache.Authenticate(ctx, token)
		user = session.User
	}
	seen.End = now()
	seen.Version = user.Version
	switch {
	case errors.Is(err, sessioncache.ErrUnavailable):
		seen.Unknown = true
	case err != nil && !errors.Is(err, sessioncache.ErrSuperseded):
		seen.Err = fmt.Sprintf("%s: %v", n.Name, err)
	}
	return seen
}

// occupy has the application hold every connection of the pool for a while.
func (n *node) occupy(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), n.Timeout)
	defer cancel()
	var held []*pgxpool.Conn
	for range n.MaxConns {
		if conn, err := n.pool.Acquire(ctx); err == nil {
			held = append(held, conn)
		}
	}
	sleep(context.Background(), d)
	for _, conn := range held {
		conn.Release()
	}
}

// watch has a session read from now on, with one of its tokens if it has any.
type watch struct {
	look
	Key    string // all watches of a session have it
	Secret int64  // the token's version
}

// watched is a session that is being read, and what was read of it.
type watched struct {
	watch
	end context.CancelFunc

	mu       sync.Mutex
	values   map[int64]*reads // by version
	secret   reads
	rejected reads // with a token that opens nothing any more
}

func (n *node) watch(w watch) {
	added := &watched{watch: w, values: map[int64]*reads{}}
	ctx, cancel := context.WithCancel(context.Background())
	added.end = cancel
	n.mu.Lock()
	n.watched = append(n.watched, added)
	n.mu.Unlock()
	go n.read(ctx, added)
}

// read reads a session again and again.
func (n *node) read(ctx context.Context, w *watched) {
	for ctx.Err() == nil {
		seen := n.look(w.look)
		n.hasRead.Add(1)
		if seen.Err != "" {
			panic(seen.Err) // which ends the process, and so the test
		}
		if !seen.Unknown {
			w.add(seen)
		}
		sleep(ctx, readerPause/2+rand.N(readerPause))
	}
}

func (w *watched) add(seen sight) {
	w.mu.Lock()
	defer w.mu.Unlock()
	version := seen.Version
	switch {
	case !seen.Live && w.Token != "":
		w.rejected.add(seen.span)
		return
	case !seen.Live:
		version = gone
	case w.Token != "":
		w.secret.add(seen.span)
	}
	values := w.values[version]
	if values == nil {
		values = &reads{}
		w.values[version] = values
	}
	values.add(seen.span)
}

// unwatch returns what was read of a session, with one of its tokens or with all (-1).
func (n *node) unwatch(key string, secret int64) (result readResult) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.watched = slices.DeleteFunc(n.watched, func(w *watched) bool {
		if w.Key != key || (secret >= 0 && w.Secret != secret) {
			return false
		}
		w.end()
		result.add(w, n.Name)
		return true
	})
	return result
}

// readResult is what was read of a session: of its user, and of its tokens.
type readResult struct{ Values, Secrets []reads }

func (r *readResult) add(w *watched, by string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secret.Version, w.rejected.Version, w.rejected.OrLater = w.Secret, w.Secret+1, true
	for version, values := range w.values {
		values.Version, values.By = version, by
		r.Values = append(r.Values, *values)
	}
	for _, secrets := range []reads{w.secret, w.rejected} {
		if secrets.By = by; secrets.Count > 0 {
			r.Secrets = append(r.Secrets, secrets)
		}
	}
}
