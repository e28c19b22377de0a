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

// readerPause is for how long a reader pauses after a lookup, on average: not to keep the
// processors from the database.
const readerPause = 5 * time.Millisecond

// nodeConns is how many connections the pool of a node has at most.
const nodeConns = 6

// nodeConfig says what a [node] is.
type nodeConfig struct {
	Name      string
	URLs      []string // the connections go to one after the other
	NearCache bool
	HitsOnly  bool // of its reads only those count that memory has answered
	Timeout   time.Duration
	Lifetime  time.Duration // of each connection; 0: the pool's default

	dial pgconn.DialFunc // for a node of this process; nil: the ordinary one
}

// node is one of the servers of a service, with a Cache on a pool of its own.
type node struct {
	nodeConfig
	pool  *pgxpool.Pool
	cache *sessioncache.Cache[nearUser]

	mu      sync.Mutex
	watched []*watched
	one     sync.Mutex // held while one reads, with HitsOnly

	hasRead atomic.Int64
}

// nearUser is a session's user. Each write of a session adds one to its version at
// least.
type nearUser struct {
	UserID  string `json:"user_id"`
	Version int64  `json:"version"`
}

func startNode(config nodeConfig) (*node, error) {
	poolConfig, err := pgxpool.ParseConfig(config.URLs[0])
	if err != nil {
		return nil, err
	}
	poolConfig.MaxConns = nodeConns
	if config.Lifetime != 0 {
		poolConfig.MaxConnLifetime = config.Lifetime
	}
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
	var options []sessioncache.Option
	if config.NearCache {
		options = append(options, sessioncache.WithNearCache(100_000))
	}
	return &node{nodeConfig: config, pool: pool, cache: sessioncache.New[nearUser](pool, options...)}, nil
}

// watch has a session read from now on, with one of its tokens if it has any.
type watch struct {
	Key    string // all watches of a session have it
	ID     string // of a plain session
	Token  string
	Secret int64 // the token's version
}

// watched is a session that is being read, and what was read of it.
type watched struct {
	watch
	token sid.Token
	end   context.CancelFunc

	mu       sync.Mutex
	values   map[int64]*reads // by version
	secret   reads
	rejected reads // with a token that opens nothing any more
}

func (n *node) watch(w watch) (err error) {
	added := &watched{watch: w, values: map[int64]*reads{}}
	if w.Token != "" {
		if added.token, err = sid.ParseToken(w.Token); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	added.end = cancel
	n.mu.Lock()
	n.watched = append(n.watched, added)
	n.mu.Unlock()
	go n.read(ctx, added)
	return nil
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

// read reads a session again and again.
func (n *node) read(ctx context.Context, w *watched) {
	for ctx.Err() == nil {
		n.readOne(ctx, w)
		n.hasRead.Add(1)
		sleep(ctx, readerPause/2+rand.N(readerPause))
	}
}

func (n *node) readOne(ctx context.Context, w *watched) {
	ctx, cancel := context.WithTimeout(ctx, n.Timeout)
	defer cancel()
	var hits uint64
	if n.HitsOnly {
		n.one.Lock()
		defer n.one.Unlock()
		hits = n.cache.Metrics().NearCache.Hits
	}
	var user nearUser
	var ok bool
	var err error
	began := now()
	if w.Token == "" {
		user, ok, err = n.cache.Get(ctx, w.ID)
	} else {
		var session sessioncache.Session[nearUser]
		session, ok, err = n.cache.Authenticate(ctx, w.token)
		user = session.User
	}
	ended := now()
	switch {
	case n.HitsOnly && n.cache.Metrics().NearCache.Hits == hits:
		return
	case errors.Is(err, sessioncache.ErrSuperseded):
	case errors.Is(err, sessioncache.ErrUnavailable):
		return
	case err != nil:
		panic(fmt.Sprintf("%s: %v", n.Name, err))
	}
	w.add(user, ok, began, ended)
}

func (w *watched) add(user nearUser, ok bool, began, ended instant) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !ok && w.Token != "" {
		w.rejected.add(began, ended)
		return
	}
	version := int64(gone)
	if ok {
		version = user.Version
	}
	if w.Token != "" {
		w.secret.add(began, ended)
	}
	values := w.values[version]
	if values == nil {
		values = &reads{}
		w.values[version] = values
	}
	values.add(began, ended)
}
