package sessionhttp_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// TestMistakesPanic: what is a mistake in the program shows when it starts.
func TestMistakesPanic(t *testing.T) {
	t.Parallel()
	cache := sessioncache.New[account](unreachable(t))
	for name, mistake := range map[string]func(){
		"no cache":                 func() { sessionhttp.New[account](nil) },
		"another type's profile":   func() { sessionhttp.New(cache, sessionhttp.WithProfile(func(string) any { return 1 })) },
		"no profile":               func() { sessionhttp.WithProfile[account](nil) },
		"no carry":                 func() { sessionhttp.Carry[account](nil) },
		"no logger":                func() { sessionhttp.WithLogger(nil) },
		"no events":                func() { sessionhttp.WithEvents(nil) },
		"no error handler":         func() { sessionhttp.WithErrorHandler(nil) },
		"no remote address":        func() { sessionhttp.WithRemoteAddress(nil) },
		"no protection":            func() { sessionhttp.WithCrossOriginProtection(nil) },
		"no name":                  func() { sessionhttp.WithCookieName("") },
		"a name with ;":            func() { sessionhttp.WithCookieName("a;b") },
		"a name with =":            func() { sessionhttp.WithCookieName("a=b") },
		"a name with a space":      func() { sessionhttp.WithCookieName("a b") },
		"a name with a line break": func() { sessionhttp.WithCookieName("a\r\nSet-Cookie: b") },
		"a name not of ASCII":      func() { sessionhttp.WithCookieName("ä") },
		"a prefix":                 func() { sessionhttp.WithCookieName("__Host-a") },
		"another prefix":           func() { sessionhttp.WithCookieName("__secure-a") },
		"a long name":              func() { sessionhttp.WithCookieName(strings.Repeat("a", 65)) },
		"no domain":                func() { sessionhttp.WithDomain("") },
		"a domain with ;":          func() { sessionhttp.WithDomain("example.com; Path=/x") },
		"a URL for a domain":       func() { sessionhttp.WithDomain("https://example.com") },
		"SameSite=None":            func() { sessionhttp.WithSameSite(http.SameSiteNoneMode) },
		"SameSite by default":      func() { sessionhttp.WithSameSite(http.SameSiteDefaultMode) },
		"no SameSite":              func() { sessionhttp.WithSameSite(0) },
		"no timeout":               func() { sessionhttp.WithTimeout(0) },
		"a negative timeout":       func() { sessionhttp.WithTimeout(-time.Second) },
		"visitors for no time":     func() { sessionhttp.WithVisitorLifetime(time.Nanosecond) },
		"no login page":            func() { sessionhttp.WithLoginPage("") },
		"a relative login page":    func() { sessionhttp.WithLoginPage("login") },
		"a login page elsewhere":   func() { sessionhttp.WithLoginPage("https://example.com/login") },
		"one on another host":      func() { sessionhttp.WithLoginPage("//example.com/login") },
		"one on another host, too": func() { sessionhttp.WithLoginPage(`/\example.com/login`) },
		"one after a dot":          func() { sessionhttp.WithLoginPage(`/./\evil.example`) },
		"one that is no URL":       func() { sessionhttp.WithLoginPage("/%zz") },
		"no confirmation page":     func() { sessionhttp.WithReauthenticationPage("") },
		"confirmation elsewhere":   func() { sessionhttp.WithReauthenticationPage("//example.com") },
		"no sessions at most":      func() { sessionhttp.MaxSessions(0) },
		"a short memory":           func() { sessionhttp.Remember(time.Second-1, 0) },
		"a negative idle timeout":  func() { sessionhttp.Remember(time.Hour, -1) },
		"a tiny idle timeout":      func() { sessionhttp.Remember(time.Hour, time.Nanosecond) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			suite.WantPanic(t, mistake)
		})
	}
}

// TestLimitsOfOptions: what is just within them does not panic.
func TestLimitsOfOptions(t *testing.T) {
	t.Parallel()
	sessionhttp.New(sessioncache.New[account](unreachable(t)),
		sessionhttp.WithCookieName(strings.Repeat("a", 64)),
		sessionhttp.WithDomain("localhost"),
		sessionhttp.WithLoginPage("/"),
		sessionhttp.WithTimeout(1),
		sessionhttp.WithVisitorLifetime(time.Microsecond),
		sessionhttp.WithSameSite(http.SameSiteLaxMode),
		sessionhttp.WithProfile(func(account) any { return nil }),
	)
	sessionhttp.Remember(time.Second, time.Microsecond)
	sessionhttp.MaxSessions(1)
}
