package recipes

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// Proxy ends TLS in front of a service. In nginx the same is
//
//	proxy_set_header Host $http_host;
//	proxy_set_header X-Forwarded-Proto $scheme;
//	proxy_set_header X-Forwarded-For $remote_addr;
//
// ($host lacks the port. Unless that is 443, it breaks what the first line is for.)
func Proxy(service *url.URL) http.Handler {
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(service)
		// SetURL has changed the host. For browsers without Sec-Fetch-Site, the cross-origin
		// protection compares it with Origin: every POST would be answered 403, logins
		// included.
		r.Out.Host = r.In.Host
		// X-Forwarded-Proto: without it, the service warns once that browsers drop its
		// Secure cookies. X-Forwarded-For replaces what the client has sent.
		r.SetXForwarded()
	}}
}

// BehindProxy is the service. All requests must come through the proxy: others could have
// any X-Forwarded-For.
func BehindProxy(cache *sessioncache.Cache[Account], options ...sessionhttp.Option) http.Handler {
	return pages(sessionhttp.New(cache, append(options,
		// For the audit log. The last address is the one that the proxy has added.
		sessionhttp.WithRemoteAddress(func(r *http.Request) string {
			addresses := r.Header.Get("X-Forwarded-For")
			return strings.TrimSpace(addresses[strings.LastIndexByte(addresses, ',')+1:])
		}),
	)...))
}
