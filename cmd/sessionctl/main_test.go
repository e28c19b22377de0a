package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sid"
)

func TestSessions(t *testing.T) {
	o := start(t)
	me := sid.New().String()
	user := `{"user_id":"` + me + `"}`
	first := strings.TrimSpace(o.do(0, "set", "--user-json", user))
	second := sid.New().String()
	o.input = user + "\n"
	o.do(0, "set", second, "--lifetime", "2h")
	o.want(user, "get", first)
	o.want(user, "get", second)
	o.want("has no live sessions with tokens", "list", "--user", me)
	o.do(0, "delete", first)
	o.do(exitNoSession, "get", first)
	o.want("1 session ended", "revoke", "--user", me)
	o.do(exitNoSession, "get", second)
}

// TestEnds: every command that ends sessions says how many, and exits with 3 if there is
// none.
func TestEnds(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	const none, one = "", "1 session ended\n"
	for _, test := range []struct {
		command, hint                  string // hint follows the error
		absent, handle, plain, expired string // what it prints
	}{
		{"delete ID", "", none, one, one, one},
		{"revoke --handle ID", ": none with a token has this handle (delete ends plain ones, too)", none, one, none, none},
		{"revoke --user u", "", none, one, one, none}, // which counts live sessions
		{"revoke --all --yes", "", none, one, one, one},
		{"revoke --all --yes --audience=", "", none, one, one, one},
	} {
		t.Run(test.command, func(t *testing.T) {
			o := start(t)
			ends := func(id, want string) {
				t.Helper()
				code, wantErr := 0, ""
				if want == none {
					code, wantErr = exitNoSession, "sessionctl: no such session"+test.hint+"\n"
				}
				arguments := strings.Fields(strings.Replace(test.command, "ID", id, 1))
				if out, errOut := o.both(code, arguments...); out != want || errOut != wantErr {
					t.Errorf("%s: %q, %q; want %q, %q", arguments, out, errOut, want, wantErr)
				}
			}
			absent := sid.New().String()
			ends(absent, test.absent)
			ends(o.issue("", "u"), test.handle)
			ends(strings.TrimSpace(o.do(0, "set", "--user-json", `{"user_id":"u"}`)), test.plain)
			ends(o.insertExpired(1), test.expired)
			if out := o.do(exitNoSession, append(strings.Fields(strings.Replace(test.command, "ID", absent, 1)), "--json")...); out != `{"ended":0}`+"\n" {
				t.Errorf("%s --json of none prints %q", test.command, out)
			}
		})
	}
}

// TestEndsAfterNearCaches: services may still show a session for that time.
func TestEndsAfterNearCaches(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	o := start(t)
	for _, command := range []string{"delete ID", "revoke --handle ID", "revoke --user u", "revoke --all --yes", "revoke --all --yes --audience="} {
		arguments := strings.Fields(strings.Replace(command, "ID", o.issue("", "u"), 1))
		began := time.Now()
		o.do(0, arguments...)
		if took := time.Since(began); took < sessioncache.NearCacheStaleness {
			t.Errorf("%s took %s; want at least %s", command, took, sessioncache.NearCacheStaleness)
		}
	}
}

func TestTokens(t *testing.T) {
	o := start(t)
	me := sid.New().String()
	handles := make([]string, 4)
	for i := range handles {
		handles[i] = o.issue("", me)
	}
	list := o.do(0, "list", "--user", me)
	lines := strings.Split(strings.TrimSpace(list), "\n")
	if len(lines) != 5 || !slices.Equal(strings.Fields(lines[0]), []string{"HANDLE", "CREATED", "AUTHENTICATED", "LAST", "USED", "EXPIRES", "DEVICE"}) {
		t.Fatalf("list shows\n%s", list)
	}
	for i, line := range lines[1:] { // newest first
		fields := strings.Fields(line)
		if len(fields) != 6 || fields[0] != handles[3-i] || fields[1] != fields[2] || fields[1] != fields[3] || fields[5] != strconv.Quote(device) {
			t.Errorf("list shows %q; want %s", line, handles[3-i])
		}
	}
	o.do(exitNoSession, "get", handles[0])
	o.want("1 session ended", "revoke", "--handle", handles[0])
	o.want("1 session ended", "revoke", "--user", me, "--except", handles[1], "--except", handles[2])
	if list := o.want(handles[1], "list", "--user", me); strings.Contains(list, handles[3]) || !strings.Contains(list, handles[2]) {
		t.Errorf("after revoke --except, list shows\n%s", list)
	}
	o.want("2 sessions ended", "revoke", "--user", me)
}

