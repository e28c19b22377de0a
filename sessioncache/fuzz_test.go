package sessioncache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

// FuzzUser stores whatever it is given: what is accepted comes back byte for byte,
// what is not is an invalid user, and nothing else happens.
func FuzzUser(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` { "a" : 1e400 } `, `{"a":"\u0000"}`, `{"a":"\ud800"}`, `{"a":"\ud83d\ude00"}`, `null`, ` null `, `"null"`, ``, `[`,
		`{"user_id":null}`, `{"user_id":{"user_id":1}}`, `{"user_id":"a","user_id":"b"}`, "{\"a\":\"\x00\"}", "{\"\xff\":1}",
		`{"a":"</script>\u2028"}`, `-0`, `1E+5`, `[[[[[[[[[[]]]]]]]]]]`, `true`, `{"\u0000":1}`, "\ufeff{}",
	} {
		f.Add([]byte(seed))
	}
	cache := sessioncache.New[raw](sessiontest.NewPool(f))
	f.Fuzz(func(t *testing.T, user []byte) {
		id := sid.New().String()
		err := cache.Set(t.Context(), id, raw(user))
		got, ok, getErr := cache.Get(t.Context(), id)
		switch {
		case getErr != nil:
			t.Fatalf("Get after Set of %q = %v", user, getErr)
		case err == nil && (!ok || string(got) != string(user)):
			t.Errorf("Set of %q, and Get = %q, %v", user, got, ok)
		case err == nil && !json.Valid(user):
			t.Errorf("Set of %q, which is no JSON, succeeded", user)
		case err != nil && !errors.Is(err, sessioncache.ErrInvalidUser):
			t.Errorf("Set of %q = %v; want it stored or %v", user, err, sessioncache.ErrInvalidUser)
		case err != nil && ok:
			t.Errorf("Set of %q = %v, and Get = %q", user, err, got)
		}
		token, issueErr := cache.Issue(t.Context(), raw(user))
		if (issueErr == nil) != (err == nil) || token.IsZero() != (err != nil) {
			t.Errorf("Set of %q = %v, and Issue = %v", user, err, issueErr)
		}
		if issueErr == nil {
			wantOpens(t, cache, token, string(user))
		}
	})
}

// FuzzCalls makes any sequence of calls on a few sessions of both kinds, and
// compares each result with that of two maps.
func FuzzCalls(f *testing.F) {
	f.Add([]byte{0x00, 0x10, 0x00, 0x10, 0x20})
	f.Add([]byte{0x00, 0x31, 0x40, 0x11, 0x14, 0x44, 0x50, 0x60, 0x10})
	f.Add([]byte{0x00, 0x05, 0x0a, 0x45, 0x46, 0x49, 0x51, 0x10})
	f.Add([]byte{0x40, 0x50, 0x44, 0x50, 0x54, 0x58, 0x60, 0x50, 0x41, 0x45, 0x64, 0x51, 0x42, 0x70, 0x52})
	cache := sessioncache.New[raw](sessiontest.NewPool(f))
	f.Fuzz(func(t *testing.T, program []byte) {
		m := &model{cache: cache, owner: sid.New().String(), plain: map[string]string{}, issued: map[int]issuedSession{}}
		for i := range m.ids {
			m.ids[i] = sid.New().String()
		}
		for n, instruction := range program[:min(len(program), 200)] {
			if err := m.step(t.Context(), n, instruction); err != nil {
				t.Fatalf("%x, call %d: %v", program, n, err)
			}
		}
		if _, err := cache.DeleteUserSessions(context.WithoutCancel(t.Context()), m.owner); err != nil {
			t.Fatal(err)
		}
	})
}

// model is what a few sessions of one user should be.
type model struct {
	cache  *sessioncache.Cache[raw]
	owner  string
	ids    [4]string
	plain  map[string]string // the users of those that are live
	issued map[int]issuedSession
}

