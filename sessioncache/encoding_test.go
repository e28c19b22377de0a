package sessioncache_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// TestRawIsStoredByteForByte checks what encoding/json would change on the way.
func TestRawIsStoredByteForByte(t *testing.T) {
	cache, _ := setup[raw](t)
	for _, dict := range []string{
		`{}`, `[]`, `0`, `""`, `false`,
		" {\t\"a\" :\r\n 1 } ",
		`{"b":1,"a":2,"b":3}`,
		`{"n":1.50e+2,"big":123456789012345678901234567890}`,
		`{"html":"<a href='x'>&</a>","é":"☃","escaped":"\u00e9\/"}`,
		`{"u2028":"` + "\u2028" + `","deleted":"` + "\x7f" + `","astral":"` + "\U0001F600" + `","pair":"\ud83d\ude00"}`,
	} {
		wantUser(t, cache, set(t, cache, raw(dict)), dict)
	}
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
	cache, pool := setup[sessioncache.User](t)
	id := set(t, cache, sessioncache.User{})
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
		"a user id of 100 kB":     map[string]any{"user_id": randomText(100_000)},
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
			var err error
			if r, ok := user.(raw); ok {
				err = sessioncache.New[raw](pool).Set(t.Context(), id, r)
			} else {
				err = cache.Set(t.Context(), id, user)
			}
			wantError(t, "Set", err, sessioncache.ErrInvalidUser)
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
	cache, _ := setup[raw](t)
	dict := `{"user_id":"u","a":"` + strings.Repeat("☃", 10<<20/3) + `"}`
	wantUser(t, cache, set(t, cache, raw(dict)), dict)
}

func TestStoredUserThatDoesNotDecode(t *testing.T) {
	cache, pool := setup[counter](t)
	rawCache := sessioncache.New[raw](pool)
	for _, dict := range []string{`"text"`, `[1]`, `{"n":"not a number"}`, `{"n":1e99}`} {
		id := set(t, rawCache, raw(dict))
		user, ok, err := cache.Get(t.Context(), id)
		if ok || user != (counter{}) {
			t.Errorf("Get of %s = %v, %v", dict, user, ok)
		}
		wantError(t, "Get of "+dict, err, sessioncache.ErrInvalidUser)
		ok, err = cache.Update(t.Context(), id, increment)
		if ok {
			t.Errorf("Update of %s succeeded", dict)
		}
		wantError(t, "Update of "+dict, err, sessioncache.ErrInvalidUser)
		wantUser(t, rawCache, id, dict)
	}

	// A null that some other program stored logs nobody in.
	id := set(t, cache, counter{})
	execute(t, pool, `UPDATE session_cache SET userdict = 'null' WHERE sessionid = $1`, id)
	if _, ok, err := cache.Get(t.Context(), id); ok || err == nil {
		t.Errorf("Get of null = %v, %v; want an error", ok, err)
	} else {
		wantError(t, "Get of null", err, sessioncache.ErrInvalidUser)
	}
}

func TestUserIDThatNoTextHolds(t *testing.T) {
	cache, _ := setup[raw](t)
	for _, userID := range []string{"\x00", "\xff"} {
		_, err := cache.UserSessions(t.Context(), userID)
		wantError(t, "UserSessions", err, sessioncache.ErrInvalidUser)
		_, err = cache.DeleteUser(context.Background(), userID)
		wantError(t, "DeleteUser", err, sessioncache.ErrInvalidUser)
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
