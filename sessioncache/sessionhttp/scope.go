package sessionhttp

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// A browser keeps cookies of one name apart if their domains or paths differ, and sends all
// that fit. It does not say which is which.

const (
	maxScopeDomains = 5
	maxScopePaths   = 10
)

// scope is the domain and the path of a cookie.
type scope struct {
	domain string // empty: of the host alone
	path   string
}

// scopeOf returns the scope of a line of Set-Cookie.
func scopeOf(line string) scope {
	cookie, err := http.ParseSetCookie(line)
	if err != nil {
		return scope{}
	}
	return scope{strings.ToLower(strings.TrimPrefix(cookie.Domain, ".")), cookie.Path}
}

// expirePathCookies removes the session cookies that only this page is sent, and a login is
// not. Those of the root are left to the login: some browsers take a cookie of the host's
// domain for the service's own, which may be a new one by now.
func (m *Manager[T]) expirePathCookies(w http.ResponseWriter, r *http.Request) {
	s, err := m.lock(r.Context())
	if err != nil {
		return
	}
	defer s.unlock()
	s.response.cookieSet.Store(true)
	m.expireOthers(w, s, scopePaths(s.request)[1:])
}

// expireOthers removes the session cookies of these paths in other scopes from the browser,
// if the request had several. Otherwise they would lock the user out again: they are from a
// time before WithDomain was changed, or another host of the domain has set them. Browsers
// accept no cookie with the prefix __Host- in another scope.
func (m *Manager[T]) expireOthers(w http.ResponseWriter, s *requestSession[T], paths []string) {
	if !s.credentials.several || strings.HasPrefix(m.config.sessionCookie, "__Host-") {
		return
	}
	expired := m.cookie(m.config.sessionCookie, "", -1, false)
	expired.HttpOnly = true
	own := scopeOf(expired.String())
	for _, domain := range scopeDomains(s.request.Host) {
		for _, path := range paths {
			expired.Domain, expired.Path = domain, path
			if expired.Valid() == nil && (scope{domain, path}) != own {
				s.response.setCookie(w, expired)
			}
		}
	}
}

// scopeDomains lists the domains of cookies that a browser sends to a host: none, its own
// name, and its parent domains. A domain of one label can have no cookies, unless it is
// the host.
func scopeDomains(host string) []string {
	host = strings.ToLower(strings.TrimSuffix(withoutPort(host), "."))
	domains := []string{""}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || host == "" {
		return domains
	}
	domains = append(domains, host)
	for parents := 0; parents < maxScopeDomains; parents++ {
		_, host, _ = strings.Cut(host, ".")
		if !strings.Contains(host, ".") {
			break
		}
		domains = append(domains, host)
	}
	return domains
}

// withoutPort returns the name or the address of a Host header.
func withoutPort(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// scopePaths lists the paths of cookies that a browser sends with a request: the root, and
// each prefix that ends before or behind a slash (RFC 6265 section 5.1.4).
func scopePaths(r *http.Request) []string {
	path, _, _ := strings.Cut(requestTarget(r), "?")
	paths := []string{"/"}
	for i := 1; i < len(path) && len(paths) < maxScopePaths; i++ {
		if path[i] == '/' {
			paths = append(paths, path[:i], path[:i+1])
		}
	}
	if len(path) > 1 && path[0] == '/' && path[len(path)-1] != '/' && len(paths) < maxScopePaths {
		paths = append(paths, path)
	}
	return paths
}
