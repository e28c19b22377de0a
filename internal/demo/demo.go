// Package demo runs sessions with tokens and plain sessions from login to purge, and
// prints each step. It is the code of examples/lifecycle.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	_ "github.com/rhaptos/sessiondb/sessioncache/sessiontest/docker"
	"github.com/rhaptos/sessiondb/sid"
)

// Run runs the steps on a throwaway PostgreSQL, and prints them to w. It stops with an
// error at the first step whose outcome is not as expected.
func Run(ctx context.Context, w io.Writer) error {
	return sessiontest.Use(ctx, func(server *sessiontest.Server, database *sessiontest.Database) error {
		pool, err := pgxpool.New(ctx, database.URL)
		if err != nil {
			return err
		}
		defer pool.Close()
		fmt.Fprintf(w, "On %s\n", server)
		return run(ctx, w, pool)
	})
}

// step is a line of the output: what is done, and its outcome.
type step struct {
	title string
	do    func() (outcome string, err error)
}

type cache = sessioncache.Cache[sessiontest.User]

func run(ctx context.Context, w io.Writer, pool *pgxpool.Pool) error {
	sessions := sessioncache.New[sessiontest.User](pool)
	expiring := sessioncache.New[sessiontest.User](pool, sessioncache.WithLifetime(time.Microsecond))
	users := sessiontest.Users()
	n := 0
	for _, part := range []struct {
		title string
		steps []step
	}{
		{"A login with a token: its handle gives no access", tokenSteps(ctx, sessions, users[2])},
		{"A plain session: its id is its key", plainSteps(ctx, sessions, expiring, users[0])},
		{"Maintenance", purgeSteps(ctx, sessions)},
	} {
		fmt.Fprintf(w, "\n%s\n", part.title)
		for _, step := range part.steps {
			n++
			outcome, err := step.do()
			if err != nil {
				return fmt.Errorf("step %d, %s: %w", n, step.title, err)
			}
			fmt.Fprintf(w, "%4d  %-30s %s\n", n, step.title, outcome)
		}
	}
	return nil
}

func tokenSteps(ctx context.Context, sessions *cache, user sessiontest.User) []step {
	var token, superseded sid.Token
	return []step{
		{"Issue a token", func() (_ string, err error) {
			token, err = sessions.Issue(ctx, user)
			return "handle " + token.Handle().String()[:8] + "…", err
		}},
		{"Authenticate with it", func() (string, error) {
			return opens(ctx, sessions, token)
		}},
		{"Get with the handle for an id", func() (string, error) {
			return absent(ctx, sessions, token.Handle().String())
		}},
		{"Renew the token", func() (string, error) {
			renewed, ok, err := sessions.Renew(ctx, token)
			if err != nil || !ok || renewed.Handle() != token.Handle() {
				return "", unexpected(ok, err)
			}
			token, superseded = renewed, token
			return "a new secret, the same handle", nil
		}},
		{"Authenticate with the old one", func() (string, error) {
			_, _, err := sessions.Authenticate(ctx, superseded)
			return refused(err, sessioncache.ErrSuperseded)
		}},
		{"Renew it, Reauthenticated", func() (string, error) {
			before, err := authenticate(ctx, sessions, token)
			if err != nil {
				return "", err
			}
			renewed, ok, err := sessions.Renew(ctx, token, sessioncache.Reauthenticated())
			if err != nil || !ok {
				return "", unexpected(ok, err)
			}
			token = renewed
			after, err := authenticate(ctx, sessions, token)
			if err != nil || !after.AuthenticatedAt.After(before.AuthenticatedAt) || !after.ExpiresAt.After(before.ExpiresAt) {
				return "", unexpected("a session as old as before", err)
			}
			return "its lifetime starts again", nil
		}},
		{"Log in on two more devices", func() (string, error) {
			for range 2 {
				if _, err := sessions.Issue(ctx, user); err != nil {
					return "", err
				}
			}
			return "two sessions more", nil
		}},
		{"List the user's sessions", func() (string, error) {
			list, err := sessions.UserSessions(ctx, *user.UserID)
			if err != nil || len(list) != 3 {
				return "", unexpected(len(list), err)
			}
			return "three, each with its handle", nil
		}},
		{"Log out on the other devices", func() (string, error) {
			n, err := sessions.DeleteUserSessions(ctx, *user.UserID, token.Handle())
			if err != nil || n != 2 {
				return "", unexpected(n, err)
			}
			return "two sessions ended", nil
		}},
		{"Authenticate here", func() (string, error) {
			return opens(ctx, sessions, token)
		}},
		{"Revoke the token", func() (string, error) {
			return "logged out", sessions.Revoke(ctx, token)
		}},
		{"Authenticate with it", func() (string, error) {
			_, ok, err := sessions.Authenticate(ctx, token)
			if err != nil || ok {
				return "", unexpected(ok, err)
			}
			return "no session", nil
		}},
	}
}

