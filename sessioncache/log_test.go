package sessioncache_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

func TestLogShowsEventsAndNoIDs(t *testing.T) {
	suite.Require(t, suite.OwnTable)
	var log suite.Log
	logger := log.Logger(slog.LevelDebug)
	cache, pool := setup[raw](t, sessioncache.WithLogger(logger))
	ctx := t.Context()

	id := sid.New()
	token := issue(t, cache, userOf("u"))
	for _, err := range []error{
		cache.Set(ctx, id.String(), userOf("u")),
		second(cache.Update(ctx, id.String(), func(*raw) error { return nil })),
		cache.Delete(ctx, id.String()),
		second(cache.UpdateSession(ctx, token, func(*raw) error { return nil })),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	renewed := renew(t, cache, token)
	sessiontest.Elapse(t, pool, token.Handle(), time.Minute)
	wantOpensNone(t, cache, token)
	revoked, deleted := issue(t, cache, userOf("v")), issue(t, cache, userOf("v"))
	visitors := issue(t, cache, raw(`{}`), sessioncache.Anonymous())
	for _, err := range []error{
		cache.Revoke(ctx, revoked),
		second(cache.Retire(ctx, visitors)),
		second(cache.DeleteSession(ctx, deleted.Handle())),
		cache.Set(ctx, id.String(), userOf("u")),
		second(cache.DeleteUserSessions(ctx, "u")),
		second(cache.Purge(ctx)),
		second(cache.DeleteAudience(ctx)),
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
		`level=DEBUG msg="session deleted" session=` + id.Fingerprint(),
		`level=DEBUG msg="session issued" session=` + token.Handle().String(),
		`level=DEBUG msg="session updated" session=` + token.Handle().String(),
		`level=DEBUG msg="session renewed" session=` + token.Handle().String(),
		`level=DEBUG msg="session revoked" session=` + revoked.Handle().String(),
		`level=DEBUG msg="session retired" session=` + visitors.Handle().String(),
		`level=DEBUG msg="session deleted" session=` + deleted.Handle().String(),
		`level=DEBUG msg="sessions of a user deleted" sessions=1`,
		`level=DEBUG msg="expired sessions purged" sessions=0`,
		`level=DEBUG msg="sessions of the audience deleted" sessions=1`,
		`level=WARN msg="session id used twice" session=` + id.Fingerprint(),
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the log lacks %s:\n%s", want, got)
		}
	}
	for _, secret := range []string{id.String(), token.Reveal(), renewed.Reveal(), revoked.Reveal(), visitors.Reveal(), deleted.Reveal()} {
		if strings.Contains(got, secret) {
			t.Errorf("the log shows an id or a token:\n%s", got)
		}
	}
}
