package sessioncache_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// TestRawIsStoredByteForByte checks what encoding/json would change on the way.
func TestRawIsStoredByteForByte(t *testing.T) {
	cache, _ := setup[raw](t)
	for _, dict := range []string{
		`{}`, `[]`, `0`, `""`, `false`,
		" {\t\"a\" :\r\n 1 } ",
		`{"b":1,"a":2,"b":3}`,
		`{"n":1.50e+2,"big":123456789012345678901234567890}`,
		`{"html":"<a href='x'>&</a>","é":"ß","escaped":"\u00e9\/","deleted":"` + "\x7f" + `"}`,
	} {
		wantUser(t, cache, set(t, cache, raw(dict)), dict)
	}
}

// TestUnicodeIsStoredByteForByte does the same with characters that only a database in
// UTF-8 can hold.
func TestUnicodeIsStoredByteForByte(t *testing.T) {
	cache, _ := setup[raw](t)
	dict := `{"snowman":"☃","u2028":"` + "\u2028" + `","astral":"` + "\U0001F600" + `","pair":"\ud83d\ude00"}`
	wantUser(t, cache, set(t, cache, raw(dict)), dict)
}

func TestEncodedTypes(t *testing.T) {
	t.Parallel()
	t.Run("map", func(t *testing.T) {
		cache, _ := setup[map[string]any](t)
		id := set(t, cache, map[string]any{"user_id": "u", "admin": true, "<": "&"})
		got, ok, err := cache.Get(t.Context(), id)
		if err != nil || !ok || len(got) != 3 || got["user_id"] != "u" || got["admin"] != true || got["<"] != "&" {
			t.Errorf("Get = %v, %v, %v", got, ok, err)
		}
	})
	t.Run("pointer", func(t *testing.T) {
		cache, _ := setup[*counter](t)
		id := set(t, cache, &counter{N: 7})
		got, ok, err := cache.Get(t.Context(), id)
		if err != nil || !ok || got.N != 7 {
			t.Errorf("Get = %v, %v, %v", got, ok, err)
		}
	})
	t.Run("slice", func(t *testing.T) {
		cache, _ := setup[[]string](t)
		id := set(t, cache, []string{"a", ""})
		got, ok, err := cache.Get(t.Context(), id)
		if err != nil || !ok || len(got) != 2 || got[0] != "a" {
			t.Errorf("Get = %v, %v, %v", got, ok, err)
		}
	})
}

func TestUserIsTheSeedsDict(t *testing.T) {
	cache, pool := setup[sessiontest.User](t)
	id := set(t, cache, sessiontest.User{})
	fields, ok, err := sessioncache.New[map[string]any](pool).Get(t.Context(), id)
	if err != nil || !ok || len(fields) != 20 {
		t.Fatalf("Get = %v, %v, %v; want 20 fields", fields, ok, err)
	}
	for name, value := range fields {
		if value != nil {
			t.Errorf("%s = %v; want null where unset", name, value)
		}
	}
}

type node struct {
	Next *node `json:"next"`
}

func TestInvalidUsers(t *testing.T) {
	t.Parallel()
	cycle := &node{}
	cycle.Next = cycle
	for name, user := range map[string]any{
		"channel":                 make(chan int),
		"function":                func() {},
		"NaN":                     math.NaN(),
		"infinity":                map[string]any{"x": math.Inf(1)},
		"cycle":                   cycle,
		"null":                    nil,
		"nil pointer":             (*node)(nil),
		"nil map":                 map[string]any(nil),
		"NUL in a value":          map[string]any{"a": "b\x00c"},
		"NUL in a key":            map[string]any{"a\x00": "b"},
		"NUL in the user id":      map[string]any{"user_id": "\x00"},
		"a user id of 50 kB":      map[string]any{"user_id": randomText(50_000)},
		"raw: empty":              raw(""),
		"raw: nil":                raw(nil),
		"raw: null":               raw(" \n null\t"),
		"raw: two values":         raw(`{} {}`),
		"raw: unclosed":           raw(`{"a":`),
		"raw: single quotes":      raw(`{'a':1}`),
		"raw: invalid UTF-8":      raw("{\"a\":\"\xff\"}"),
		"raw: NUL":                raw("{\"a\":\"\x00\"}"),
		"raw: escaped NUL":        raw(`{"a":"\u0000"}`),
		"raw: lone surrogate":     raw(`{"a":"\ud800"}`),
		"raw: escaped NUL in key": raw(`{"\u0000":1}`),
		"raw: 20,000 arrays deep": raw(strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)),
	} {
		t.Run(name, func(t *testing.T) {
			cache, pool := setup[any](t)
			id := newID()
			var err, issueErr error
			if r, ok := user.(raw); ok {
				err = sessioncache.New[raw](pool).Set(t.Context(), id, r)
				_, issueErr = sessioncache.New[raw](pool).Issue(t.Context(), r)
			} else {
				err = cache.Set(t.Context(), id, user)
				_, issueErr = cache.Issue(t.Context(), user)
			}
			wantError(t, "Set", err, sessioncache.ErrInvalidUser)
			wantError(t, "Issue", issueErr, sessioncache.ErrInvalidUser)
			if err != nil && strings.Contains(err.Error(), id) {
				t.Errorf("the error shows the id: %v", err)
			}
			wantNone(t, cache, id)
			if err := cache.Set(t.Context(), id, map[string]any{}); err != nil {
				t.Errorf("Set of the same id after one that was refused: %v", err)
			}
		})
	}
}

