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

// presented reads the session cookie of a request. Of several nobody can tell
// which one is the user's: without the __Host- prefix a sister host may have
// planted one.
func (m *Manager[T]) presented(r *http.Request) (sid.ID, error) {
	cookies := r.CookiesNamed(m.config.sessionCookie)
	if len(cookies) == 0 {
		return sid.ID{}, ErrNoCookie
	}
	token, ok := parseToken(cookies[0].Value)
	if !ok || len(cookies) > 1 {
		return sid.ID{}, ErrMalformedCookie
	}
	return token.id(), nil
}

// setCookies sets both cookies, for what is left of a session.
func (m *Manager[T]) setCookies(ctx context.Context, w http.ResponseWriter, t token, user T, left time.Duration) {
	session := m.cookie(m.config.sessionCookie, t.encode(), left)
	session.HttpOnly = true
	setCookie(w, session)
	if m.profile != nil {
		m.setProfile(ctx, w, user, left)
	}
}

func (m *Manager[T]) setProfile(ctx context.Context, w http.ResponseWriter, user T, left time.Duration) {
	cookie, err := m.profileOf(user, left)
	if err != nil {
		m.config.logger.LogAttrs(ctx, slog.LevelWarn, "profile left out", slog.Any("error", err))
		cookie = m.cookie(m.config.profileCookie, "", -1) // no page shows the one before
	}
	setCookie(w, cookie)
}

func (m *Manager[T]) profileOf(user T, left time.Duration) (*http.Cookie, error) {
	profile, err := json.Marshal(m.profile(user))
	if err != nil {
		return nil, err
	}
	// Percent-encoded, since a cookie's value may hold no quotes and no commas; and
	// whatever is in the profile, no line ends here.
	cookie := m.cookie(m.config.profileCookie, url.PathEscape(string(profile)), left)
	if len(cookie.String()) > largestCookie {
		return nil, errLargeProfile
	}
	return cookie, nil
}

// clearCookies has the browser forget both cookies.
func (m *Manager[T]) clearCookies(w http.ResponseWriter) {
	session := m.cookie(m.config.sessionCookie, "", -1)
	session.HttpOnly = true
	setCookie(w, session)
	if m.profile != nil {
		setCookie(w, m.cookie(m.config.profileCookie, "", -1))
	}
}

// cookie is what the two have in common. A negative left clears it.
func (m *Manager[T]) cookie(name, value string, left time.Duration) *http.Cookie {
	cookie := &http.Cookie{
		Name:     name,
		Value:    value,
		Path:     "/",
		Secure:   !m.config.insecure,
		SameSite: http.SameSiteLaxMode,
	}
	switch {
	case left < 0:
		cookie.MaxAge = -1
	case !m.config.browserSession:
		cookie.MaxAge = int((left + time.Second - 1) / time.Second)
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
