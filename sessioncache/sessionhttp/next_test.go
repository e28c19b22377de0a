package sessionhttp_test

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// nextManager is a Manager for calls that ask no database.
func nextManager(t testing.TB, options ...sessionhttp.Option) *sessionhttp.Manager[account] {
	t.Helper()
	return sessionhttp.New(sessioncache.New[account](unreachable(t)), options...)
}

// wantNext checks what Next makes of a value in the query, and where a redirect with it leads.
func wantNext(t *testing.T, sessions *sessionhttp.Manager[account], value, want string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/login?next="+url.QueryEscape(value), nil)
	next := sessions.Next(r, "/fallback")
	if want != "" && next != want {
		t.Errorf("Next(%q) = %q; want %q", value, next, want)
	}
	w := httptest.NewRecorder()
	http.Redirect(w, r, next, http.StatusSeeOther)
	location := w.Header().Get("Location")
	if !isSameHost(location) {
		t.Errorf("Next(%q) = %q: the redirect to %q leads to another host", value, next, location)
	}
	if isASCII(next) && location != next { // http.Redirect escapes the rest
		t.Errorf("Next(%q) = %q, and the redirect leads to %q, which was not checked", value, next, location)
	}
	again := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/login?next="+url.QueryEscape(next), nil)
	if twice := sessions.Next(again, "/fallback"); twice != next {
		t.Errorf("Next(%q) = %q, and Next of that is %q", value, next, twice)
	}
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r >= 0x80 })
}

// isSameHost reports whether a browser stays on the host when a page redirects to location,
// which begins with a slash. It does what a browser's URL parser does, as far as the host
// depends on it (URL Standard, section 4.4, from the scheme start state to the relative slash
// state). Other addresses are not expected at all.
func isSameHost(location string) bool {
	location = strings.TrimFunc(location, func(r rune) bool { return r <= ' ' })
	location = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(location)
	isSlash := func(i int) bool { return i < len(location) && (location[i] == '/' || location[i] == '\\') }
	return isSlash(0) && !isSlash(1)
}

// TestNext: a login returns to a page of this service, or to the fallback.
func TestNext(t *testing.T) {
	t.Parallel()
	sessions := nextManager(t)
	for value, want := range map[string]string{
		"/orders/17?tab=2":          "/orders/17?tab=2",
		"/":                         "/",
		"/dir/":                     "/dir/",
		"/a//b":                     "/a/b",
		"/a/../../b?x=/../y":        "/b?x=/../y",
		"/a?x=https://example.org/": "/a?x=https://example.org/",
		"/a b/ü":                    "/a b/ü",
		"/a?":                       "/a?",
		"/a#b":                      "/a#b",
		"/a:b@c":                    "/a:b@c",

		// What http.Redirect would clean to another host.
		"/.//evil.example":     "/evil.example",
		"/x/..//evil.example":  "/evil.example",
		"/a#/..//evil.example": "/evil.example",

		// Escaped, it is part of a path.
		"/%0d%0aSet-Cookie:x": "/%0d%0aSet-Cookie:x",
		"/%5Cevil.example":    "/%5Cevil.example",
		"/%2Fevil.example":    "/%2Fevil.example",

		"":                      "/fallback",
		"orders":                "/fallback",
		"?tab=2":                "/fallback",
		"//evil.example":        "/fallback",
		"///evil.example":       "/fallback",
		`/\evil.example`:        "/fallback",
		`/./\evil.example`:      "/fallback",
		`/x/../\evil.example`:   "/fallback",
		`\\evil.example`:        "/fallback",
		`/a?b=\c`:               "/fallback",
		"https://evil.example/": "/fallback",
		"https:/evil.example":   "/fallback",
		"javascript:alert(1)":   "/fallback",
		"/\r\nSet-Cookie: x":    "/fallback",
		"/\t/evil.example":      "/fallback",
		"\t//evil.example":      "/fallback",
		" /evil.example":        "/fallback",
		"/ok\x00":               "/fallback",
		"/ok\x7f":               "/fallback",
		"/ok\u0085":             "/fallback",
	} {
		wantNext(t, sessions, value, want)
	}
}

// FuzzNext: whatever the value is, a browser stays on the host.
func FuzzNext(f *testing.F) {
	for _, value := range []string{"/orders/17?tab=2", "/.//evil.example", `/x/../\evil.example`, "//evil.example", "/\t/evil.example", "https:/x", "/%5C", "/é"} {
		f.Add(value)
	}
	sessions := nextManager(f)
	f.Fuzz(func(t *testing.T, value string) { wantNext(t, sessions, value, "") })
}

