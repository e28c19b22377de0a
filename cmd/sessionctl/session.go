package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

type getCommand struct {
	ID string `arg:"" help:"The session's id."`
}

func (c *getCommand) Run(e *environment) error {
	return e.withCache(func(cache *cache) error {
		user, ok, err := cache.Get(e, c.ID)
		if err == nil && !ok {
			err = errNoSession
		}
		if err != nil {
			return err
		}
		e.print("%s\n", user)
		return nil
	})
}

type setCommand struct {
	ID       string        `arg:"" optional:"" help:"The session's id (default: a new one, which is printed)."`
	User     string        `placeholder:"JSON" help:"The user (default: read from standard input)."`
	Lifetime time.Duration `default:"1h" help:"How long the session lives."`
}

func (c *setCommand) Run(e *environment) error {
	user := []byte(c.User)
	if len(user) == 0 {
		var err error
		if user, err = io.ReadAll(e.in); err != nil {
			return err
		}
	}
	if c.Lifetime < time.Microsecond {
		return usageError{errors.New("--lifetime must be at least a microsecond")}
	}
	id := c.ID
	if id == "" {
		id = sid.New().String()
	}
	return e.withCache(func(cache *cache) error {
		if err := cache.Set(e, id, json.RawMessage(user)); err != nil {
			return err
		}
		if c.ID == "" {
			e.print("%s\n", id)
		}
		return nil
	}, sessioncache.WithLifetime(c.Lifetime))
}

type deleteCommand struct {
	ID string `arg:"" help:"The session's id."`
}

func (c *deleteCommand) Run(e *environment) error {
	return e.withCache(func(cache *cache) error { return cache.Delete(e, c.ID) })
}

// userID names a user. The empty id, which a script passes when its variable is not
// set, names nobody.
type userID string

func (u userID) Validate() error {
	if u == "" {
		return errors.New("the user's id is empty")
	}
	return nil
}

type listCommand struct {
	User userID `required:"" placeholder:"ID" help:"The user's id."`
}

func (c *listCommand) Run(e *environment) error {
	return e.withCache(func(cache *cache) error {
		sessions, err := cache.UserSessions(e, string(c.User))
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "HANDLE\tCREATED\tAUTHENTICATED\tEXPIRES\tTTL")
		for _, session := range sessions {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", session.Handle, session.CreatedAt.Format(time.RFC3339),
				session.AuthenticatedAt.Format(time.RFC3339), session.ExpiresAt.Format(time.RFC3339), session.TTL.Round(time.Second))
		}
		return table.Flush()
	})
}

type revokeCommand struct {
	User   userID       `xor:"whose" required:"" placeholder:"ID" help:"End all sessions of this user, plain ones too."`
	Handle *sid.Handle  `xor:"whose" required:"" help:"End this session."`
	All    bool         `xor:"whose" required:"" help:"End the sessions of everybody: in every application, or in the one that --audience names."`
	Except []sid.Handle `placeholder:"HANDLE" help:"With --user: keep this session. May be repeated."`
	Yes    bool         `help:"With --all: do not ask."`
}

func (c *revokeCommand) Run(e *environment) error {
	if len(c.Except) > 0 && c.User == "" {
		return usageError{errors.New("--except needs --user")}
	}
	return e.withCache(func(cache *cache) error {
		n, err := c.revoke(e, cache)
		if err != nil {
			return err
		}
		e.print("%d sessions ended\n", n)
		return nil
	})
}

func (c *revokeCommand) revoke(e *environment, cache *cache) (n int64, err error) {
	switch {
	case c.All:
		if err := c.ask(e, cache); err != nil {
			return 0, err
		}
		if e.audience != nil {
			return cache.DeleteAll(e)
		}
		return deleteAllSessions(e, cache)
	case c.Handle != nil:
		was, err := cache.DeleteSession(e, *c.Handle)
		if err == nil && !was {
			err = errNoSession
		}
		return 1, err
	default:
		return cache.DeleteUserSessions(e, string(c.User), c.Except...)
	}
}

// deleteAllSessions ends the sessions of every application, which no Cache does.
func deleteAllSessions(ctx context.Context, sessions *cache) (n int64, err error) {
	err = sessions.Tx(ctx, func(tx pgx.Tx, _ *cache) error {
		if n, err = db.New(tx).DeleteAllSessions(ctx); err != nil {
			return fmt.Errorf("end all sessions: %w: %w", sessioncache.ErrUnavailable, err)
		}
		return nil
	})
	return n, err
}

// ask makes sure that everybody is to be logged out.
func (c *revokeCommand) ask(e *environment, cache *cache) error {
	if c.Yes {
		return nil
	}
	if !e.terminal {
		return usageError{errors.New("--all without a terminal to ask on needs --yes")}
	}
	if e.audience != nil { // Stats counts the whole table
		e.print("Log everybody out of the application %q? [y/N] ", *e.audience)
	} else {
		stats, err := cache.Stats(e)
		if err != nil {
			return err
		}
		e.print("Log everybody out of every application: %d live sessions? [y/N] ", stats.Live)
	}
	var answer string
	_, _ = fmt.Fscanln(e.in, &answer) // no answer is a no
	if answer != "y" && answer != "Y" && answer != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}
