// Package demo lives through a session from beginning to end, step by step, and
// says what it does: the example lifecycle, and "sessionctl demo".
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// Run tells the story on a throwaway PostgreSQL.
func Run(ctx context.Context, w io.Writer) error {
	return sessiontest.Use(ctx, func(server *sessiontest.Server, database *sessiontest.Database) error {
		pool, err := pgxpool.New(ctx, database.URL)
		if err != nil {
			return err
		}
		defer pool.Close()
		fmt.Fprintf(w, "A session's life, on %s\n\n", server)
		return Walk(ctx, w, pool)
	})
}

// step is a line of the story: what is done, and what has to come of it.
type step struct {
	title string
	do    func() (outcome string, err error)
}

// Walk tells the story on w. It ends with an error at the first step that does not
// do what it says.
func Walk(ctx context.Context, w io.Writer, pool *pgxpool.Pool) error {
	cache := sessioncache.New[sessioncache.User](pool)
	first, second := sid.New().String(), sid.New().String()
	const userID = "cnxuser:75e06194-baee-4395-8e1a-566b656f6922"
	ed := sessioncache.User{UserID: new(userID), FullName: new("Ed Woodward")}

	steps := []step{
		{`Set under the id "Dr. Evil"`, func() (string, error) {
			err := cache.Set(ctx, "Dr. Evil", ed)
			return refused(err, sessioncache.ErrMalformedID)
		}},
		{"Set under " + first[:8] + "…", func() (string, error) {
			return "stored, for " + sessioncache.SessionDuration.String(), cache.Set(ctx, first, ed)
		}},
		{"Get it", func() (string, error) {
			user, ok, err := cache.Get(ctx, first)
			if err != nil || !ok {
				return "", unexpected(ok, err)
			}
			return "it is " + *user.FullName, nil
		}},
		{"Set the same id again", func() (string, error) {
			err := cache.Set(ctx, first, ed)
			return refused(err, sessioncache.ErrConflict)
		}},
		{"Get it", func() (string, error) {
			return absent(ctx, cache, first)
		}},
		{"Set under " + second[:8] + "…", func() (string, error) {
			return "stored", cache.Set(ctx, second, ed)
		}},
		{"Rotate it to a new id", func() (string, error) {
			old := second
			second = sid.New().String()
			ok, err := cache.Rotate(ctx, old, second)
			if err != nil || !ok {
				return "", unexpected(ok, err)
			}
			return "it is " + second[:8] + "… now", nil
		}},
		{"List the user's sessions", func() (string, error) {
			sessions, err := cache.UserSessions(ctx, userID)
			if err != nil || len(sessions) != 1 || sessions[0].ID.String() != second {
				return "", unexpected(len(sessions), err)
			}
			return "one, until " + sessions[0].End.Format("15:04:05"), nil
		}},
		{"Delete it", func() (string, error) {
			return "logged out", cache.Delete(ctx, second)
		}},
		{"Get it", func() (string, error) {
			return absent(ctx, cache, second)
		}},
		{"Log in on three devices", func() (string, error) {
			for range 3 {
				if err := cache.Set(ctx, sid.New().String(), ed); err != nil {
					return "", err
				}
			}
			return "three sessions", nil
		}},
		{"Log out everywhere", func() (string, error) {
			n, err := cache.DeleteUser(ctx, userID)
			if err != nil || n != 3 {
				return "", unexpected(n, err)
			}
			return "three sessions ended", nil
		}},
		{"Purge what has expired", func() (string, error) {
			if err := expire(ctx, pool, cache, ed); err != nil {
				return "", err
			}
			n, err := cache.Purge(ctx)
			if err != nil || n != 1 {
				return "", unexpected(n, err)
			}
			return "one row removed", nil
		}},
	}
	for i, step := range steps {
		outcome, err := step.do()
		if err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, step.title, err)
		}
		fmt.Fprintf(w, "%3d  %-30s %s\n", i+1, step.title, outcome)
	}
	return nil
}

// expire stores a session and moves it into yesterday.
func expire(ctx context.Context, pool *pgxpool.Pool, cache *sessioncache.Cache[sessioncache.User], user sessioncache.User) error {
	id := sid.New()
	if err := cache.Set(ctx, id.String(), user); err != nil {
		return err
	}
	_, err := pool.Exec(ctx, `
		UPDATE session_cache
		SET session_startutc = now() - interval '2 days', session_endutc = now() - interval '1 day'
		WHERE sessionid = $1`, id)
	return err
}

// refused is the outcome of a call that had to fail with a certain error.
func refused(err, want error) (string, error) {
	if !errors.Is(err, want) {
		return "", unexpected("no refusal", err)
	}
	return "refused: " + want.Error(), nil
}

// absent is the outcome of a Get that had to find nothing.
func absent(ctx context.Context, cache *sessioncache.Cache[sessioncache.User], id string) (string, error) {
	_, ok, err := cache.Get(ctx, id)
	if err != nil || ok {
		return "", unexpected(ok, err)
	}
	return "no session", nil
}

func unexpected(result any, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("got %v", result)
}