type issuedSession struct {
	token, superseded sid.Token
	user              string
}

// step makes one call, and returns an error if its result is not the model's. The
// low bits of the instruction say which session, the next two how, and then which
// call.
func (m *model) step(ctx context.Context, n int, instruction byte) error {
	which, how := int(instruction&3), instruction>>2&3
	id, user := m.ids[which], fmt.Sprintf(`{"user_id":%q,"n":%d}`, m.owner, n)
	was, is := m.plain[id]
	session, isIssued := m.issued[which]
	change := func(want string) func(u *raw) error {
		return func(u *raw) error {
			if string(*u) != want {
				return fmt.Errorf("the change sees %s; want %s", *u, want)
			}
			*u = raw(user)
			return nil
		}
	}
	var err, want error
	var ok, wantOK bool
	switch instruction >> 4 & 7 {
	case 0:
		if err = m.cache.Set(ctx, id, raw(user)); is {
			want = sessioncache.ErrConflict
			delete(m.plain, id)
		} else {
			m.plain[id] = user
		}
	case 1:
		var got raw
		got, ok, err = m.cache.Get(ctx, id)
		if wantOK = is; string(got) != was {
			return fmt.Errorf("Get = %s; want %s", got, was)
		}
	case 2:
		err = m.cache.Delete(ctx, id)
		delete(m.plain, id)
	case 3:
		ok, err = m.cache.Update(ctx, id, change(was))
		if wantOK = is; is {
			m.plain[id] = user
		}
	case 4:
		if !isIssued {
			session.user = user
			session.token, err = m.cache.Issue(ctx, raw(user))
			m.issued[which] = session
			break
		}
		var renewed sid.Token
		renewed, ok, err = m.cache.Renew(ctx, session.token)
		session.token, session.superseded, wantOK = renewed, session.token, true
		m.issued[which] = session
	case 5:
		token := session.token
		if how == 1 {
			token = session.superseded
		}
		switch {
		case token.IsZero():
			want = sessioncache.ErrMalformedID
		case how == 1:
			want = sessioncache.ErrSuperseded
		default:
			wantOK = true
		}
		if how == 2 {
			ok, err = m.cache.UpdateSession(ctx, token, change(session.user))
			if wantOK {
				session.user = user
				m.issued[which] = session
			}
			break
		}
		var got sessioncache.Session[raw]
		got, ok, err = m.cache.Authenticate(ctx, token)
		if wantOK && string(got.User) != session.user {
			return fmt.Errorf("Authenticate = %s; want %s", got.User, session.user)
		}
	case 6:
		token := session.token
		if how == 1 && !session.superseded.IsZero() {
			token = session.superseded
		}
		if how == 2 {
			ok, err = m.cache.DeleteSession(ctx, token.Handle())
			wantOK = isIssued
		} else if err = m.cache.Revoke(ctx, token); token.IsZero() {
			want = sessioncache.ErrMalformedID
		}
		delete(m.issued, which)
	case 7:
		if how != 0 {
			var list []sessioncache.Session[raw]
			list, err = m.cache.UserSessions(ctx, m.owner)
			if err == nil && len(list) != len(m.issued) {
				return fmt.Errorf("%d sessions; want %d", len(list), len(m.issued))
			}
			break
		}
		wantN := len(m.plain) + len(m.issued)
		clear(m.plain)
		clear(m.issued)
		var except []sid.Handle
		if isIssued {
			except = append(except, session.token.Handle())
			m.issued[which] = session
			wantN--
		}
		var deleted int64
		deleted, err = m.cache.DeleteUserSessions(ctx, m.owner, except...)
		if err == nil && deleted != int64(wantN) {
			return fmt.Errorf("%d sessions deleted; want %d", deleted, wantN)
		}
	}
	if !errors.Is(err, want) || ok != wantOK {
		return fmt.Errorf("%v, %w; want %v, %w", ok, err, wantOK, want)
	}
	return nil
}