// TestAudiences has two applications with sessions of one user id.
func TestAudiences(t *testing.T) {
	o := start(t)
	me, admin := sid.New().String(), sid.New().String()
	handle, adminHandle := o.issue("", me), o.issue(admin, me)
	if list := o.want(handle, "list", "--user", me); strings.Contains(list, adminHandle) {
		t.Errorf("list shows another application's sessions:\n%s", list)
	}
	o.want(adminHandle, "list", "--user", me, "--audience", admin)
	o.do(exitNoSession, "revoke", "--handle", adminHandle)
	o.want("1 session ended", "revoke", "--user", me)
	o.want("1 session ended", "revoke", "--user", me, "--audience", admin)

	id := strings.TrimSpace(o.do(0, "set", "--audience", admin, "--user-json", "{}"))
	o.do(exitNoSession, "get", id)
	o.want("{}", "get", id, "--audience", admin)
	o.do(exitNoSession, "delete", id)
	o.terminal, o.input = true, "n\n"
	o.do(exitFailed, "revoke", "--all", "--audience", admin)
	o.input = "y\n"
	out := o.want("Log everybody out of the application \""+admin+"\"?", "revoke", "--all", "--audience", admin)
	if !strings.Contains(out, "1 session ended") {
		t.Errorf("revoke --all --audience: %q", out)
	}
}

func TestMistakes(t *testing.T) {
	o := start(t)
	o.input = "no JSON"
	for _, arguments := range [][]string{
		{}, {"nonsense"}, {"get"}, {"get", "Dr. Evil"}, {"list"}, {"revoke"}, {"revoke", "--user", "a", "--all"}, {"revoke", "--all"},
		{"revoke", "--all", "--yes", "--except", sid.New().String()}, {"migrate", "sideways"}, {"migrate", "down"}, {"demo"},
		{"purge", "--json", "--quiet"}, {"set", "--lifetime", "0s"}, {"watch", "--every", "0s"}, {"watch", "--times", "-1"}, {"purge", "--budget=-1s"},
		{"revoke", "--user", ""}, {"list", "--user", ""}, {"revoke", "--user", "", "--except", sid.New().String()}, {"revoke", "--handle", "Dr. Evil"},
		{"revoke", "--handle", sid.New().String(), "--except", sid.New().String()}, {"revoke", "--user", "a", "--handle", sid.New().String()},
		{"revoke", "--user", "a", "--except", "Dr. Evil"}, {"list", "--user", "a", "--audience", strings.Repeat("a", 101)},
		{"delete", "Dr. Evil"}, {"set", "--user", "{}"}, {"help", "nonsense"}, {"migrate"}, {"migrate", "up", "--yes"},
		{"stats", "--audience", "a"}, {"watch", "--audience", "a"}, {"purge", "--audience", "a"}, {"reindex", "--audience", "a"}, {"migrate", "status", "--audience", "a"},
	} {
		o.do(exitUsage, arguments...)
	}
	o.do(0, "list", "--user", "a", "--audience", "\xff")
	o.do(exitFailed, "set")
	id := sid.New().String()
	o.do(0, "set", id, "--user-json", "{}")
	if _, errOut := o.both(exitFailed, "set", id, "--user-json", "{}"); !strings.Contains(errOut, "that session has ended") {
		t.Errorf("a conflict: %s", errOut)
	}
	o.do(exitNoSession, "get", id)
	o.url = "postgres://127.0.0.1:1/nowhere?connect_timeout=1"
	o.do(exitUnavailable, "stats")
	if out := o.do(exitUnavailable, "watch", "--json"); !strings.Contains(out, `"error":"stats: `) {
		t.Errorf("watch --json whose first count fails prints %q", out)
	}
	o.do(exitUnavailable, "get", id)
	o.do(exitUnavailable, "revoke", "--all", "--yes")
	o.do(exitUnavailable, "migrate", "up")
	o.do(exitUnavailable, "migrate", "down", "--yes")
	o.do(exitUnavailable, "migrate", "status")
}

// TestDatabaseURL: a connection string that is bad, or that is not there, is named.
func TestDatabaseURL(t *testing.T) {
	o := start(t)
	o.url = "::"
	for _, arguments := range [][]string{{"stats"}, {"migrate", "up"}} {
		if _, errOut := o.both(exitUsage, arguments...); !strings.HasPrefix(errOut, "sessionctl: DATABASE_URL, or --database-url: ") {
			t.Errorf("%s with a bad one: %q", arguments, errOut)
		}
	}
	o.url = "" // by PGHOST and so on, perhaps a server answers
	var errOut bytes.Buffer
	code := run(t.Context(), []string{"--database-url", "", "stats"}, nil, &errOut, &errOut, false)
	if code == exitUnavailable && !strings.Contains(errOut.String(), "DATABASE_URL is not set") {
		t.Errorf("with none: exit code %d, %q", code, &errOut)
	}
}

