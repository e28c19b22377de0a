package recipes_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/systemtest/recipes"
)

// plainHTTP is for the part of a test that needs a warning which is logged once a process.
var plainHTTP sync.Once

func TestProxy(t *testing.T) {
	t.Parallel()
	var remote atomic.Value
	var log lines
	service := httptest.NewServer(recipes.BehindProxy(sessioncache.New[recipes.Account](sessiontest.NewPool(t)),
		sessionhttp.WithEvents(func(_ context.Context, e sessionhttp.Event) { remote.Store(e.RemoteAddr) }),
		sessionhttp.WithLogger(slog.New(slog.NewTextHandler(&log, nil)))))
	t.Cleanup(service.Close)
	address, err := url.Parse(service.URL)
	if err != nil {
		t.Fatal(err)
	}
	olderBrowser := []string{"Sec-Fetch-Site", "", "Sec-Fetch-Mode", ""}

	ada := open(t, recipes.Proxy(address))
	ada.want("GET", "/account", nil, http.StatusUnauthorized, "")
	ada.want("POST", "/login", credentials("Ada"), http.StatusSeeOther, "/account", "X-Forwarded-For", "192.0.2.1")
	if remote.Load() != "127.0.0.1" {
		t.Errorf("the login came from %v; want the browser's address, not the one it claims", remote.Load())
	}
	ada.want("GET", "/account", nil, http.StatusOK, "The account of Ada.")
	ada.want("POST", "/password", url.Values{}, http.StatusOK, "The password is changed.", olderBrowser...)
	ada.want("POST", "https://www.example.com:8443/login", credentials("Ada"), http.StatusSeeOther, "", olderBrowser...)
	for _, evil := range []string{"https://evil.example", "https://" + address.Host, "null"} {
		ada.want("POST", "/password", url.Values{}, http.StatusForbidden, "", append(olderBrowser, "Origin", evil, "X-Forwarded-Host", "evil.example")...)
	}
	const warning = "browsers drop the Secure cookie"
	if strings.Contains(log.String(), warning) {
		t.Errorf("the service warns of plain HTTP:\n%s", log.String())
	}

	// What breaks otherwise.
	wrongHost := open(t, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(address)
		r.SetXForwarded()
	}})
	wrongHost.want("POST", "/login", credentials("Ada"), http.StatusForbidden, "", olderBrowser...)
	wrongHost.want("POST", "/login", credentials("Ada"), http.StatusSeeOther, "/account")
	noPort := open(t, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(address)
		r.Out.Host = "www.example.com" // nginx's $host
		r.SetXForwarded()
	}})
	noPort.want("POST", "https://www.example.com:8443/login", credentials("Ada"), http.StatusForbidden, "", olderBrowser...)
	noProto := open(t, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(address)
		r.Out.Host = r.In.Host
	}})
	noProto.want("POST", "/login", credentials("Ada"), http.StatusSeeOther, "/account")
	plainHTTP.Do(func() {
		if !strings.Contains(log.String(), warning) {
			t.Errorf("the service does not warn of plain HTTP:\n%s", log.String())
		}
	})
}

// lines are those of a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
