package sid_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"strings"
	"testing"
	"text/template"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	_ "github.com/rhaptos/sessiondb/sessioncache/sessiontest/docker"
	"github.com/rhaptos/sessiondb/sid"
)

func TestNewToken(t *testing.T) {
	t.Parallel()
	handles, secrets := map[string]bool{}, map[string]bool{}
	for range 10_000 {
		token := sid.NewToken()
		text := token.Reveal()
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || len(text) != 64 || len(raw) != 48 || !bytes.Equal(raw[:16], handleBytes(token)) {
			t.Fatalf("a token of %d characters, %v", len(text), err)
		}
		handles[string(raw[:16])], secrets[string(raw[16:])] = true, true
	}
	if len(handles) != 10_000 || len(secrets) != 10_000 {
		t.Errorf("of 10,000 tokens there are %d handles and %d secrets", len(handles), len(secrets))
	}
}

func handleBytes(token sid.Token) []byte {
	handle := token.Handle()
	return handle[:]
}

func TestRenewed(t *testing.T) {
	t.Parallel()
	token := sid.NewToken()
	renewed := token.Renewed()
	if renewed.Handle() != token.Handle() || renewed.Reveal()[22:] == token.Reveal()[22:] || renewed.Digest("") == token.Digest("") {
		t.Error("a renewed token has the handle and another secret")
	}
}

func TestParseToken(t *testing.T) {
	t.Parallel()
	token := sid.NewToken()
	text := token.Reveal()
	parsed, err := sid.ParseToken(text)
	if err != nil || parsed.Reveal() != text || parsed.Handle() != token.Handle() || parsed.Digest("a") != token.Digest("a") {
		t.Errorf("ParseToken of a token's text: %v", err)
	}
	for name, input := range malformedTokens(text) {
		parsed, err := sid.ParseToken(input)
		if !errors.Is(err, sid.ErrMalformed) || !parsed.IsZero() {
			t.Errorf("%s: %v; want ErrMalformed", name, err)
		}
		if err != nil && input != "" && strings.Contains(err.Error(), input) {
			t.Errorf("%s: the error repeats the input", name)
		}
	}
}

// malformedTokens lists what is nearly a token.
func malformedTokens(text string) map[string]string {
	return map[string]string{
		"empty":                 "",
		"one short":             text[1:],
		"one long":              text + "A",
		"padding":               text + "=",
		"padding in place":      text[:63] + "=",
		"standard alphabet":     text[:63] + "+",
		"the other one of it":   text[:63] + "/",
		"a line break inside":   text[:32] + "\n" + text[33:],
		"two line breaks":       text[:31] + "\r\n" + text[33:],
		"a line break more":     text[:32] + "\n" + text[32:],
		"a leading space":       " " + text[1:],
		"a trailing space":      text[:63] + " ",
		"NUL":                   text[:63] + "\x00",
		"invalid UTF-8":         text[:63] + "\xff",
		"64 runes":              strings.Repeat("é", 64),
		"full-width":            strings.Repeat("Ａ", 21) + "A",
		"hexadecimal":           hex.EncodeToString(make([]byte, 48)),
		"a UUID":                sid.New().String(),
		"a megabyte":            strings.Repeat("A", 1<<20),
		"a megabyte of NULs":    strings.Repeat("\x00", 1<<20),
		"percent-encoded":       "%41" + text[3:],
		"quoted, as cookies do": `"` + text[:62] + `"`,
	}
}

func FuzzParseToken(f *testing.F) {
	text := sid.NewToken().Reveal()
	f.Add(text)
	for _, input := range malformedTokens(text) {
		if len(input) < 1000 {
			f.Add(input)
		}
	}
	f.Fuzz(func(t *testing.T, input string) {
		token, err := sid.ParseToken(input)
		if err != nil {
			if !errors.Is(err, sid.ErrMalformed) || !token.IsZero() {
				t.Errorf("ParseToken(%q): %v", input, err)
			}
			return
		}
		if token.Reveal() != input {
			t.Errorf("ParseToken(%q) does not come back", input)
		}
	})
}

