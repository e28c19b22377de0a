package sessioncache

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

var (
	// A null is not a user: it decodes to a T without any field set, which would be
	// logged in.
	errNull    = errors.New("it is null")
	errNotJSON = errors.New("it is not JSON in UTF-8")
	errEscape  = errors.New(`it holds the escape \u0000 or a lone surrogate`)
)

// encode returns the JSON of a user. Raw JSON is checked and stays byte for byte: a
// codec would compact and escape it.
func (c *Cache[T]) encode(op string, user T) (userJSON, userID string, err error) {
	var data []byte
	raw, isRaw := any(&user).(*json.RawMessage)
	if isRaw {
		data = *raw
	} else if data, err = c.config.marshal(user); err != nil {
		return "", "", invalidUser(op, err)
	}
	if limit := c.config.maxUserBytes; len(data) > limit {
		return "", "", fmt.Errorf("sessioncache: %s: %w: %d bytes; the limit is %d", op, ErrUserTooLarge, len(data), limit)
	}
	if isRaw && data != nil && (!utf8.Valid(data) || !json.Valid(data)) {
		return "", "", invalidUser(op, errNotJSON)
	}
	if isNull(data) {
		return "", "", invalidUser(op, errNull)
	}
	if !storable(data) {
		return "", "", invalidUser(op, errEscape)
	}
	if userID, err = readUserID(data); err != nil {
		return "", "", invalidUser(op, err)
	}
	return string(data), userID, nil
}

// storable reports whether PostgreSQL can store JSON: it holds neither the escape of NUL
// nor that of half a surrogate pair. The server would reject them only after a whole
// batch has been sent.
func storable(data []byte) bool {
	var high bool // the escape just before was the first half of a pair
	for {
		at := bytes.IndexByte(data, '\\')
		if at < 0 || at+1 >= len(data) {
			return !high
		}
		if high && at > 0 {
			return false
		}
		escape := data[at+1:]
		if escape[0] != 'u' || len(escape) < 5 {
			if high {
				return false
			}
			data = escape[1:]
			continue
		}
		unit, err := strconv.ParseUint(string(escape[1:5]), 16, 16)
		low := unit >= 0xDC00 && unit <= 0xDFFF
		if err != nil || unit == 0 || low != high {
			return false
		}
		high = unit >= 0xD800 && unit <= 0xDBFF
		data = escape[5:]
	}
}

// decode returns the user in a JSON text. If T is RawMessage, it is the text itself.
func (c *Cache[T]) decode(op string, data []byte) (user T, err error) {
	if isNull(data) {
		return user, unreadable(op, errNull)
	}
	if raw, ok := any(&user).(*json.RawMessage); ok {
		*raw = data
		return user, nil
	}
	decoded := new(T)
	if err := c.config.unmarshal(data, decoded); err != nil {
		return user, unreadable(op, err) // a zero user, not a half-decoded one
	}
	return *decoded, nil
}

// unreadable is the error of a stored user that does not decode. A decoder's message
// may show part of the user, therefore only the position and the type are kept.
func unreadable(op string, cause error) error {
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](cause); ok {
		cause = fmt.Errorf("its field %q is not a %s", mismatch.Field, mismatch.Type)
	} else if cause != errNull { //nolint:errorlint // this very value, not an error that wraps it
		cause = fmt.Errorf("%T", cause)
	}
	return fmt.Errorf("sessioncache: %s: %w: %w", op, ErrUnreadableSession, cause)
}

// isNull reports whether JSON is null, or empty, as a nil RawMessage is.
func isNull(data []byte) bool {
	data = bytes.TrimSpace(data)
	return len(data) == 0 || string(data) == "null"
}

// UserID returns the user_id under which the table holds a user; it is empty if there is
// none. If the user cannot be stored, the error is [ErrInvalidUser].
func (c *Cache[T]) UserID(user T) (string, error) {
	const op = "read the user's id"
	_, userID, err := c.encode(op, user)
	return userID, err
}
