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

	// tokenLength is the number of characters of a token: 16 bytes of handle and 32 bytes
	// of secret in base64url. 48 bytes fill 64 characters exactly, so each token has only
	// one text.
	tokenLength = 64
)

// redacted is the text that stands for a token in output.
const redacted = "[redacted token]"

// Token opens a session. It has two parts: the [Handle] names the session (the selector
// of a split token), and the secret opens it (the verifier).
//
// A Token prints as redacted in every verb of package fmt, in package log/slog and in
// JSON. Only in an unexported field of another struct does package fmt print its parts:
// the handle and an address, never the secret. [Token.Reveal] is the only way to its
// text. Tokens cannot be compared.
//
// The zero Token opens nothing.
type Token struct {
	handle Handle

	// A function, because package fmt ignores Format for a Token in an unexported field.
	// It would print a field that holds the secret, and for some verbs (%s) even follow a
	// pointer to it. For a function it prints the address.
	secret func() [secretLength]byte
}

// NewToken returns a random token: 128 bits of handle and 256 bits of secret, from
// crypto/rand.
func NewToken() Token {
	var handle Handle
	rand.Read(handle[:]) // never returns an error: if it fails, it ends the program
	return Token{handle: handle}.Renewed()
}

// Renewed returns a token of the same session with a new random secret.
func (t Token) Renewed() Token {
	var secret [secretLength]byte
	rand.Read(secret[:])
	return Token{t.handle, func() [secretLength]byte { return secret }}
}

// ParseToken reads a token from a request: exactly 64 characters of base64url (RFC 4648
// section 5), without padding. For every other text the error is [ErrMalformed].
func ParseToken(s string) (Token, error) {
	var data [len(Handle{}) + secretLength]byte
	if len(s) != tokenLength {
		return Token{}, errNoToken
	}
	// The decoder skips line breaks, and then returns fewer bytes.
	if n, err := base64.RawURLEncoding.Decode(data[:], []byte(s)); err != nil || n != len(data) {
		return Token{}, errNoToken // err may show the input
	}
	secret := [secretLength]byte(data[len(Handle{}):])
	return Token{Handle(data[:len(Handle{})]), func() [secretLength]byte { return secret }}, nil
}

// Handle returns the handle of the token's session.
func (t Token) Handle() Handle {
	return t.handle
}

// IsZero reports whether t is the zero Token.
func (t Token) IsZero() bool {
	return t.secret == nil
}

// Reveal returns the token's text, which [ParseToken] reads. It is empty for the zero
// Token. Use it only where the token is given to the user: in a cookie, or in the answer
// to a program that asked for it.
func (t Token) Reveal() string {
	if t.secret == nil {
		return ""
	}
	secret := t.secret()
	return base64.RawURLEncoding.EncodeToString(append(t.handle[:], secret[:]...))
}

// Digest returns what the table holds instead of the secret. It is the SHA-256 of a
// label, the audience and its length, the handle and the secret. So a token of one
// audience opens nothing in another, and a digest copied to another row opens nothing
// there. (A slow hash is for passwords. 256 random bits cannot be guessed.)
//
// The digest of the zero Token is zero; no other digest is.
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

// Format implements [fmt.Formatter] with a placeholder, for every verb.
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
