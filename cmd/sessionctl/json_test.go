package main

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sid"
)

// TestJSON runs on a terminal, too: what is asked for as JSON is no other there.
func TestJSON(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	o := start(t)
	for _, o.terminal = range []bool{false, true} {
		me, id := sid.New().String(), sid.New().String()
		if stored := document[map[string]string](o, "set", id, "--user-json", "{}"); !reflect.DeepEqual(stored, map[string]string{"id": id}) {
			t.Errorf("set: %v", stored)
		}
		if none := document[[]any](o, "list", "--user", me); none == nil || len(none) > 0 {
			t.Errorf("list of nobody: %v", none)
		}
		handle := o.issue("", me)
		list := document[[]map[string]any](o, "list", "--user", me)
		if len(list) != 1 {
			t.Fatalf("list: %v", list)
		}
		fields(t, list[0], "handle", "device", "created_at", "authenticated_at", "last_used_at", "expires_at", "deadline", "ttl")
		for _, name := range []string{"created_at", "authenticated_at", "last_used_at", "expires_at", "deadline"} {
			checkTime(t, list[0][name])
		}
		if ttl, _ := list[0]["ttl"].(float64); list[0]["handle"] != handle || list[0]["device"] != device || ttl <= 3500 || ttl > 3600 {
			t.Errorf("list: %v", list[0])
		}

		fields(t, document[map[string]any](o, "stats"), "live", "expired", "oldest_expired", "largest_user")
		lines := strings.SplitAfter(o.do(0, "watch", "--json", "--times", "2", "--every", "1ms"), "\n")
		if len(lines) != 3 {
			t.Fatalf("watch: %q", lines)
		}
		for _, line := range lines[:2] {
			var look map[string]any
			if err := json.Unmarshal([]byte(line), &look); err != nil {
				t.Fatalf("watch: %q: %v", line, err)
			}
			fields(t, look, "time", "live", "expired", "oldest_expired", "largest_user")
			checkTime(t, look["time"])
		}

		o.insertExpired(1)
		if purged := document[map[string]int64](o, "purge"); !reflect.DeepEqual(purged, map[string]int64{"removed": 1, "oldest_expired": 0}) {
			t.Errorf("purge: %v", purged)
		}
		if ended := document[map[string]int64](o, "revoke", "--user", me); !reflect.DeepEqual(ended, map[string]int64{"ended": 1}) {
			t.Errorf("revoke: %v", ended)
		}
	}
}

func checkTime(t *testing.T, value any) {
	t.Helper()
	text, _ := value.(string)
	if at, err := time.Parse(time.RFC3339, text); err != nil || !strings.HasSuffix(text, "Z") || time.Since(at).Abs() > 2*time.Hour {
		t.Errorf("%v is no time of now in UTC: %v", value, err)
	}
}

func TestMigrateJSON(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	o := start(t)
	names := migrationNames(t)
	check := func(state goose.State, direction string, of []string, got []migrationJSON) {
		t.Helper()
		var listed []string
		for _, m := range got {
			listed = append(listed, m.Name)
			if m.State != state || m.Direction != direction || m.Version == 0 || (m.Duration > 0) != (direction != "") {
				t.Errorf("%+v; want state %q, direction %q", m, state, direction)
			}
		}
		if got == nil || !slices.Equal(listed, of) {
			t.Errorf("the document is about %q; want %q", listed, of)
		}
	}
	check(goose.StateApplied, "", names, document[[]migrationJSON](o, "migrate", "status"))
	check("", "", nil, document[[]migrationJSON](o, "migrate", "up"))
	for _, name := range slices.Backward(names) {
		check("", "down", []string{name}, document[[]migrationJSON](o, "migrate", "down", "--yes"))
	}
	check(goose.StatePending, "", names, document[[]migrationJSON](o, "migrate", "status"))
	check("", "up", names, document[[]migrationJSON](o, "migrate", "up"))
}
