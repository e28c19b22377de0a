package sessioncache

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

var (
	// A null is no user: decoded, it would be a T without any of its fields set,
	// and logged in.
	errNull    = errors.New("it is null")
	errNotJSON = errors.New("it is not JSON in UTF-8")
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
	return string(data), nil
}

// decode reads a user from its JSON, and keeps the JSON if that is what a T is.
func (c *Cache[T]) decode(op string, dict []byte) (user T, err error) {
	if isNull(dict) {
		return user, invalidUser(op, errNull)
	}
	if raw, ok := any(&user).(*json.RawMessage); ok {
		*raw = dict
		return user, nil
	}
	decoded := new(T)
	if err := c.config.unmarshal(dict, decoded); err != nil {
		return user, invalidUser(op, err) // not what was decoded until then
	}
	return *decoded, nil
}

// isNull also takes no JSON at all, which a nil RawMessage is.
func isNull(dict []byte) bool {
	dict = bytes.TrimSpace(dict)
	return len(dict) == 0 || string(dict) == "null"
}
