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
	application
	ID string `arg:"" help:"The session's id."`
}

func (getCommand) Help() string {
	return "It prints the user's JSON as it is stored. On a terminal, control characters are escaped.\n\n" +
		example("get 9c1d8a52-4a1f-4d43-8f0e-0d7a5b0b6c11")
}

func (c *getCommand) Run(e *environment) error {
	return e.withCache(func(cache *cache) error {
		user, ok, err := cache.Get(e, c.ID)
		if err == nil && !ok {
			err = fmt.Errorf("%w: no live plain session has this id", errNoSession)
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
	}, sessioncache.WithAudience(c.name()))
}

type setCommand struct {
	application
	ID       string        `arg:"" optional:"" help:"The session's id (default: a new one). An id is used once: a plain session that has it already ends."`
	UserJSON string        `name:"user-json" placeholder:"JSON" help:"The user's JSON (default: read from standard input)."`
	Lifetime time.Duration `default:"1h" help:"How long the session lives."`
	JSON     bool          `help:"Print JSON."`
}

func (setCommand) Help() string {
	return `It prints the session's id. With --json it prints

    {"id": "9c1d8a52-4a1f-4d43-8f0e-0d7a5b0b6c11"}

` + example(`set --lifetime 2h --user-json '{"user_id":"u1"}'`)
}

func (c *setCommand) Run(e *environment) error {
	user := []byte(c.UserJSON)
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
		err := cache.Set(e, id, json.RawMessage(user))
		if errors.Is(err, sessioncache.ErrConflict) {
			err = fmt.Errorf("%w; if a plain session had it, that session has ended", err)
		}
		if err != nil {
			return err
		}
		if c.JSON {
			return e.printJSON(map[string]string{"id": id})
		}
		e.print("%s\n", id)
		return nil
	}, sessioncache.WithLifetime(c.Lifetime), sessioncache.WithAudience(c.name()))
}

type deleteCommand struct {
	application
	ID   string `arg:"" help:"The id of a plain session, or the handle of a session with a token."`
	JSON bool   `help:"Print JSON."`
}

func (deleteCommand) Help() string {
	return helpEnded + example("delete 9c1d8a52-4a1f-4d43-8f0e-0d7a5b0b6c11")
}

func (c *deleteCommand) Run(e *environment) error {
	id, err := sid.Parse(c.ID)
	if err != nil {
		return usageError{err}
	}
	return e.withCache(func(cache *cache) error {
		n, err := deleteSession(e, cache, id, c.name())
		return e.ended(n, err, c.JSON)
	}, sessioncache.WithAudience(c.name()))
}

// deleteSession ends a session of either kind, and returns how many. Tx waits for near
// caches because of the call of DeleteSession, whatever that finds.
func deleteSession(ctx context.Context, sessions *cache, id sid.ID, audience string) (n int64, err error) {
	err = sessions.Tx(ctx, func(tx pgx.Tx, sessions *cache) error {
		was, err := sessions.DeleteSession(ctx, sid.Handle(id))
		if err != nil {
			return err
		}
		if was {
			n = 1
			return nil
		}
		n, err = db.New(tx).DeleteSession(ctx, db.DeleteSessionParams{SessionID: id, Audience: audience})
		if err != nil {
			return fmt.Errorf("end a plain session: %w: %w", sessioncache.ErrUnavailable, err)
		}
		return nil
	})
	return n, err
}

const helpEnded = `With --json it prints how many sessions it ended. Expired ones that are not purged yet count, except with --user:

    {"ended": 1}

`

// ended says how many sessions a command has ended. None is errNoSession.
func (e *environment) ended(n int64, err error, asJSON bool) error {
	if err != nil {
		return err
	}
	if asJSON {
		if err := e.printJSON(map[string]int64{"ended": n}); err != nil {
			return err
		}
	}
	if n == 0 {
		return errNoSession
	}
	if !asJSON {
		e.print("%s ended\n", count(n, "session"))
	}
	return nil
}

// count is a number of things.
func count(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
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
	application
	User userID `required:"" placeholder:"ID" help:"The user's id."`
	JSON bool   `help:"Print JSON."`
}

func (listCommand) Help() string {
	return `The newest session comes first. With --json it prints

    [{"handle": "9c1d8a52-4a1f-4d43-8f0e-0d7a5b0b6c11",
      "device": "Firefox on Linux",
      "created_at": "2026-01-02T15:04:05Z",
      "authenticated_at": "2026-01-02T15:04:05Z",
      "last_used_at": "2026-01-02T15:04:05Z",
      "expires_at": "2026-01-02T16:04:05Z",
      "deadline": "2026-01-02T16:04:05Z",
      "ttl": 3600}]

where ttl is how long the session still lives if it is not used, and device is empty if the application has given none.

` + example("list --user u1")
}