// TestMessagesNameNoPackages of Go.
func TestMessagesNameNoPackages(t *testing.T) {
	o := start(t)
	o.url = "postgres://127.0.0.1:1/nowhere?connect_timeout=1"
	for _, arguments := range [][]string{{"stats"}, {"purge"}, {"get", sid.New().String()}, {"migrate", "up"}} {
		if _, errOut := o.both(exitUnavailable, arguments...); strings.Contains(errOut, "sessioncache: ") {
			t.Errorf("%s: %q", arguments, errOut)
		}
	}
}

func TestEverybody(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	o := start(t)
	o.do(0, "set", "--user-json", "{}")
	o.issue("", "u")
	o.issue("admin", "u")
	o.terminal = true
	o.input = "\n"
	o.do(exitFailed, "revoke", "--all")
	o.input = "n\n"
	o.do(exitFailed, "revoke", "--all")
	o.input = "y\n"
	out := o.want("3 live sessions?", "revoke", "--all")
	if !strings.Contains(out, "3 sessions ended") {
		t.Errorf("revoke --all: %q", out)
	}
	o.terminal, o.input = false, ""

	o.issue("", "u")
	o.issue("admin", "u")
	o.want("1 session ended", "revoke", "--all", "--yes", "--audience", "")
	o.want("1 session ended", "revoke", "--all", "--yes")
}

func TestMaintenance(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	o := start(t)
	o.insertExpired(1500)
	o.do(0, "set", "--user-json", "{}")

	o.want("expired, to be purged  1500", "stats")
	var stats struct {
		Live, Expired int
		Oldest        float64 `json:"oldest_expired"`
		Most          int     `json:"largest_user"`
	}
	if err := json.Unmarshal([]byte(o.do(0, "stats", "--json")), &stats); err != nil || stats.Live != 1 || stats.Expired != 1500 || stats.Oldest < 3600 || stats.Most != 1500 {
		t.Errorf("stats --json: %+v, %v", stats, err)
	}
	if out := o.want("1500", "watch", "--times", "2", "--every", "1ms"); strings.Count(out, "\n") != 3 {
		t.Errorf("watch shows\n%s", out)
	}
	o.terminal = true
	if out := o.want("0 a second", "watch", "--times", "2", "--every", "1ms"); strings.Count(out, "\x1b[H") != 2 {
		t.Errorf("watch on a terminal shows\n%q", out)
	}
	o.terminal = false
	if out := o.do(0, "purge", "--budget", "1h"); out != "1500 expired sessions removed, none left\n" {
		t.Errorf("purge prints %q", out)
	}
	o.insertExpired(1500)
	o.terminal = true
	if out := o.want("1500 of 1500, none left", "purge"); !strings.Contains(out, "[████████████████████░░░░░░░░░░] 1000 of 1500") {
		t.Errorf("purge on a terminal prints %q", out)
	}
	o.terminal = false
	o.insertExpired(1500)
	o.want("1000 expired sessions removed, the oldest left expired 1h", "purge", "--budget", "1ns")
	if out := o.do(0, "purge", "-q"); out != "" {
		t.Errorf("purge -q prints %q", out)
	}
	o.want("0 expired sessions removed", "purge")
	o.want("have been rebuilt", "reindex")
}

func TestWatchEndsWithTheOperator(t *testing.T) {
	o := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var out, errOut bytes.Buffer
	code := run(ctx, []string{"--database-url", o.url, "watch", "--every", "1h"}, strings.NewReader(""), &out, &errOut, false)
	if code != 0 {
		t.Errorf("exit code %d\n%s", code, &errOut)
	}
}

// TestInterrupted: Ctrl-C is not an outage.
func TestInterrupted(t *testing.T) {
	o := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, arguments := range [][]string{{"purge"}, {"purge", "--json"}, {"stats"}, {"revoke", "--user", "u", "--yes"}, {"list", "--user", "u"}} {
		var out, errOut bytes.Buffer
		code := run(ctx, append([]string{"--database-url", o.url}, arguments...), strings.NewReader(""), &out, &errOut, false)
		if code != exitFailed || !strings.Contains(errOut.String(), "interrupted") || strings.Contains(errOut.String(), "unavailable") {
			t.Errorf("%s: exit code %d, %s", arguments, code, &errOut)
		}
		if removed := strings.HasSuffix(out.String(), `"removed":0}`+"\n"); removed != slices.Contains(arguments, "--json") {
			t.Errorf("%s prints %q", arguments, &out)
		}
	}
}

