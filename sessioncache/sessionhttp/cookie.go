package sessionhttp

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// largestCookie is how long a Set-Cookie line may be, in bytes: browsers drop
// longer ones (RFC 6265 section 6.1, ASVS 3.3.5).
const largestCookie = 4096

var errLargeProfile = errors.New("its cookie would be longer than 4,096 bytes")

// cookies are what a response sets for a session.
type cookies[T any] struct {
	token      sid.Token
	left       time.Duration // how long the session may live
	persistent bool          // whatever WithBrowserSessionCookie says
	user       *T            // who has logged in; nil: nobody
}

// setCookies sets the session cookie, and the profile cookie of a login.
func (m *Manager[T]) setCookies(ctx context.Context, w http.ResponseWriter, s *requestSession[T], set cookies[T]) {
	s.response.set.Store(true)
	cookie := m.cookie(m.config.sessionCookie, set.token.Reveal(), set.left, set.persistent)
	cookie.HttpOnly = true
	setCookie(w, cookie)
	if m.profile != nil && set.user != nil {
		m.setProfile(ctx, w, s, set)
	}
}

func (m *Manager[T]) setProfile(ctx context.Context, w http.ResponseWriter, s *requestSession[T], set cookies[T]) {
	s.response.set.Store(true)
	cookie, err := m.profileOf(set)
	if err != nil {
		m.failureLogger().LogAttrs(ctx, slog.LevelWarn, "profile left out", slog.Any("error", err))
		cookie = m.cookie(m.config.profileCookie, "", -1, false) // no page shows the one before
	}
	setCookie(w, cookie)
}

func (m *Manager[T]) profileOf(set cookies[T]) (*http.Cookie, error) {
	profile, err := json.Marshal(m.profile(*set.user))
	if err != nil {
		return nil, err
	}
	// Percent-encoded, since a cookie's value may hold no quotes and no commas: user
	// input cannot inject headers.
	cookie := m.cookie(m.config.profileCookie, url.PathEscape(string(profile)), set.left, set.persistent)
	if len(cookie.String()) > largestCookie {
		return nil, errLargeProfile
	}
	return cookie, nil
}

// clearCookies has the browser forget both cookies.
func (m *Manager[T]) clearCookies(w http.ResponseWriter, s *requestSession[T]) {
	s.response.set.Store(true)
	cookie := m.cookie(m.config.sessionCookie, "", -1, false)
	cookie.HttpOnly = true
	setCookie(w, cookie)
	if m.profile != nil {
		setCookie(w, m.cookie(m.config.profileCookie, "", -1, false))
	}
}

// cookie is what the two have in common. A negative left clears it.
func (m *Manager[T]) cookie(name, value string, left time.Duration, persistent bool) *http.Cookie {
	cookie := &http.Cookie{
		Name:     name,
		Value:    value,
		Path:     "/",
		Domain:   m.config.domain,
		Secure:   !m.config.insecure,
		SameSite: m.config.sameSite,
	}
	switch {
	case left < 0:
		cookie.MaxAge = -1
	case persistent || !m.config.browserSession:
		cookie.MaxAge = max(1, int((left+time.Second-1)/time.Second)) // a zero would say nothing
	}
	return cookie
}

// setCookie sets a cookie, in place of one of its name that was set before in the
// same response (RFC 6265 section 4.1.1 wants no two).
func setCookie(w http.ResponseWriter, cookie *http.Cookie) {
	const key = "Set-Cookie"
	var others []string
	for _, line := range w.Header()[key] {
		if !strings.HasPrefix(line, cookie.Name+"=") {
			others = append(others, line)
		}
	}
	w.Header()[key] = append(others, cookie.String())
}