// sessionJSON is a session in list --json.
type sessionJSON struct {
	Handle          sid.Handle `json:"handle"`
	Device          string     `json:"device"`
	CreatedAt       time.Time  `json:"created_at"`
	AuthenticatedAt time.Time  `json:"authenticated_at"`
	LastUsedAt      time.Time  `json:"last_used_at"`
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
					s.Handle, s.Device, s.CreatedAt.UTC(), s.AuthenticatedAt.UTC(), s.LastUsedAt.UTC(),
					s.ExpiresAt.UTC(), s.Deadline.UTC(), s.TTL.Seconds(),
				})
			}
			return e.printJSON(documents)
		}
		if len(sessions) == 0 {
			e.print("The user %q has no live sessions with tokens.\n", c.User)
			return nil
		}
		table := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "HANDLE\tCREATED\tAUTHENTICATED\tLAST USED\tEXPIRES\tDEVICE")
		for _, s := range sessions {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%q\n", s.Handle, s.CreatedAt.Format(time.RFC3339),
				s.AuthenticatedAt.Format(time.RFC3339), s.LastUsedAt.Format(time.RFC3339), s.ExpiresAt.Format(time.RFC3339), s.Device)
		}
		return table.Flush()
	}, sessioncache.WithAudience(c.name()))
}

type revokeCommand struct {
	application
	User   userID       `xor:"whose" required:"" placeholder:"ID" help:"End all sessions of the user with this id, plain ones too."`
	Handle *sid.Handle  `xor:"whose" required:"" help:"End the session with this handle. (For a plain session: delete.)"`
	All    bool         `xor:"whose" required:"" help:"End all sessions: of every application, or of the one that --audience names."`
	Except []sid.Handle `placeholder:"HANDLE" help:"With --user: keep this session. Can be repeated."`
	Yes    bool         `help:"With --all: do not ask."`
	JSON   bool         `help:"Print JSON."`
}

func (revokeCommand) Help() string {
	return "--all asks first. Without a terminal it needs --yes.\n\n" + helpEnded + example("revoke --user u1")
}

func (c *revokeCommand) Run(e *environment) error {
	if len(c.Except) > 0 && c.User == "" {
		return usageError{errors.New("--except needs --user")}
	}
	return e.withCache(func(cache *cache) error {
		n, err := c.revoke(e, cache)
		err = e.ended(n, err, c.JSON)
		if c.Handle != nil && errors.Is(err, errNoSession) {
			err = fmt.Errorf("%w: none with a token has this handle (delete ends plain ones, too)", err)
		}
		return err
	}, sessioncache.WithAudience(c.name()))
}

func (c *revokeCommand) revoke(e *environment, cache *cache) (n int64, err error) {
	switch {
	case c.All:
		err := e.confirm("revoke --all", c.Yes, func() (string, error) { return c.question(e, cache) })
		if err != nil {
			return 0, err
		}
		if c.Audience != nil {
			return cache.DeleteAudience(e)
		}
		return deleteAllSessions(e, cache)
	case c.Handle != nil:
		was, err := cache.DeleteSession(e, *c.Handle)
		if was {
			n = 1
		}
		return n, err
	default:
		return cache.DeleteUserSessions(e, string(c.User), c.Except...)
	}
}

// deleteAllSessions ends the sessions of every application, and waits for near caches. A
// Cache cannot do the first.
func deleteAllSessions(ctx context.Context, sessions *cache) (n int64, err error) {
	err = sessions.Tx(ctx, func(tx pgx.Tx, _ *cache) error {
		if n, err = db.New(tx).DeleteAllSessions(ctx); err != nil {
			return fmt.Errorf("end all sessions: %w: %w", sessioncache.ErrUnavailable, err)
		}
		return nil
	})
	if err == nil {
		err = sessions.AwaitNearCaches(ctx)
	}
	return n, err
}

// question asks whether to log everybody out.
func (c *revokeCommand) question(e *environment, cache *cache) (question string, err error) {
	if c.Audience != nil { // not the number: Stats counts all applications
		return fmt.Sprintf("Log everybody out of the application %q?", *c.Audience), nil
	}
	stats, err := cache.Stats(e)
	return fmt.Sprintf("Log everybody out of all applications: %s?", count(stats.Live, "live session")), err
}
