package systemtest

import (
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// hostile is what an administrator may set for a whole server, all at once: how values
// are printed, how transactions are isolated.
var hostile = []string{
	"default_transaction_isolation = 'serializable'",
	"DateStyle = 'German, DMY'",
	"IntervalStyle = 'sql_standard'",
	"TimeZone = 'Asia/Kathmandu'",
	"bytea_output = 'escape'",
	"extra_float_digits = -15",
}

// TestSettings runs the ordinary suite on a server with such settings, in a database
// of an old encoding, and what sends every statement also with a client that says it speaks one.
// The tests of sessionhttp are left out, because all its statements are sessioncache's.
func TestSettings(t *testing.T) {
	t.Parallel()
	server, err := sessiontest.Start(t.Context(), hostile...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	for name, test := range map[string]struct {
		database, encoding, skip string
		packages                 []string
	}{
		// These tests store characters that LATIN1 lacks.
		"LATIN1 database": {"ENCODING 'LATIN1' LOCALE 'C'", "UTF8", "TestUnicodeIsStoredByteForByte|TestHeaderInjection|TestNothingCommandsTheTerminal|TestUserID|TestMistakes", []string{"./queries", "./schema", "./cmd/...", "./sessioncache"}},
		// pgx refuses the simple protocol there, because it could not quote safely.
		"LATIN1 client": {"ENCODING 'UTF8' LOCALE 'C'", "LATIN1", "/simple_protocol", []string{"./queries", "./schema", "./cmd/..."}},
	} {
		t.Run(name, func(t *testing.T) {
			arguments := []string{"test", "-count=1", "-skip", test.skip}
			suite := exec.CommandContext(t.Context(), "go", append(arguments, test.packages...)...)
			suite.Dir = ".."
			suite.Env = append(os.Environ(), "SESSIONCACHE_DATABASE_URL="+createDatabase(t, server, test.database, test.encoding))
			if output, err := suite.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, output)
			}
		})
	}
}

// createDatabase returns the connection string of a database made with these options,
// for a client with this encoding.
func createDatabase(t *testing.T, server *sessiontest.Server, options, encoding string) string {
	t.Helper()
	database, err := server.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), database.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	name := conn.Config().Database + "_" + strings.ToLower(encoding)
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+name+" TEMPLATE template0 "+options); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(database.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	query := u.Query()
	query.Set("client_encoding", encoding)
	u.RawQuery = query.Encode()
	return u.String()
}
