package main

import (
	"context"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

// targets are all that a run measures.
type targets struct {
	stores     []target
	references []reference
}

// sessionSet is what all targets have stored before a run: one user, under many ids.
type sessionSet struct {
	ids  []sid.ID
	keys []string        // the ids as they arrive in a request
	user json.RawMessage // of the sessions stored before

	// users are those of new sessions: a thousand, so that the index of users is not
	// trivial.
	users []json.RawMessage
}

// newUser picks a user by a random number.
func (s sessionSet) newUser(i int) json.RawMessage {
	return s.users[i%len(s.users)]
}

// at picks a session by a random number.
func (s sessionSet) at(i int) string {
	return s.keys[i%len(s.keys)]
}

// newSessions makes ids that look random and that the servers can make too.
func newSessions(o options) sessionSet {
	s := sessionSet{user: newUser(o.payload, 0)}
	for n := range 1000 {
		s.users = append(s.users, newUser(o.payload, n))
	}
	for n := range o.sessions {
		id := sid.ID(md5.Sum([]byte(strconv.Itoa(n))))
		s.ids, s.keys = append(s.ids, id), append(s.keys, id.String())
	}
	return s
}

// newUser is the nth User as JSON, filled up to the payload asked for.
func newUser(payload, n int) json.RawMessage {
	userID := fmt.Sprintf("cnxuser:75e06194-baee-4395-8e1a-56%010d", n)
	user := sessiontest.User{
		UserID:   &userID,
		FullName: new("Ed Woodward"),
		Identifiers: []sessiontest.Identifier{{
			IdentifierString: "https://edwoodward.myopenid.com",
			UserID:           userID,
			IdentifierType:   "openid",
		}},
	}
	encode := func() json.RawMessage {
		data, err := json.Marshal(user)
		if err != nil {
			panic(err)
		}
		return data
	}
	if short := payload - len(encode()); short > 0 {
		user.Biography = new(strings.Repeat("x", short+len("null")-len(`""`)))
	}
	data := encode()
	if payload < len(data) { // smaller than a User is: only what everybody needs
		data = json.RawMessage(`{"user_id":"` + userID + `","fullname":"Ed Woodward","biography":"`)
		data = append(data, strings.Repeat("x", max(0, payload-len(data)-len(`"}`)))...)
		data = append(data, `"}`...)
	}
	return data
}

// cleanups are what is to be undone at the end, last first.
type cleanups []func() error

func (c *cleanups) add(clean func() error) {
	*c = append(*c, clean)
}

func (c cleanups) run() error {
	var errs []error
	for _, clean := range slices.Backward(c) {
		errs = append(errs, clean())
	}
	return errors.Join(errs...)
}

// openTargets starts the servers and fills them. The cleanups are to be run in any case.
func openTargets(ctx context.Context, o options) (all targets, clean cleanups, err error) {
	stored := newSessions(o)
	for _, open := range []func(context.Context, options, sessionSet) (targets, cleanups, error){
		openPostgreSQL, openRedis,
	} {
		some, undo, err := open(ctx, o, stored)
		clean = append(clean, undo...)
		if err != nil {
			return all, clean, fmt.Errorf("preparing: %w", err)
		}
		all.stores = append(all.stores, some.stores...)
		all.references = append(all.references, some.references...)
	}
	return all, clean, nil
}
