// Package sid has the types that name and open sessions.
//
// An [ID] names a plain session and also opens it. A [Token] opens a session that was
// issued with one; the session's [Handle] names it and gives no access.
//
// These types keep other UUIDs of an application from being passed by mistake. In a log,
// through log/slog, they show nothing that opens a session.
package sid

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	"github.com/google/uuid"
)

// ErrMalformed is returned by [Parse], [ParseHandle], [ParseToken] and the UnmarshalText
// methods for a text that is not an id, a handle or a token. The error never shows the
// text.
var ErrMalformed = errors.New("malformed session id")

var (
	errNoUUID  = fmt.Errorf("%w: not a UUID in its 36-character form", ErrMalformed)
	errNoToken = fmt.Errorf("%w: not a token of 64 characters", ErrMalformed)
)

// canonicalLength is the number of characters of a UUID in the form of RFC 9562 section
// 4: 8-4-4-4-12 hexadecimal digits.
const canonicalLength = 36

// ID is the id of a plain session. The zero ID is a valid UUID (the Nil UUID of RFC
// 9562); it does not mean "no id".
//
// [ID.String] and the verbs of package fmt show the id itself, which opens the session.
// To log an ID, pass it to log/slog, which shows its [ID.Fingerprint].
type ID uuid.UUID

// New returns a random id: a version 4 UUID, 122 bits from crypto/rand.
func New() ID {
	return ID(uuid.New())
}

// Parse reads an id from a UUID in canonical form: 36 characters, in upper or lower case.
// For every other text, other forms of a UUID included (braces, urn:uuid:, no hyphens),
// the error is [ErrMalformed].
func Parse(s string) (ID, error) {
	if len(s) != canonicalLength {
		return ID{}, errNoUUID
	}
	id, err := uuid.Parse(s)
	if err != nil {
		return ID{}, errNoUUID // err may show the input
	}
	return ID(id), nil
}

// Compare orders ids as PostgreSQL does. It returns -1 if id is before other, 0 if they
// are equal, and +1 if id is after other.
func (id ID) Compare(other ID) int {
	return bytes.Compare(id[:], other[:])
}

// String returns the id in canonical form, in lower case.
func (id ID) String() string {
	return uuid.UUID(id).String()
}

// Fingerprint returns 16 hexadecimal digits that identify the id in a log: the first 64
// bits of its SHA-256. Nobody can compute the id from them.
func (id ID) Fingerprint() string {
	sum := sha256.Sum256(id[:])
	return hex.EncodeToString(sum[:8])
}

// LogValue implements [slog.LogValuer] with the fingerprint, so that no log shows an id.
func (id ID) LogValue() slog.Value {
	return slog.StringValue(id.Fingerprint())
}

// MarshalText implements [encoding.TextMarshaler] with the canonical form.
func (id ID) MarshalText() ([]byte, error) {
	return uuid.UUID(id).MarshalText()
}

// UnmarshalText implements [encoding.TextUnmarshaler] with [Parse].
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}
