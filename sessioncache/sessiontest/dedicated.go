package sessiontest

import (
	"context"
	"net/url"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// template is the migrated database that others are cloned from. Cloning takes a fraction
// of the time of migrating.
const template = "sessiontest_template"

// dedicated is a server for this process only: each test gets a database.
func dedicated(server url.URL, origin string, stop func() error) *Server {
	at := func(database string) string { return server.JoinPath(database).String() }
	admin := at("postgres")

	createTemplate := sync.OnceValues(func() (options string, err error) {
		// Not the first caller's context, because all callers use the template.
		ctx := context.Background()
		if err := execute(ctx, admin, "CREATE DATABASE "+template); err != nil {
			return "", err
		}
		if err := prepare(ctx, at(template)); err != nil {
			return "", err
		}
		return cloneOptions(ctx, admin)
	})

	return &Server{
		origin: origin,
		stop:   stop,
		newDatabase: func(ctx context.Context) (*Database, error) {
			options, err := createTemplate()
			if err != nil {
				return nil, err
			}
			name := uniqueName()
			if err := execute(ctx, admin, "CREATE DATABASE "+name+options); err != nil {
				return nil, err
			}
			return &Database{
				URL: at(name),
				drop: func(ctx context.Context) error {
					return execute(ctx, admin, "DROP DATABASE "+name+" WITH (FORCE)")
				},
			}, nil
		},
	}
}

// cloneOptions are those of CREATE DATABASE. By default PostgreSQL 15 and later write a new
// database to the log block by block, which takes twice the time of copying its files.
func cloneOptions(ctx context.Context, url string) (string, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	var options string
	err = conn.QueryRow(ctx, `
		SELECT CASE WHEN current_setting('server_version_num')::int >= 150000 THEN ' STRATEGY file_copy' ELSE '' END`).Scan(&options)
	return " TEMPLATE " + template + options, err
}

func uniqueName() string {
	return "sessiontest_" + strings.ReplaceAll(uuid.NewString(), "-", "")
}
