package systemtest

import (
	"context"
	"testing"
	"time"
)

// nearPgBouncer has all connections but the test's own go through PgBouncer in transaction
// mode, and the pooler's connections be cut.
func nearPgBouncer(t *testing.T) nearEnvironment {
	c := startWithTable(t)
	env := nearOn(c)
	// Without prepared statements, which PgBouncer carries since 1.21 only.
	env.readers = []string{startPgBouncerOn(t, uint16(c.port), "sessions") + "&default_query_exec_mode=cache_describe"}
	env.pause = 500 * time.Millisecond
	env.disturb = func(ctx context.Context, r *nearRun) error {
		_, err := r.admin.Exec(ctx, `
			SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		return err
	}
	return env
}
