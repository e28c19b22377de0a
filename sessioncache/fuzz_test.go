package sessioncache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
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
	})
}

// FuzzCalls makes any sequence of calls on a few ids, and compares each answer
// with that of a map.
func FuzzCalls(f *testing.F) {
	f.Add([]byte{0x00, 0x10, 0x00, 0x10, 0x20})
	f.Add([]byte{0x00, 0x31, 0x40, 0x11, 0x14, 0x44, 0x50, 0x60, 0x10})
	f.Add([]byte{0x00, 0x05, 0x0a, 0x45, 0x46, 0x49, 0x51, 0x10})
	cache := sessioncache.New[raw](sessiontest.NewPool(f))
	f.Fuzz(func(t *testing.T, program []byte) {
		program = program[:min(len(program), 200)]
		ctx := t.Context()
		var ids [4]string
		for i := range ids {
			ids[i] = sid.New().String()
		}
		owner := sid.New().String()
		live := map[string]string{}
		for n, instruction := range program {
			id, other := ids[instruction&3], ids[instruction>>2&3]
			user := fmt.Sprintf(`{"user_id":%q,"n":%d}`, owner, n)
			was, is := live[id]
			var err, want error
			var ok, wantOK bool
			switch instruction >> 4 & 7 {
			case 0:
				if err = cache.Set(ctx, id, raw(user)); is {
					want = sessioncache.ErrConflict
					delete(live, id)
				} else {
					live[id] = user
				}
			case 1, 7:
				var got raw
				got, ok, err = cache.Get(ctx, id)
				if wantOK = is; string(got) != was {
					t.Fatalf("%x, call %d: Get = %s; want %s", program, n, got, was)
				}
			case 2:
				err = cache.Delete(ctx, id)
				delete(live, id)
			case 3:
				ok, err = cache.Update(ctx, id, func(u *raw) error {
					if string(*u) != was {
						t.Fatalf("%x, call %d: Update sees %s; want %s", program, n, *u, was)
					}
					*u = raw(user)
					return nil
				})
				if wantOK = is; is {
					live[id] = user
				}
			case 4:
				ok, err = cache.Rotate(ctx, id, other)
				_, taken := live[other]
				delete(live, id)
				switch {
				case taken:
					want = sessioncache.ErrConflict
					delete(live, other)
				case is:
					wantOK = true
					live[other] = was
				}
			case 5:
				_, kept := live[other]
				_, err = cache.DeleteUser(ctx, owner, other)
				for id := range live {
					if id != other || !kept {
						delete(live, id)
					}
				}
			case 6:
				var list []sessioncache.Session
				list, err = cache.UserSessions(ctx, owner)
				if err == nil && len(list) != len(live) {
					t.Fatalf("%x, call %d: %d sessions; want %d", program, n, len(list), len(live))
				}
			}
			if !errors.Is(err, want) || ok != wantOK {
				t.Fatalf("%x, call %d: %v, %v; want %v, %v", program, n, ok, err, wantOK, want)
			}
		}
		if _, err := cache.DeleteUser(context.WithoutCancel(ctx), owner); err != nil {
			t.Fatal(err)
		}
	})
}
