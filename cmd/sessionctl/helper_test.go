package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/rhaptos/sessiondb/schema"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// operator types commands.
type operator struct {
	t        *testing.T
	url      string
	input    string
	terminal bool
}

func start(t *testing.T) operator {
	t.Helper()
	t.Parallel()
	return operator{t: t, url: sessiontest.NewDatabase(t).URL}
}

// do runs a command and returns what it prints; it must exit with code.
func (o operator) do(code int, arguments ...string) (out string) {
	o.t.Helper()
	out, _ = o.both(code, arguments...)
	return out
}

// both is do that returns the error message, too.
func (o operator) both(code int, arguments ...string) (out, errOut string) {
	o.t.Helper()
	var stdout, stderr bytes.Buffer
	arguments = append([]string{"--database-url", o.url}, arguments...)
	got := run(o.t.Context(), arguments, strings.NewReader(o.input), &stdout, &stderr, o.terminal)
	if got != code || (code == 0) != (stderr.Len() == 0) {
		o.t.Errorf("%s: exit code %d, want %d\n%s%s", arguments[2:], got, code, &stdout, &stderr)
	}
	return stdout.String(), stderr.String()
}

func (o operator) want(text string, arguments ...string) string {
	o.t.Helper()
	out := o.do(0, arguments...)
	if !strings.Contains(out, text) {
		o.t.Errorf("%s: %q; want %q", arguments, out, text)
	}
	return out
}

// device is that of all sessions with tokens.
const device = "Firefox\n"

// issue stores a session with a token and returns its handle.
func (o operator) issue(audience, userID string) (handle string) {
	o.t.Helper()
	cache := sessioncache.New[json.RawMessage](o.connect(), sessioncache.WithAudience(audience))
	token, err := cache.Issue(o.t.Context(), json.RawMessage(`{"user_id":"`+userID+`"}`), sessioncache.Device(device))
	if err != nil {
		o.t.Fatal(err)
	}
	return token.Handle().String()
}

// insertExpired stores n plain sessions of one user that ended an hour ago. It returns the
// id of one.
func (o operator) insertExpired(n int) (id string) {
	o.t.Helper()
	err := o.connect().QueryRow(o.t.Context(), `
		INSERT INTO session_cache (sessionid, userdict, session_startutc, session_endutc, session_deadlineutc)
		SELECT gen_random_uuid(), '{"user_id":"u"}', now() - interval '1 day', now() - interval '1 hour', now()
		FROM generate_series(1, $1::int)
		RETURNING sessionid::text`, n).Scan(&id)
	if err != nil {
		o.t.Fatal(err)
	}
	return id
}

// connect is for what operators do not do.
func (o operator) connect() *pgx.Conn {
	o.t.Helper()
	conn, err := pgx.Connect(o.t.Context(), o.url)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(o.t.Context())) })
	return conn
}

// document reads what a command prints as the one JSON document it has to be.
func document[T any](o operator, arguments ...string) (value T) {
	o.t.Helper()
	out := o.do(0, append(arguments, "--json")...)
	decoder := json.NewDecoder(strings.NewReader(out))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&value); err != nil || strings.Count(out, "\n") != 1 {
		o.t.Errorf("%s --json prints %q: %v", arguments, out, err)
	}
	return value
}

// fields checks that a document has these and no others.
func fields(t *testing.T, document map[string]any, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, ok := document[name]; !ok {
			t.Errorf("%v lacks %q", document, name)
		}
	}
	if len(document) != len(names) {
		t.Errorf("%v has other fields than %q", document, names)
	}
}

// migrationNames returns the names of all migrations, in their order.
func migrationNames(t *testing.T) []string {
	t.Helper()
	names, err := fs.Glob(schema.FS, "*.sql")
	if err != nil || len(names) == 0 {
		t.Fatalf("the migrations are %s, %v", names, err)
	}
	slices.Sort(names)
	return names
}

// withRole returns a connection string with which a superuser acts as a role.
func withRole(t *testing.T, connection, role string) string {
	t.Helper()
	asRole, err := url.Parse(connection)
	if err != nil {
		t.Fatal(err)
	}
	query := asRole.Query()
	query.Set("role", role)
	asRole.RawQuery = query.Encode()
	return asRole.String()
}