// TestDigest computes a digest by what its documentation says.
func TestDigest(t *testing.T) {
	t.Parallel()
	raw := make([]byte, 48)
	for i := range raw {
		raw[i] = byte(i)
	}
	token, err := sid.ParseToken(base64.RawURLEncoding.EncodeToString(raw))
	if err != nil {
		t.Fatal(err)
	}
	input := []byte("sessiondb token v1")
	input = binary.BigEndian.AppendUint64(input, 4)
	input = append(input, "shop"...)
	input = append(input, raw...)
	if got, want := token.Digest("shop"), sha256.Sum256(input); got != want {
		t.Errorf("Digest = %x; want %x", got, want)
	}
	const pinned = "df2a2d23d91b058401f2db132eafab366a944bfd8e677d233699e905530685fd"
	if got := fmt.Sprintf("%x", token.Digest("")); got != pinned {
		t.Errorf("Digest = %s; want %s: tables hold it", got, pinned)
	}

	// Everything counts, and nothing runs into its neighbour.
	digests := map[[32]byte]string{}
	for name, digest := range map[string][32]byte{
		"the token":             token.Digest("shop"),
		"no audience":           token.Digest(""),
		"a longer audience":     token.Digest("shop\x00"),
		"another handle":        otherToken(t, raw, 0).Digest("shop"),
		"another secret":        otherToken(t, raw, 47).Digest("shop"),
		"audience of the bytes": token.Digest("shop" + string(raw[:16])),
		"a long audience":       token.Digest(strings.Repeat("a", 1000)),
		"the zero token":        sid.Token{}.Digest("shop"),
	} {
		if other, ok := digests[digest]; ok {
			t.Errorf("%s and %s have one digest", name, other)
		}
		digests[digest] = name
	}
}

