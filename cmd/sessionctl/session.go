package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

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
	ID       string        `arg:"" optional:"" help:"The session's id; a new one is made, and printed, if there is none."`
	User     string        `placeholder:"JSON" help:"The user (default: what standard input says)."`
	Duration time.Duration `default:"1h" help:"How long the session lives."`
}

func (c *setCommand) Run(e *environment) error {
	user := []byte(c.User)
	if len(user) == 0 {
		var err error
		if user, err = io.ReadAll(e.in); err != nil {
			return err
		}
	}
	if c.Duration < time.Microsecond {
		return usageError{errors.New("the duration is too short")}
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
	}, sessioncache.WithDuration(c.Duration))
}

type deleteCommand struct {
	ID string `arg:"" help:"The session's id."`
}

func (c *deleteCommand) Run(e *environment) error {
	return e.withCache(func(cache *cache) error { return cache.Delete(e, c.ID) })
}

type listCommand struct {
	User    string `required:"" help:"The user's id."`
	ShowIDs bool   `name:"show-ids" help:"Show the ids, which are secrets, instead of their fingerprints."`
}

func (c *listCommand) Run(e *environment) error {
	return e.withCache(func(cache *cache) error {
		sessions, err := cache.UserSessions(e, c.User)
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "SESSION\tBEGAN\tENDS\tLEFT")
		for _, session := range sessions {
			name := session.ID.Fingerprint()
			if c.ShowIDs {
				name = session.ID.String()
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", name,
				session.Start.Format(time.RFC3339), session.End.Format(time.RFC3339), session.Left.Round(time.Second))
		}
		return table.Flush()
	})
}

type revokeCommand struct {
	User   string   `xor:"whose" required:"" help:"End the sessions of this user."`
	All    bool     `xor:"whose" required:"" help:"End the sessions of everybody."`
	Except []string `placeholder:"ID" help:"With --user: but for this session. May be repeated."`
	Yes    bool     `help:"With --all: do not ask."`
}

func (c *revokeCommand) Run(e *environment) error {
	if c.All && len(c.Except) > 0 {
		return usageError{errors.New("--except goes with --user")}
	}
	return e.withCache(func(cache *cache) error {
		var n int64
		var err error
		if c.All {
			if err := c.ask(e, cache); err != nil {
				return err
			}
			n, err = cache.DeleteAll(e)
		} else {
			n, err = cache.DeleteUser(e, c.User, c.Except...)
		}
		if err != nil {
			return err
		}
		e.print("%d sessions ended\n", n)
		return nil
	})
}

// ask makes sure that everybody is to be logged out.
func (c *revokeCommand) ask(e *environment, cache *cache) error {
	if c.Yes {
		return nil
	}
	if !e.terminal {
		return usageError{errors.New("--all without a terminal to ask on needs --yes")}
	}
	stats, err := cache.Stats(e)
	if err != nil {
		return err
	}
	e.print("Log everybody out: %d live sessions? [y/N] ", stats.Live)
	var answer string
	_, _ = fmt.Fscanln(e.in, &answer) // no answer is a no
	if answer != "y" && answer != "Y" && answer != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}
