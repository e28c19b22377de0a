package systemtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

const (
	users = 4 // few enough that clients meet at one session

	// keptAfter is how long after a renewal the store may take the token for one that
	// somebody has kept: ten seconds by the database's clock, a little less by ours.
	keptAfter = 9 * time.Second
)

// TestTokensLinearizable checks sessions with tokens.
func TestTokensLinearizable(t *testing.T) {
	t.Parallel()
	underEachFault(t, tokenModel, tokenSessions(func(pool *pgxpool.Pool) tokenStore {
		return sessioncache.New[json.RawMessage](pool)
	}))
}

type session = sessioncache.Session[json.RawMessage]

// tokenStore is what the clients call: a Cache, or one with a bug.
type tokenStore interface {
	Issue(ctx context.Context, user json.RawMessage, options ...sessioncache.SessionOption) (sid.Token, error)
	Authenticate(ctx context.Context, token sid.Token) (session, bool, error)
	UpdateSession(ctx context.Context, token sid.Token, change func(user *json.RawMessage) error, options ...sessioncache.UpdateOption) (bool, error)
	Renew(ctx context.Context, token sid.Token, options ...sessioncache.RenewOption) (sid.Token, bool, error)
	Revoke(ctx context.Context, tokens ...sid.Token) error
	RevokeAll(ctx context.Context, token sid.Token) (int64, bool, error)
	RevokeOthers(ctx context.Context, token sid.Token) (int64, bool, error)
	RevokeSession(ctx context.Context, token sid.Token, handle sid.Handle) (was, ok bool, err error)
	DeleteSession(ctx context.Context, handle sid.Handle) (bool, error)
	DeleteUserSessions(ctx context.Context, userID string, except ...sid.Handle) (int64, error)
}

// tokens is the workload of sessions with tokens.
type tokens struct {
	*history
	stores  [servers]tokenStore
	users   [users]user
	private string       // the user of sessions that nobody else knows
	numbers atomic.Int64 // of secrets and values
}

// user is what the clients know of a user's sessions: each token is known to all.
type user struct {
	id string

	mu       sync.Mutex
	tokens   []published           // all
	inUse    []published           // but those that opened nothing when they were last shown
	sessions int                   // how many have been issued, perhaps
	sweeps   int                   // calls of DeleteUserSessions
	renewed  map[int]time.Duration // when a Renew of a secret first began
}

// published is a token and its numbers in the model.
type published struct {
	sid.Token
	session, secret, number int
}

func tokenSessions(newStore func(pool *pgxpool.Pool) tokenStore) func(pools [servers]*pgxpool.Pool) workload {
	return func(pools [servers]*pgxpool.Pool) workload {
		w := &tokens{
			history: &history{start: time.Now()},
			private: sid.New().String(),
		}
		for i, pool := range pools {
			w.stores[i] = newStore(pool)
		}
		for i := range w.users {
			w.users[i].id, w.users[i].renewed = sid.New().String(), map[int]time.Duration{}
		}
		return w
	}
}

func (w *tokens) number() int {
	return int(w.numbers.Add(1))
}

// mix has each kind of call as often as clients choose it.
var mix = slices.Concat(
	slices.Repeat([]kind{kindAuthenticate, kindRenew}, 10),
	slices.Repeat([]kind{kindUpdateToken}, 8),
	slices.Repeat([]kind{kindIssue}, 3),
	[]kind{kindRevoke, kindDeleteHandle, kindDeleteAll, kindRevokeOthers, kindRevokeAll, kindRevokeSession},
)

func (w *tokens) step(ctx context.Context, client int, readOnly bool) error {
	in, token := w.choose(rand.IntN(users), mix[rand.IntN(len(mix))], readOnly)
	if in.kind == "" {
		return w.ping(ctx, client%servers)
	}
	return w.call(ctx, client, in, token)
}

