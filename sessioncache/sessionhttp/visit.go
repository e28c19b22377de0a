package sessionhttp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// visit is what a request knows of its session.
type visit[T any] struct {
	response response
	request  *http.Request

	// turn is held by whoever uses the rest: a lock that a context can end the wait
	// for.
	turn chan struct{}

	// The session that the request came with, or has been given since.
	read   bool // the cookie has been read
	id     sid.ID
	absent error // why there is no session; nil while there may be one

	// Its user, once somebody has asked.
	known bool
	user  T
	err   error
}

// enter returns the visit that a request is, held by the caller until leave.
func (m *Manager[T]) enter(ctx context.Context) (*visit[T], error) {
	v, ok := ctx.Value(m).(*visit[T])
	if !ok {
		return nil, ErrNoMiddleware
	}
	select {
	case v.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", sessioncache.ErrUnavailable, ctx.Err())
	}
	if !v.read {
		v.read = true
		v.id, v.absent = m.presented(v.request)
		if errors.Is(v.absent, ErrMalformedCookie) {
			m.config.logger.LogAttrs(ctx, slog.LevelWarn, "session cookie malformed",
				slog.String("remote", m.config.remote(v.request)))
		}
	}
	return v, nil
}

func (v *visit[T]) leave() {
	<-v.turn
}

// has gives the visit a session, whose user is known.
func (v *visit[T]) has(id sid.ID, user T) {
	v.id, v.absent = id, nil
	v.user, v.err, v.known = user, nil, true
}

// hasNone takes the session from the visit, for a reason.
func (v *visit[T]) hasNone(reason error) {
	var nobody T
	v.absent = reason
	v.user, v.err, v.known = nobody, reason, true
}

// find returns the user of the visit's session. It looks once, except that the end
// of one caller's context is not the next one's answer.
func (m *Manager[T]) find(ctx context.Context, v *visit[T]) (T, error) {
	v.response.read.Store(true)
	if v.known {
		return v.user, v.err
	}
	if v.absent != nil {
		return v.user, v.absent
	}
	user, ok, err := m.cache.Get(ctx, v.id.String())
	if err == nil && !ok {
		if _, err = m.look(ctx, v); err == nil {
			err = ErrUnknownSession // it was not live a moment ago
		}
	}
	if err == nil || ctx.Err() == nil {
		v.user, v.err, v.known = user, err, true
	}
	return user, err
}

// look returns what is stored of the visit's session now, if it is live; if not it
// finds out why.
func (m *Manager[T]) look(ctx context.Context, v *visit[T]) (sessioncache.Session, error) {
	v.response.read.Store(true)
	if v.absent != nil {
		return sessioncache.Session{}, v.absent
	}
	session, stored, err := m.cache.Session(ctx, v.id.String())
	switch {
	case err != nil:
		return sessioncache.Session{}, err
	case session.Live:
		return session, nil
	case stored:
		m.log(ctx, "session expired", v.id)
		v.hasNone(ErrExpiredSession)
	default:
		remote := m.config.remote(v.request)
		m.log(ctx, "session unknown", v.id, slog.String("remote", remote), slog.Int("guesses", m.guesses.add(remote)))
		v.hasNone(ErrUnknownSession)
	}
	return sessioncache.Session{}, v.absent
}

// enterAsOwner is enter and look for calls about all sessions of a user.
func (m *Manager[T]) enterAsOwner(ctx context.Context) (*visit[T], sessioncache.Session, error) {
	v, err := m.enter(ctx)
	if err != nil {
		return nil, sessioncache.Session{}, err
	}
	session, err := m.look(ctx, v)
	if err == nil && session.UserID == "" {
		// An empty id is what all have who have none: they are not one user.
		err = ErrNoUserID
	}
	if err != nil {
		v.leave()
		return nil, sessioncache.Session{}, err
	}
	return v, session, nil
}
