package queries_test

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/rhaptos/sessiondb/db"
	"github.com/rhaptos/sessiondb/sid"
)

// TestRules keeps the statements to what keeps sessions apart: plain ones from those
// with tokens, one application's from another's, and one clock from all others.
func TestRules(t *testing.T) {
	t.Parallel()
	// What is said of the secret, by each statement that finds a session by its id.
	secrets := map[string]string{
		"DeleteSession": "secret IS NULL",

		"DeleteSessionByHandle": "secret IS NOT NULL",
		"DeleteStolenSession":   "family = @family",
		"DeleteUserSession":     "secret IS NOT NULL",
		"LockSession":           "secret = @secret",
		"ReauthenticateSession": "secret = @secret",
		"RenewSession":          "secret = @secret",
		"RetireSession":         "secret = @secret",
		"RevokeSession":         "secret = @secret",

		// Of both kinds: a NULL stands for a plain session.
		"ExtendSession": "secret IS NOT DISTINCT FROM sqlc.narg('secret')",
		"UpdateSession": "secret IS NOT DISTINCT FROM sqlc.narg('secret')",

		// Lookups return it, and are checked by their callers.
		"GetLiveSecrets": "secret IS NOT NULL", "GetSession": "", "GetSessions": "",

		// New ids.
		"InsertSession": "", "InsertSessions": "",

		// By user.
		"DeleteOldestUserSessions": "", "DeleteUserSessions": "", "ListUserSessions": "", "LockUser": "",
	}
	maintenance := map[string]bool{
		"DeleteAllSessions": true, "DeleteAudienceSessions": true, "DeleteExpiredSessions": true, "DeleteExpiredSessionsUnlocked": true,
		"GetIsolation": true, "GetOldestExpired": true, "GetSessionStats": true, "ReindexSessions": true,
	}
	forbidden := regexp.MustCompile(`(?i)\bnow\(\)|\bcurrent_timestamp\b|\bclock_timestamp\b|\bctid\b|\bmerge\b|SET sessionid`)
	printed := regexp.MustCompile(`::timestamptz\b`)
	timedReturning := regexp.MustCompile(`RETURNING[^)]*\bstatement_timestamp\(\)`)
	for name, statement := range statements(t) {
		secret, ok := secrets[name]
		if !ok && !maintenance[name] {
			t.Errorf("%s: the test does not know what it has to say", name)
		}
		if !strings.Contains(statement, secret) {
			t.Errorf("%s does not say %s", name, secret)
		}
		if ok && !strings.Contains(statement, "@audience") {
			t.Errorf("%s does not say whose audience", name)
		}
		if word := forbidden.FindString(statement); word != "" {
			t.Errorf("%s says %s", name, word)
		}
		if cast := printed.FindString(statement); cast != "" {
			t.Errorf("%s returns or takes a %s, which is printed in the server's style", name, cast)
		}
		// A foreign key to the table takes FOR KEY SHARE. Against FOR UPDATE a transaction that
		// writes its own row first, and then changes the session, deadlocks with its like.
		if strings.Contains(statement, "FOR UPDATE") && !strings.HasPrefix(statement, "DELETE") {
			t.Errorf("%s says FOR UPDATE and deletes nothing; want FOR NO KEY UPDATE", name)
		}
		if timed := timedReturning.FindString(statement); timed != "" {
			t.Errorf("%s says %q, which a distributed table does not allow", name, timed)
		}
		delete(secrets, name)
		delete(maintenance, name)
	}
	for name := range secrets {
		t.Errorf("there is no %s", name)
	}
	for name := range maintenance {
		t.Errorf("there is no %s", name)
	}
}

// TestResultsHaveNoStyle looks at the types of what queries return: of a timestamptz, an
// interval and a bytea a server prints what its settings say.
func TestResultsHaveNoStyle(t *testing.T) {
	t.Parallel()
	plain := map[reflect.Type]bool{
		reflect.TypeFor[bool](): true, reflect.TypeFor[int32](): true, reflect.TypeFor[int64](): true, reflect.TypeFor[string](): true, reflect.TypeFor[sid.ID](): true,
		reflect.TypeFor[[]int64](): true, reflect.TypeFor[sid.IDs](): true,
	}
	queries := reflect.TypeFor[*db.Queries]()
	for method := range queries.Methods() {
		if method.Type.NumOut() < 2 {
			continue // an error alone, or WithTx
		}
		result := method.Type.Out(0)
		if result.Kind() == reflect.Slice {
			result = result.Elem()
		}
		if result.Kind() == reflect.Pointer {
			result = result.Elem()
		}
		if result.Kind() != reflect.Struct {
			if !plain[result] {
				t.Errorf("%s returns a %s", method.Name, result)
			}
			continue
		}
		for field := range result.Fields() {
			if !plain[field.Type] && field.Name != "UserDict" {
				t.Errorf("%s returns %s, a %s", method.Name, field.Name, field.Type)
			}
		}
	}
}
