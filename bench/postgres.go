package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"time"

	"github.com/alexedwards/scs/pgxstore"
	"github.com/antonlindstrom/pgstore"
	gojson "github.com/goccy/go-json"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	_ "github.com/rhaptos/sessiondb/sessioncache/sessiontest/docker"
	"github.com/rhaptos/sessiondb/sid"
)

const lifetime = sessioncache.DefaultLifetime

// postgres is a server and what it has stored.
type postgres struct {
	server
	url    string
	pool   int // connections of each target
	stored sessionSet

	// bothKinds is a second database. Half of its sessions are plain, half have these
	// tokens.
	bothKinds string
	tokens    []sid.Token
}

// openPostgreSQL starts a server, stores the sessions in the tables of each
// target, and returns those.
func openPostgreSQL(ctx context.Context, o options, stored sessionSet) (all targets, clean cleanups, err error) {
	pg, clean, err := startPostgreSQL(ctx, o, stored)
	if err != nil {
		return all, clean, err
	}
	openers := []opener{
		{pg.url, pg.pool, pg.sessioncacheRaw}, {pg.url, pg.pool, pg.sessioncacheUser}, {pg.url, pg.pool, pg.sessioncacheCodec},
		{pg.url, pg.pool, pg.generated}, {pg.url, pg.pool, pg.scs}, {pg.url, pg.pool, pg.gorilla},
		{pg.bothKinds, pg.pool, pg.plain}, {pg.bothKinds, pg.pool, pg.authenticate}, {pg.bothKinds, pg.pool, pg.parseAndAuthenticate},
		{pg.url, pg.pool, pg.near}, {pg.url, pg.pool, pg.withoutNearCache},
	}
	if o.only == "pool" {
		openers = pg.poolOpeners()
	} else {
		all.references = pg.references()
	}
	for _, one := range openers {
		pool, err := newPool(ctx, one.url, one.connections)
		if err != nil {
			return all, clean, err
		}
		clean.add(func() error { pool.Close(); return nil })
		t, err := one.open(ctx, pool)
		if err != nil {
			return all, clean, err
		}
		t.server = pg.server
		all.stores = append(all.stores, t)
	}
	return all, clean, nil
}

// startPostgreSQL starts a server and fills its two databases, behind the delaying proxy
// if a delay is asked for.
func startPostgreSQL(ctx context.Context, o options, stored sessionSet) (pg *postgres, clean cleanups, err error) {
	host, err := sessiontest.Start(ctx,
		"listen_addresses = '127.0.0.1'",      // TCP, as every other server
		"fsync = on", "full_page_writes = on", // keeps what it acknowledges
		"max_connections = 200",
	)
	if err != nil {
		return nil, clean, err
	}
	clean.add(host.Close)
	database, err := host.NewDatabase(ctx)
	if err != nil {
		return nil, clean, err
	}
	address, err := tcpAddress(database.URL)
	if err != nil {
		return nil, clean, err
	}
	pg = &postgres{url: withHost(database.URL, address), pool: o.pool, stored: stored}
	if err := pg.fill(ctx); err != nil {
		return nil, clean, err
	}
	database, err = host.NewDatabase(ctx)
	if err != nil {
		return nil, clean, err
	}
	pg.bothKinds = withHost(database.URL, address)
	pg.tokens = newTokens(o.sessions / 2)
	if err := pg.fillBothKinds(ctx); err != nil {
		return nil, clean, err
	}
	if o.delay > 0 {
		at, stop, err := startProxy(ctx, address, o.delay)
		if err != nil {
			return nil, clean, err
		}
		clean.add(stop)
		pg.url, pg.bothKinds = withHost(pg.url, at), withHost(pg.bothKinds, at)
	}
	return pg, clean, nil
}

// opener makes a target that has a pool of its own.
type opener struct {
	url         string
	connections int
	open        func(context.Context, *pgxpool.Pool) (target, error)
}

func newPool(ctx context.Context, url string, connections int) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = int32(connections)
	return pgxpool.NewWithConfig(ctx, config)
}

