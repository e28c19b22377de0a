package recipes_test

import (
	"context"
	"errors"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"testing"

	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/systemtest/recipes"
)

var fromProvider = []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://id.example"}

func TestOIDC(t *testing.T) {
	t.Parallel()
	service := recipes.OIDC(sessiontest.NewPool(t), url.URL{Scheme: "https", Host: "id.example", Path: "/authorize"},
		func(_ context.Context, code, nonce string) (string, error) {
			switch code {
			case "code for " + nonce:
				return "Ada", nil
			case "Eve's code": // for any nonce: the state alone has to do
				return "Eve", nil
			}
			return "", errors.New("the ID token has another nonce")
		})
	ada := open(t, service)
	ada.want("GET", "/account", nil, http.StatusUnauthorized, "")

	begin := func(b browser) (code, state string) {
		t.Helper()
		to, err := url.Parse(b.want("POST", "/oidc/begin", url.Values{}, http.StatusSeeOther, "https://id.example/authorize?").header.Get("Location"))
		if err != nil || to.Query().Get("response_mode") != "form_post" {
			t.Fatal(to, err)
		}
		return "code for " + to.Query().Get("nonce"), to.Query().Get("state")
	}
	// back is the provider's POST and what the page that answers it posts. The first one has
	// no cookie: SameSite=Lax.
	back := func(b browser, code, state string) url.Values {
		t.Helper()
		a := b.another().want("POST", "/oidc/back", url.Values{"code": {code}, "state": {state}, "admin": {"1"}},
			http.StatusOK, `action="/oidc/finish"`, fromProvider...)
		if a.header["Set-Cookie"] != nil || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("the page that posts again has the header %v", a.header)
		}
		form := url.Values{}
		for _, field := range regexp.MustCompile(`name="(.*?)" value="(.*?)"`).FindAllStringSubmatch(a.body, -1) {
			form.Set(field[1], html.UnescapeString(field[2]))
		}
		return form
	}

	code, state := begin(ada)
	form := back(ada, code, state)
	if len(form) != 2 || form.Get("code") != code || form.Get("state") != state {
		t.Errorf("the page posts %v again; want the code and the state", form)
	}

	// The attacker's own login, in the victim's browser: with no session, with a session that
	// has begun no login, and with one that has begun another.
	eve, victim := ada.another(), ada.another()
	const evesCode = "Eve's code"
	nonceOfEve, evesState := begin(eve)
	refuse := func(b browser, code, state string) {
		t.Helper()
		b.want("POST", "/oidc/finish", back(b, code, state), http.StatusForbidden, "")
		b.want("GET", "/account", nil, http.StatusUnauthorized, "")
	}
	refuse(victim, evesCode, evesState)
	refuse(victim, evesCode, "")
	refuse(ada, evesCode, evesState)
	refuse(ada, evesCode, "")
	refuse(ada, nonceOfEve, state)
	for _, path := range []string{"/oidc/finish", "/oidc/begin", "/oidc/back/", "/oidc/back/../finish", "//oidc/back", "/oidc/back%2F..%2Ffinish"} {
		if a := ada.do("POST", path, form, fromProvider...); a.status != http.StatusForbidden && a.status != http.StatusNotFound && a.status != http.StatusTemporaryRedirect {
			t.Errorf("POST %s from another site: %d; want it refused", path, a.status)
		}
	}
	ada.want("GET", "/account", nil, http.StatusUnauthorized, "")
	script := `"><script>alert(1)</script>`
	if got := back(ada, script, script); got.Get("code") != script || got.Get("state") != script {
		t.Errorf("what the provider sends is not escaped: %v", got)
	}

	ada.want("POST", "/oidc/finish", form, http.StatusSeeOther, "/account")
	ada.want("GET", "/account", nil, http.StatusOK, "The account of Ada.")
	ada.want("POST", "/oidc/finish", form, http.StatusForbidden, "") // once
	// A user whose session has begun no login.
	ada.want("POST", "/oidc/finish", url.Values{"code": {evesCode}}, http.StatusForbidden, "")
	ada.want("GET", "/account", nil, http.StatusOK, "The account of Ada.")
}
