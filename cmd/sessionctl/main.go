// Sessionctl is the operator's command for the sessions in a database.
//
//	go install github.com/rhaptos/sessiondb/cmd/sessionctl@latest
//	sessionctl --help
//
// It connects as psql does: to DATABASE_URL, or by PGHOST, PGDATABASE and the like.
//
// The commands get, set and delete are for plain sessions, whose id is their key. The
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

const description = `Look after the sessions in a PostgreSQL database.

It connects as psql does: to DATABASE_URL, or by PGHOST, PGDATABASE and the like.

A plain session is opened by its id: get, set and delete are for these. A session with a token has a handle, which opens nothing: list shows it, and revoke ends the session.

With --json, times are RFC 3339 in UTC and durations are seconds. The help of each command shows what its JSON looks like.

Exit codes: 0 success, 1 failure or Ctrl-C, 2 wrong usage, 3 no such session, 4 the database does not answer.`

// commands is the command line.
type commands struct {
	DatabaseURL string    `name:"database-url" env:"DATABASE_URL" placeholder:"URL" help:"Connection string (default: from PGHOST, PGDATABASE and the like)."`
	Audience    *audience `placeholder:"NAME" help:"The application whose sessions are meant, where several share the table (default: the empty name)."`

	Version kong.VersionFlag `help:"Print the version and exit."`

	Migrate    migrateCommand    `cmd:"" help:"Migrate the schema."`
	Get        getCommand        `cmd:"" help:"Show the user of a live plain session."`
	Set        setCommand        `cmd:"" help:"Store a plain session."`
	Delete     deleteCommand     `cmd:"" help:"End a plain session."`
	List       listCommand       `cmd:"" help:"List a user's live sessions with tokens."`
	Revoke     revokeCommand     `cmd:"" help:"End one session with a token, all sessions of a user, or everybody's."`
	Purge      purgeCommand      `cmd:"" help:"Remove expired sessions."`
	Stats      statsCommand      `cmd:"" help:"Count the sessions."`
	Watch      watchCommand      `cmd:"" help:"Count the sessions again and again."`
	NearCache  nearCacheCommand  `cmd:"" help:"Turn near caches off."`
	Reindex    reindexCommand    `cmd:"" help:"Rebuild the indexes without keeping anybody out."`
	Completion completionCommand `cmd:"" help:"Print a script that completes commands in a shell."`
}

// audience is the name of an application. Not given differs from empty: to end
// everybody's sessions means every application's only if none is named.
type audience string

// Validate refuses what [sessioncache.WithAudience] panics on. (No argument holds a
// NUL, and kong makes UTF-8 of each.)
func (a audience) Validate() error {
	if len(a) > 100 {
		return errors.New("the audience is longer than 100 bytes")
	}
	return nil
}

// environment is what a command runs in.
type environment struct {
	context.Context
	in       io.Reader
	out      io.Writer // shows control characters escaped
	raw      io.Writer // does not
	terminal bool      // out is one, and in
	url      string
	audience *audience
}

var errNoSession = errors.New("no such session")

// usageError is the caller's mistake.
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
	null, err := os.Stat(os.DevNull) // is a character device, too
	return err != nil || !os.SameFile(info, null)
}

// run is main with everything it depends on in its hands. It returns the exit code.
func run(ctx context.Context, arguments []string, in io.Reader, out, errOut io.Writer, terminal bool) (code int) {
	type exit int // --help ends here
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
	out, errOut = visible{out}, visible{errOut}
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
	case ctx.Err() != nil: // Ctrl-C is no outage
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

// cache is what a command works on: users as the JSON they are.
type cache = sessioncache.Cache[json.RawMessage]

// withCache connects and runs a command's work on a cache.
func (e *environment) withCache(work func(cache *cache) error, options ...sessioncache.Option) error {
	if e.audience != nil {
		options = append(options, sessioncache.WithAudience(string(*e.audience)))
	}
	return e.withPool(func(pool *pgxpool.Pool) error { return work(sessioncache.New[json.RawMessage](pool, options...)) })
}

// withPool connects and runs a command's work on the connections.
func (e *environment) withPool(work func(pool *pgxpool.Pool) error) error {
	pool, err := pgxpool.New(e, e.url)
	if err != nil {
		return usageError{err}
	}
	defer pool.Close()
	return work(pool)
}