// fill stores the sessions.
func (pg *postgres) fill(ctx context.Context) error {
	pool, err := newPool(ctx, pg.url, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	var backend int
	if err := pool.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&backend); err != nil {
		return err
	}
	_, pg.pid, _ = readStat(fmt.Sprintf("/proc/%d/stat", backend))

	n, user := len(pg.stored.ids), string(pg.stored.user)
	for _, statement := range []struct {
		sql       string
		arguments []any
	}{
		{`INSERT INTO session_cache (sessionid, userdict, session_startutc, session_endutc, session_deadlineutc)
			SELECT md5(n::text)::uuid, $2::json, now(), now() + interval '1 day', now() + interval '1 day' FROM generate_series(0, $1 - 1) AS n`, []any{n, user}},
		{`CREATE TABLE sessions (token text PRIMARY KEY, data bytea NOT NULL, expiry timestamptz NOT NULL)`, nil},
		{`CREATE INDEX ON sessions (expiry)`, nil},
		{`INSERT INTO sessions SELECT sessionid::text, convert_to(userdict::text, 'UTF8'), session_endutc FROM session_cache`, nil},
		{`CREATE TABLE batches (n integer PRIMARY KEY, sessionids uuid[] NOT NULL)`, nil},
		{`INSERT INTO batches SELECT n, ARRAY(SELECT md5(floor(random() * $1)::integer::text)::uuid FROM generate_series(1, 64) WHERE n = n)
			FROM generate_series(0, 999) AS n`, []any{n}},
		{`VACUUM ANALYZE`, nil},
		{`CHECKPOINT`, nil},
	} {
		if _, err := pool.Exec(ctx, statement.sql, statement.arguments...); err != nil {
			return fmt.Errorf("%s: %w", statement.sql, err)
		}
	}
	return nil
}

func (pg *postgres) sessioncacheRaw(_ context.Context, pool *pgxpool.Pool) (target, error) {
	return pg.sessioncacheNamed("sessioncache, raw JSON", pool)
}

func (pg *postgres) sessioncacheNamed(name string, pool *pgxpool.Pool) (target, error) {
	cache := sessioncache.New[json.RawMessage](pool)
	return target{name: name, operations: map[string]operation{
		"get": func(ctx context.Context, i int) error {
			_, ok, err := cache.Get(ctx, pg.stored.at(i))
			return requireFound(ok, err)
		},
		"set": func(ctx context.Context, i int) error {
			return cache.Set(ctx, sid.New().String(), pg.stored.newUser(i))
		},
	}}, nil
}

func (pg *postgres) sessioncacheUser(_ context.Context, pool *pgxpool.Pool) (target, error) {
	return pg.sessioncacheDecoding("sessioncache, User", pool)
}

// sessioncacheCodec shows what another codec than encoding/json buys.
func (pg *postgres) sessioncacheCodec(_ context.Context, pool *pgxpool.Pool) (target, error) {
	return pg.sessioncacheDecoding("sessioncache, User by goccy/go-json", pool, sessioncache.WithCodec(gojson.Marshal, gojson.Unmarshal))
}

func (pg *postgres) sessioncacheDecoding(name string, pool *pgxpool.Pool, options ...sessioncache.Option) (target, error) {
	cache := sessioncache.New[sessiontest.User](pool, options...)
	users := make([]sessiontest.User, len(pg.stored.users))
	for i, user := range pg.stored.users {
		if err := json.Unmarshal(user, &users[i]); err != nil {
			return target{}, err
		}
	}
	return target{name: name, operations: map[string]operation{
		"get": func(ctx context.Context, i int) error {
			_, ok, err := cache.Get(ctx, pg.stored.at(i))
			return requireFound(ok, err)
		},
		"set": func(ctx context.Context, i int) error {
			return cache.Set(ctx, sid.New().String(), users[i%len(users)])
		},
	}}, nil
}

