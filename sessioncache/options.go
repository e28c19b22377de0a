package sessioncache

import (
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
	duration time.Duration
	logger   *slog.Logger
}

func newConfig(options []Option) config {
	c := config{
		duration: SessionDuration,
		logger:   slog.New(slog.DiscardHandler),
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

// WithLogger sets where events are logged: at level Warn what may be an attack
// (a session id used twice), at level Debug what changes sessions. A session is
// logged as the fingerprint of its id, a user not at all. A nil logger panics.
//
// Default: nothing is logged.
func WithLogger(logger *slog.Logger) Option {
	if logger == nil {
		panic("sessioncache: WithLogger: the logger is nil")
	}
	return func(c *config) { c.logger = logger }
}
