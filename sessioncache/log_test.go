package sessioncache_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

func TestLogShowsEventsAndNoIDsWholeTable(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cache, _ := setup[raw](t, sessioncache.WithLogger(logger))
	ctx := t.Context()

	id, moved := sid.New(), sid.New()
	for _, err := range []error{
		cache.Set(ctx, id.String(), userOf("u")),
		second(cache.Update(ctx, id.String(), func(*raw) error { return nil })),
		second(cache.Rotate(ctx, id.String(), moved.String())),
		cache.Delete(ctx, moved.String()),
		cache.Set(ctx, id.String(), userOf("u")),
		second(cache.DeleteUser(ctx, "u")),
		second(cache.Purge(ctx)),
		second(cache.DeleteAll(ctx)),
		cache.Set(ctx, id.String(), userOf("u")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := cache.Set(ctx, id.String(), userOf("u")); err == nil {
		t.Fatal("second Set succeeded")
	}

	got := log.String()
	for _, want := range []string{
		`level=DEBUG msg="session set" session=` + id.Fingerprint(),
		`level=DEBUG msg="session updated" session=` + id.Fingerprint(),
		`level=DEBUG msg="session rotated" old=` + id.Fingerprint() + ` session=` + moved.Fingerprint(),
		`level=DEBUG msg="session deleted" session=` + moved.Fingerprint(),
		`level=DEBUG msg="sessions of a user deleted" sessions=1`,
		`level=DEBUG msg="expired sessions purged" sessions=0`,
		`level=DEBUG msg="all sessions deleted" sessions=0`,
		`level=WARN msg="session id used twice" session=` + id.Fingerprint(),
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the log lacks %s:\n%s", want, got)
		}
	}
	if strings.Contains(got, id.String()) || strings.Contains(got, moved.String()) {
		t.Errorf("the log shows an id:\n%s", got)
	}
}

// second returns the error of a call that returns something else first.
func second[R any](_ R, err error) error {
	return err
}
