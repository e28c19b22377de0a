package sessiontest_test

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"testing"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

func TestMain(m *testing.M) {
	suite.ChildMain(m, func(ctx context.Context, _ string) (url string, err error) {
		server, err := sessiontest.Start(ctx)
		if err != nil {
			return "", err
		}
		database, err := server.NewDatabase(ctx)
		if err != nil {
			return "", err
		}
		return database.URL, nil
	})
}

// TestServerEndsWithItsProcess: a container ends, too, which package docker tests.
func TestServerEndsWithItsProcess(t *testing.T) {
	t.Parallel()
	at, err := url.Parse(suite.EndChild(t, "", os.Kill))
	if err != nil {
		t.Fatal(err)
	}
	if folder := at.Query().Get("host"); folder != "" {
		suite.Eventually(t, "the cluster removes "+folder, func() bool {
			_, err := os.Stat(folder)
			return errors.Is(err, fs.ErrNotExist)
		})
	}
}
