package sessioncache_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
)

func TestMistakesPanic(t *testing.T) {
	cache, _ := setup[raw](t)
	for name, mistake := range map[string]func(){
		"no database":                     func() { sessioncache.New[raw](nil) },
		"no transaction":                  func() { cache.WithTx(pgx.Tx(nil)) },
		"no lifetime":                     func() { sessioncache.WithLifetime(0) },
		"a negative one":                  func() { sessioncache.WithLifetime(-time.Hour) },
		"too short a one":                 func() { sessioncache.WithLifetime(time.Nanosecond) },
		"no idle timeout":                 func() { sessioncache.WithIdleTimeout(0) },
		"an audience that is not UTF-8":   func() { sessioncache.WithAudience("\xff") },
		"an audience with a NUL":          func() { sessioncache.WithAudience("a\x00") },
		"an audience of 101 bytes":        func() { sessioncache.WithAudience(strings.Repeat("a", 101)) },
		"a session without a lifetime":    func() { sessioncache.Lifetime(0) },
		"a session's negative timeout":    func() { sessioncache.IdleTimeout(-time.Second) },
		"a session's timeout of a moment": func() { sessioncache.IdleTimeout(time.Nanosecond) },
		"a limit of no sessions":          func() { sessioncache.MaxSessions(0) },
		"no marshal":                      func() { sessioncache.WithCodec(nil, json.Unmarshal) },
		"no unmarshal":                    func() { sessioncache.WithCodec(json.Marshal, nil) },
		"no logger":                       func() { sessioncache.WithLogger(nil) },
		"users of no bytes":               func() { sessioncache.WithMaxUserBytes(0) },
		"users of less than that":         func() { sessioncache.WithMaxUserBytes(-1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			suite.WantPanic(t, mistake)
		})
	}
}

func TestOptionsAreKept(t *testing.T) {
	_, pool := setup[raw](t)
	longest := strings.Repeat("é", 50)
	cache := sessioncache.New[raw](pool, sessioncache.WithAudience(longest), sessioncache.WithLifetime(time.Minute))
	if cache.Audience() != longest || cache.Lifetime() != time.Minute {
		t.Errorf("Audience = %q, Lifetime = %s", cache.Audience(), cache.Lifetime())
	}
	cache = sessioncache.New[raw](pool)
	if cache.Audience() != "" || cache.Lifetime() != sessioncache.DefaultLifetime {
		t.Errorf("by default, Audience = %q, Lifetime = %s", cache.Audience(), cache.Lifetime())
	}
}