// randomText does not compress, so that it is as large on disk as it looks.
func randomText(n int) string {
	random := rand.NewChaCha8([32]byte{})
	text := make([]byte, n/2)
	_, _ = random.Read(text)
	return hex.EncodeToString(text)
}

func TestHugeUser(t *testing.T) {
	cache, _ := setup[raw](t, sessioncache.WithMaxUserBytes(11<<20))
	dict := `{"user_id":"u","a":"` + strings.Repeat("é", 5<<20) + `"}`
	wantUser(t, cache, set(t, cache, raw(dict)), dict)
}

func TestStoredUserThatDoesNotDecode(t *testing.T) {
	cache, pool := setup[counter](t)
	rawCache := sessioncache.New[raw](pool)
	wantUnreadable := func(call string, ok bool, err error) {
		t.Helper()
		wantError(t, call, err, sessioncache.ErrUnreadableSession)
		if ok || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s = %v, %v; want no session, and none of it in the error", call, ok, err)
		}
	}
	for _, dict := range []string{`"secret"`, `["secret"]`, `{"n":"secret"}`, `{"n":1e99}`} {
		id, token := set(t, rawCache, raw(dict)), issue(t, rawCache, raw(dict))
		user, ok, err := cache.Get(t.Context(), id)
		wantUnreadable("Get of "+dict, ok, err)
		if user != (counter{}) {
			t.Errorf("Get of %s = %v", dict, user)
		}
		ok, err = cache.Update(t.Context(), id, increment)
		wantUnreadable("Update of "+dict, ok, err)
		session, ok, err := cache.Authenticate(t.Context(), token)
		wantUnreadable("Authenticate of "+dict, ok, err)
		if session.User != (counter{}) {
			t.Errorf("Authenticate of %s = %v", dict, session.User)
		}
		ok, err = cache.UpdateSession(t.Context(), token, increment)
		wantUnreadable("UpdateSession of "+dict, ok, err)
		wantUser(t, rawCache, id, dict)
		wantOpens(t, rawCache, token, dict)
	}

	// A null that some other program stored logs nobody in.
	id := set(t, cache, counter{})
	execute(t, pool, `UPDATE session_cache SET userdict = 'null' WHERE sessionid = $1`, id)
	_, ok, err := cache.Get(t.Context(), id)
	wantUnreadable("Get of null", ok, err)
}

// TestDecoderThatTellsWhatItRead: the error of a codec may repeat its input, and the
// cache's error must not.
func TestDecoderThatTellsWhatItRead(t *testing.T) {
	cache, _ := setup[counter](t, sessioncache.WithCodec(json.Marshal, func(data []byte, _ any) error {
		return fmt.Errorf("cannot read %s", data)
	}))
	_, _, err := cache.Get(t.Context(), set(t, cache, counter{N: 4711}))
	wantError(t, "Get", err, sessioncache.ErrUnreadableSession)
	if err != nil && strings.Contains(err.Error(), "4711") {
		t.Errorf("the error shows the user: %v", err)
	}
}

func TestUserIDThatNoTextHolds(t *testing.T) {
	cache, pool := setup[raw](t)
	pool.Close() // no such id reaches the database
	for name, userID := range map[string]string{
		"empty": "", "NUL": "\x00", "a NUL at its end": "u\x00", "invalid UTF-8": "\xff", "half a rune": "é"[:1],
	} {
		for call, do := range userCalls(cache) {
			wantError(t, call+" of a user id that is "+name, do(t.Context(), userID), sessioncache.ErrInvalidUser)
		}
	}
}

// TestUserWithoutIDHasNoLimit: a limit of sessions is a user's.
func TestUserWithoutIDHasNoLimit(t *testing.T) {
	cache, _ := setup[raw](t)
	for _, user := range []string{`{}`, `{"user_id":null}`, `{"user_id":""}`, `["user_id"]`} {
		_, err := cache.Issue(t.Context(), raw(user), sessioncache.MaxSessions(1))
		wantError(t, "Issue with a limit for "+user, err, sessioncache.ErrInvalidUser)
	}
}

func TestCodec(t *testing.T) {
	var marshalled, unmarshalled atomic.Int32
	cache, pool := setup[counter](t, sessioncache.WithCodec(
		func(v any) ([]byte, error) {
			marshalled.Add(1)
			data, err := json.Marshal(v)
			return append(data, ' '), err
		},
		func(data []byte, v any) error {
			unmarshalled.Add(1)
			return json.Unmarshal(data, v)
		},
	))
	id := set(t, cache, counter{N: 7})
	got, ok, err := cache.Get(t.Context(), id)
	if err != nil || !ok || got.N != 7 || marshalled.Load() != 1 || unmarshalled.Load() != 1 {
		t.Errorf("Get = %v, %v, %v, after %d and %d calls of the codec", got, ok, err, marshalled.Load(), unmarshalled.Load())
	}
	wantUser(t, sessioncache.New[raw](pool), id, `{"n":7} `)
}
