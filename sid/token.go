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
	secretLength = 32 // bytes: 240 random bits, more than the 128 that ASVS 7.2.3 asks for

	// The secret is the family, which every renewal keeps, the number of renewals, modulo
	// 65,536, and a part that every renewal draws anew.
	familyLength = 16
	numberLength = 2

	// tokenLength is the number of characters of a token: 16 bytes of handle and 32 bytes
	// of secret in base64url. 48 bytes fill 64 characters exactly: each token has only
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
// The zero Token gives no access.
type Token struct {
	handle Handle

	// A function, because package fmt ignores Format for a Token in an unexported field.
	// It would print a field that holds the secret, and for some verbs (%s) even follow a
	// pointer to it. For a function it prints the address.
	secret func() [secretLength]byte
}

// NewToken returns a random token: 128 bits of handle and 240 bits of secret, from
// crypto/rand. Its number is zero.
func NewToken() Token {
	var handle Handle
	var secret [secretLength]byte
	rand.Read(handle[:]) // never returns an error: if it fails, it ends the program
	rand.Read(secret[:])
	clear(secret[familyLength : familyLength+numberLength])
	return Token{handle, func() [secretLength]byte { return secret }}
}

// Renewed returns a token of the same session and family with a new random secret. Its
// number is one higher; zero follows 65,535. The zero Token stays zero.
func (t Token) Renewed() Token {
	if t.secret == nil {
		return t
	}
	secret := t.secret()
	binary.BigEndian.PutUint16(secret[familyLength:], t.Number()+1)
	rand.Read(secret[familyLength+numberLength:])
	return Token{t.handle, func() [secretLength]byte { return secret }}
}

// Number returns how often the token's session had been renewed when it got this token,
// modulo 65,536.
func (t Token) Number() uint16 {
	if t.secret == nil {
		return 0
	}
	secret := t.secret()
	return binary.BigEndian.Uint16(secret[familyLength:])
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
// label, the audience and its length, the handle and the secret. Therefore a token of one
// audience opens no session of another, and a digest copied to another row opens no
// session there. (A slow hash is for passwords. 240 random bits cannot be guessed.)
//
// The digest of the zero Token is zero; no other digest is.
func (t Token) Digest(audience string) (digest [sha256.Size]byte) {
	if t.secret == nil {
		return digest
	}
	secret := t.secret()
	return t.digest("sessiondb token v1", audience, secret[:])
}

// FamilyDigest returns what the table holds of the part of the secret that all tokens of
// the session have in common. It is made like [Token.Digest], with a label of its own.
func (t Token) FamilyDigest(audience string) (digest [sha256.Size]byte) {
	if t.secret == nil {
		return digest
	}
	secret := t.secret()
	return t.digest("sessiondb family v1", audience, secret[:familyLength])
}

func (t Token) digest(label, audience string, part []byte) [sha256.Size]byte {
	input := make([]byte, 0, 128)
	input = append(input, label...)
	input = binary.BigEndian.AppendUint64(input, uint64(len(audience)))
	input = append(input, audience...)
	input = append(input, t.handle[:]...)
	input = append(input, part...)
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
