package sessionhttp

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// token is the secret in a session cookie: 256 random bits, four times what
// OWASP's Session Management Cheat Sheet asks for and twice what ASVS 7.2.3 does.
// It goes nowhere but into the cookie.
type token [32]byte

// encoding is base64url without padding. Strict, so that each token has one
// spelling: the last character of 43 has two bits to spare.
var encoding = base64.RawURLEncoding.Strict()

func newToken() token {
	var t token
	rand.Read(t[:]) // never fails: it would end the program
	return t
}

// parseToken reads a cookie's value, and takes nothing but what encode writes.
func parseToken(value string) (t token, ok bool) {
	if len(value) != encoding.EncodedLen(len(t)) {
		return token{}, false
	}
	n, err := encoding.Decode(t[:], []byte(value))
	return t, err == nil && n == len(t) // it skips line breaks
}

func (t token) encode() string {
	return encoding.EncodeToString(t[:])
}

// id is what the database knows the session by. It does not lead back to the
// token, so whoever reads the table cannot use what is there.
func (t token) id() sid.ID {
	sum := sha256.Sum256(t[:])
	return sid.ID(sum[:16])
}
