// Sessionctl manages the sessions in a database. It is for operators.
//
//	go install github.com/rhaptos/sessiondb/cmd/sessionctl@latest
//	sessionctl --help
//
// It connects to DATABASE_URL, or as psql does by PGHOST, PGDATABASE and so on.
//
// The commands get and set are for plain sessions, whose id gives access. The command list
// shows the handles of sessions with tokens. A handle gives no access. The commands delete
// and revoke end sessions of both kinds.
//
// Exit codes: 0 success, 1 failure or Ctrl-C, 2 wrong usage, 3 no such session, 4 no usable
// answer of the database.
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
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5/pgconn"
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

It connects to DATABASE_URL, or as psql does by PGHOST, PGDATABASE and so on, within five seconds or ?connect_timeout=. Statements have no time limit but ?statement_timeout=10s.

A plain session has an id, which gives access: get and set are for these. A session with a token has a handle, which gives no access: list shows it. The commands delete and revoke end sessions of both kinds, say how many, and exit with 3 if there was none. They count expired sessions that are not purged yet, too, except by --user.

With --json, times are RFC 3339 in UTC and durations are seconds. The help of each command shows its JSON.

Exit codes: 0 success, 1 failure or Ctrl-C, 2 wrong usage, 3 no such session, 4 no usable answer of the database.`

// commands is the command line.
type commands struct {
	DatabaseURL string           `name:"database-url" env:"DATABASE_URL" placeholder:"URL" help:"Connection string (default: from PGHOST, PGDATABASE and so on)."`
	VersionFlag kong.VersionFlag `name:"version" help:"Print the version and exit."`

	Migrate    migrateCommand    `cmd:"" help:"Migrate the schema."`
	Get        getCommand        `cmd:"" help:"Show the user of a live plain session."`
	Set        setCommand        `cmd:"" help:"Store a plain session."`
	Delete     deleteCommand     `cmd:"" help:"End a session, by its id or its handle."`
	List       listCommand       `cmd:"" help:"List a user's live sessions with tokens."`
	Revoke     revokeCommand     `cmd:"" help:"End one session with a token, all sessions of a user, or all sessions."`
	Purge      purgeCommand      `cmd:"" help:"Remove expired sessions."`
	Stats      statsCommand      `cmd:"" help:"Count the sessions."`
	Watch      watchCommand      `cmd:"" help:"Count the sessions repeatedly."`
	Reindex    reindexCommand    `cmd:"" help:"Rebuild the indexes while the sessions stay usable."`
	Completion completionCommand `cmd:"" help:"Print a shell script that completes commands."`
	Version    versionCommand    `cmd:"" help:"Print the version."`
	Help       helpCommand       `cmd:"" help:"Print the help of a command."`
}

// application is the flag of commands that use the sessions of one application.
type application struct {
	// Audience is nil if the flag is not given. That differs from the empty name: revoke
	// --all then ends the sessions of every application.
	Audience *audience `placeholder:"NAME" help:"The application whose sessions are used, if several share the table (default: the empty name)."`
}

func (a application) name() string {
	if a.Audience == nil {
		return ""
	}
	return string(*a.Audience)
}

// audience is the name of an application.
type audience string

// Validate refuses an audience on which [sessioncache.WithAudience] panics. (No argument
// can hold a NUL, and kong makes every argument valid UTF-8.)
func (a audience) Validate() error {
	if len(a) > 100 {
		return errors.New("the audience is longer than 100 bytes")
	}
	return nil
}

// environment is the input and output of a command, and the database's address.
type environment struct {
	context.Context
	in       io.Reader
	out      io.Writer // escapes control characters
	errOut   io.Writer // escapes, too
	raw      io.Writer // does not escape
	terminal bool      // in and out are a terminal
	url      string
}

var errNoSession = errors.New("no such session")

// versionCommand prints what --version prints.
type versionCommand struct{}

func (versionCommand) Help() string { return example("version") }

func (versionCommand) Run(e *environment) error { //nolint:unparam // kong wants an error
	e.print("%s\n", version(debug.ReadBuildInfo()))
	return nil
}

// helpCommand prints what --help prints.
type helpCommand struct {
	Command []string `arg:"" optional:"" help:"The command (default: print what all commands do)."`
}

func (helpCommand) Help() string { return example("help revoke") }

func (c *helpCommand) Run(parsed *kong.Context) error {
	_, err := parsed.Parse(append(c.Command, "--help"))
	return usageError{err} // without an error, --help has exited
}

// example is the end of a command's help.
func example(commandLine string) string {
	return "Example:\n\n    sessionctl " + commandLine
}

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
		kong.Writers(out, errOut), kong.Exit(func(code int) { panic(exit(code)) }),
		kong.Vars{"version": version(debug.ReadBuildInfo())})
	if len(arguments) == 0 {
		arguments = []string{"help"}
	}
	parsed, err := parser.Parse(arguments)
	if err != nil {
		fmt.Fprintf(errOut, "sessionctl: %v (see sessionctl help)\n", err)
		return exitUsage
	}
	err = parsed.Run(&environment{ctx, in, out, errOut, raw, terminal, commands.DatabaseURL}, parsed)
	code = exitCode(ctx, err)
	if err != nil {
		fmt.Fprintln(errOut, "sessionctl:", message(ctx, err))
	}
	if code == exitUnavailable && commands.DatabaseURL == "" {
		fmt.Fprintln(errOut, "DATABASE_URL is not set: sessionctl has used PGHOST, PGDATABASE and so on, or their defaults")
	}
	return code
}

// message is an error for people, who do not know the names of Go packages.
func message(ctx context.Context, err error) string {
	text := strings.ReplaceAll(err.Error(), "sessioncache: ", "")
	if ctx.Err() != nil { // the database is not at fault
		text = strings.ReplaceAll(text, sessioncache.ErrUnavailable.Error()+": "+context.Canceled.Error(), "interrupted")
	}
	return text
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
	options = append(options, sessioncache.WithNearCache(0)) // services may keep what a command changes
	return e.withPool(func(pool *pgxpool.Pool) error { return work(sessioncache.New[json.RawMessage](pool, options...)) })
}

// withPool connects to the database and calls work with the pool.
func (e *environment) withPool(work func(pool *pgxpool.Pool) error) error {
	config, err := pgxpool.ParseConfig(e.url)
	if err != nil {
		return badURL(err)
	}
	limitConnecting(&config.ConnConfig.Config)
	pool, err := pgxpool.NewWithConfig(e, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	return work(pool)
}

// limitConnecting has an operator not wait for a server that accepts connections and does not
// answer.
func limitConnecting(config *pgconn.Config) {
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 5 * time.Second
	}
}

// badURL is the error for a connection string that is none. The error of pgx hides the
// password.
func badURL(err error) error {
	return usageError{fmt.Errorf("DATABASE_URL, or --database-url: %w", err)}
}
