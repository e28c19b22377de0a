package sessiontest

import (
	"context"
	"net/url"
	"strings"
	"sync"

	"github.com/google/uuid"
)

// template is the migrated database that others are cloned from: cloning takes a
// fraction of the time that migrating does.
const template = "sessiontest_template"

// own is a server that is ours alone: a test gets a database.
func own(server url.URL, origin string, stop func() error) *Server {
	at := func(database string) string { return server.JoinPath(database).String() }
	admin := at("postgres")

	createTemplate := sync.OnceValue(func() error {
		// Not the first caller's context: the template is everybody's.
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
