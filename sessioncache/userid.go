package sessioncache

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

// The column user_id is userdict ->> 'user_id', and every call about a user's sessions
// goes by it. encoding/json reads more than that: a field takes its name in any case and
// the last of several values, and bytes that are not UTF-8 become U+FFFD. Where the two
// could differ, a session would have one user in Go and another one, or none, in the
// table, and a logout everywhere would miss it.
var (
	errUserIDName = errors.New("a name at its top level is user_id in another spelling")
	errUserIDs    = errors.New("it has more than one user_id")
	errUserIDType = errors.New("its user_id is not a string, an integer or null")
	errUserIDText = errors.New("its user_id has U+FFFD in it, or is not UTF-8")
)

// longestUserIDName is the length of user_id with quotes and every letter escaped.
const longestUserIDName = len(`"\u0075\u0073\u0065\u0072\u005f\u0069\u0064"`)

// readUserID returns the user_id of a user's JSON as the column will hold it: empty if it
// is absent or null, or if the JSON is not an object. It returns an error if encoding/json
// could read another one.
//
// It does not check the rest of the JSON: most of it was checked before, and what a codec
// wrote is checked by PostgreSQL. Of what is not JSON it may return anything.
func readUserID(data []byte) (id string, err error) {
	at := skipSpace(data, 0)
	if byteAt(data, at) != '{' {
		return "", nil
	}
	var (
		depth  int
		isName bool // the next string is a name of the top level
		found  bool
	)
	for at < len(data) {
		switch data[at] {
		case '"':
			end := endOfString(data, at)
			if isName {
				isName = false
				isUserID, err := namesUserID(data[at:end])
				switch {
				case err != nil:
					return "", err
				case isUserID && found:
					return "", errUserIDs
				case isUserID:
					found = true
					if id, err = valueOfUserID(data, end); err != nil {
						return "", err
					}
				}
			}
			at = end
			continue
		case '{':
			depth++
			isName = depth == 1
		case ',':
			isName = depth == 1
		case '[':
			depth++
		case '}', ']':
			depth--
		}
		at++
	}
	return id, nil
}

// namesUserID reports whether a name, in its quotes, is user_id. It returns an error for a
// name that only encoding/json takes for user_id. encoding/json ignores case as
// [bytes.EqualFold] does, which takes the long s (U+017F) for an s, too.
func namesUserID(quoted []byte) (bool, error) {
	const userID = "user_id"
	if len(quoted) < len(`""`)+len(userID) || len(quoted) > longestUserIDName {
		return false, nil
	}
	// Nearly all names differ in the first byte.
	if first := quoted[1]; first != 'u' && first != 'U' && first != '\\' {
		return false, nil
	}
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		unescaped, err := unescape(quoted)
		if err != nil {
			return false, err
		}
		name = []byte(unescaped)
	}
	switch {
	case string(name) == userID:
		return true, nil
	case bytes.EqualFold(name, []byte(userID)):
		return false, errUserIDName
	}
	return false, nil
}

// valueOfUserID returns the text of the value whose name ends at an index. The column
// holds a number as it is written, but 1.0, 1e0 and 1 are one number in Go, and -0 and 0,
// too.
func valueOfUserID(data []byte, at int) (id string, err error) {
	at = skipSpace(data, at)
	if byteAt(data, at) != ':' {
		return "", errNotJSON
	}
	at = skipSpace(data, at+1)
	if byteAt(data, at) != '"' {
		value, _, _ := bytes.Cut(data[at:], []byte(","))
		value, _, _ = bytes.Cut(value, []byte("}"))
		value = bytes.TrimRight(value, " \t\r\n")
		switch {
		case string(value) == "null":
			return "", nil
		case isInteger(value):
			return string(value), nil
		}
		return "", errUserIDType
	}
	quoted := data[at:endOfString(data, at)]
	if bytes.IndexByte(quoted, '\\') >= 0 || len(quoted) < len(`""`) {
		if id, err = unescape(quoted); err != nil {
			return "", err
		}
	} else {
		id = string(quoted[1 : len(quoted)-1])
	}
	if !utf8.ValidString(id) || strings.Contains(id, string(utf8.RuneError)) {
		return "", errUserIDText
	}
	return id, nil
}

// isInteger reports whether JSON is an integer that has no other spelling.
func isInteger(value []byte) bool {
	digits := bytes.TrimPrefix(value, []byte("-"))
	if len(digits) == 0 || digits[0] == '0' && len(value) > 1 {
		return false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// unescape returns the text of a string in its quotes.
func unescape(quoted []byte) (text string, err error) {
	if json.Unmarshal(quoted, &text) != nil {
		return "", errNotJSON
	}
	return text, nil
}

// endOfString returns the index after the string whose opening quote is at an index, or
// the length of data if the string has no end.
func endOfString(data []byte, at int) int {
	for end := at + 1; ; end++ {
		n := bytes.IndexByte(data[end:], '"')
		if n < 0 {
			return len(data)
		}
		end += n
		backslashes := 0
		for data[end-1-backslashes] == '\\' { // the opening quote is none
			backslashes++
		}
		if backslashes%2 == 0 { // they escape each other, not the quote
			return end + 1
		}
	}
}

func skipSpace(data []byte, at int) int {
	for at < len(data) && (data[at] == ' ' || data[at] == '\t' || data[at] == '\n' || data[at] == '\r') {
		at++
	}
	return at
}

// byteAt returns a byte, or at the end of data a zero, which JSON has nowhere.
func byteAt(data []byte, at int) byte {
	if at < len(data) {
		return data[at]
	}
	return 0
}
