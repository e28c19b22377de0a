package sessioncache

import (
	"strings"
	"testing"
)

// ReadUserID is for tests that compare it with the column.
var ReadUserID = readUserID

// TestUserIDOfWhatIsNotJSON: a codec may write anything, and it is read before PostgreSQL
// refuses it. Each JSON here is cut at every byte, and has every byte replaced.
func TestUserIDOfWhatIsNotJSON(t *testing.T) {
	t.Parallel()
	for _, whole := range []string{
		`{"user_id":"u","a":[1,{"b":"\"\\"}]}`, `{"user\u005fid":"\u00e9"}`, ` { "user_id" : 17 } `, `{"user_id":null}`,
	} {
		for i := range whole {
			_, _ = readUserID([]byte(whole[:i]))
			for _, c := range "\"\\{}[]:,u0 \x00\xff" {
				_, _ = readUserID([]byte(whole[:i] + string(c) + whole[i+1:]))
			}
		}
	}
	for _, text := range []string{"", " ", `}}}`, `{"`, `{"user_id`, `{"user_id"`, `{"user_id":`, `{"user_id":"`, `{"user_id":"\`, `{"user_id" 1}`, `{"user_id":"\x"}`, `{"user\xid":1}`} {
		if id, err := readUserID([]byte(text)); id != "" {
			t.Errorf("readUserID of %q = %q, %v", text, id, err)
		}
	}
	// Its time grows with the text, not with its square.
	for _, part := range []string{`\`, `\"`, `"`, `{`, `["`, `,"u`} {
		_, _ = readUserID([]byte(`{"a":"` + strings.Repeat(part, 1<<20)))
	}
}

// BenchmarkReadUserID is the part of BenchmarkEncode that finds the user_id.
func BenchmarkReadUserID(b *testing.B) {
	_, raw := benchmarkUser(b)
	_, full := benchmarkFullUser(b)
	for name, data := range map[string][]byte{"570 bytes": raw, "1 kB": full} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if id, err := readUserID(data); id == "" || err != nil {
					b.Fatal(id, err)
				}
			}
		})
	}
}