// choose fits a call to what there is to call it with. Its kind is empty when there
// is nothing.
func (w *tokens) choose(number int, kind kind, readOnly bool) (in tokenInput, token published) {
	u := &w.users[number]
	u.mu.Lock()
	defer u.mu.Unlock()
	in = tokenInput{kind: kind, user: number, except: nobodys}
	if kind == kindIssue || len(u.inUse) == 0 {
		if readOnly || u.sessions == maxSessions {
			in.kind = ""
			return in, token
		}
		in.kind, in.session, in.made, in.value = kindIssue, u.sessions, w.number(), w.number()
		u.sessions++
		return in, token
	}
	// One of the newest, perhaps superseded.
	token = u.inUse[len(u.inUse)-1-rand.IntN(min(len(u.inUse), 5))]
	in.session, in.secret, in.number = token.session, token.secret, token.number
	if readOnly || sweeps(kind) && u.sweeps == maxSweeps {
		in.kind = kindAuthenticate
	}
	switch in.kind {
	case kindUpdateToken:
		in.value = w.number()
	case kindRenew:
		in.made = w.number()
		if _, again := u.renewed[in.secret]; !again {
			u.renewed[in.secret] = time.Since(w.start)
		}
	case kindDeleteAll, kindRevokeAll, kindRevokeOthers:
		in.sweep = u.sweeps
		u.sweeps++
		if in.kind == kindRevokeOthers || in.kind == kindDeleteAll && rand.IntN(2) == 0 {
			in.except = token.session
		}
	case kindRevokeSession:
		in.target = u.tokens[rand.IntN(len(u.tokens))].session
	}
	return in, token
}

// sweeps reports whether a call ends several sessions of a user.
func sweeps(kind kind) bool {
	return kind == kindDeleteAll || kind == kindRevokeAll || kind == kindRevokeOthers
}

// call makes a call and notes it. What it makes of tokens is known to all from then
// on.
func (w *tokens) call(ctx context.Context, client int, in tokenInput, token published) error {
	store, u := w.stores[client%servers], &w.users[in.user]
	var made sid.Token
	var out tokenOutput
	began, ended, err := w.timed(ctx, in.kind, func(ctx context.Context) (err error) {
		var ok bool
		switch in.kind {
		case kindIssue:
			made, err = store.Issue(ctx, toUser(u.id, in.value))
			return err
		case kindAuthenticate:
			var found session
			if found, ok, err = store.Authenticate(ctx, token.Token); ok {
				out.value = fromUser(u.id, found.User)
			}
		case kindUpdateToken:
			ok, err = store.UpdateSession(ctx, token.Token, func(user *json.RawMessage) error {
				out.value, *user = fromUser(u.id, *user), toUser(u.id, in.value)
				return nil
			})
		case kindRenew:
			made, ok, err = store.Renew(ctx, token.Token)
		case kindRevoke:
			return store.Revoke(ctx, token.Token)
		case kindDeleteHandle:
			if ok, err = store.DeleteSession(ctx, token.Handle()); ok {
				out.deleted = 1
			}
			return err
		case kindDeleteAll:
			var except []sid.Handle
			if in.except != nobodys {
				except = append(except, token.Handle())
			}
			out.deleted, err = store.DeleteUserSessions(ctx, u.id, except...)
			return err
		case kindRevokeAll:
			out.deleted, ok, err = store.RevokeAll(ctx, token.Token)
		case kindRevokeOthers:
			out.deleted, ok, err = store.RevokeOthers(ctx, token.Token)
		case kindRevokeSession:
			var was bool
			if was, ok, err = store.RevokeSession(ctx, token.Token, u.handle(in.target)); was {
				out.deleted = 1
			}
		}
		switch {
		case errors.Is(err, sessioncache.ErrSuperseded):
			out.verdict, err = supersededToken, nil
		case ok:
			out.verdict = liveToken
		default:
			out.verdict = unknownToken
		}
		if !ok { // the change of an UpdateSession was called, but another change came first
			out.value = 0
		}
		return err
	})
	if isUnknown(err) {
		out, ended = tokenOutput{unknown: true}, never
	} else if err != nil {
		return err
	}
	w.noteToken(client, in, out, began, ended)
	if !made.IsZero() {
		number := 0
		if in.kind == kindRenew {
			number = token.number + 1
		}
		u.publish(published{made, in.session, in.made, number})
	}
	if out.verdict == unknownToken {
		u.forget(token)
	}
	return err
}

