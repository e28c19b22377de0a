package sessioncache

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

var (
	// A null is no user: decoded, it would be a T without any of its fields set,
	// and logged in.
	errNull    = errors.New("it is null")
	errNotJSON = errors.New("it is not JSON in UTF-8")
)

// encode returns the JSON of a user. Raw JSON is checked and stays as it is;
// encoding/json would squeeze and escape it.
func encode[T any](op string, user T) (string, error) {
	var dict string
	switch raw := any(&user).(type) {
	case *json.RawMessage:
		if *raw != nil && (!utf8.Valid(*raw) || !json.Valid(*raw)) {
			return "", invalidUser(op, errNotJSON)
		}
		dict = string(*raw)
	default:
		data, err := json.Marshal(user)
		if err != nil {
			return "", invalidUser(op, err)
		}
		dict = string(data)
	}
	if isNull(dict) {
		return "", invalidUser(op, errNull)
	}
	return dict, nil
}

// decode reads a user from its JSON.
func decode[T any](op, dict string) (user T, err error) {
	if isNull(dict) {
		return user, invalidUser(op, errNull)
	}
	switch raw := any(&user).(type) {
	case *json.RawMessage:
		*raw = json.RawMessage(dict)
	default:
		if err := json.Unmarshal([]byte(dict), &user); err != nil {
			var none T // not what was decoded until then
			return none, invalidUser(op, err)
		}
	}
	return user, nil
}

// isNull also takes the empty string, which a nil RawMessage is.
func isNull(dict string) bool {
	dict = strings.TrimSpace(dict)
	return dict == "" || dict == "null"
}