// otherToken differs in one byte.
func otherToken(t *testing.T, raw []byte, at int) sid.Token {
	t.Helper()
	other := bytes.Clone(raw)
	other[at] ^= 1
	token, err := sid.ParseToken(base64.RawURLEncoding.EncodeToString(other))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestZeroToken(t *testing.T) {
	t.Parallel()
	var zero sid.Token
	if !zero.IsZero() || zero.Reveal() != "" || zero.Digest("a") != ([32]byte{}) || zero.Handle() != (sid.Handle{}) || sid.NewToken().IsZero() {
		t.Error("the zero Token opens nothing")
	}
}

// TestTokenIsRedacted prints a token in every way that a program may come to.
func TestTokenIsRedacted(t *testing.T) {
	t.Parallel()
	token := sid.NewToken()
	type holder struct {
		Exported   sid.Token
		unexported sid.Token
		pointer    *sid.Token
		any        any
	}
	held := holder{token, token, &token, token}
	values := []any{
		token, &token, held, &held, []sid.Token{token}, map[string]sid.Token{"k": token}, map[string]any{"k": held}, [1]holder{held},
		struct{ error }{fmt.Errorf("%w: %v", errors.New("e"), token)},
	}
	var text strings.Builder
	for _, value := range values {
		for _, verb := range "vTtbcdoOqxXUeEfFgGspw" {
			for _, flags := range []string{"", "+", "#", "-10", "010", " ", "+#"} {
				fmt.Fprintf(&text, "%"+flags+string(verb)+"\n", value)
			}
		}
		fmt.Fprintln(&text, value)
		log.New(&text, "", 0).Print(value)
		for _, handler := range []slog.Handler{slog.NewTextHandler(&text, nil), slog.NewJSONHandler(&text, nil)} {
			slog.New(handler).Info("m", "value", value, slog.Group("g", "value", value))
		}
		if data, err := json.Marshal(value); err == nil {
			text.Write(data)
		}
		_ = gob.NewEncoder(&text).Encode(value) // an error or nothing: there is nothing to encode
		if err := template.Must(template.New("").Parse("{{.}} {{printf `%#v` .}}")).Execute(&text, value); err != nil {
			t.Error(err)
		}
	}
	for form, secret := range secretForms(t, token) {
		if strings.Contains(text.String(), secret) {
			t.Errorf("the secret is printed as %s", form)
		}
	}
	if !strings.Contains(text.String(), token.String()) {
		t.Error("nothing is printed")
	}
}

// secretForms are the ways in which the secret of a token could show.
func secretForms(t *testing.T, token sid.Token) map[string]string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(token.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	secret := raw[16:]
	list := fmt.Sprintf("%d", secret)
	return map[string]string{
		"text": token.Reveal()[24:], "hexadecimal": hex.EncodeToString(secret[:8]), "HEXADECIMAL": strings.ToUpper(hex.EncodeToString(secret[:8])),
		"decimal": list[1:20], "base64": base64.StdEncoding.EncodeToString(secret)[:20], "bytes": string(secret[:8]),
		"Go": strings.Trim(fmt.Sprintf("%#v", secret[:6]), "[]byte{}"),
	}
}

// TestTokenNeverReachesTheServer passes one as an argument of a query by mistake.
func TestTokenNeverReachesTheServer(t *testing.T) {
	t.Parallel()
	token := sid.NewToken()
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			pool := sessiontest.NewPool(t, func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = mode })
			var placeholder string
			if err := pool.QueryRow(t.Context(), "SELECT $1::text", token).Scan(&placeholder); err != nil || placeholder != token.String() {
				t.Errorf("%s: the server got %q, %v; want a placeholder", mode, placeholder, err)
			}
			for _, query := range []string{"SELECT $1::text", "SELECT $1::json::text", "SELECT ($1::text[])::text"} {
				for _, argument := range []any{token, &token, []sid.Token{token}, struct{ Token sid.Token }{token}} {
					var text string
					err := pool.QueryRow(t.Context(), query, argument).Scan(&text)
					for form, secret := range secretForms(t, token) {
						if strings.Contains(text, secret) || err != nil && strings.Contains(err.Error(), secret) {
							t.Errorf("%s, %s: the server got the secret as %s", mode, query, form)
						}
					}
				}
			}
		})
	}
}

func TestHandle(t *testing.T) {
	t.Parallel()
	handle := sid.NewToken().Handle()
	for _, text := range []string{handle.String(), strings.ToUpper(handle.String())} {
		parsed, err := sid.ParseHandle(text)
		if err != nil || parsed != handle {
			t.Errorf("ParseHandle(%s) = %s, %v", text, parsed, err)
		}
	}
	for name, input := range malformed() {
		if parsed, err := sid.ParseHandle(input); !errors.Is(err, sid.ErrMalformed) || parsed != (sid.Handle{}) {
			t.Errorf("%s: ParseHandle = %v, %v; want ErrMalformed", name, parsed, err)
		}
	}
	data, err := json.Marshal(map[sid.Handle]sid.Handle{handle: handle})
	var back map[sid.Handle]sid.Handle
	if err == nil {
		err = json.Unmarshal(data, &back)
	}
	if err != nil || back[handle] != handle {
		t.Errorf("through JSON %s: %v, %v", data, back, err)
	}
	if err := json.Unmarshal([]byte(`"Dr. Evil"`), new(sid.Handle)); !errors.Is(err, sid.ErrMalformed) {
		t.Errorf("unmarshalling a malformed handle: %v; want ErrMalformed", err)
	}
	var text bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", "handle", handle)
	slog.New(slog.NewJSONHandler(&text, nil)).Info("m", "handle", handle)
	if strings.Count(text.String(), handle.String()) != 2 {
		t.Errorf("the log has %s; want the handle in clear", &text)
	}
}
