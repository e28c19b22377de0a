package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache"
)

const undefinedTable = "42P01"

type nearCacheCommand struct {
	Switch string `arg:"" name:"switch" enum:"off" help:"off: turn near caches off, on all servers."`
	Yes    bool   `help:"Do not ask."`
	JSON   bool   `help:"Print JSON."`
}

func (nearCacheCommand) Help() string {
	return `Near caches answer lookups from memory. While one is in use, on any server, every logout takes a quarter of a second longer. off ends both.

Processes that run already then ask the database for every lookup, until they restart. A process that starts with WithNearCache, or uses it for the first time, turns near caches on again. So deploy without WithNearCache before, or after.

It asks first. Without a terminal to ask on it needs --yes. Run it again if it was interrupted: until it has ended, logouts take longer.

With --json it prints

    {"turned_off": true}

or, if there is nothing to turn off,

    {"turned_off": false, "reason": "no near cache is in use"}`
}

// Reasons why there is nothing to turn off.
var (
	errNoFeed  = errors.New("there is no change feed, and so no near cache")
	errNotUsed = errors.New("no near cache is in use")
)

// errHalf says that changes wait for near caches that have stopped.
var errHalf = errors.New("near caches may have stopped, and logouts still take longer: run it again")

func (c *nearCacheCommand) Run(e *environment) error {
	return e.withPool(func(pool *pgxpool.Pool) error {
		queries := db.New(pool)
		err := e.confirm("near-cache off", c.Yes, func() (string, error) {
			return "Turn near caches off on all servers? Every lookup will ask the database.", nearCachesUsed(e, queries)
		})
		if err == nil {
			if err = turnOff(e, queries); err != nil && e.Err() != nil {
				return errHalf
			}
		}
		switch nothing := errors.Is(err, errNoFeed) || errors.Is(err, errNotUsed); {
		case err != nil && !nothing:
			return err
		case c.JSON && nothing:
			return e.printJSON(map[string]any{"turned_off": false, "reason": err.Error()})
		case c.JSON:
			return e.printJSON(map[string]any{"turned_off": true})
		case nothing:
			e.print("nothing to turn off: %v\n", err)
		default:
			e.print("near caches turned off\n")
		}
		return nil
	})
}

// turnOff turns near caches off, or goes on with what an interrupted run has begun.
func turnOff(ctx context.Context, queries *db.Queries) error {
	if _, err := queries.DrainNearCaches(ctx); err != nil {
		return explainFeed(err)
	}
	if err := nearCachesUsed(ctx, queries); err != nil {
		return err
	}
	// What a near cache knows from a poll that did not see it counts for this long.
	select {
	case <-time.After(sessioncache.NearCacheStaleness):
	case <-ctx.Done():
		return ctx.Err()
	}
	forgotten, err := queries.ForgetNearCaches(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errHalf, explainFeed(err))
	case forgotten == 1:
		return nil
	}
	// Somebody else has turned them off meanwhile.
	switch err := nearCachesUsed(ctx, queries); {
	case err == nil:
		return errors.New("a process has turned near caches on again meanwhile")
	case errors.Is(err, errNotUsed):
		return nil
	default:
		return err
	}
}

// nearCachesUsed returns nil while changes wait for near caches, and the reason why not
// otherwise.
func nearCachesUsed(ctx context.Context, queries *db.Queries) error {
	use, err := queries.GetNearCacheUse(ctx)
	if err != nil {
		return explainFeed(err)
	}
	if !use.Used {
		return errNotUsed
	}
	return nil
}

// explainFeed says of an error of a statement on the change feed what there is to do about
// it.
func explainFeed(err error) error {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pgErr.Code {
		case undefinedTable:
			return errNoFeed
		case insufficientPrivilege:
			return fmt.Errorf("the role needs SELECT and UPDATE on session_change_state: %w", err)
		}
	}
	return fmt.Errorf("%w: %w", sessioncache.ErrUnavailable, err)
}
