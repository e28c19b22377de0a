// Sessionctl manages the sessions in a database. It is for operators.
//
//	go install github.com/rhaptos/sessiondb/cmd/sessionctl@latest
//	sessionctl --help
//
// It connects to DATABASE_URL, or as psql does by PGHOST, PGDATABASE and so on.
//
// The commands get, set and delete are for plain sessions, which their id opens. The
// command list shows the handles of sessions with tokens. A handle opens nothing.
//
// Exit codes: 0 success, 1 failure or Ctrl-C, 2 wrong usage, 3 no such session, 4 the
// database does not answer.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
)

const (
	exitFailed = 1 + iota
	exitUsage
	exitNoSession
	exitUnavailable
)

const description = `Manage the sessions in a PostgreSQL database.

It connects to DATABASE_URL, or as psql does by PGHOST, PGDATABASE and so on.

The commands get, set and delete are for plain sessions, which their id opens. A session with a token has a handle: list shows it, and revoke ends the session. A handle opens nothing.

With --json, times are RFC 3339 in UTC and durations are seconds. The help of each command shows its JSON.

Exit codes: 0 success, 1 failure or Ctrl-C, 2 wrong usage, 3 no such session, 4 the database does not answer.`

// commands is the command line.
type commands struct {
	DatabaseURL string    `name:"database-url" env:"DATABASE_URL" placeholder:"URL" help:"Connection string (default: from PGHOST, PGDATABASE and so on)."`
	Audience    *audience `placeholder:"NAME" help:"The application whose sessions are used, if several share the table (default: the empty name)."`

	Version kong.VersionFlag `help:"Print the version and exit."`

	Migrate    migrateCommand    `cmd:"" help:"Migrate the schema."`
	Get        getCommand        `cmd:"" help:"Show the user of a live plain session."`
	Set        setCommand        `cmd:"" help:"Store a plain session."`
	Delete     deleteCommand     `cmd:"" help:"End a plain session."`
	List       listCommand       `cmd:"" help:"List a user's live sessions with tokens."`
	Revoke     revokeCommand     `cmd:"" help:"End one session with a token, all sessions of a user, or all sessions."`
	Purge      purgeCommand      `cmd:"" help:"Remove expired sessions."`
	Stats      statsCommand      `cmd:"" help:"Count the sessions."`
	Watch      watchCommand      `cmd:"" help:"Count the sessions repeatedly."`
	Reindex    reindexCommand    `cmd:"" help:"Rebuild the indexes while the sessions stay usable."`
	Completion completionCommand `cmd:"" help:"Print a shell script that completes commands."`
}

// audience is the name of an application. A nil *audience differs from the empty name:
// revoke --all ends the sessions of every application only if no name is given.
type audience string

// Validate refuses an audience on which [sessioncache.WithAudience] panics. (No argument
// can hold a NUL, and kong makes every argument valid UTF-8.)
func (a audience) Validate() error {
	if len(a) > 100 {
		return errors.New("the audience is longer than 100 bytes")
	}
	return nil
}

// environment is the input and output of a command, and its general flags.
type environment struct {
	context.Context
	in       io.Reader
	out      io.Writer // escapes control characters
	raw      io.Writer // does not escape
	terminal bool      // in and out are a terminal
	url      string
	audience *audience
}

var errNoSession = errors.New("no such session")

// usageError is an error in the command line.
type usageError struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, isTerminal(os.Stdin) && isTerminal(os.Stdout))
	stop()
	os.Exit(code)
}

func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull) // the null device is also a character device
	return err != nil || !os.SameFile(info, null)
}

// run is main without global state. It returns the exit code.
func run(ctx context.Context, arguments []string, in io.Reader, out, errOut io.Writer, terminal bool) (code int) {
	type exit int // --help exits with this panic
	defer func() {
		if reason := recover(); reason != nil {
			asked, ok := reason.(exit)
			if !ok {
				panic(reason)
			}
			code = int(asked)
		}
	}()
	raw := out
	out, errOut = escapingWriter{out}, escapingWriter{errOut}
	var commands commands
	parser := kong.Must(&commands, kong.Name("sessionctl"), kong.Description(description),
		kong.Writers(out, errOut), kong.Exit(func(code int) { panic(exit(code)) }), kong.UsageOnError(),
		kong.Vars{"version": version(debug.ReadBuildInfo())})
	parsed, err := parser.Parse(arguments)
	if err != nil {
		fmt.Fprintf(errOut, "sessionctl: %v (see sessionctl --help)\n", err)
		return exitUsage
	}
	err = parsed.Run(&environment{ctx, in, out, raw, terminal, commands.DatabaseURL, commands.Audience}, parsed)
	if err != nil {
		fmt.Fprintln(errOut, "sessionctl:", err)
	}
	return exitCode(ctx, err)
}

func exitCode(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil: // Ctrl-C is not an outage
		return exitFailed
	case errors.As(err, &usageError{}), errors.Is(err, sessioncache.ErrMalformedID):
		return exitUsage
	case errors.Is(err, errNoSession):
		return exitNoSession
	case errors.Is(err, sessioncache.ErrUnavailable):
		return exitUnavailable
	default:
		return exitFailed
	}
}

// cache is the Cache of all commands. Its users are JSON, unchanged.
type cache = sessioncache.Cache[json.RawMessage]

// withCache connects to the database and calls work with a cache.
func (e *environment) withCache(work func(cache *cache) error, options ...sessioncache.Option) error {
	if e.audience != nil {
		options = append(options, sessioncache.WithAudience(string(*e.audience)))
	}
	options = append(options, sessioncache.WithNearCache(0)) // services may keep what a command changes
	return e.withPool(func(pool *pgxpool.Pool) error { return work(sessioncache.New[json.RawMessage](pool, options...)) })
}

// withPool connects to the database and calls work with the pool.
func (e *environment) withPool(work func(pool *pgxpool.Pool) error) error {
	pool, err := pgxpool.New(e, e.url)
	if err != nil {
		return usageError{err}
	}
	defer pool.Close()
	return work(pool)
}
