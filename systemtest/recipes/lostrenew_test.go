package recipes_test

import (
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
	"github.com/rhaptos/sessiondb/systemtest/recipes"
)

// TestLostRenew: the browser's connection ends after the service has renewed the token, and
// before the answer arrives.
func TestLostRenew(t *testing.T) {
	t.Parallel()
	pool := sessiontest.NewPool(t)
	cache := sessioncache.New[recipes.Account](pool)
	network := open(t, recipes.LostRenew(cache))
	// lose returns a browser that has lost the answer of POST /promote.
	lose := func(t *testing.T) (browser, sid.Token) {
		t.Helper()
		connection := &cutAfter{RoundTripper: network.client.Transport}
		b := newBrowser(t, connection)
		b.want("GET", "/account", nil, http.StatusSeeOther, "/login?next=%2Faccount")
		b.logIn(origin, "Ada")
		connection.path = "/promote"
		old := b.token()
		if _, err := b.try("POST", "/promote", url.Values{}); !errors.Is(err, errCut) || b.token().Reveal() != old.Reveal() {
			t.Fatalf("the answer has arrived: %v", err)
		}
		connection.path = ""
		return b, old
	}
	rows := func(t *testing.T) (n int) {
		t.Helper()
		if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM session_cache WHERE session_endutc >= now()").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}

	t.Run("asks again", func(t *testing.T) {
		b, old := lose(t)
		a := b.want("GET", "/account", nil, http.StatusServiceUnavailable, "")
		if a.header.Get("Refresh") != "2" || a.header.Get("Retry-After") != "2" || a.header["Set-Cookie"] != nil {
			t.Errorf("the answer has the header %v", a.header)
		}
		// A POST is not sent again by the browser, and does not happen twice.
		a = b.want("POST", "/promote", url.Values{}, http.StatusServiceUnavailable, "")
		if a.header.Get("Refresh") != "" || a.header["Set-Cookie"] != nil {
			t.Errorf("the answer to a POST has the header %v", a.header)
		}
		sessiontest.Elapse(t, pool, old.Handle(), 11*time.Second)
		b.want("GET", "/account", nil, http.StatusSeeOther, "/login?next=%2Faccount")
		if n := rows(t); n != 0 {
			t.Errorf("%d sessions are left; want none", n)
		}
		b.logIn(origin, "Ada")
		b.want("GET", "/account", nil, http.StatusOK, "The account of Ada.")
		execute(t, pool, "DELETE FROM session_cache")
	})
	t.Run("logs in at once", func(t *testing.T) {
		b, old := lose(t)
		b.logIn(origin, "Ada")
		b.want("GET", "/account", nil, http.StatusOK, "The account of Ada.")
		if n := rows(t); n != 1 {
			t.Errorf("%d sessions are left; want the new one only", n)
		}
		if _, ok, err := cache.Session(t.Context(), old.Handle()); ok || err != nil {
			t.Errorf("the former session is live: %v, %v", ok, err)
		}
	})
}

var errCut = errors.New("the connection was cut")

// cutAfter is a network that loses the answers of one path.
type cutAfter struct {
	http.RoundTripper
	path string // empty: none
}

func (c *cutAfter) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := c.RoundTripper.RoundTrip(r)
	if err == nil && r.URL.Path == c.path {
		_ = response.Body.Close()
		return nil, errCut
	}
	return response, err
}
