package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// TestWhichDatabase: the environment alone does not make the example use a database that
// it has not started.
func TestWhichDatabase(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	t.Parallel()
	environment, flag := sessiontest.NewDatabase(t).URL, sessiontest.NewDatabase(t).URL
	for name, test := range map[string]struct {
		flags databaseFlags
		url   string // empty: its own
		say   string
		err   error
	}{
		"nothing":            {say: "throwaway"},
		"environment":        {flags: databaseFlags{environment: environment}, say: "DATABASE_URL is not used"},
		"environment to use": {flags: databaseFlags{environment: environment, useEnvironment: true}, url: environment},
		"flag":               {flags: databaseFlags{environment: environment, url: flag}, url: flag},
		"both flags":         {flags: databaseFlags{environment: environment, useEnvironment: true, url: flag}, err: errTwoDatabases},
		"no environment":     {flags: databaseFlags{useEnvironment: true}, err: errNoDatabaseURL},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			var used string
			err := test.flags.use(t.Context(), &out, func(pool *pgxpool.Pool) error {
				used = pool.Config().ConnString()
				return accounts{pool, 1000}.addDemoUsers(t.Context())
			})
			if !errors.Is(err, test.err) {
				t.Fatalf("use = %v; want %v", err, test.err)
			}
			if !strings.Contains(out.String(), test.say) {
				t.Errorf("it says %q; want %q", out.String(), test.say)
			}
			switch {
			case err != nil && used != "":
				t.Errorf("it uses %s in spite of the error", used)
			case err == nil && test.url == "" && (used == "" || used == environment || used == flag):
				t.Errorf("it uses %q; want one of its own", used)
			case test.url != "" && used != test.url:
				t.Errorf("it uses %q; want %q", used, test.url)
			}
		})
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	one, err := hashPassword(password, 1000)
	if err != nil {
		t.Fatal(err)
	}
	two, err := hashPassword(password, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if one == two {
		t.Error("two hashes have one salt")
	}
	if !isPassword(password, one) || !isPassword(password, two) {
		t.Error("the password is refused")
	}
	for _, hash := range []string{one[:len(one)-1], strings.Replace(one, "$1000$", "$1001$", 1), unknownHash(1000), "", "$$$", scheme + "$x$$", scheme + "$0$$", scheme + "$1$!$"} {
		if isPassword(password, hash) {
			t.Errorf("%q is taken for the password's hash", hash)
		}
	}
	if isPassword(password+" ", one) || isPassword("", one) {
		t.Error("another password is taken for it")
	}
}
