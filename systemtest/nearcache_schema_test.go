package systemtest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/rhaptos/sessiondb/schema"
)

// nearSchemaChanged changes sessions where names mean something else, or while the
// triggers or the tables of the feed are replaced.
func nearSchemaChanged(t *testing.T) nearEnvironment {
	elsewhere := func(list ...string) func(ctx context.Context, r *nearRun) error {
		return func(ctx context.Context, r *nearRun) error {
			sessions := r.createHot(2)
			defer r.retireSoon(sessions...)
			return r.onConnection(ctx, func(conn *pgx.Conn) error {
				return r.endBy(list[len(list)-1], sessions, func() error { return r.execute(ctx, conn, sessions, list...) })
			})
		}
	}
	const (
		remove  = "DELETE FROM public.session_cache WHERE sessionid IN ({0}, {1})"
		disable = "ALTER TABLE session_cache DISABLE TRIGGER session_cache_deleted"
		enable  = "ALTER TABLE session_cache ENABLE ALWAYS TRIGGER session_cache_deleted"
	)
	return nearOn(startWithTable(t)).inTurn(
		elsewhere("CREATE TEMPORARY TABLE session_change (LIKE public.session_change INCLUDING ALL)", "SET search_path = pg_temp, public", remove),
		elsewhere("SET search_path = ''", remove),
		elsewhere("CREATE SCHEMA IF NOT EXISTS other", "CREATE TABLE IF NOT EXISTS other.session_change (LIKE public.session_change INCLUDING ALL)",
			"SET search_path = other, public", remove),
		elsewhere(disable, remove, enable),
		elsewhere("BEGIN", disable, remove, enable, "COMMIT"),
		nearMigratedDownAndUp,
	)
}

// nearMigratedDownAndUp takes the feed away, ends sessions without it, and makes it again.
func nearMigratedDownAndUp(ctx context.Context, r *nearRun) error {
	config, err := pgx.ParseConfig(r.env.admin)
	if err != nil {
		return err
	}
	database := stdlib.OpenDB(*config)
	defer database.Close()
	migrations, err := schema.NewProvider(database)
	if err != nil {
		return err
	}
	sessions := r.createHot(4)
	defer r.retireSoon(sessions...)
	if _, err := migrations.DownTo(ctx, 2); err != nil {
		return err
	}
	remove := func(what string, of []*hotSession) error {
		return r.endBy(what, of, func() error {
			return r.execute(ctx, r.admin, of, "DELETE FROM session_cache WHERE sessionid IN ({0}, {1})")
		})
	}
	err = remove("DELETE without a feed", sessions[:2])
	if _, upErr := migrations.Up(ctx); upErr != nil {
		return errors.Join(err, fmt.Errorf("up: %w", upErr))
	}
	if err == nil {
		err = remove("DELETE with a new feed", sessions[2:])
	}
	r.awaitHits("with a new feed")
	return err
}
