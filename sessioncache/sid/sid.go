// Package sid holds what sessions are named and opened by.
//
// An [ID] is the id of a plain session, and its key: who has it has the session.
// A [Token] opens a session that was issued with one; the session's [Handle] names
// it and opens nothing.
//
// They are types of their own so that no other UUID of an application can be passed
// where a session is meant, and so that no log line shows what opens one.
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

// ErrMalformed is returned by [Parse], [ParseHandle] and [ParseToken] and by the
// UnmarshalText methods for anything that is not an id, a handle or a token. The
// error never repeats its input.
var ErrMalformed = errors.New("malformed session id")

var (
	errNoUUID  = fmt.Errorf("%w: not a UUID in its 36-character form", ErrMalformed)
	errNoToken = fmt.Errorf("%w: not a token of 64 characters", ErrMalformed)
)

// canonicalLength is the number of characters in a UUID as RFC 9562 section 4
// writes it: 8-4-4-4-12 hexadecimal digits.
const canonicalLength = 36

// ID is the id of a plain session. The zero ID is a valid UUID (RFC 9562's Nil), not a
// mark of absence.
//
// [ID.String] returns the id in clear, and so do fmt's verbs: whoever has it may
// have the session. Log the ID itself, with slog, to get [ID.Fingerprint].
type ID uuid.UUID

// New returns a random id: a version 4 UUID, 122 bits from crypto/rand.
func New() ID {
	return ID(uuid.New())
}

// Parse reads an id from the 36 characters of a UUID in canonical form, in
// either case. It takes none of the other forms a UUID may be written in:
// no braces, no urn:uuid: prefix, no 32 digits without hyphens.
// Any other input is [ErrMalformed].
func Parse(s string) (ID, error) {
	if len(s) != canonicalLength {
		return ID{}, errNoUUID
	}
	id, err := uuid.Parse(s)
	if err != nil {
		return ID{}, errNoUUID // not err: it may repeat the input
	}
	return ID(id), nil
}

// Compare orders ids as PostgreSQL does: it returns -1, 0 or +1 for id before,
// equal to or after other.
func (id ID) Compare(other ID) int {
	return bytes.Compare(id[:], other[:])
}

// String returns the id in canonical form, in lower case.
func (id ID) String() string {
	return uuid.UUID(id).String()
}

// Fingerprint returns 16 hexadecimal digits that tell one id from another in a
// log and from which nobody gets back to the id: the first 64 bits of its
// SHA-256.
func (id ID) Fingerprint() string {
	sum := sha256.Sum256(id[:])
	return hex.EncodeToString(sum[:8])
}

// LogValue implements [slog.LogValuer] with the fingerprint, so that an id never
// reaches a log.
func (id ID) LogValue() slog.Value {
	return slog.StringValue(id.Fingerprint())
}

// MarshalText implements [encoding.TextMarshaler] with the canonical form.
func (id ID) MarshalText() ([]byte, error) {
	return uuid.UUID(id).MarshalText()
}

// UnmarshalText implements [encoding.TextUnmarshaler]; it takes what [Parse]
// takes.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}
