package sid

import (
	"github.com/google/uuid"
)

// Handle names a session with a token, from login to purge. It gives no access:
// it may be shown on a page or logged, and a form may send it back to name the session.
//
// The zero Handle names no session.
type Handle [16]byte

// ParseHandle reads a handle from the text of [Handle.String], in upper or lower case.
// For every other text the error is [ErrMalformed].
func ParseHandle(s string) (Handle, error) {
	id, err := Parse(s)
	return Handle(id), err
}

// String returns the handle as a UUID in canonical form, in lower case.
func (h Handle) String() string {
	return uuid.UUID(h).String()
}

// MarshalText implements [encoding.TextMarshaler] with [Handle.String].
func (h Handle) MarshalText() ([]byte, error) {
	return uuid.UUID(h).MarshalText()
}

// UnmarshalText implements [encoding.TextUnmarshaler] with [ParseHandle].
func (h *Handle) UnmarshalText(text []byte) error {
	parsed, err := ParseHandle(string(text))
	if err != nil {
		return err
	}
	*h = parsed
	return nil
}
