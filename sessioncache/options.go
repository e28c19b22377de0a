package sessioncache

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"
)

// DefaultLifetime is how long a session lives, unless [WithLifetime] says
// otherwise.
const DefaultLifetime = time.Hour

// Option changes how a [Cache] behaves. Options are set in Go code only: how long
// a login lasts is a decision about security, not a matter of deployment.
type Option func(*config)

type config struct {
	audience   string
	tokenScope string
	timeouts   timeouts
	single     bool // no batches
	logger     *slog.Logger
	marshal    func(v any) ([]byte, error)
	unmarshal  func(data []byte, v any) error

	nearEntries int // 0: no near cache
	clone       any // a func(T) T, or nil
}

func newConfig(options []Option) config {
	c := config{
		timeouts:  timeouts{lifetime: DefaultLifetime},
		logger:    slog.New(slog.DiscardHandler),
		marshal:   json.Marshal,
		unmarshal: json.Unmarshal,
	}
	for _, option := range options {
		option(&c)
	}
	return c
}

// WithAudience names the application that the sessions belong to, where several
// share the table. A Cache finds, lists and ends sessions of its own audience only,
// and a token of one audience opens nothing in another. Only [Cache.Purge],
// [Cache.Stats] and [Cache.Reindex] are about the whole table. An audience that is
// not UTF-8, holds a NUL or is longer than 100 bytes panics.
//
// Default: the empty audience, for an application that has the table to itself.
func WithAudience(audience string) Option {
	if !utf8.ValidString(audience) || strings.ContainsRune(audience, 0) || len(audience) > 100 {
		panic(fmt.Sprintf("sessioncache: WithAudience: %.100q is no audience", audience))
	}
	return func(c *config) { c.audience, c.tokenScope = audience, audience }
}

// WithLifetime sets how long a session lives from the moment it is stored, by
// the database's clock, however much it is used. PostgreSQL counts in microseconds:
// a d below one panics.
//
// Default: [DefaultLifetime].
func WithLifetime(d time.Duration) Option {
	checkTimeout("WithLifetime", d)
	return func(c *config) { c.timeouts.lifetime = d }
}

// WithIdleTimeout ends a session, by the database's clock, when it has not been
// used for d: found by Get or Authenticate. Its lifetime still ends it in any case.
// PostgreSQL counts in microseconds: a d below one panics.
//
// A use extends the session once a quarter of the timeout has passed: it writes at
// most four times in a timeout, whatever the number of requests, and a session may
// end up to a quarter of the timeout early, never late. A use while somebody else holds
// the row, an update, say, does not extend it: a lookup waits for nobody. A Get in a transaction, or
// on a read-only server, leaves the end where it is.
//
// Each session keeps the timeout it was stored with. Default: none.
func WithIdleTimeout(d time.Duration) Option {
	checkTimeout("WithIdleTimeout", d)
	return func(c *config) { c.timeouts.idle = d }
}

// WithLogger sets where events are logged: at level Warn what may be an attack
// (a session id used twice, a superseded token used again) and errors that no caller
// is told, at level Debug what changes sessions. A plain session is logged as the
// fingerprint of its id, one with a token as its handle, a user not at all. A nil
// logger panics.
//
// Default: nothing is logged.
func WithLogger(logger *slog.Logger) Option {
	if logger == nil {
		panic("sessioncache: WithLogger: the logger is nil")
	}
	return func(c *config) { c.logger = logger }
}

// WithoutBatching has every call run its own statement under its own context. A batch
// runs under the context values of the first of its callers, and a hook of the pool
// that takes a tenant for row-level security from the context, say, would answer all
// of them as that one.
//
// Default: lookups and Sets that wait for a connection share a statement.
func WithoutBatching() Option {
	return func(c *config) { c.single = true }
}

// WithCodec sets how a T becomes JSON and is read from it. Decoding is most of
// what a Get costs the client, so a faster package than encoding/json pays. Both
// functions are used as encoding/json's are; the one must write JSON in UTF-8,
// which PostgreSQL checks, and the other must not keep its input. A T of
// [encoding/json.RawMessage] needs neither. A nil function panics.
//
// Default: [encoding/json.Marshal] and [encoding/json.Unmarshal].
func WithCodec(marshal func(v any) ([]byte, error), unmarshal func(data []byte, v any) error) Option {
	if marshal == nil || unmarshal == nil {
		panic("sessioncache: WithCodec: a function is nil")
	}
	return func(c *config) { c.marshal, c.unmarshal = marshal, unmarshal }
}

// timeouts end a session.
type timeouts struct {
	lifetime time.Duration
	idle     time.Duration // 0: none
}

func checkTimeout(option string, d time.Duration) {
	if d < time.Microsecond {
		panic(fmt.Sprintf("sessioncache: %s: %s is shorter than a microsecond", option, d))
	}
}

// In the table they are microseconds.

func (t timeouts) lifetimeMicros() int64 {
	return t.lifetime.Microseconds()
}

func (t timeouts) idleMicros() *int64 {
	if t.idle == 0 {
		return nil
	}
	idle := t.idle.Microseconds()
	return &idle
}

// ttlMicros is how long a session lives if nobody uses it.
func (t timeouts) ttlMicros() int64 {
	if t.idle == 0 {
		return t.lifetimeMicros()
	}
	return min(t.idle, t.lifetime).Microseconds()
}
