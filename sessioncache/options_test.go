package sessioncache_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/sessioncache"
)

func TestMistakesPanic(t *testing.T) {
	cache, _ := setup[raw](t)
	for name, mistake := range map[string]func(){
		"no database":     func() { sessioncache.New[raw](nil) },
		"no transaction":  func() { cache.WithTx(pgx.Tx(nil)) },
		"no duration":     func() { sessioncache.WithDuration(0) },
		"a negative one":  func() { sessioncache.WithDuration(-time.Hour) },
		"too short a one": func() { sessioncache.WithDuration(time.Nanosecond) },
		"no idle timeout": func() { sessioncache.WithIdleTimeout(0) },
		"no marshal":      func() { sessioncache.WithCodec(nil, json.Unmarshal) },
		"no unmarshal":    func() { sessioncache.WithCodec(json.Marshal, nil) },
		"no logger":       func() { sessioncache.WithLogger(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantPanic(t, mistake)
		})
	}
}
