package sid_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/rhaptos/sessiondb/sid"
)

const canonical = "0a1b2c3d-4e5f-6789-abcd-ef0123456789"

func TestParse(t *testing.T) {
	t.Parallel()
	for name, input := range map[string]string{
		"lower case": canonical,
		"upper case": strings.ToUpper(canonical),
		"mixed case": "0A1b2C3d-4E5f-6789-aBcD-eF0123456789",
	} {
		id, err := sid.Parse(input)
		if err != nil || id.String() != canonical {
			t.Errorf("%s: Parse(%q) = %v, %v; want %s", name, input, id, err, canonical)
		}
	}
	if id, err := sid.Parse(uuid.Nil.String()); err != nil || id != (sid.ID{}) {
		t.Errorf("Parse of the nil UUID = %v, %v", id, err)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for name, input := range malformed() {
		id, err := sid.Parse(input)
		if !errors.Is(err, sid.ErrMalformed) || id != (sid.ID{}) {
			t.Errorf("%s: Parse = %v, %v; want ErrMalformed", name, id, err)
		}
		if err != nil && input != "" && strings.Contains(err.Error(), input) {
			t.Errorf("%s: the error repeats the input", name)
		}
	}
}

// malformed lists what is nearly an id.
func malformed() map[string]string {
	return map[string]string{
		"empty":               "",
		"a name":              "Dr. Evil",
		"braces":              "{" + canonical + "}",
		"urn":                 "urn:uuid:" + canonical,
		"no hyphens":          strings.ReplaceAll(canonical, "-", ""),
		"spaces for hyphens":  strings.ReplaceAll(canonical, "-", " "),
		"hyphens moved":       "0a1b2c3-d4e5f-6789-abcd-ef0123456789",
		"not hex":             "0a1b2c3d-4e5f-6789-abcd-ef012345678g",
		"one short":           canonical[1:],
		"one long":            canonical + "0",
		"leading space":       " " + canonical[1:],
		"trailing newline":    canonical + "\n",
		"NUL inside":          "0a1b2c3d-4e5f-6789-abcd-ef01234567\x0089",
		"NUL for a digit":     canonical[:35] + "\x00",
		"invalid UTF-8":       canonical[:35] + "\xff",
		"full-width digits":   "０a1b2c3d-4e5f-6789-abcd-ef01234567",
		"36 runes":            strings.Repeat("é", 36),
		"a megabyte":          strings.Repeat("a", 1<<20),
		"a megabyte of NULs":  strings.Repeat("\x00", 1<<20),
		"SQL":                 "' OR 1=1; DROP TABLE session_cache--",
		"36 characters of it": "00000000-0000-0000-0000-00000' OR 1=",
	}
}

func TestNewIsRandom(t *testing.T) {
	t.Parallel()
	seen := map[sid.ID]bool{}
	for range 10_000 {
		id := sid.New()
		if seen[id] {
			t.Fatalf("New returned %v twice", id)
		}
		seen[id] = true
		if u := uuid.UUID(id); u.Version() != 4 || u.Variant() != uuid.RFC4122 {
			t.Fatalf("New returned %v, which is no version 4 UUID", id)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	id := sid.New()
	data, err := json.Marshal(map[sid.ID]sid.ID{id: id})
	if err != nil {
		t.Fatal(err)
	}
	var back map[sid.ID]sid.ID
	if err := json.Unmarshal(data, &back); err != nil || back[id] != id {
		t.Errorf("through JSON %s: %v, %v", data, back, err)
	}
	if err := json.Unmarshal([]byte(`"Dr. Evil"`), new(sid.ID)); !errors.Is(err, sid.ErrMalformed) {
		t.Errorf("unmarshalling a malformed id: %v; want ErrMalformed", err)
	}
}

func TestLogShowsFingerprint(t *testing.T) {
	t.Parallel()
	id := sid.New()
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var log bytes.Buffer
		slog.New(handler(&log)).Info("event", "session", id, "pointer", &id)
		if strings.Contains(log.String(), id.String()) {
			t.Errorf("%s: the log shows the id: %s", name, &log)
		}
		if strings.Count(log.String(), id.Fingerprint()) != 2 {
			t.Errorf("%s: the log lacks the fingerprint %s: %s", name, id.Fingerprint(), &log)
		}
	}
}

func TestFingerprintTellsIDsApart(t *testing.T) {
	t.Parallel()
	a, b := sid.ID{15: 1}, sid.ID{15: 2}
	if a.Fingerprint() == b.Fingerprint() {
		t.Errorf("%v and %v have the same fingerprint", a, b)
	}
	if a.Fingerprint() != (sid.ID{15: 1}).Fingerprint() {
		t.Error("the fingerprint of one id differs from call to call")
	}
	if len(a.Fingerprint()) != 16 {
		t.Errorf("fingerprint %q is not 16 digits", a.Fingerprint())
	}
}

func TestScanNULL(t *testing.T) {
	t.Parallel()
	id := sid.New()
	was := id
	if err := id.ScanUUID(pgtype.UUID{}); err == nil || id != was {
		t.Errorf("scanning NULL: %v, and the id went from %v to %v", err, was, id)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(canonical)
	for _, input := range malformed() {
		if len(input) < 1000 {
			f.Add(input)
		}
	}
	f.Fuzz(func(t *testing.T, input string) {
		id, err := sid.Parse(input)
		if err != nil {
			if !errors.Is(err, sid.ErrMalformed) || id != (sid.ID{}) {
				t.Errorf("Parse(%q) = %v, %v", input, id, err)
			}
			return
		}
		if id.String() != strings.ToLower(input) {
			t.Errorf("Parse(%q) = %v, which does not come back", input, id)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := sid.Parse(canonical); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFingerprint(b *testing.B) {
	b.ReportAllocs()
	id := sid.New()
	for b.Loop() {
		_ = id.Fingerprint()
	}
}
