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
	"github.com/rhaptos/sessiondb/sid"
)

type getCommand struct {
	ID string `arg:"" help:"The session's id."`
}

func (getCommand) Help() string {
	return "It prints the user's JSON as it is stored. On a terminal, control characters are escaped."
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
		out := e.raw
		if e.terminal {
			out = e.out
		}
		_, err = fmt.Fprintf(out, "%s\n", user)
		return err
	})
}

type setCommand struct {
	ID       string        `arg:"" optional:"" help:"The session's id (default: a new one, which is printed)."`
	User     string        `placeholder:"JSON" help:"The user's JSON (default: read from standard input)."`
	Lifetime time.Duration `default:"1h" help:"How long the session lives."`
	JSON     bool          `help:"Print JSON."`
}

func (setCommand) Help() string {
	return "With --json it prints the session's id:\n\n    {\"id\": \"9c1d8a52-4a1f-4d43-8f0e-0d7a5b0b6c11\"}"
}

func (c *setCommand) Run(e *environment) error {
	user := []byte(c.User)
	if len(user) == 0 {
		var err error
		if user, err = read(e, io.ReadAll); err != nil {
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
		switch {
		case c.JSON:
			return e.printJSON(map[string]string{"id": id})
		case c.ID == "":
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

// userID is a user's id. The empty id is refused: a script passes it if its variable is
// not set.
type userID string

func (u userID) Validate() error {
	if u == "" {
		return errors.New("the user's id is empty")
	}
	return nil
}

type listCommand struct {
	User userID `required:"" placeholder:"ID" help:"The user's id."`
	JSON bool   `help:"Print JSON."`
}

func (listCommand) Help() string {
	return `The newest session comes first. With --json it prints

    [{"handle": "9c1d8a52-4a1f-4d43-8f0e-0d7a5b0b6c11",
      "created_at": "2026-01-02T15:04:05Z",
      "authenticated_at": "2026-01-02T15:04:05Z",
      "expires_at": "2026-01-02T16:04:05Z",
      "deadline": "2026-01-02T16:04:05Z",
      "ttl": 3600}]

where ttl is how long the session still lives if it is not used.`
}

// sessionJSON is a session in list --json.
type sessionJSON struct {
	Handle          sid.Handle `json:"handle"`
	CreatedAt       time.Time  `json:"created_at"`
	AuthenticatedAt time.Time  `json:"authenticated_at"`
	ExpiresAt       time.Time  `json:"expires_at"`
	Deadline        time.Time  `json:"deadline"`
	TTL             float64    `json:"ttl"`
}

func (c *listCommand) Run(e *environment) error {
	return e.withCache(func(cache *cache) error {
		sessions, err := cache.UserSessions(e, string(c.User))
		if err != nil {
			return err
		}
		if c.JSON {
			documents := []sessionJSON{}
			for _, s := range sessions {
				documents = append(documents, sessionJSON{
					s.Handle, s.CreatedAt.UTC(), s.AuthenticatedAt.UTC(), s.ExpiresAt.UTC(), s.Deadline.UTC(), s.TTL.Seconds(),
				})
			}
			return e.printJSON(documents)
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
	All    bool         `xor:"whose" required:"" help:"End all sessions: of every application, or of the one that --audience names."`
	Except []sid.Handle `placeholder:"HANDLE" help:"With --user: keep this session. Can be repeated."`
	Yes    bool         `help:"With --all: do not ask."`
	JSON   bool         `help:"Print JSON."`
}

func (revokeCommand) Help() string {
	return `--all asks first. Without a terminal it needs --yes.

With --json it prints how many sessions it ended, stored expired ones included:

    {"ended": 2}`
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
		if c.JSON {
			return e.printJSON(map[string]int64{"ended": n})
		}
		e.print("%d sessions ended\n", n)
		return nil
	})
}

func (c *revokeCommand) revoke(e *environment, cache *cache) (n int64, err error) {
	switch {
	case c.All:
		err := e.confirm("revoke --all", c.Yes, func() (string, error) { return revokeAllQuestion(e, cache) })
		if err != nil {
			return 0, err
		}
		if e.audience != nil {
			return cache.DeleteAudience(e)
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

// deleteAllSessions ends the sessions of every application. A Cache cannot do that.
func deleteAllSessions(ctx context.Context, sessions *cache) (n int64, err error) {
	err = sessions.Tx(ctx, func(tx pgx.Tx, _ *cache) error {
		if n, err = db.New(tx).DeleteAllSessions(ctx); err != nil {
			return fmt.Errorf("end all sessions: %w: %w", sessioncache.ErrUnavailable, err)
		}
		return nil
	})
	return n, err
}

// revokeAllQuestion asks whether to log everybody out.
func revokeAllQuestion(e *environment, cache *cache) (question string, err error) {
	if e.audience != nil { // not the number: Stats counts all applications
		return fmt.Sprintf("Log everybody out of the application %q?", *e.audience), nil
	}
	stats, err := cache.Stats(e)
	return fmt.Sprintf("Log everybody out of all applications: %d live sessions?", stats.Live), err
}
