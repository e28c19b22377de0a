package sessionhttp

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rhaptos/sessiondb/sid"
)

// maxCookieSize is the largest length of a Set-Cookie line, in bytes. Browsers drop
// longer ones (RFC 6265 section 6.1, ASVS 3.3.5).
const maxCookieSize = 4096

// maxCookieAge is the longest time that browsers keep a cookie (RFC 6265bis section 5.5).
const maxCookieAge = 400 * 24 * time.Hour

var errLargeProfile = errors.New("the cookie would be longer than 4,096 bytes")

// cookies are the cookies that a response sets for a session.
type cookies[T any] struct {
	token      sid.Token
	remaining  time.Duration // the longest time that the session can live
	persistent bool          // even with WithBrowserSessionCookie
	user       *T            // nil for a visitor
}

// setCookies sets the session cookie and, for a login, the profile cookie.
func (m *Manager[T]) setCookies(ctx context.Context, w http.ResponseWriter, s *requestSession[T], set cookies[T]) {
	s.response.cookieSet.Store(true)
	m.warnOfPlainHTTP(ctx, s.request)
	m.expireOthers(w, s, scopePaths(s.request))
	cookie := m.cookie(m.config.sessionCookie, set.token.Reveal(), set.remaining, set.persistent)
	cookie.HttpOnly = true
	s.response.setCookie(w, cookie)
	if m.profile != nil && set.user != nil {
		m.setProfile(ctx, w, s, set)
	}
}

func (m *Manager[T]) setProfile(ctx context.Context, w http.ResponseWriter, s *requestSession[T], set cookies[T]) {
	s.response.cookieSet.Store(true)
	cookie, err := m.profileOf(set)
	if err != nil {
		m.failureLogger().LogAttrs(ctx, slog.LevelWarn, "profile left out", slog.Any("error", err))
		cookie = m.cookie(m.config.profileCookie, "", -1, false) // removes the former profile
	}
	s.response.setCookie(w, cookie)
}

func (m *Manager[T]) profileOf(set cookies[T]) (*http.Cookie, error) {
	profile, err := json.Marshal(m.profile(*set.user))
	if err != nil {
		return nil, err
	}
	// Percent-encoded, because a cookie's value must not contain quotes or commas. So
	// user input cannot inject headers.
	cookie := m.cookie(m.config.profileCookie, url.PathEscape(string(profile)), set.remaining, set.persistent)
	if len(cookie.String()) > maxCookieSize {
		return nil, errLargeProfile
	}
	return cookie, nil
}

// clearCookies removes both cookies from the browser.
func (m *Manager[T]) clearCookies(w http.ResponseWriter, s *requestSession[T]) {
	s.response.cookieSet.Store(true)
	m.expireOthers(w, s, scopePaths(s.request))
	cookie := m.cookie(m.config.sessionCookie, "", -1, false)
	cookie.HttpOnly = true
	s.response.setCookie(w, cookie)
	if m.profile != nil {
		s.response.setCookie(w, m.cookie(m.config.profileCookie, "", -1, false))
	}
}

// cookie returns a cookie with the attributes of both. A negative remaining clears it.
func (m *Manager[T]) cookie(name, value string, remaining time.Duration, persistent bool) *http.Cookie {
	cookie := &http.Cookie{
		Name:     name,
		Value:    value,
		Path:     "/",
		Domain:   m.config.domain,
		Secure:   !m.config.insecure,
		SameSite: m.config.sameSite,
	}
	switch {
	case remaining < 0:
		cookie.MaxAge = -1
	case persistent || !m.config.browserSession:
		remaining = min(remaining, maxCookieAge)
		cookie.MaxAge = max(1, int((remaining+time.Second-1)/time.Second)) // net/http leaves out a zero
	}
	return cookie
}

// setCookie sets a cookie of the Manager.
func (w *response) setCookie(handlers http.ResponseWriter, cookie *http.Cookie) {
	line := cookie.String()
	setLine(handlers.Header(), line)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(withoutScope(w.lines, line), line)
}

// restoreCookies puts back what has been cleared from the headers since the Manager has set
// it: the database has committed the sessions. ReverseProxy clears all headers after a 1xx
// response, and error handlers do.
func (w *response) restoreCookies() {
	w.mu.Lock()
	defer w.mu.Unlock()
	header := w.Header()
	for _, line := range w.lines {
		if !slices.Contains(header["Set-Cookie"], line) {
			setLine(header, line)
		}
	}
}

// setLine sets a cookie, and removes one of the same name, domain and path that the same
// response has set before (RFC 6265 section 4.1.1 forbids two).
func setLine(header http.Header, line string) {
	header["Set-Cookie"] = append(withoutScope(header["Set-Cookie"], line), line)
}

// withoutScope returns the lines that set a cookie of another name, domain or path.
func withoutScope(lines []string, line string) (others []string) {
	name, _, _ := strings.Cut(line, "=")
	for _, other := range lines {
		if !strings.HasPrefix(other, name+"=") || scopeOf(other) != scopeOf(line) {
			others = append(others, other)
		}
	}
	return others
}
