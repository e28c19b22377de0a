package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sid"
)

// dangerous are characters that a terminal obeys, or that change the direction of the
// text. escaped is how they are shown.
const (
	dangerous = "\u007f\u0080\u009b31m\u009f\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
	escaped   = `\u007f\u0080\u009b31m\u009f\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069`
)

func TestVisible(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "",
		"Ed Woodward, émigré 日本 👩‍💻\t\n": "Ed Woodward, émigré 日本 👩‍💻\t\n",
		"\x00\a\b\r\x1b[2J\x1f":          `\u0000\u0007\u0008\u000d\u001b[2J\u001f`,
		dangerous:                        escaped,
		"\x9b31m\xff":                    `\x9b31m\xff`, // a control character in LATIN1
		"\ufffd\u2065\u206a":             "\ufffd\u2065\u206a",
	} {
		var out bytes.Buffer
		if n, err := (escapingWriter{&out}).Write([]byte(text)); err != nil || n != len(text) || out.String() != want {
			t.Errorf("%q is shown as %q (%d bytes, %v); want %q", text, &out, n, err, want)
		}
	}
}

// TestNothingCommandsTheTerminal has a user and an error of the server hold what a
// terminal obeys. (A distributed table can have no trigger.)
func TestNothingCommandsTheTerminal(t *testing.T) {
	suite.Require(t, suite.OwnTable, suite.Undistributed)
	o := start(t)
	user := "{ \"user_id\":\r\n\t\"" + dangerous + "\" }"
	id := strings.TrimSpace(o.do(0, "set", "--user-json", user))
	if out := o.do(0, "get", id); out != user+"\n" {
		t.Errorf("off a terminal get prints %q; want %q", out, user)
	}
	o.terminal = true
	want := "{ \"user_id\":\\u000d\n\t\"" + escaped + "\" }\n"
	if out := o.do(0, "get", id); out != want {
		t.Errorf("on a terminal get prints %q; want %q", out, want)
	}

	_, err := o.connect().Exec(t.Context(), `
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no %', NEW.userdict; END $$;
		CREATE TRIGGER refuse BEFORE INSERT ON session_cache FOR EACH ROW EXECUTE FUNCTION refuse()`)
	if err != nil {
		t.Fatal(err)
	}
	if _, errOut := o.both(exitFailed, "set", "--user-json", user); !strings.Contains(errOut, escaped) {
		t.Errorf("set shows the server's error as %q; want %q in it", errOut, escaped)
	}
	if _, errOut := o.both(exitUsage, dangerous); !strings.Contains(errOut, escaped) {
		t.Errorf("an argument is shown as %q; want %q in it", errOut, escaped)
	}
}

// hesitant presses Ctrl-C instead of an answer. It agrees in the end, in case that does
// nothing.
type hesitant struct {
	interrupt func()
	over      <-chan struct{}
	answer    *strings.Reader
}

func (h *hesitant) Read(p []byte) (int, error) {
	h.interrupt()
	select {
	case <-h.over:
	case <-time.After(10 * time.Second):
	}
	return h.answer.Read(p)
}

func TestCtrlCEndsPrompts(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	o := start(t)
	id, unused := sid.New().String(), sid.New().String()
	o.do(0, "set", id, "--user-json", "{}")
	for _, test := range []struct {
		answer, end string
		arguments   []string
	}{
		{"y\n", "[y/N] \n", []string{"migrate", "down"}},
		{"y\n", "[y/N] \n", []string{"revoke", "--all"}},
		{"y\n", "[y/N] \n", []string{"revoke", "--all", "--audience", ""}},
		{"{}", "\n", []string{"set", unused}},
	} {
		ctx, interrupt := context.WithCancel(t.Context())
		over := make(chan struct{})
		in := &hesitant{interrupt, over, strings.NewReader(test.answer)}
		var out, errOut bytes.Buffer
		code := run(ctx, append([]string{"--database-url", o.url}, test.arguments...), in, &out, &errOut, true)
		close(over)
		if code != exitFailed || errOut.String() != "sessionctl: nothing was done\n" || !strings.HasSuffix(out.String(), test.end) {
			t.Errorf("%s: exit code %d\n%q\n%q", test.arguments, code, &out, &errOut)
		}
	}
	o.want("{}", "get", id)
	o.do(exitNoSession, "get", unused)
}

// TestCtrlCIsNoOutage: to end a command is not to find the database gone.
func TestCtrlCIsNoOutage(t *testing.T) {
	o := start(t)
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	for _, arguments := range [][]string{{"stats"}, {"purge"}, {"migrate", "status"}} {
		var out, errOut bytes.Buffer
		code := run(ctx, append([]string{"--database-url", o.url}, arguments...), strings.NewReader(""), &out, &errOut, false)
		if code != exitFailed {
			t.Errorf("%s: exit code %d\n%s", arguments, code, &errOut)
		}
	}
}

func TestNullDeviceIsNoTerminal(t *testing.T) {
	t.Parallel()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	if isTerminal(null) {
		t.Errorf("%s is taken for a terminal", os.DevNull)
	}
}
