package sessioncache

import (
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/db"
)

// TestExtendIn is about the instant from which a use extends a session, which is when
// memory must forget it.
func TestExtendIn(t *testing.T) {
	t.Parallel()
	const idle, now = int64(20 * time.Minute / time.Microsecond), 1000
	for name, test := range map[string]struct {
		ttl, deadline, idle int64
		extend              bool
		keepFor             time.Duration
	}{
		"just used":                   {idle, 3 * idle, idle, false, 5 * time.Minute},
		"a quarter has passed":        {idle * 3 / 4, 3 * idle, idle, false, 0},
		"more than a quarter":         {idle*3/4 - 1, 3 * idle, idle, true, -time.Microsecond},
		"its last instant":            {0, 3 * idle, idle, true, -15 * time.Minute},
		"up to its deadline":          {idle / 2, idle / 2, idle, false, 10 * time.Minute},
		"no idle timeout":             {idle, idle, 0, false, 20 * time.Minute},
		"longer than a Duration":      {1 << 62, 1 << 62, 0, false, duration(1 << 62)},
		"expired, no idle timeout":    {-1, -1, 0, false, -time.Microsecond},
		"an idle timeout of one tick": {1, 3 * idle, 1, false, 0},
	} {
		r := row{GetSessionRow: &db.GetSessionRow{
			ExpiresMicros: now + test.ttl, DeadlineMicros: now + test.deadline, NowMicros: now, IdleMicros: test.idle,
		}}
		if r.extend() != test.extend || r.keepFor() != test.keepFor {
			t.Errorf("%s: extend is %v, kept for %s; want %v, %s", name, r.extend(), r.keepFor(), test.extend, test.keepFor)
		}
	}
}