func (pg *postgres) generated(_ context.Context, pool *pgxpool.Pool) (target, error) {
	queries := db.New(pool)
	return target{name: "db (generated), alone", operations: map[string]operation{
		"get": func(ctx context.Context, i int) error {
			_, err := queries.GetSession(ctx, db.GetSessionParams{SessionID: pg.stored.ids[i%len(pg.stored.ids)]})
			return err
		},
		"set": func(ctx context.Context, i int) error {
			_, err := queries.InsertSession(ctx, db.InsertSessionParams{
				SessionID: sid.New(), UserDict: string(pg.stored.newUser(i)),
				Lifetime: lifetime,
			})
			return err
		},
	}}, nil
}

func (pg *postgres) scs(_ context.Context, pool *pgxpool.Pool) (target, error) {
	store := pgxstore.NewWithCleanupInterval(pool, 0)
	return target{name: "scs pgxstore", operations: map[string]operation{
		"get": func(_ context.Context, i int) error {
			_, ok, err := store.Find(pg.stored.at(i))
			return requireFound(ok, err)
		},
		getHot: func(_ context.Context, i int) error {
			_, ok, err := store.Find(pg.stored.at(i))
			return requireFound(ok, err)
		},
		"set": func(_ context.Context, i int) error {
			return store.Commit(sid.New().String(), pg.stored.newUser(i), time.Now().Add(lifetime))
		},
	}}, nil
}

// gorilla is measured with what its store does to cookies, signing and checking them: it
// has no calls below that.
func (pg *postgres) gorilla(ctx context.Context, pool *pgxpool.Pool) (target, error) {
	const cookie = "session"
	key := securecookie.GenerateRandomKey(32)
	store, err := pgstore.NewPGStoreFromPool(stdlib.OpenDBFromPool(pool), key)
	if err != nil {
		return target{}, err
	}
	store.MaxLength(len(pg.stored.user) * 4)
	save := func(ctx context.Context) error {
		request := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
		session := sessions.NewSession(store, cookie)
		session.IsNew = true
		session.Options = &sessions.Options{MaxAge: int(lifetime.Seconds())}
		session.Values["user"] = string(pg.stored.user)
		return store.Save(request, httptest.NewRecorder(), session)
	}

	// One is saved as the store does it, the others are copies under other keys.
	if err := save(ctx); err != nil {
		return target{}, err
	}
	_, err = pool.Exec(ctx, `
		INSERT INTO http_sessions (key, data, created_on, modified_on, expires_on)
		SELECT md5(n::text)::bytea, data, created_on, modified_on, expires_on
		FROM http_sessions, generate_series(0, $1 - 1) AS n`, len(pg.stored.ids))
	if err != nil {
		return target{}, err
	}
	requests := make([]*http.Request, len(pg.stored.ids))
	for i, id := range pg.stored.ids {
		value, err := securecookie.EncodeMulti(cookie, fmt.Sprintf("%x", id[:]), store.Codecs...)
		if err != nil {
			return target{}, err
		}
		requests[i] = httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
		requests[i].AddCookie(&http.Cookie{Name: cookie, Value: value})
	}
	if _, err := pool.Exec(ctx, "VACUUM ANALYZE http_sessions"); err != nil {
		return target{}, err
	}
	return target{name: "gorilla pgstore", operations: map[string]operation{
		"get": func(_ context.Context, i int) error {
			session, err := store.New(requests[i%len(requests)], cookie)
			return requireFound(err != nil || !session.IsNew, err)
		},
		"set": func(ctx context.Context, _ int) error { return save(ctx) },
	}}, nil
}

// requireFound makes an error of "not found": every session that is looked up has been
// stored.
func requireFound(ok bool, err error) error {
	if err == nil && !ok {
		return errNotFound
	}
	return err
}

var errNotFound = errors.New("a session that was stored is not there")

// tcpAddress is where the server of a connection string listens.
func tcpAddress(connString string) (string, error) {
	config, err := pgx.ParseConfig(connString)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(config.Port))), nil
}

// withHost is the URL of the same database at another address.
func withHost(connString, address string) string {
	u, err := url.Parse(connString)
	if err != nil {
		return connString
	}
	u.Host, u.RawQuery = address, "sslmode=disable"
	return u.String()
}
