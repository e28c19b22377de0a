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
	Direction string `arg:"" enum:"up,down,status" help:"up: migrate to the newest version; down: migrate one version back, which loses data; status: show what has been applied."`
	Yes       bool   `help:"With down: do not ask."`
	JSON      bool   `help:"Print JSON."`
}

func (migrateCommand) Help() string {
	return `down says what is lost and asks first. Without a terminal it needs --yes. up and status never ask.

With --json, status prints

    [{"version": 1, "name": "00001_create.sql", "state": "applied"}]

where state is applied or pending. up and down print what they did:

    [{"version": 1, "name": "00001_create.sql", "direction": "up",
      "duration": 0.02}]`
}

// migrationJSON is a migration, with its state or with what was done.
type migrationJSON struct {
	Version   int64       `json:"version"`
	Name      string      `json:"name"`
	State     goose.State `json:"state,omitempty"`
	Direction string      `json:"direction,omitempty"`
	Duration  float64     `json:"duration,omitempty"`
}

func (c *migrateCommand) Run(e *environment) error {
	config, err := pgx.ParseConfig(e.url)
	if err != nil {
		return usageError{err}
	}
	db := stdlib.OpenDB(*config)
	defer db.Close()
	migrations, err := schema.NewProvider(db)
	if err != nil {
		return err
	}
	if c.Direction == "status" {
		err = c.status(e, migrations)
	} else {
		err = c.migrate(e, db, migrations)
	}
	return explain(e, db, config.User, err)
}

func (c *migrateCommand) status(e *environment, migrations *goose.Provider) error {
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
}

func (c *migrateCommand) migrate(e *environment, db *sql.DB, migrations *goose.Provider) error {
	var results []*goose.MigrationResult
	var err error
	if c.Direction == "up" {
		results, err = migrations.Up(e)
	} else {
		err = e.confirm("migrate down", c.Yes, func() (string, error) { return downQuestion(e, db, migrations) })
		if err != nil {
			return err
		}
		var result *goose.MigrationResult
		if result, err = migrations.Down(e); result != nil {
			results = append(results, result)
		}
	}
	if partial, ok := errors.AsType[*goose.PartialError](err); ok {
		results = partial.Applied
	}
	documents := []migrationJSON{}
	for _, result := range results {
		if !c.JSON {
			e.print("%s\n", result)
		}
		documents = append(documents, migrationJSON{
			Version: result.Source.Version, Name: result.Source.Path, Direction: result.Direction, Duration: result.Duration.Seconds(),
		})
	}
	if c.JSON {
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
		return fmt.Sprintf("migrate down undoes %s:\n\n%s\nThe table holds %d sessions, expired ones included. Go on?",
			status.Source.Path, downComment(string(text)), n), nil
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
