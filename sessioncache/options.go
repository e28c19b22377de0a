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

// Option changes how a [Cache] behaves. Options are set in Go code, not in the
// environment: how long a login lasts is a decision about security.
type Option func(*config)

type config struct {
	audience   string
	tokenScope string
	timeouts   timeouts
	single     bool          // no batches
	timeout    time.Duration // of each use of the database; 0: none
	inFlight   bool          // superseded tokens are those of requests under way (WithInFlight)
	logger     *slog.Logger  // nil: slog.Default
	marshal    func(v any) ([]byte, error)
	unmarshal  func(data []byte, v any) error

	maxUserBytes int

	awaitsNearCaches bool // changes wait for near caches on other servers
	nearEntries      int  // 0: this Cache keeps nothing
	clone            any  // a func(T) T, or nil
}

func newConfig(options []Option) config {
	c := config{
		timeouts:  timeouts{lifetime: DefaultLifetime},
		marshal:   json.Marshal,
		unmarshal: json.Unmarshal,

		maxUserBytes: 64 << 10,
	}
	for _, option := range options {
		option(&c)
	}
	return c
}

// log returns the logger. A program may set slog's default after it has made a Cache.
func (c config) log() *slog.Logger {
	if c.logger == nil {
		return slog.Default()
	}
	return c.logger
}

// WithAudience names the application that the sessions belong to, where several
// applications share the table. A Cache finds, lists and ends only sessions of its own
// audience, and a token of one audience gives no access in another. Only [Cache.Purge],
// [Cache.Stats] and [Cache.Reindex] act on the whole table. WithAudience panics if the
// audience is not UTF-8, holds a NUL or is longer than 100 bytes.
//
// Default: the empty audience, for a table that one application has to itself.
func WithAudience(audience string) Option {
	if !utf8.ValidString(audience) || strings.ContainsRune(audience, 0) || len(audience) > 100 {
		panic(fmt.Sprintf("sessioncache: WithAudience: %.100q is not a valid audience", audience))
	}
	return func(c *config) { c.audience, c.tokenScope = audience, audience }
}

// WithLifetime sets how long a session lives at most, from the moment it is stored, by
// the database's clock. Use does not extend it; a re-authentication ([Reauthenticated])
// starts it again. PostgreSQL counts in microseconds: WithLifetime panics if d is below
// one.
//
// Default: [DefaultLifetime].
func WithLifetime(d time.Duration) Option {
	checkTimeout("WithLifetime", d)
	return func(c *config) { c.timeouts.lifetime = d }
}

// WithIdleTimeout ends a session, by the database's clock, when it has not been used
// for d. A use is a Get or an Authenticate that finds it. The lifetime still ends the
// session in any case. PostgreSQL counts in microseconds: WithIdleTimeout panics if d
// is below one.
//
// A use extends the session once a quarter of the timeout has passed. Therefore a
// session costs at most four writes per timeout, for any number of requests. The
// session never ends late. It may end early, by at most a quarter of the timeout, or by
// more if its uses could not extend it: while another transaction has locked its row,
// because a lookup never waits, in a caller's transaction, and on a read-only server.
//
// Each session keeps the timeout it was stored with.
//
// Default: no idle timeout.
func WithIdleTimeout(d time.Duration) Option {
	checkTimeout("WithIdleTimeout", d)
	return func(c *config) { c.timeouts.idle = d }
}

// WithLogger sets where events are logged. Level Warn is for possible attacks (a
// session id used twice, a superseded token used again) and for errors that are not
// returned to a caller. Level Debug is for changes of sessions. The log shows a plain
// session by the fingerprint of its id, a session with a token by its handle, and never
// a user. WithLogger panics if the logger is nil.
//
// Default: [slog.Default].
func WithLogger(logger *slog.Logger) Option {
	if logger == nil {
		panic("sessioncache: WithLogger: the logger is nil")
	}
	return func(c *config) { c.logger = logger }
}

// WithoutBatching has every call run its own statement under its own context. It is for
// pools with a hook that reads the context, for example a tenant for row-level
// security: a batch runs under the context values of its first caller, and the hook
// would take all callers for that tenant.
//
// Default: lookups, and Sets and Issues, that wait share a statement.
func WithoutBatching() Option {
	return func(c *config) { c.single = true }
}

// WithCodec sets how a T is encoded to JSON and decoded from it. Decoding is most of
// what a Get costs the client: a package faster than encoding/json can be worth it.
// marshal must write JSON in UTF-8, which PostgreSQL checks. unmarshal must not keep a
// reference to data after it has returned. With [encoding/json.RawMessage] as T neither
// is used. WithCodec panics if a function is nil.
//
// Default: [encoding/json.Marshal] and [encoding/json.Unmarshal].
func WithCodec(marshal func(v any) ([]byte, error), unmarshal func(data []byte, v any) error) Option {
	if marshal == nil || unmarshal == nil {
		panic("sessioncache: WithCodec: a function is nil")
	}
	return func(c *config) { c.marshal, c.unmarshal = marshal, unmarshal }
}

// WithMaxUserBytes sets how many bytes the JSON of a user may have in every call that
// stores one: a longer one is [ErrUserTooLarge]. What is stored already stays readable.
// Visitors who have not logged in can make sessions grow (a basket), and every lookup
// reads the whole user. WithMaxUserBytes panics if n is not positive.
//
// Default: 65,536 bytes.
func WithMaxUserBytes(n int) Option {
	if n <= 0 {
		panic(fmt.Sprintf("sessioncache: WithMaxUserBytes: %d is not a valid number of bytes", n))
	}
	return func(c *config) { c.maxUserBytes = n }
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
