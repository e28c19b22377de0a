package sessionhttp

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// plainHTTPWarning is logged once a process.
var plainHTTPWarning sync.Once

// warnOfPlainHTTP warns if browsers drop the cookie that is about to be set, because it is
// Secure and the request is plain HTTP. The user would log in and find the login page again,
// for no visible reason.
func (m *Manager[T]) warnOfPlainHTTP(ctx context.Context, r *http.Request) {
	if m.config.insecure || !isPlainHTTP(r) {
		return
	}
	m.plainHTTPWarning.Do(func() {
		m.failureLogger().LogAttrs(ctx, slog.LevelWarn, "browsers drop the Secure cookie of a request over plain HTTP: "+
			"serve the page over HTTPS; if a proxy does, have it send X-Forwarded-Proto: https; "+
			"for development over plain HTTP use WithInsecureCookies", slog.String("host", r.Host))
	})
}

// isPlainHTTP reports whether a request came without TLS, as far as the service can know,
// and not from a browser on the same machine, which treats it as secure.
func isPlainHTTP(r *http.Request) bool {
	proto, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",") // of the client's side
	return r.TLS == nil && !strings.EqualFold(strings.TrimSpace(proto), "https") && !isLocalhost(r.Host)
}

func isLocalhost(host string) bool {
	host = withoutPort(host)
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return addr.IsLoopback()
	}
	host = strings.ToLower(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
