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

// accounts are the application's users, with their passwords.
type accounts struct {
	pool       *pgxpool.Pool
	iterations int // for the hash of a new password
}

// account is a user who can log in.
type account struct {
	id, email, name, hash string
}

type demoUser struct{ Email, Name, Password string }

// demo are the first accounts. The login page shows them.
var demo = []demoUser{
	{"ada@example.org", "Ada Lovelace", "first programmer 1843"},
	{"grace@example.org", "Grace Hopper", "first compiler 1952"},
}

// addDemoUsers creates the table and adds the demo users, unless they exist.
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
		// The lock makes a second server wait: two concurrent CREATE TABLE IF NOT EXISTS
		// can fail.
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

// errWrongPassword means that the email address or the password is wrong. It does not say
// which.
var errWrongPassword = errors.New("wrong email address or password")

// verify returns the account with this email address, if the password is right. For an
// unknown address it takes as long as for a wrong password.
//
// Your service must also limit the number of attempts.
func (a accounts) verify(ctx context.Context, email, password string) (account, error) {
	email = strings.ToLower(strings.TrimSpace(email))
	if !utf8.ValidString(email) || strings.ContainsRune(email, 0) { // PostgreSQL does not accept it
		email = ""
	}
	found := account{email: email}
	err := a.pool.QueryRow(ctx, "SELECT id, name, password FROM webapp_users WHERE email = $1", email).
		Scan(&found.id, &found.name, &found.hash)
	if errors.Is(err, pgx.ErrNoRows) {
		found.hash, err = unknownHash(a.iterations), nil
	}
	if err != nil {
		return account{}, unavailable(err)
	}
	if !isPassword(password, found.hash) {
		return account{}, errWrongPassword
	}
	return found, nil
}

// verifyID is verify for a user who has logged in.
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

// checkUnchanged returns an error if the account's password has been changed. It locks
// the account's row: nobody can change the password until tx ends.
func (v account) checkUnchanged(ctx context.Context, tx pgx.Tx) error {
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

// unavailable means that the database did not answer. It says nothing about the password.
func unavailable(err error) error {
	return fmt.Errorf("%w: %w", sessioncache.ErrUnavailable, err)
}
