package sessionhttp

import (
	"net/http"
	"net/url"
	"path"
	"strings"
	"unicode"
)

const (
	// nextField is the query parameter and the form field with the page that a login
	// returns to.
	nextField = "next"

	// maxNext is the length in bytes of the longest page that is remembered. Proxies and
	// servers refuse long request lines.
	maxNext = 2000
)

// Next returns the page that a login or a re-authentication returns to: the value of next
// in the request's form or query, which Require and RequireFresh have added to the address
// of the login page. Anybody can make a link with any value, so Next returns only a path of
// this service, with its query. If the value is something else or absent, it returns
// fallback.
//
// A login page whose form has no action posts to its own address, and next stays in the
// query. Other pages put Next into a hidden field of their form.
func (m *Manager[T]) Next(r *http.Request, fallback string) string {
	if next, ok := localPath(r.FormValue(nextField)); ok {
		return next
	}
	return fallback
}

// localPath returns a path of this service with its query, and whether target is one. The
// result is what http.Redirect sends: it cleans the path, too, and could otherwise make
// the address of another host of a path that has been checked, such as "/.//host".
func localPath(target string) (local string, ok bool) {
	// To a browser a backslash is a slash, and it removes tabs and line breaks (URL
	// Standard, section 4.4).
	if strings.ContainsRune(target, '\\') || strings.ContainsFunc(target, unicode.IsControl) {
		return "", false
	}
	if !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") {
		return "", false
	}
	before, query, hasQuery := strings.Cut(target, "?")
	local = path.Clean(before)
	if strings.HasSuffix(before, "/") && local != "/" {
		local += "/"
	}
	if hasQuery {
		local += "?" + query
	}
	return local, true
}

// withNext adds the page that the request is for to the address of the login page or the
// re-authentication page. Only a GET or HEAD can be made again. The page itself is not
// added, because it would lead back to itself.
func withNext(page string, r *http.Request) string {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return page
	}
	target := requestTarget(r)
	next, ok := localPath(target)
	to, err := url.Parse(page)
	if !ok || err != nil || len(target) > maxNext {
		return page
	}
	if before, _, _ := strings.Cut(next, "?"); before == to.EscapedPath() {
		return page
	}
	query := to.Query()
	query.Set(nextField, next)
	to.RawQuery = query.Encode()
	return to.String()
}

// requestTarget returns the path and query that a request was sent with. Its URL may have
// been changed, for example by http.StripPrefix. A target of a proxy's form names the
// host, too (RFC 9112 section 3.2.2).
func requestTarget(r *http.Request) string {
	if target, err := url.ParseRequestURI(r.RequestURI); err == nil && target.IsAbs() {
		return target.RequestURI()
	}
	return r.RequestURI
}
