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
	// A null is no user: decoded, it would be a T without any of its fields set,
	// and logged in.
	errNull    = errors.New("it is null")
	errNotJSON = errors.New("it is not JSON in UTF-8")
	errEscape  = errors.New(`it holds the escape \u0000 or a lone surrogate`)
)

// encode returns the JSON of a user. Raw JSON is checked and stays as it is;
// a codec would squeeze and escape it.
func (c *Cache[T]) encode(op string, user T) (dict string, err error) {
	var data []byte
	if raw, ok := any(&user).(*json.RawMessage); ok {
		data = *raw
		if data != nil && (!utf8.Valid(data) || !json.Valid(data)) {
			return "", invalidUser(op, errNotJSON)
		}
	} else if data, err = c.config.marshal(user); err != nil {
		return "", invalidUser(op, err)
	}
	if isNull(data) {
		return "", invalidUser(op, errNull)
	}
	if !storable(data) {
		return "", invalidUser(op, errEscape)
	}
	return string(data), nil
}

// storable tells whether JSON holds none of the escapes that stand for no text in
// PostgreSQL: of NUL, and of half a surrogate pair. The server would refuse them only
// after it has been sent a whole batch.
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

// decode reads a user from its JSON, and keeps the JSON if that is what a T is.
func (c *Cache[T]) decode(op string, dict []byte) (user T, err error) {
	if isNull(dict) {
		return user, unreadable(op, errNull)
	}
	if raw, ok := any(&user).(*json.RawMessage); ok {
		*raw = dict
		return user, nil
	}
	decoded := new(T)
	if err := c.config.unmarshal(dict, decoded); err != nil {
		return user, unreadable(op, err) // not what was decoded until then
	}
	return *decoded, nil
}

// unreadable is the error of a user that came from the database. What a decoder says
// may show part of the user: only where it does not fit is kept.
func unreadable(op string, cause error) error {
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](cause); ok {
		cause = fmt.Errorf("its field %q is not a %s", mismatch.Field, mismatch.Type)
	} else if cause != errNull { //nolint:errorlint // it is that very value or a decoder's
		cause = fmt.Errorf("%T", cause)
	}
	return fmt.Errorf("sessioncache: %s: %w: %w", op, ErrUnreadableSession, cause)
}

// isNull also takes no JSON at all, which a nil RawMessage is.
func isNull(dict []byte) bool {
	dict = bytes.TrimSpace(dict)
	return len(dict) == 0 || string(dict) == "null"
}