// noteToken notes a call, and what else it may have done.
func (w *tokens) noteToken(client int, in tokenInput, out tokenOutput, began, ended time.Duration) {
	beside := in
	beside.kind = ""
	switch in.kind {
	case kindDeleteAll:
		beside.kind, in.secret, beside.secret = kindFindAll, 0, 0
	case kindRevokeAll, kindRevokeOthers:
		if out.verdict == liveToken || out.unknown {
			beside.kind, in.kind, out.verdict = kindFindAll, kindDeleteAll, ""
		} else {
			in.kind = kindAsk
		}
	case kindRevokeSession:
		if out.verdict != liveToken && !out.unknown {
			in.kind = kindAsk
		}
	}
	switch in.kind {
	case kindAuthenticate, kindUpdateToken, kindRenew, kindAsk, kindRevokeSession:
		in.late = w.users[in.user].late(in.secret, time.Since(w.start))
		if out.unknown || out.verdict == unknownToken { // perhaps because somebody has kept it
			beside.kind, beside.late = kindSteal, in.late
		}
	}
	if beside.kind != "" {
		w.note(client+clients, beside, tokenOutput{unknown: out.unknown}, began, ended)
	}
	if out.unknown && in.kind == kindAuthenticate { // which says nothing, and changes nothing
		return
	}
	if out.unknown {
		w.unknown[client]++
	}
	w.note(client, in, out, began, ended)
}

// late reports whether a token may by now be one that somebody has kept.
func (u *user) late(secret int, now time.Duration) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	began, renewed := u.renewed[secret]
	return renewed && now-began > keptAfter
}

func (u *user) publish(token published) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.tokens = append(u.tokens, token)
	u.inUse = append(u.inUse, token)
}

// handle is that of a session that a token is known of.
func (u *user) handle(session int) (handle sid.Handle) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, token := range u.tokens {
		if token.session == session {
			handle = token.Handle()
		}
	}
	return handle
}

func (u *user) forget(token published) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.inUse = slices.DeleteFunc(u.inUse, func(p published) bool { return p.secret == token.secret })
}

// A user as JSON has a number in it, by which its reader knows who has written it.

func toUser(id string, value int) json.RawMessage {
	return fmt.Appendf(nil, `{"user_id":"%s","value":%d}`, id, value)
}

// fromUser returns the number of a user, or one that nobody has written if it is
// another user.
func fromUser(id string, user json.RawMessage) int {
	var value int
	if _, err := fmt.Sscanf(string(user), `{"user_id":"`+id+`","value":%d}`, &value); err != nil {
		return -1
	}
	return value
}

// keep renews the session in between, or not.
func (w *tokens) keep(ctx context.Context, client int, end bool) error {
	store, value := w.stores[client%servers], w.number()
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	first, err := store.Issue(ctx, toUser(w.private, value))
	if err != nil {
		return err
	}
	token := first
	if rand.IntN(2) == 0 {
		var ok bool
		if token, ok, err = store.Renew(ctx, first); err != nil {
			return err
		} else if !ok {
			return errors.New("a session that was just issued is not renewed")
		}
	}
	if end {
		if err := store.Revoke(ctx, first); err != nil { // superseded, perhaps
			return err
		}
	}
	w.acknowledge(func(ctx context.Context) bool {
		found, ok, err := store.Authenticate(ctx, token)
		return err == nil && ok != end && (end || fromUser(w.private, found.User) == value)
	})
	return nil
}

func (w *tokens) ping(ctx context.Context, server int) error {
	_, _, err := w.stores[server].Authenticate(ctx, sid.NewToken())
	return err
}

func (w *tokens) settle(ctx context.Context) error {
	for number := range w.users {
		for i, token := range w.users[number].tokens {
			in := tokenInput{kind: kindAuthenticate, user: number, session: token.session, secret: token.secret, number: token.number, except: nobodys}
			if err := w.call(ctx, i%clients, in, token); err != nil {
				return err
			}
		}
	}
	return nil
}
