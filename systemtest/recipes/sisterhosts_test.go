package recipes_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/systemtest/recipes"
)

func TestSisterHosts(t *testing.T) {
	t.Parallel()
	www, shop := recipes.SisterHosts(sessiontest.NewPool(t))
	ada := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Host {
		case "www.example.com":
			www.ServeHTTP(w, r)
		case "shop.example.com":
			shop.ServeHTTP(w, r)
		}
	}))
	const shopOrigin = "https://shop.example.com"
	for _, host := range []string{origin, shopOrigin} {
		ada.want("GET", host+"/account", nil, http.StatusUnauthorized, "")
	}
	ada.logIn(origin, "Ada")
	token := ada.cookie(shopOrigin, "__Secure-www") // the browser sends it to the shop, too
	if token == nil {
		t.Fatal("the cookie of www is not for the domain")
	}
	ada.want("GET", shopOrigin+"/account", nil, http.StatusUnauthorized, "")
	ada.want("GET", shopOrigin+"/account", nil, http.StatusUnauthorized, "", "Cookie", "__Host-shop="+token.Value)
	ada.logIn(shopOrigin, "Ada of the shop")
	ada.want("GET", origin+"/account", nil, http.StatusOK, "The account of Ada.")
	ada.want("GET", shopOrigin+"/account", nil, http.StatusOK, "The account of Ada of the shop.")
	if ada.cookie(shopOrigin, "__Host-shop") == nil || ada.cookie(origin, "__Host-shop") != nil {
		t.Error("the cookie of the shop is not sent to the shop, or is sent to www")
	}

	for _, test := range []struct {
		origin, site string
		status       int
	}{
		{"https://www.example.com", "same-site", http.StatusOK},
		{"https://www.example.com", "", http.StatusOK}, // a browser without Sec-Fetch-Site
		{"http://www.example.com", "same-site", http.StatusForbidden},
		{"https://www.example.com:8443", "same-site", http.StatusForbidden},
		{"https://blog.example.com", "same-site", http.StatusForbidden},
		{"https://example.com", "same-site", http.StatusForbidden},
		{"https://www.example.com.evil.example", "cross-site", http.StatusForbidden},
		{"null", "cross-site", http.StatusForbidden},
		{"null", "", http.StatusForbidden},
		{"", "same-site", http.StatusForbidden},
	} {
		ada.want("POST", shopOrigin+"/password", url.Values{}, test.status, "", "Origin", test.origin, "Sec-Fetch-Site", test.site)
	}
	// The trust has one direction.
	ada.want("POST", origin+"/password", url.Values{}, http.StatusForbidden, "", "Origin", shopOrigin, "Sec-Fetch-Site", "same-site")

	ada.want("POST", origin+"/logout", url.Values{}, http.StatusSeeOther, "/login")
	ada.want("GET", shopOrigin+"/account", nil, http.StatusOK, "The account of Ada of the shop.")
}

// TestSisterHostsOfOneName shows what the recipe avoids.
func TestSisterHostsOfOneName(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t)
	chi := func() http.Handler {
		return recipes.Chi(sessionhttp.New(sessioncache.New[recipes.Account](pool), sessionhttp.WithDomain("example.com")))
	}
	hosts := map[string]http.Handler{"www.example.com": chi(), "shop.example.com": chi()}
	ada := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hosts[r.Host].ServeHTTP(w, r) }))
	ada.logIn(origin, "Ada")
	ada.logIn("https://shop.example.com", "Ada of the shop")
	ada.want("GET", origin+"/account", nil, http.StatusOK, "The account of Ada of the shop.")
}
