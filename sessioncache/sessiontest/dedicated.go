package sessiontest

import (
	"context"
	"net/url"
	"strings"
	"sync"

	"github.com/google/uuid"
)

// template is the migrated database that others are cloned from. Cloning takes a fraction
// of the time of migrating.
const template = "sessiontest_template"

// dedicated is a server for this process only: each test gets a database.
func dedicated(server url.URL, origin string, stop func() error) *Server {
	at := func(database string) string { return server.JoinPath(database).String() }
	admin := at("postgres")

	createTemplate := sync.OnceValue(func() error {
		// Not the first caller's context, because all callers use the template.
		ctx := context.Background()
		if err := execute(ctx, admin, "CREATE DATABASE "+template); err != nil {
			return err
		}
		return prepare(ctx, at(template))
	})

	return &Server{
		origin: origin,
		stop:   stop,
		newDatabase: func(ctx context.Context) (*Database, error) {
			if err := createTemplate(); err != nil {
				return nil, err
			}
			name := uniqueName()
			if err := execute(ctx, admin, "CREATE DATABASE "+name+" TEMPLATE "+template); err != nil {
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

func uniqueName() string {
	return "sessiontest_" + strings.ReplaceAll(uuid.NewString(), "-", "")
}
