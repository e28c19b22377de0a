package sessioncache

import (
	"encoding/json"
	"testing"
)

// BenchmarkEncode and BenchmarkDecode are what the client does for a user of
// about 570 bytes besides asking the database.
func BenchmarkEncode(b *testing.B) {
	user, raw := benchmarkUser(b)
	b.Run("User", func(b *testing.B) { benchmarkEncode(b, user) })
	b.Run("RawMessage", func(b *testing.B) { benchmarkEncode(b, raw) })
	full, fullRaw := benchmarkFullUser(b)
	b.Run("User of 1 kB", func(b *testing.B) { benchmarkEncode(b, full) })
	b.Run("RawMessage of 1 kB", func(b *testing.B) { benchmarkEncode(b, fullRaw) })
}

func BenchmarkDecode(b *testing.B) {
	_, raw := benchmarkUser(b)
	b.Run("User", func(b *testing.B) { benchmarkDecode[account](b, raw) })
	b.Run("RawMessage", func(b *testing.B) { benchmarkDecode[json.RawMessage](b, raw) })
}

type account struct {
	UserID  *string     `json:"user_id"`
	Names   [16]*string `json:"names"`
	OpenIDs []string    `json:"openids"`
}

func benchmarkUser(b *testing.B) (account, json.RawMessage) {
	b.Helper()
	user := account{
		UserID:  new("cnxuser:75e06194-baee-4395-8e1a-566b656f6922"),
		Names:   [16]*string{new("Ed"), new("Woodward")},
		OpenIDs: []string{"https://edwoodward.myopenid.com", "cnxuser:75e06194-baee-4395-8e1a-566b656f6922", "openid"},
	}
	raw, err := json.Marshal(user)
	if err != nil {
		b.Fatal(err)
	}
	return user, raw
}

// benchmarkFullUser has a value in each field.
func benchmarkFullUser(b *testing.B) (account, json.RawMessage) {
	b.Helper()
	user, _ := benchmarkUser(b)
	for i := range user.Names {
		user.Names[i] = new("thirty bytes, about as it is.")
	}
	raw, err := json.Marshal(user)
	if err != nil {
		b.Fatal(err)
	}
	return user, raw
}

func benchmarkEncode[T any](b *testing.B, user T) {
	b.Helper()
	c := &Cache[T]{store: &store{config: newConfig(nil)}}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := c.encode("set", user); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkDecode[T any](b *testing.B, dict []byte) {
	b.Helper()
	c := &Cache[T]{store: &store{config: newConfig(nil)}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.decode("get", dict); err != nil {
			b.Fatal(err)
		}
	}
}
