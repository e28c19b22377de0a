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
	return `Near caches answer lookups from memory. While one is in use on any server, every logout takes a quarter of a second longer. off turns near caches off on all servers, and logouts take as long as before.

Processes that already run then ask the database for every lookup, until they restart. A process that starts with WithNearCache, or uses it for the first time, turns near caches on again. So deploy without WithNearCache, before or after.

It asks first. Without a terminal it needs --yes. If it was interrupted, run it again: until it has finished, logouts take longer.

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

// errInterrupted says that near caches are being turned off, but changes still wait for
// them.
var errInterrupted = errors.New("near caches may have stopped, but logouts still take longer: run it again")

func (c *nearCacheCommand) Run(e *environment) error {
	return e.withPool(func(pool *pgxpool.Pool) error {
		queries := db.New(pool)
		err := e.confirm("near-cache off", c.Yes, func() (string, error) {
			return "Turn near caches off on all servers? Every lookup will ask the database.", nearCachesUsed(e, queries)
		})
		if err == nil {
			if err = turnOff(e, queries); err != nil && e.Err() != nil {
				return errInterrupted
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

// turnOff turns near caches off, or continues an interrupted run.
func turnOff(ctx context.Context, queries *db.Queries) error {
	if _, err := queries.DrainNearCaches(ctx); err != nil {
		return explainFeed(err)
	}
	if err := nearCachesUsed(ctx, queries); err != nil {
		return err
	}
	// A near cache may still use the result of an earlier poll for this long.
	select {
	case <-time.After(sessioncache.NearCacheStaleness):
	case <-ctx.Done():
		return ctx.Err()
	}
	forgotten, err := queries.ForgetNearCaches(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errInterrupted, explainFeed(err))
	case forgotten == 1:
		return nil
	}
	// Another process has changed the state meanwhile.
	switch err := nearCachesUsed(ctx, queries); {
	case err == nil:
		return errors.New("a process has turned near caches on again meanwhile")
	case errors.Is(err, errNotUsed):
		return nil
	default:
		return err
	}
}

// nearCachesUsed returns nil while changes wait for near caches. Otherwise the error is
// the reason why they do not.
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

// explainFeed adds to an error of a statement on the change feed what to do about it.
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