// TestNextIsInTheFormOrTheQuery of the request.
func TestNextIsInTheFormOrTheQuery(t *testing.T) {
	t.Parallel()
	sessions := nextManager(t)
	var parts bytes.Buffer
	writer := multipart.NewWriter(&parts)
	if err := writer.WriteField("next", "/form"); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	const form = "application/x-www-form-urlencoded"
	for name, test := range map[string]struct{ method, target, contentType, body, want string }{
		"nowhere":        {http.MethodPost, "/login", form, "name=Ed", "/fallback"},
		"query":          {http.MethodGet, "/login?next=/query", "", "", "/query"},
		"query of POST":  {http.MethodPost, "/login?next=/query", form, "name=Ed", "/query"},
		"form":           {http.MethodPost, "/login", form, "next=%2Fform", "/form"},
		"form and query": {http.MethodPost, "/login?next=/query", form, "next=%2Fform", "/form"},
		"multipart":      {http.MethodPost, "/login", writer.FormDataContentType(), parts.String(), "/form"},
		"JSON":           {http.MethodPost, "/login?next=/query", "application/json", `{"next":"/body"}`, "/query"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), test.method, test.target, strings.NewReader(test.body))
		r.Header.Set("Content-Type", test.contentType)
		if next := sessions.Next(r, "/fallback"); next != test.want {
			t.Errorf("%s: Next = %q; want %q", name, next, test.want)
		}
	}
}

// TestLoginPageIsToldTheNextPage: a navigation to a page that needs a login, or a recent
// one, and its way back.
func TestLoginPageIsToldTheNextPage(t *testing.T) {
	s := setup(t, sessionhttp.WithLoginPage("/login?theme=dark#form"), sessionhttp.WithReauthenticationPage("/confirm"))
	long := "/" + strings.Repeat("x", 1999)
	require, fresh := s.sessions.Require(never(t)), s.sessions.RequireFresh(time.Minute, never(t))
	user := s.browser(t)
	s.elapse(t, user.login(t, newUser()), time.Hour/2)
	for name, test := range map[string]struct {
		browser        *browser
		page           http.Handler
		method, target string
		location, next string
	}{
		"Require":             {s.browser(t), require, http.MethodGet, "/orders/17?tab=2", "/login?next=%2Forders%2F17%3Ftab%3D2&theme=dark#form", "/orders/17?tab=2"},
		"RequireFresh":        {user, fresh, http.MethodGet, "/password", "/confirm?next=%2Fpassword", "/password"},
		"HEAD":                {s.browser(t), require, http.MethodHead, "/orders", "/login?next=%2Forders&theme=dark#form", "/orders"},
		"POST":                {s.browser(t), require, http.MethodPost, "/orders", "/login?theme=dark#form", "/"},
		"the login page":      {s.browser(t), require, http.MethodGet, "/login?next=/x", "/login?theme=dark#form", "/"},
		"re-authentication":   {user, fresh, http.MethodGet, "/confirm?next=/x", "/confirm", "/"},
		"escapes":             {s.browser(t), require, http.MethodGet, "/a%2Fb/%C3%BC?x=%26", "/login?next=%2Fa%252Fb%2F%25C3%25BC%3Fx%3D%2526&theme=dark#form", "/a%2Fb/%C3%BC?x=%26"},
		"an absolute address": {s.browser(t), require, http.MethodGet, "https://example.com/orders?tab=2", "/login?next=%2Forders%3Ftab%3D2&theme=dark#form", "/orders?tab=2"},
		"another host's path": {s.browser(t), require, http.MethodGet, "//evil.example/", "/login?theme=dark#form", "/"},
		"2,000 bytes":         {s.browser(t), require, http.MethodGet, long, "/login?next=%2F" + long[1:] + "&theme=dark#form", long},
		"2,001 bytes":         {s.browser(t), require, http.MethodGet, long + "x", "/login?theme=dark#form", "/"},
		"without a prefix":    {s.browser(t), http.StripPrefix("/shop", require), http.MethodGet, "/shop/orders", "/login?next=%2Fshop%2Forders&theme=dark#form", "/shop/orders"},
	} {
		r := test.browser.request(t, test.method)
		target := httptest.NewRequestWithContext(t.Context(), test.method, test.target, nil)
		r.RequestURI, r.URL = target.RequestURI, target.URL
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		response := test.browser.send(r, test.page.ServeHTTP)
		location := response.Header.Get("Location")
		if response.StatusCode != http.StatusSeeOther || location != test.location {
			t.Errorf("%s: %d to %q; want %q", name, response.StatusCode, location, test.location)
		}
		login := httptest.NewRequestWithContext(t.Context(), http.MethodGet, location, nil)
		if next := s.sessions.Next(login, "/"); next != test.next {
			t.Errorf("%s: Next = %q; want %q", name, next, test.next)
		}
	}
}
