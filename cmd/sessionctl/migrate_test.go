package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/schema"
)

// TestMigrate goes down, too, which a distributed table refuses.
func TestMigrate(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	o := start(t)
	names := migrationNames(t)
	newest := names[len(names)-1]
	text, err := schema.FS.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	o.do(0, "set", "--user-json", "{}")

	o.input = "y\n" // nobody sees the question: it is not an answer
	_, errOut := o.both(exitUsage, "migrate", "down")
	if !strings.Contains(errOut, "--yes") {
		t.Errorf("migrate down without a terminal: %q", errOut)
	}
	o.terminal = true
	for _, no := range []string{"", "\n", "n\n", "y", "yesterday\n"} {
		o.input = no
		out, errOut := o.both(exitFailed, "migrate", "down")
		if !strings.Contains(errOut, "nothing was done") || strings.HasSuffix(no, "\n") == strings.HasSuffix(out, "\n") {
			t.Errorf("migrate down, answered %q: %q, %q", no, out, errOut)
		}
	}
	o.input = ""
	if status := o.do(0, "migrate", "status"); strings.Count(status, "applied") != len(names) || strings.Contains(status, "[y/N]") {
		t.Fatalf("after no has been said, migrate status shows\n%s", status)
	}
	o.input = "y\n"
	out := o.want(newest, "migrate", "down")
	for _, told := range []string{downComment(string(text)), "holds 1 session,", "[y/N] OK"} {
		if !strings.Contains(out, told) {
			t.Errorf("migrate down does not say %q:\n%s", told, out)
		}
	}
	o.input = ""
	o.want("pending   "+newest, "migrate", "status")
	o.do(exitUnavailable, "stats")
	if up := o.want(newest, "migrate", "up"); strings.Contains(up, "[y/N]") {
		t.Errorf("migrate up asks:\n%s", up)
	}
	o.want("live sessions", "stats")
	o.want(fmt.Sprintf("Nothing to do: the table is at version %d", len(names)), "migrate", "up")

	o.terminal = false
	for _, name := range slices.Backward(names) {
		o.want(name, "migrate", "down", "--yes")
	}
	for _, o.terminal = range []bool{false, true} {
		_, errOut := o.both(exitFailed, "migrate", "down", "--yes")
		if !strings.Contains(errOut, "no migration has been applied") {
			t.Errorf("migrate down of nothing: %q", errOut)
		}
	}
	o.do(exitFailed, "migrate", "down")
}

// TestMigrateShowsNotices has the server remark on every new table.
func TestMigrateShowsNotices(t *testing.T) {
	suite.Require(t, suite.OwnDatabase, suite.Undistributed)
	o := start(t)
	down := func() {
		for range migrationNames(t) {
			o.do(0, "migrate", "down", "--yes")
		}
	}
	down()
	if _, err := o.connect().Exec(t.Context(), `
		CREATE FUNCTION remark() RETURNS event_trigger LANGUAGE plpgsql AS $$
		BEGIN RAISE NOTICE 'three rows are dropped' USING DETAIL = 'their ids are no UUIDs'; END $$;
		CREATE EVENT TRIGGER remark ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION remark()`); err != nil {
		t.Fatal(err)
	}
	const notice = "NOTICE: three rows are dropped\ntheir ids are no UUIDs\n"
	o.want(notice, "migrate", "up")

	down()
	var out, errOut bytes.Buffer
	code := run(t.Context(), []string{"--database-url", o.url, "migrate", "up", "--json"}, nil, &out, &errOut, false)
	if code != 0 || errOut.String() != notice || strings.Contains(out.String(), "NOTICE") {
		t.Errorf("migrate up --json: exit code %d\n%s\n%s", code, &out, &errOut)
	}
}

// TestEveryMigrationSaysWhatDownLoses: the question of migrate down shows it.
func TestEveryMigrationSaysWhatDownLoses(t *testing.T) {
	t.Parallel()
	for _, name := range migrationNames(t) {
		text, err := schema.FS.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if downComment(string(text)) == "" {
			t.Errorf("%s has no comment below -- +goose Down that says what it loses", name)
		}
	}
}

// TestMigrateWithoutPrivileges migrates as an application's role that may not create
// tables.
func TestMigrateWithoutPrivileges(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	o := start(t)
	const role = "pg_monitor" // every server has it
	for range migrationNames(t) {
		o.do(0, "migrate", "down", "--yes")
	}
	_, err := o.connect().Exec(t.Context(), `
		DROP TABLE `+schema.VersionTable+`;
		DO $$
		BEGIN
		    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', current_schema());
		    EXECUTE format('GRANT USAGE ON SCHEMA %I TO PUBLIC', current_schema());
		END
		$$`)
	if err != nil {
		t.Fatal(err)
	}
	owner := o.url
	asRole := withRole(t, owner, role)
	o.url = asRole
	for _, arguments := range [][]string{{"migrate", "up"}, {"migrate", "status"}} { // goose tries for three seconds each
		_, errOut := o.both(exitFailed, arguments...)
		if !strings.Contains(errOut, "may not create") || !strings.Contains(errOut, "use the role that owns the schema") {
			t.Errorf("%s: %q", arguments, errOut)
		}
	}
	o.url = owner
	o.want("OK", "migrate", "up")
	o.url = asRole // may not read the versions
	_, errOut := o.both(exitFailed, "migrate", "status")
	if !strings.Contains(errOut, "may not create, change or read") {
		t.Errorf("migrate status: %q", errOut)
	}
}

// TestMigrateRefusesATableOfOthers says what is wrong with it, and what to do.
func TestMigrateRefusesATableOfOthers(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	o := start(t)
	if _, err := o.connect().Exec(t.Context(), `
		DROP TABLE session_cache, `+schema.VersionTable+`; CREATE TABLE session_cache (id int)`); err != nil {
		t.Fatal(err)
	}
	_, errOut := o.both(exitFailed, "migrate", "up")
	for _, part := range []string{"is not a session table of rhaptos2", "Its columns are: id integer", "Rename the table"} {
		if !strings.Contains(errOut, part) {
			t.Errorf("migrate up: %q; want it to say %q", errOut, part)
		}
	}
}