func plainSteps(ctx context.Context, sessions, expiring *cache, user sessiontest.User) []step {
	first, second, third := sid.New().String(), sid.New().String(), sid.New().String()
	return []step{
		{`Set under the id "Dr. Evil"`, func() (string, error) {
			err := sessions.Set(ctx, "Dr. Evil", user)
			return refused(err, sessioncache.ErrMalformedID)
		}},
		{"Set under a random id", func() (string, error) {
			return "stored for " + sessions.Lifetime().String(), sessions.Set(ctx, first, user)
		}},
		{"Get it", func() (string, error) {
			return found(ctx, sessions, first, *user.FullName)
		}},
		{"Update its user's name", func() (string, error) {
			const name = "Paul B."
			ok, err := sessions.Update(ctx, first, func(user *sessiontest.User) error {
				user.FullName = new(name)
				return nil
			})
			if err != nil || !ok {
				return "", unexpected(ok, err)
			}
			return found(ctx, sessions, first, name)
		}},
		{"Set the same id again", func() (string, error) {
			err := sessions.Set(ctx, first, user)
			return refused(err, sessioncache.ErrConflict)
		}},
		{"Get it", func() (string, error) {
			return absent(ctx, sessions, first)
		}},
		{"Set under a second id", func() (string, error) {
			return "stored", sessions.Set(ctx, second, user)
		}},
		{"Delete it", func() (string, error) {
			return "logged out", sessions.Delete(ctx, second)
		}},
		{"Get it", func() (string, error) {
			return absent(ctx, sessions, second)
		}},
		{"Set for a microsecond", func() (string, error) {
			return "stored", expiring.Set(ctx, third, user)
		}},
		{"Get it", func() (string, error) {
			return absent(ctx, sessions, third)
		}},
	}
}

func purgeSteps(ctx context.Context, sessions *cache) []step {
	return []step{
		{"Purge what has expired", func() (string, error) {
			n, err := sessions.Purge(ctx)
			if err != nil || n != 1 {
				return "", unexpected(n, err)
			}
			return "one row removed", nil
		}},
	}
}

// refused returns the outcome of a call that must fail with the error want.
func refused(err, want error) (string, error) {
	if !errors.Is(err, want) {
		return "", unexpected("no refusal", err)
	}
	return "refused: " + want.Error(), nil
}

// found returns the outcome of a Get that must find a user of this name.
func found(ctx context.Context, sessions *cache, id, name string) (string, error) {
	user, ok, err := sessions.Get(ctx, id)
	if err != nil || !ok || *user.FullName != name {
		return "", unexpected(ok, err)
	}
	return "it is " + name, nil
}

// absent returns the outcome of a Get that must find nothing.
func absent(ctx context.Context, sessions *cache, id string) (string, error) {
	_, ok, err := sessions.Get(ctx, id)
	if err != nil || ok {
		return "", unexpected(ok, err)
	}
	return "no session", nil
}

// opens returns the outcome of an Authenticate that must find a session.
func opens(ctx context.Context, sessions *cache, token sid.Token) (string, error) {
	session, err := authenticate(ctx, sessions, token)
	if err != nil {
		return "", err
	}
	return "it is " + *session.User.FullName, nil
}

func authenticate(ctx context.Context, sessions *cache, token sid.Token) (sessioncache.Session[sessiontest.User], error) {
	session, ok, err := sessions.Authenticate(ctx, token)
	if err == nil && !ok {
		err = unexpected(ok, nil)
	}
	return session, err
}

func unexpected(result any, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("got %v", result)
}
