package sessioncache_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// What the table holds instead of an id. No id has a NUL in it.
const (
	none    = "\x00 none"    // NULL
	refused = "\x00 refused" // no row: ErrInvalidUser
)

type userIDCase struct{ user, want string }

// userIDCases are the cases of testdata/user_id.tsv, and more about how JSON is read.
func userIDCases(tb testing.TB) []userIDCase {
	tb.Helper()
	text, err := os.ReadFile("testdata/user_id.tsv")
	if err != nil {
		tb.Fatal(err)
	}
	var cases []userIDCase
	for line := range strings.Lines(string(text)) {
		user, want, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			tb.Fatalf("user_id.tsv: %q has no tab", line)
		}
		switch want {
		case "none":
			want = none
		case "refused":
			want = refused
		}
		if !strings.HasPrefix(user, "#") {
			cases = append(cases, userIDCase{user, want})
		}
	}
	if len(cases) < 31 {
		tb.Fatalf("user_id.tsv has %d cases; want 31 at least", len(cases))
	}
	return append(cases, []userIDCase{
		{"\t{\r\n\"user_id\" \t:\n 1 \r} ", "1"},
		{"{ \"a\" : null ,\n\"user_id\" : \"u\" , \"b\" : [ ] }", "u"},
		{`{"user_id":0}`, "0"},
		{`{"user_id":""}`, ""},
		{`{"user_id":"none"}`, "none"},
		{`{"user_id":"a\"b\\"}`, `a"b\`},
		{`{"user_id":"\u003c\u00e9\ud83d\ude00\u003e"}`, "<é\U0001F600>"},
		{`{"a":"\\","user_id":"u"}`, "u"},
		{`{"a":"\\\"","user_id":"u"}`, "u"},
		{`{"a":"\",\"user_id\":\"x","user_id":"u"}`, "u"},
		{`{"a":"user_id","user_id":"u","b":"user_id"}`, "u"},
		{`{"a":[{"user_id":"x","user_id":"y"},{"USER_ID":[1]},"USER_ID"],"user_id":"u"}`, "u"},
		{`[{"user_id":"x"},{"USER_ID":1}]`, none},
		{`{"userid":"v","user-id":"v","user_id ":"v","xuser_id":"v","\\user_id":"v","uśer_id":"v","UserID":"v"}`, none},
		{`{"\u0055ser_id":1}`, refused},
		{`{"\u0075\u017f\u0065\u0072\u005f\u0069\u0064":1}`, refused},
		{`{"a":{},"b":["c"],"user_iD":null}`, refused},
		{`{"user_id":null,"user_id":null}`, refused},
		{`{"user_id":1,"a":[{}],"user_id":1}`, refused},
		{`{"user_id":-0.0}`, refused},
		{`{"user_id":-1.5}`, refused},
		{`{"user_id":10E0}`, refused},
		{`{"user_id":false}`, refused},
		{`{"user_id":[]}`, refused},
		{`{"user_id":"a\uFFFDb"}`, refused},
	}...)
}

// column returns what the table holds as the id of a session's user.
func column(t *testing.T, pool *pgxpool.Pool, session fmt.Stringer) string {
	t.Helper()
	var id *string
	if err := pool.QueryRow(t.Context(), `SELECT user_id FROM session_cache WHERE sessionid = $1::text::uuid`, session.String()).Scan(&id); err != nil {
		t.Fatal(err)
	}
	if id == nil {
		return none
	}
	return *id
}

// written is a T whose codec copies it, so that the Cache sees JSON that nobody has checked.
type written string

var asWritten = sessioncache.WithCodec(
	func(v any) ([]byte, error) { return []byte(v.(written)), nil },
	func(data []byte, v any) error { *v.(*written) = written(data); return nil },
)

func TestUserID(t *testing.T) {
	cache, pool := setup[raw](t)
	coded := sessioncache.New[written](pool, asWritten)
	for _, test := range userIDCases(t) {
		id, codedID := named(newID()), named(newID())
		err := cache.Set(t.Context(), string(id), raw(test.user))
		codedErr := coded.Set(t.Context(), string(codedID), written(test.user))
		token, issueErr := cache.Issue(t.Context(), raw(test.user))
		if test.want == refused {
			wantError(t, "Set of "+test.user, err, sessioncache.ErrInvalidUser)
			wantError(t, "Set with a codec of "+test.user, codedErr, sessioncache.ErrInvalidUser)
			wantError(t, "Issue of "+test.user, issueErr, sessioncache.ErrInvalidUser)
			continue
		}
		if err != nil || codedErr != nil || issueErr != nil {
			t.Errorf("%s: Set = %v, with a codec %v, Issue = %v", test.user, err, codedErr, issueErr)
			continue
		}
		for _, session := range []fmt.Stringer{id, codedID, token.Handle()} {
			if got := column(t, pool, session); got != test.want {
				t.Errorf("of %s the column is %q; want %q", test.user, got, test.want)
			}
		}
		wantReadAs(t, []byte(test.user), column(t, pool, id))
	}
}

// TestUserIDIsRefusedByUpdates: what encode refuses is not stored by another way.
func TestUserIDIsRefusedByUpdates(t *testing.T) {
	cache, pool := setup[raw](t)
	user := raw(`{"user_id":"b"}`)
	id, token := named(set(t, cache, user)), issue(t, cache, user)
	unchanged := wantUnchanged[fmt.Stringer](t, pool, id, token.Handle())
	for _, test := range userIDCases(t) {
		if test.want != refused {
			continue
		}
		change := func(stored *raw) error { *stored = raw(test.user); return nil }
		ok, err := cache.Update(t.Context(), string(id), change)
		wantError(t, "Update to "+test.user, notOK(ok, err), sessioncache.ErrInvalidUser)
		ok, err = cache.UpdateSession(t.Context(), token, change)
		wantError(t, "UpdateSession to "+test.user, notOK(ok, err), sessioncache.ErrInvalidUser)
	}
	unchanged("updates that were refused")
}

// wantReadAs expects Go to read the id that the column holds, however the JSON is decoded.
func wantReadAs(t *testing.T, user []byte, column string) {
	t.Helper()
	if column == none {
		column = ""
	}
	if id, err := sessioncache.ReadUserID(user); err != nil || id != column {
		t.Errorf("readUserID of %s = %q, %v; the column is %q", user, id, err, column)
	}
	if !bytes.HasPrefix(bytes.TrimLeft(user, " \t\r\n"), []byte("{")) {
		return // no field of a T reads it
	}
	want := func(as string, got any) {
		t.Helper()
		if got == nil {
			got = ""
		}
		if fmt.Sprint(got) != column {
			t.Errorf("%s of %s reads %v; the column is %q", as, user, got, column)
		}
	}
	var field struct {
		ID any `json:"user_id"`
	}
	var fields map[string]any
	for as, into := range map[string]any{"a field": &field, "a map": &fields} {
		decoder := json.NewDecoder(bytes.NewReader(user))
		decoder.UseNumber() // a float64 would round large numbers
		if err := decoder.Decode(into); err != nil {
			t.Errorf("%s: decoding %s: %v", as, user, err)
			return
		}
	}
	want("a field", field.ID)
	want("a map", fields["user_id"])
	var text struct {
		ID *string `json:"user_id"`
	}
	if json.Unmarshal(user, &text) == nil && text.ID != nil {
		want("a string", *text.ID)
	}
	var number struct {
		ID *int64 `json:"user_id"`
	}
	if json.Unmarshal(user, &number) == nil && number.ID != nil {
		want("an integer", *number.ID)
	}
	var float struct {
		ID *float64 `json:"user_id"`
	}
	if json.Unmarshal(user, &float) == nil && float.ID != nil && math.Abs(*float.ID) < 1<<53 {
		want("a float", strconv.FormatFloat(*float.ID, 'f', -1, 64))
	}
	var folded struct {
		ID any `json:"USER_ID"`
	}
	if json.Unmarshal(user, &folded) == nil {
		if _, isFloat := folded.ID.(float64); !isFloat {
			want("a field in another case", folded.ID)
		}
	}
}

// with is a user whose id has any type.
type with[V any] struct {
	ID V `json:"user_id"`
}

// TestUserIDOfTypes: what is stored comes back with the id that the column holds, or an
// update that changes nothing would change the user.
func TestUserIDOfTypes(t *testing.T) {
	_, pool := setup[raw](t)
	wantStoredAs(t, pool, with[string]{"u"}, "u")
	wantStoredAs(t, pool, with[string]{"<&>\u2028"}, "<&>\u2028")
	wantStoredAs(t, pool, with[string]{"J\xffrg"}, refused)
	wantStoredAs(t, pool, with[string]{"J\uFFFDrg"}, refused)
	wantStoredAs(t, pool, with[*string]{}, none)
	wantStoredAs(t, pool, with[int64]{math.MinInt64}, "-9223372036854775808")
	wantStoredAs(t, pool, with[uint64]{math.MaxUint64}, "18446744073709551615")
	wantStoredAs(t, pool, with[float64]{17}, "17")
	wantStoredAs(t, pool, with[float64]{1e20}, "100000000000000000000")
	wantStoredAs(t, pool, with[float64]{1e21}, refused)
	wantStoredAs(t, pool, with[float64]{1.5}, refused)
	wantStoredAs(t, pool, with[float64]{math.Copysign(0, -1)}, refused)
	wantStoredAs(t, pool, with[json.Number]{"7"}, "7")
	wantStoredAs(t, pool, with[json.Number]{"7.0"}, refused)
	wantStoredAs(t, pool, with[bool]{true}, refused)
	wantStoredAs(t, pool, with[[]byte]{[]byte("bytes")}, "Ynl0ZXM=")
	wantStoredAs(t, pool, with[[2]byte]{}, refused)
	wantStoredAs(t, pool, with[netip.Addr]{netip.MustParseAddr("::1")}, "::1")
	wantStoredAs(t, pool, with[json.RawMessage]{raw(`"u"`)}, "u")
	wantStoredAs(t, pool, with[any]{nil}, none)
	wantStoredAs(t, pool, with[any]{1}, "1")
	wantStoredAs(t, pool, struct{ with[string] }{with[string]{"embedded"}}, "embedded")
	wantStoredAs(t, pool, struct {
		ID int `json:"user_id,string"`
	}{7}, "7")
	wantStoredAs(t, pool, struct {
		ID string `json:"USER_ID"`
	}{"u"}, refused)
	wantStoredAs(t, pool, struct {
		UserID string
	}{"u"}, none) // by this name nothing is listed or logged out
	wantStoredAs(t, pool, map[string]any{"user_id": "a", "User_ID": "b"}, refused)
	wantStoredAs(t, pool, map[string]string{"user_id": "a", "uſer_id": "b"}, refused)
	wantStoredAs(t, pool, map[string]string{"user_id": "a", "userid": "b"}, "a")
	wantStoredAs(t, pool, sessiontest.User{UserID: new("u"), Identifiers: []sessiontest.Identifier{{UserID: "x"}}}, "u")
}

func wantStoredAs[T any](t *testing.T, pool *pgxpool.Pool, user T, want string) {
	t.Helper()
	cache := sessioncache.New[T](pool)
	id := named(newID())
	err := cache.Set(t.Context(), string(id), user)
	if want == refused {
		wantError(t, fmt.Sprintf("Set of %#v", user), err, sessioncache.ErrInvalidUser)
		return
	}
	if err != nil {
		t.Errorf("Set of %#v: %v", user, err)
		return
	}
	if got := column(t, pool, id); got != want {
		t.Errorf("of %#v the column is %q; want %q", user, got, want)
	}
	if ok, err := cache.Update(t.Context(), string(id), func(*T) error { return nil }); err != nil || !ok {
		t.Errorf("Update of %#v to the same = %v, %v", user, ok, err)
	}
}

// FuzzUserID stores any text, raw and as a codec may write it, and compares the column
// with what Go reads. What is refused is refused for a reason that the oracle has, too.
func FuzzUserID(f *testing.F) {
	for _, test := range userIDCases(f) {
		f.Add([]byte(test.user))
	}
	pool := sessiontest.NewPool(f)
	cache, coded := sessioncache.New[raw](pool), sessioncache.New[written](pool, asWritten)
	f.Fuzz(func(t *testing.T, user []byte) {
		if utf8.Valid(user) && json.Valid(user) {
			want, ok := oracle(user)
			if id, err := sessioncache.ReadUserID(user); (err == nil) != ok || id != want {
				t.Errorf("readUserID of %s = %q, %v; want %q, %v", user, id, err, want, ok)
			}
		}
		for way, store := range map[string]func(ctx context.Context, id string) error{
			"raw":          func(ctx context.Context, id string) error { return cache.Set(ctx, id, user) },
			"with a codec": func(ctx context.Context, id string) error { return coded.Set(ctx, id, written(user)) },
		} {
			id := named(newID())
			if err := store(t.Context(), string(id)); err != nil {
				if !errors.Is(err, sessioncache.ErrInvalidUser) {
					t.Errorf("%s: Set of %q = %v", way, user, err)
				}
				continue
			}
			wantReadAs(t, user, column(t, pool, id))
		}
	})
}

var plainInteger = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)

// oracle reads the user_id of valid JSON in another way than readUserID does.
func oracle(user []byte) (id string, ok bool) {
	decoder := json.NewDecoder(bytes.NewReader(user))
	if first, err := decoder.Token(); err != nil || first != json.Delim('{') {
		return "", err == nil
	}
	found := false
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return "", false
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return "", false
		}
		if !strings.EqualFold(name.(string), "user_id") {
			continue
		}
		if name != "user_id" || found {
			return "", false
		}
		found = true
		switch {
		case string(value) == "null":
		case plainInteger.Match(value):
			id = string(value)
		case json.Unmarshal(value, &id) != nil || strings.Contains(id, "\uFFFD"):
			return "", false
		}
	}
	return id, true
}
