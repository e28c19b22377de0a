package sessionhttp_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// TestPlainHTTP: a cookie that browsers drop is warned of, once a process.
func TestPlainHTTP(t *testing.T) {
	s := setup(t)
	insecure := sessionhttp.New(s.cache, sessionhttp.WithInsecureCookies(), sessionhttp.WithLogger(s.log.Logger(0)))
	other := sessionhttp.New(s.cache, sessionhttp.WithLogger(s.log.Logger(0)))
	const warning = `level=WARN msg="browsers drop the Secure cookie of a request over plain HTTP`
	for _, test := range []struct {
		name     string
		sessions *sessionhttp.Manager[account]
		address  string
		proto    string
		want     int
	}{
		{"HTTPS", s.sessions, "https://example.com/", "", 0},
		{"localhost", s.sessions, "http://localhost:8080/", "", 0},
		{"a name of localhost", s.sessions, "http://app.localhost/", "", 0},
		{"loopback", s.sessions, "http://127.0.0.1:8080/", "", 0},
		{"loopback of IPv6", s.sessions, "http://[::1]:8080/", "", 0},
		{"behind a proxy with TLS", s.sessions, "http://example.com/", "https", 0},
		{"behind two proxies", s.sessions, "http://example.com/", "HTTPS, http", 0},
		{"insecure cookies", insecure, "http://example.com/", "", 0},
		{"plain HTTP", s.sessions, "http://example.com/", "", 1},
		{"behind a proxy without TLS", s.sessions, "http://example.com/", "http, https", 1},
		{"localhost.example.com", s.sessions, "http://localhost.example.com/", "", 1},
		{"another machine", s.sessions, "http://192.0.2.1/", "", 1},
	} {
		sessionhttp.WarnAsFirst(test.sessions, other)
		before := len(s.log.String())
		login := func(sessions *sessionhttp.Manager[account]) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, test.address, nil)
			if test.proto != "" {
				r.Header.Set("X-Forwarded-Proto", test.proto)
			}
			sessions.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := sessions.Login(w, r, newUser()); err != nil {
					t.Errorf("%s: Login: %v", test.name, err)
				}
			})).ServeHTTP(httptest.NewRecorder(), r)
		}
		for range 3 {
			login(test.sessions)
		}
		if test.sessions != insecure {
			login(other)
		}
		log := s.log.String()[before:]
		if n := strings.Count(log, warning); n != test.want || n > 0 && !strings.Contains(log, "X-Forwarded-Proto: https") {
			t.Errorf("%s: %d warnings; want %d:\n%s", test.name, n, test.want, log)
		}
	}
}
