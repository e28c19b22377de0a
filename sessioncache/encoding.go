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
	switch raw := any(&user).(type) {
	case *json.RawMessage:
		if *raw != nil && (!utf8.Valid(*raw) || !json.Valid(*raw)) {
			return "", invalidUser(op, errNotJSON)
		}
		if isNull(*raw) {
			return "", invalidUser(op, errNull)
		}
		return string(*raw), nil
	default:
		data, err := c.config.marshal(user)
		if err != nil {
			return "", invalidUser(op, err)
		}
		if isNull(data) {
			return "", invalidUser(op, errNull)
		}
		return string(data), nil
	}
}

// decode reads a user from its JSON, and keeps the JSON if that is what a T is.
func (c *Cache[T]) decode(op string, dict []byte) (user T, err error) {
	if isNull(dict) {
		return user, invalidUser(op, errNull)
	}
	switch raw := any(&user).(type) {
	case *json.RawMessage:
		*raw = dict
	default:
		if err := c.config.unmarshal(dict, &user); err != nil {
			var none T // not what was decoded until then
			return none, invalidUser(op, err)
		}
	}
	return user, nil
}

// isNull also takes no JSON at all, which a nil RawMessage is.
func isNull(dict []byte) bool {
	dict = bytes.TrimSpace(dict)
	return len(dict) == 0 || string(dict) == "null"
}
