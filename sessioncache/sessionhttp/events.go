package sessionhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// Event is something that has happened to a session, or a request that was refused.
type Event struct {
	Kind       EventKind
	Handle     sid.Handle // the session's; zero where there is none
	UserID     string     // the user_id of its user, where it is known
	RemoteAddr string     // where the request came from ([WithRemoteAddress])
	Sessions   int64      // how many ended, of a logout elsewhere or everywhere
	Reason     error      // why a request was refused, an error of this package
}

// EventKind is what an [Event] is about.
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

	// Requests that were refused.
	EventMalformed   EventKind = "malformed token"
	EventUnknown     EventKind = "unknown token"
	EventExpired     EventKind = "session expired"
	EventUnreadable  EventKind = "session unreadable"
	EventSuperseded  EventKind = "superseded token" // it was replaced by a renewal: in flight, or kept by somebody
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

// userID reads a user's id from its JSON, as the database does when it stores the
// user: the empty one if there is none.
func userID(user any) string {
	var stored struct {
		ID any `json:"user_id"`
	}
	dict, err := json.Marshal(user)
	if err == nil {
		decoder := json.NewDecoder(bytes.NewReader(dict))
		decoder.UseNumber()
		err = decoder.Decode(&stored)
	}
	if err != nil || stored.ID == nil {
		return ""
	}
	return fmt.Sprint(stored.ID)
}
