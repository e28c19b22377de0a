package sessioncache

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"time"
)

// SessionDuration is how long a session lives, unless [WithDuration] says
// otherwise.
const SessionDuration = time.Hour

// Option changes how a [Cache] behaves. Options are set in Go code only: how long
// a login lasts is a decision about security, not a matter of deployment.
type Option func(*config)

type config struct {
	duration  time.Duration
	idle      time.Duration // 0: no timeout but the duration
	logger    *slog.Logger
	marshal   func(v any) ([]byte, error)
	unmarshal func(data []byte, v any) error
}

func newConfig(options []Option) config {
	c := config{
		duration:  SessionDuration,
		logger:    slog.New(slog.DiscardHandler),
		marshal:   json.Marshal,
		unmarshal: json.Unmarshal,
	}
	for _, option := range options {
		option(&c)
	}
	return c
}

// WithDuration sets how long a session lives from the moment it is stored, by
// the database's clock. PostgreSQL counts in microseconds: a d below one panics.
//
// Default: [SessionDuration].
func WithDuration(d time.Duration) Option {
	if d < time.Microsecond {
		panic(fmt.Sprintf("sessioncache: WithDuration: %s is shorter than a microsecond", d))
	}
	return func(c *config) { c.duration = d }
}

// WithIdleTimeout ends a session, by the database's clock, when nobody has asked
// Get for it for so long, and lets it live no longer than its duration in any
// case: an absolute cap, which no use puts off. PostgreSQL counts in
// microseconds: a d below one panics.
//
// Get puts the end off when more than a quarter of the timeout has gone: it
// writes at most four times in a timeout, whatever the number of requests, and a
// session may end up to a quarter of the timeout early, never late. Only Get
// does; a Get in a transaction writes as part of it, and one on a read-only
// server leaves the end where it is.
//
// Every Cache on the table should have the same timeout. Default: none.
func WithIdleTimeout(d time.Duration) Option {
	if d < time.Microsecond {
		panic(fmt.Sprintf("sessioncache: WithIdleTimeout: %s is shorter than a microsecond", d))
	}
	return func(c *config) { c.idle = d }
}

// WithLogger sets where events are logged: at level Warn what may be an attack
// (a session id used twice) or went wrong unseen, at level Debug what changes
// sessions. A session is
// logged as the fingerprint of its id, a user not at all. A nil logger panics.
//
// Default: nothing is logged.
func WithLogger(logger *slog.Logger) Option {
	if logger == nil {
		panic("sessioncache: WithLogger: the logger is nil")
	}
	return func(c *config) { c.logger = logger }
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
