package sessionhttp

import (
	"crypto/sha256"
	"encoding/base64"
	"testing"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// TestTokens is ASVS 7.2.3: 128 bits at least, from a CSPRNG. It counts how often
// each of the 256 bits is set: a bit that does not vary, or leans, shows.
func TestTokens(t *testing.T) {
	t.Parallel()
	const n = 10_000
	seen := map[token]bool{}
	var set [256]int
	for range n {
		token := newToken()
		if seen[token] {
			t.Fatal("the same token twice")
		}
		seen[token] = true
		for bit := range set {
			set[bit] += int(token[bit/8] >> (bit % 8) & 1)
		}
	}
	for bit, ones := range set {
		const sixSigma = 300 // of a fair coin's 10,000 throws
		if ones < n/2-sixSigma || ones > n/2+sixSigma {
			t.Errorf("bit %d is set in %d of %d tokens", bit, ones, n)
		}
	}
}

func TestTokenID(t *testing.T) {
	t.Parallel()
	token := newToken()
	sum := sha256.Sum256(token[:])
	if got, want := token.id(), sid.ID(sum[:16]); got != want {
		t.Errorf("id = %s; want the first 128 bits of the SHA-256, %s", got, want)
	}
}

// FuzzParseToken: one spelling for each token, and nothing else is one.
func FuzzParseToken(f *testing.F) {
	good := token{1, 2, 3}.encode()
	for _, seed := range []string{
		good, "", good[:42], good + "A", good + "=", good[:42] + "B", good[:42] + "=", "\n" + good[1:], good[:41] + "\r\n",
		"+" + good[1:], "/" + good[1:], " " + good[1:], "\x00" + good[1:], "\xff" + good[1:], `"` + good[:41] + `"`,
		base64.StdEncoding.EncodeToString(make([]byte, 32)), "00000000-0000-0000-0000-000000000000",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		token, ok := parseToken(value)
		if ok && token.encode() != value {
			t.Errorf("%q is taken for %q", value, token.encode())
		}
		decoded, err := base64.RawURLEncoding.DecodeString(value)
		if err == nil && len(decoded) == 32 && base64.RawURLEncoding.EncodeToString(decoded) == value && !ok {
			t.Errorf("%q is refused", value)
		}
	})
}
