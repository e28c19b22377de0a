package main

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/rhaptos/sessiondb/schema"
	"github.com/rhaptos/sessiondb/sessioncache"
)

type migrateCommand struct {
	Up     upCommand     `cmd:"" help:"Migrate to the newest version."`
	Down   downCommand   `cmd:"" help:"Migrate one version back, which loses data."`
	Status statusCommand `cmd:"" help:"Show what has been applied."`
}

func (migrateCommand) Help() string { return example("migrate up") }

type upCommand struct {
	JSON bool `help:"Print JSON."`
}

func (upCommand) Help() string {
	return `It never asks. It prints the notices of the server, which say what a migration has changed. ` + helpMigrated("up") + example("migrate up")
}

func (c *upCommand) Run(e *environment) error {
	return e.migrate(c.JSON, func(_ *sql.DB, migrations *goose.Provider) error {
		results, err := migrations.Up(e)
		if partial, ok := errors.AsType[*goose.PartialError](err); ok {
			results = partial.Applied
		}
		if err == nil && len(results) == 0 && !c.JSON {
			version, err := migrations.GetDBVersion(e)
			if err != nil {
				return err
			}
			e.print("Nothing to do: the table is at version %d, the newest.\n", version)
		}
		return e.migrated(results, err, c.JSON)
	})
}

type downCommand struct {
	Yes  bool `help:"Do not ask."`
	JSON bool `help:"Print JSON."`
}

func (downCommand) Help() string {
	return `It says what is lost and asks first. Without a terminal it needs --yes. ` + helpMigrated("down") + example("migrate down --yes")
}

func (c *downCommand) Run(e *environment) error {
	return e.migrate(c.JSON, func(db *sql.DB, migrations *goose.Provider) error {
		err := e.confirm("migrate down", c.Yes, func() (string, error) { return downQuestion(e, db, migrations) })
		if err != nil {
			return err
		}
		var results []*goose.MigrationResult
		result, err := migrations.Down(e)
		if result != nil {
			results = append(results, result)
		}
		return e.migrated(results, err, c.JSON)
	})
}

type statusCommand struct {
	JSON bool `help:"Print JSON."`
}

func (statusCommand) Help() string {
	return `With --json it prints

    [{"version": 1, "name": "00001_create.sql", "state": "applied"}]

where state is applied or pending.

` + example("migrate status")
}

// helpMigrated is the help for migrations up and down.
func helpMigrated(direction string) string {
	return fmt.Sprintf(`With --json it prints what it did:

    [{"version": 1, "name": "00001_create.sql", "direction": %q,
      "duration": 0.02}]

`, direction)
}

// migrationJSON is a migration, with its state or with what was done.
type migrationJSON struct {
	Version   int64       `json:"version"`
	Name      string      `json:"name"`
	State     goose.State `json:"state,omitempty"`
	Direction string      `json:"direction,omitempty"`
	Duration  float64     `json:"duration,omitempty"`
}

// migrate connects to the database and calls work with the migrations. What the server
// remarks is printed, beside the result if that is JSON.
func (e *environment) migrate(asJSON bool, work func(db *sql.DB, migrations *goose.Provider) error) error {
	config, err := pgx.ParseConfig(e.url)
	if err != nil {
		return badURL(err)
	}
	limitConnecting(&config.Config)
	out := e.out
	if asJSON {
		out = e.errOut
	}
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
		fmt.Fprintf(out, "%s: %s\n", notice.SeverityUnlocalized, notice.Message)
		for _, more := range []string{notice.Detail, notice.Hint} {
			if more != "" {
				fmt.Fprintf(out, "%s\n", more)
			}
		}
	}
	db := stdlib.OpenDB(*config)
	defer db.Close()
	migrations, err := schema.NewProvider(db)
	if err != nil {
		return err
	}
	return explain(e, db, config.User, work(db, migrations))
}

func (c *statusCommand) Run(e *environment) error {
	return e.migrate(c.JSON, func(_ *sql.DB, migrations *goose.Provider) error {
		statuses, err := migrations.Status(e)
		if err != nil {
			return err
		}
		documents := []migrationJSON{}
		for _, status := range statuses {
			if !c.JSON {
				e.print("%-9s %s\n", status.State, status.Source.Path)
			}
			// Without the time, because goose stores it in the time zone of the process that
			// migrated.
			documents = append(documents, migrationJSON{Version: status.Source.Version, Name: status.Source.Path, State: status.State})
		}
		if c.JSON {
			return e.printJSON(documents)
		}
		return nil
	})
}

// migrated prints what a migration has done, also if it failed then.
func (e *environment) migrated(results []*goose.MigrationResult, err error, asJSON bool) error {
	documents := []migrationJSON{}
	for _, result := range results {
		if !asJSON {
			e.print("%s\n", result)
		}
		documents = append(documents, migrationJSON{
			Version: result.Source.Version, Name: result.Source.Path, Direction: result.Direction, Duration: result.Duration.Seconds(),
		})
	}
	if asJSON {
		return errors.Join(err, e.printJSON(documents))
	}
	return err
}

// downQuestion asks whether to migrate down, and says what is lost.
func downQuestion(e *environment, db *sql.DB, migrations *goose.Provider) (question string, err error) {
	statuses, err := migrations.Status(e)
	if err != nil {
		return "", err
	}
	for _, status := range slices.Backward(statuses) {
		if status.State != goose.StateApplied {
			continue
		}
		text, err := schema.FS.ReadFile(status.Source.Path)
		if err != nil {
			return "", err
		}
		var n int64
		if err := db.QueryRowContext(e, "SELECT count(*) FROM session_cache").Scan(&n); err != nil {
			return "", err
		}
		return fmt.Sprintf("migrate down undoes %s:\n\n%s\nThe table holds %s, expired ones included. Go on?",
			status.Source.Path, downComment(string(text)), count(n, "session")), nil
	}
	return "", goose.ErrNoNextVersion
}

// downComment returns the comment at the start of a migration's part Down, which says
// what is lost.
func downComment(migration string) string {
	_, down, _ := strings.Cut(migration, "-- +goose Down\n")
	var comment strings.Builder
	for line := range strings.Lines(strings.TrimLeft(down, "\n")) {
		text, ok := strings.CutPrefix(line, "-- ")
		if !ok || strings.HasPrefix(text, "+goose") {
			break
		}
		comment.WriteString("  " + text)
	}
	return comment.String()
}

const (
	insufficientPrivilege = "42501"
	raiseException        = "P0001"
)

// explain adds to an error of goose what to do about it.
func explain(e *environment, db *sql.DB, role string, err error) error {
	if err == nil || errors.Is(err, errNothingDone) || errors.As(err, &usageError{}) {
		return err
	}
	if errors.Is(err, goose.ErrNoNextVersion) {
		return errors.New("no migration has been applied")
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == raiseException {
		return fmt.Errorf("%w\n%s\n%s", err, pgErr.Detail, pgErr.Hint) // the migration's own message
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok || db.PingContext(e) != nil {
		return fmt.Errorf("%w: %w", sessioncache.ErrUnavailable, err)
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == insufficientPrivilege {
		return fmt.Errorf("the role %q may not create, change or read the tables of the migrations: use the role that owns the schema: %w", role, err)
	}
	return err
}
