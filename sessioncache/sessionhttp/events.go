package sessionhttp

import (
	"context"
	"log/slog"

	"github.com/rhaptos/sessiondb/sid"
)

// Event is a change of a session, or a request that was refused.
type Event struct {
	Kind       EventKind
	Handle     sid.Handle // of the session; zero if there is none
	UserID     string     // the user's user_id, if it is known
	RemoteAddr string     // the address that the request came from ([WithRemoteAddress])
	Sessions   int64      // sessions deleted by LogoutOthers or LogoutEverywhere
	Reason     error      // why a request was refused
}

// EventKind says what happened. Its text is the log message.
type EventKind string

// The kinds of events.
const (
	EventBegin            EventKind = "visitor's session begun"
	EventLogin            EventKind = "logged in"
	EventAccept           EventKind = "session accepted"
	EventIssueBearer      EventKind = "bearer token issued"
	EventReauthenticate   EventKind = "re-authenticated"
	EventRenew            EventKind = "token renewed"
	EventLogout           EventKind = "logged out"
	EventLogoutSession    EventKind = "one session logged out"
	EventLogoutOthers     EventKind = "logged out elsewhere"
	EventLogoutEverywhere EventKind = "logged out everywhere"

	// Kinds of refused requests.
	EventMalformed   EventKind = "malformed token"
	EventUnknown     EventKind = "unknown token"
	EventExpired     EventKind = "session expired"
	EventUnreadable  EventKind = "session unreadable"
	EventSuperseded  EventKind = "superseded token" // replaced by a renewal: the request was in flight, or somebody kept the token
	EventCrossOrigin EventKind = "cross-origin request"
)

// report reports an event.
func (m *Manager[T]) report(ctx context.Context, event Event) {
	m.config.events(ctx, event)
	if m.config.logger == nil {
		return
	}
	level := slog.LevelInfo
	switch event.Kind {
	case EventMalformed, EventUnknown, EventSuperseded, EventCrossOrigin, EventUnreadable:
		level = slog.LevelWarn
	}
	if !m.config.logger.Enabled(ctx, level) {
		return
	}
	attributes := []slog.Attr{slog.String("remote", event.RemoteAddr)}
	if event.Handle != (sid.Handle{}) {
		attributes = append(attributes, slog.Any("session", event.Handle))
	}
	if event.UserID != "" {
		attributes = append(attributes, slog.String("user", event.UserID))
	}
	if event.Sessions != 0 {
		attributes = append(attributes, slog.Int64("sessions", event.Sessions))
	}
	m.config.logger.LogAttrs(ctx, level, string(event.Kind), attributes...)
}
