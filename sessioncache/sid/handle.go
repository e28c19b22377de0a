package sid

import (
	"github.com/google/uuid"
)

// Handle names a session with a token, for the session's whole life. It opens
// nothing: it may be shown on a page, logged, and sent back to say which session
// is meant.
//
// The zero Handle is no session's.
type Handle [16]byte

// ParseHandle reads a handle from what [Handle.String] returns, in either case. Any
// other input is [ErrMalformed].
func ParseHandle(s string) (Handle, error) {
	id, err := Parse(s)
	return Handle(id), err
}

// String returns the handle as a UUID in canonical form, in lower case.
func (h Handle) String() string {
	return uuid.UUID(h).String()
}

// MarshalText implements [encoding.TextMarshaler] with what String returns.
func (h Handle) MarshalText() ([]byte, error) {
	return uuid.UUID(h).MarshalText()
}

// UnmarshalText implements [encoding.TextUnmarshaler]; it takes what
// [ParseHandle] takes.
func (h *Handle) UnmarshalText(text []byte) error {
	parsed, err := ParseHandle(string(text))
	if err != nil {
		return err
	}
	*h = parsed
	return nil
}