// TestServerThatNeverAnswers: connecting ends, also where the connection string sets no limit.
func TestServerThatNeverAnswers(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, command := range []string{"reindex", "migrate status"} { // which are not tried again
		var out, errOut bytes.Buffer
		arguments := append([]string{"--database-url", "postgres://u@" + listener.Addr().String() + "/d?sslmode=disable"}, strings.Fields(command)...)
		if code := run(t.Context(), arguments, strings.NewReader(""), &out, &errOut, false); code != exitUnavailable {
			t.Errorf("%s: exit code %d, %s", command, code, &errOut)
		}
	}
}

// outage begins once something has been printed.
type outage struct {
	bytes.Buffer
	once  sync.Once
	begin func()
}

func (o *outage) Write(p []byte) (int, error) {
	defer o.once.Do(o.begin)
	return o.Buffer.Write(p)
}

// TestWatchOutlivesAnOutage has the database drop the table under it.
func TestWatchOutlivesAnOutage(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	for name, test := range map[string]struct {
		flags []string
		error string
	}{
		"text": {nil, "run the migrations"},
		"JSON": {[]string{"--json"}, `"error":"stats: `},
	} {
		t.Run(name, func(t *testing.T) {
			o := start(t)
			conn := o.connect()
			var errOut bytes.Buffer
			out := outage{begin: func() {
				if _, err := conn.Exec(t.Context(), "DROP TABLE session_cache"); err != nil {
					t.Error(err)
				}
			}}
			arguments := append([]string{"--database-url", o.url, "watch", "--times", "3", "--every", "1ms"}, test.flags...)
			code := run(t.Context(), arguments, strings.NewReader(""), &out, &errOut, false)
			if code != 0 || strings.Count(out.String(), test.error) != 2 {
				t.Errorf("exit code %d\n%s\n%s", code, &out, &errOut)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	o := start(t)
	help := o.want("Exit codes", "--help")
	if words := o.do(0, "help"); words != help {
		t.Errorf("help prints\n%s", words)
	}
	var out bytes.Buffer
	if code := run(t.Context(), nil, nil, &out, &out, false); code != 0 || out.String() != help {
		t.Errorf("without arguments: exit code %d\n%s", code, &out)
	}
	if _, errOut := o.both(exitUsage, "migrate"); !strings.Contains(errOut, `"up", "down", "status"`) {
		t.Errorf("migrate does not list its directions: %q", errOut)
	}
	for command, text := range map[string]string{
		"migrate": "status", "migrate up": `"direction": "up"`, "migrate down": `"direction": "down"`, "migrate status": `"state"`,
		"get": "as it is stored", "set": `"id"`, "delete": `"ended"`, "version": "version", "help": "revoke", "list": `"expires_at"`, "revoke": `"ended"`,
		"purge": `"removed"`, "stats": `"largest_user"`, "watch": `"time"`, "reindex": "reindex", "completion": "zsh",
	} {
		help := o.want(text, append([]string{"help"}, strings.Fields(command)...)...)
		if !strings.Contains(help, "Example:\n\n    ") || !strings.Contains(help, "sessionctl "+command) {
			t.Errorf("%s has no example in its help:\n%s", command, help)
		}
		for line := range strings.Lines(help) {
			if line = strings.TrimSuffix(line, "\n"); utf8.RuneCountInString(line) > 80 {
				t.Errorf("%s --help has a line longer than 80 columns: %s", command, line)
			}
		}
	}
}

// TestCompletion has a shell run what is printed.
func TestCompletion(t *testing.T) {
	o := start(t)
	script := o.want("complete -F", "completion", "bash") + `
		COMP_WORDS=(sessionctl re); COMP_CWORD=1; _sessionctl; echo "${COMPREPLY[@]}"
		COMP_WORDS=(sessionctl migrate st); COMP_CWORD=2; _sessionctl; echo "${COMPREPLY[@]}"
		COMP_WORDS=(sessionctl purge --b); COMP_CWORD=2; _sessionctl; echo "${COMPREPLY[@]}"`
	output, err := exec.CommandContext(t.Context(), "bash", "-c", script).CombinedOutput()
	if err != nil || string(output) != "revoke reindex\nstatus\n--budget\n" {
		t.Errorf("completing: %s, %v", output, err)
	}
	o.want("bashcompinit", "completion", "zsh")
	o.want("-l except", "completion", "fish")
}
