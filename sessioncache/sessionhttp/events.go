package sessionhttp

import (
	"context"
	"log/slog"

	"github.com/rhaptos/sessiondb/sid"
)

// Event is a change of a session, or a request that was refused.
type Event struct {
	Kind       Kind
	Handle     sid.Handle // of the session; zero if there is none
	UserID     string     // the user's user_id, if it is known
	RemoteAddr string     // the address that the request came from ([WithRemoteAddress])
	Sessions   int64      // sessions deleted by LogoutOthers or LogoutEverywhere
	Reason     error      // why a request was refused
}

// Kind says what happened. It is a code for programs and does not change. The log has it as
// the attribute kind, beside a text for people.
type Kind string

// The kinds of events.
const (
	EventBegin            Kind = "begin" // of a visitor's session
	EventLogin            Kind = "login"
	EventAccept           Kind = "accept"
	EventIssueBearer      Kind = "issue_bearer"
	EventReauthenticate   Kind = "reauthenticate"
	EventRenew            Kind = "renew"
	EventLogout           Kind = "logout"
	EventLogoutSession    Kind = "logout_session"
	EventLogoutOthers     Kind = "logout_others"
	EventLogoutEverywhere Kind = "logout_everywhere"

	// Kinds of refused requests.
	EventMalformed   Kind = "malformed"
	EventUnknown     Kind = "unknown"
	EventExpired     Kind = "expired"
	EventUnreadable  Kind = "unreadable"
	EventSuperseded  Kind = "superseded" // replaced by a renewal: the request was in flight, or somebody kept the token
	EventCrossOrigin Kind = "cross_origin"
)

// texts are the log messages.
var texts = map[Kind]string{
	EventBegin:            "visitor's session begun",
	EventLogin:            "logged in",
	EventAccept:           "session accepted",
	EventIssueBearer:      "bearer token issued",
	EventReauthenticate:   "re-authenticated",
	EventRenew:            "token renewed",
	EventLogout:           "logged out",
	EventLogoutSession:    "one session logged out",
	EventLogoutOthers:     "logged out elsewhere",
	EventLogoutEverywhere: "logged out everywhere",
	EventMalformed:        "malformed token",
	EventUnknown:          "unknown token",
	EventExpired:          "session expired",
	EventUnreadable:       "session unreadable",
	EventSuperseded:       "superseded token",
	EventCrossOrigin:      "cross-origin request",
}

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
	attributes := []slog.Attr{slog.String("kind", string(event.Kind)), slog.String("remote", event.RemoteAddr)}
	if event.Handle != (sid.Handle{}) {
		attributes = append(attributes, slog.Any("session", event.Handle))
	}
	if event.UserID != "" {
		attributes = append(attributes, slog.String("user", event.UserID))
	}
	if event.Sessions != 0 {
		attributes = append(attributes, slog.Int64("sessions", event.Sessions))
	}
	if event.Reason != nil {
		attributes = append(attributes, slog.Any("reason", event.Reason))
	}
	m.config.logger.LogAttrs(ctx, level, texts[event.Kind], attributes...)
}
