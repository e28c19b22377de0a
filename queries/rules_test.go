package queries_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// statements are those of the query files without their comments, by name.
func statements(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("no queries, %v", err)
	}
	statements := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(text), "-- name: ")[1:] {
			name, rest, _ := strings.Cut(part, " ")
			_, rest, _ = strings.Cut(rest, "\n")
			statements[name] = regexp.MustCompile(`(?m)^--.*\n`).ReplaceAllString(rest, "")
		}
	}
	return statements
}

// TestRules keeps the statements to what keeps sessions apart: plain ones from those
// with tokens, one application's from another's, and one clock from all others.
func TestRules(t *testing.T) {
	t.Parallel()
	// What is said of the secret, by each statement that finds a session by its id.
	secrets := map[string]string{
		"DeleteSession": "secret IS NULL",

		"DeleteSessionByHandle": "secret IS NOT NULL",
		"ReauthenticateSession": "secret = @secret",
		"RenewSession":          "secret = @secret",
		"RetireSession":         "secret = @secret",
		"RevokeSession":         "secret = @secret",

		// Of both kinds: a NULL stands for a plain session.
		"ExtendSession": "secret IS NOT DISTINCT FROM sqlc.narg('secret')",
		"LockSession":   "secret IS NOT DISTINCT FROM sqlc.narg('secret')",
		"UpdateSession": "secret IS NOT DISTINCT FROM sqlc.narg('secret')",

		// Lookups return it, and are checked by their callers.
		"GetSession": "", "GetSessions": "",

		// New ids.
		"InsertSession": "", "InsertSessions": "", "IssueSession": "",

		// By user.
		"DeleteOldestUserSessions": "", "DeleteUserSessions": "", "ListUserSessions": "", "LockUser": "",
	}
	maintenance := map[string]bool{
		"DeleteAllSessions": true, "DeleteAudienceSessions": true, "DeleteExpiredSessions": true, "DeleteExpiredSessionsUnlocked": true,
		"GetIsolation": true, "GetOldestExpired": true, "GetSessionStats": true, "ReindexSessions": true,

		// The change feed is of all applications.
		"AdvanceChangeHorizon": true, "DeleteChanges": true, "DrainNearCaches": true, "ForgetNearCaches": true, "GetChangeFeedStats": true,
		"GetNearCacheUse": true, "HasChangeFeed": true, "InsertChangeEpoch": true, "PollChanges": true, "RegisterNearCache": true,
	}
	forbidden := regexp.MustCompile(`(?i)\bnow\(\)|\bcurrent_timestamp\b|\bclock_timestamp\b|\bctid\b|\bmerge\b|SET sessionid`)
	printed := regexp.MustCompile(`::(timestamptz|interval)\b`)
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
