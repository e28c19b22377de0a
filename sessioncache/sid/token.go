package sid

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
)

const (
	secretLength = 32 // bytes: 256 random bits, twice what ASVS 7.2.3 asks for

	// tokenLength is the number of characters of a token: 16 bytes of handle and 32
	// of secret in base64url, which leaves no bits over. So each token has exactly
	// one spelling.
	tokenLength = 64
)

// redacted is what a token prints as.
const redacted = "[redacted token]"

// Token opens a session: whoever has it has the session. It is a selector and a
// verifier: the [Handle], which says which session, and a secret, which says that
// one may.
//
// A Token prints as redacted in every verb of package fmt, in package log/slog and
// in JSON. As an unexported field of another struct it prints its handle and an address,
// and never its secret. [Token.Reveal] is the only
// way to its text. Tokens cannot be compared.
//
// The zero Token opens nothing.
type Token struct {
	handle Handle

	// Behind a function, because fmt reads the unexported fields of a struct that holds
	// a Token without asking Format, and follows a pointer there if the verb does not
	// fit (%s). Of a function it prints the address.
	secret func() [secretLength]byte
}

// NewToken returns a random token: 128 bits of handle and 256 bits of secret, from
// crypto/rand.
func NewToken() Token {
	var handle Handle
	rand.Read(handle[:]) // never fails: it would end the program
	return Token{handle: handle}.Renewed()
}

// Renewed returns a token of the same session with a new random secret.
func (t Token) Renewed() Token {
	var secret [secretLength]byte
	rand.Read(secret[:])
	return Token{t.handle, func() [secretLength]byte { return secret }}
}

// ParseToken reads a token as it arrived in a request: exactly 64 characters of
// base64url (RFC 4648 section 5), with no padding. Any other input is
// [ErrMalformed].
func ParseToken(s string) (Token, error) {
	var data [len(Handle{}) + secretLength]byte
	if len(s) != tokenLength {
		return Token{}, errNoToken
	}
	// The decoder passes over line breaks: then it finds less.
	if n, err := base64.RawURLEncoding.Decode(data[:], []byte(s)); err != nil || n != len(data) {
		return Token{}, errNoToken // not err: it may repeat the input
	}
	secret := [secretLength]byte(data[len(Handle{}):])
	return Token{Handle(data[:len(Handle{})]), func() [secretLength]byte { return secret }}, nil
}

// Handle returns which session the token is for.
func (t Token) Handle() Handle {
	return t.handle
}

// IsZero tells whether t is the zero Token.
func (t Token) IsZero() bool {
	return t.secret == nil
}

// Reveal returns the token's text, which [ParseToken] reads; empty for the zero
// Token. It is for the one place where the token is handed to the user: a cookie,
// or the answer to a program that has asked for it.
func (t Token) Reveal() string {
	if t.secret == nil {
		return ""
	}
	secret := t.secret()
	return base64.RawURLEncoding.EncodeToString(append(t.handle[:], secret[:]...))
}

// Digest returns what the table holds in place of the secret: the SHA-256 of a
// label, the audience with its length, the handle and the secret. A token of one
// audience so opens nothing in another, and a row's digest nothing in another row.
// (A slow hash is for passwords: nobody guesses 256 bits.)
//
// The digest of the zero Token is zero, which no other's is.
func (t Token) Digest(audience string) (digest [sha256.Size]byte) {
	if t.secret == nil {
		return digest
	}
	const label = "sessiondb token v1"
	input := make([]byte, 0, 128)
	input = append(input, label...)
	input = binary.BigEndian.AppendUint64(input, uint64(len(audience)))
	input = append(input, audience...)
	secret := t.secret()
	input = append(input, t.handle[:]...)
	input = append(input, secret[:]...)
	return sha256.Sum256(input)
}

// String returns a placeholder.
func (t Token) String() string {
	return redacted
}

// Format implements [fmt.Formatter] with a placeholder, whatever the verb.
func (t Token) Format(state fmt.State, _ rune) {
	_, _ = io.WriteString(state, redacted)
}

// LogValue implements [slog.LogValuer] with a placeholder.
func (t Token) LogValue() slog.Value {
	return slog.StringValue(redacted)
}

// MarshalText implements [encoding.TextMarshaler] with a placeholder.
func (t Token) MarshalText() ([]byte, error) {
	return []byte(redacted), nil
}
