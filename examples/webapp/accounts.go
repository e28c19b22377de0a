package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// accounts are the application's own users, with their passwords.
type accounts struct {
	pool       *pgxpool.Pool
	iterations int // of a new password's hash
}

// account is a user who can log in.
type account struct {
	id, name, hash string
}

type demoUser struct{ Email, Name, Password string }

// demo are the accounts at the start, which the login page shows.
var demo = []demoUser{
	{"ada@example.org", "Ada Lovelace", "first programmer 1843"},
	{"grace@example.org", "Grace Hopper", "first compiler 1952"},
}

// addDemoUsers makes the table, and leaves users who are there already alone.
func (a accounts) addDemoUsers(ctx context.Context) error {
	if err := a.createTable(ctx); err != nil {
		return err
	}
	for _, d := range demo {
		if err := a.add(ctx, "demo:"+d.Email, d.Email, d.Name, d.Password); err != nil {
			return err
		}
	}
	return nil
}

func (a accounts) createTable(ctx context.Context) error {
	return pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		// Of two servers that start at once, one waits: IF NOT EXISTS alone can fail.
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtext('webapp_users'))"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			CREATE TABLE IF NOT EXISTS webapp_users (
				id       text PRIMARY KEY,
				email    text NOT NULL UNIQUE, -- in lower case
				name     text NOT NULL,
				password text NOT NULL         -- its hash
			)`)
		return err
	})
}

func (a accounts) add(ctx context.Context, id, email, name, password string) error {
	hash, err := hashPassword(password, a.iterations)
	if err != nil {
		return err
	}
	_, err = a.pool.Exec(ctx, "INSERT INTO webapp_users (id, email, name, password) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
		id, email, name, hash)
	return err
}

// errWrongPassword says that the email address, the password or both are wrong. Which
// of them is nobody's business.
var errWrongPassword = errors.New("wrong email address or password")

// verify returns the account with an email address, if the password is its. It takes
// as long for an address that nobody has.
//
// A service of yours also limits how many attempts it takes.
func (a accounts) verify(ctx context.Context, email, password string) (account, error) {
	email = strings.ToLower(strings.TrimSpace(email))
	if !utf8.ValidString(email) || strings.ContainsRune(email, 0) { // PostgreSQL would refuse it
		email = ""
	}
	var found account
	err := a.pool.QueryRow(ctx, "SELECT id, name, password FROM webapp_users WHERE email = $1", email).
		Scan(&found.id, &found.name, &found.hash)
	if errors.Is(err, pgx.ErrNoRows) {
		found.hash, err = nobodysHash(a.iterations), nil
	}
	if err != nil {
		return account{}, unavailable(err)
	}
	if !isPassword(password, found.hash) {
		return account{}, errWrongPassword
	}
	return found, nil
}

// verifyID is verify for a user who is logged in.
func (a accounts) verifyID(ctx context.Context, id, password string) (account, error) {
	found := account{id: id}
	err := a.pool.QueryRow(ctx, "SELECT name, password FROM webapp_users WHERE id = $1", id).Scan(&found.name, &found.hash)
	switch {
	case err != nil && !errors.Is(err, pgx.ErrNoRows):
		return account{}, unavailable(err)
	case err != nil, !isPassword(password, found.hash):
		return account{}, errWrongPassword
	}
	return found, nil
}

// stillHas fails if the account's password is another one by now. Until tx ends nobody
// changes it.
func (v account) stillHas(ctx context.Context, tx pgx.Tx) error {
	var hash string
	err := tx.QueryRow(ctx, "SELECT password FROM webapp_users WHERE id = $1 FOR SHARE", v.id).Scan(&hash)
	switch {
	case err != nil && !errors.Is(err, pgx.ErrNoRows):
		return unavailable(err)
	case hash != v.hash:
		return errWrongPassword
	}
	return nil
}

// unavailable says that the database has not answered: it is nobody's wrong password.
func unavailable(err error) error {
	return fmt.Errorf("%w: %w", sessioncache.ErrUnavailable, err)
}
