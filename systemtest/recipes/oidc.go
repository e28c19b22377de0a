package recipes

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"html/template"
	"net/http"
	"net/url"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// Member is a user, or a visitor on the way to the identity provider and back.
type Member struct {
	ID    string `json:"user_id,omitempty"`
	State string `json:",omitempty"` // of an OpenID Connect login that has begun
	Nonce string `json:",omitempty"`
}

// OIDC is a login at an OpenID Connect provider with response_mode=form_post. The provider's
// page has the browser post the answer to this service: a POST from another site. It arrives
// without the session cookie, which is SameSite=Lax, and the cross-origin protection refuses
// it. SameSite=None would send the cookie with every forged request, too.
//
// Instead the one route /oidc/back is left out of the protection. It reads no session and
// changes nothing. It answers with a form that posts the same fields again, from this site:
// that request has the cookie, and the state can be compared with the visitor's session.
//
// exchange stands for the OpenID Connect package: it gets the tokens for the code, and checks
// the ID token and its nonce.
func OIDC(pool *pgxpool.Pool, provider url.URL, exchange func(ctx context.Context, code, nonce string) (userID string, err error)) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.AddInsecureBypassPattern("POST /oidc/back") // no other route: whoever is let in here, is unprotected
	sessions := sessionhttp.New(sessioncache.New[Member](pool), sessionhttp.WithCrossOriginProtection(protection))

	mux := http.NewServeMux()
	mux.HandleFunc("POST /oidc/begin", func(w http.ResponseWriter, r *http.Request) {
		state, nonce := rand.Text(), rand.Text()
		err := sessions.Begin(w, r, func(visitor *Member) error {
			visitor.State, visitor.Nonce = state, nonce
			return nil
		})
		if err != nil {
			sessions.Error(w, r, err)
			return
		}
		query := provider.Query()
		query.Set("response_mode", "form_post")
		query.Set("state", state)
		query.Set("nonce", nonce)
		to := provider
		to.RawQuery = query.Encode()
		http.Redirect(w, r, to.String(), http.StatusSeeOther)
	})
	mux.HandleFunc("POST /oidc/back", func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10) // from anybody
		w.Header().Set("Cache-Control", "no-store")     // the page has the code
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; script-src '"+againScriptHash+"'")
		// Not no-referrer, with which the browser would send "Origin: null".
		w.Header().Set("Referrer-Policy", "same-origin")
		_ = again.Execute(w, map[string]string{"code": r.PostFormValue("code"), "state": r.PostFormValue("state")})
	})
	mux.HandleFunc("POST /oidc/finish", func(w http.ResponseWriter, r *http.Request) {
		visitor, ok, err := sessions.Visitor(r.Context())
		if err != nil {
			sessions.Error(w, r, err)
			return
		}
		// Anybody can have this route called, by way of /oidc/back. A session that has begun
		// no login has no state, and an empty one must not match it.
		if !ok || visitor.State == "" || subtle.ConstantTimeCompare([]byte(visitor.State), []byte(r.PostFormValue("state"))) != 1 {
			http.Error(w, "This login was not begun here, or long ago. Please begin again.", http.StatusForbidden)
			return
		}
		userID, err := exchange(r.Context(), r.PostFormValue("code"), visitor.Nonce)
		if err != nil {
			http.Error(w, "The login has failed. Please begin again.", http.StatusForbidden)
			return
		}
		if err := sessions.Login(w, r, Member{ID: userID}); err != nil { // and the state is gone
			sessions.Error(w, r, err)
			return
		}
		http.Redirect(w, r, "/account", http.StatusSeeOther)
	})
	mux.Handle("GET /account", sessions.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("The account of " + template.HTMLEscapeString(sessions.MustUser(r.Context()).ID) + "."))
	})))
	return sessions.Middleware(mux)
}

// again posts the provider's answer from this site. The button is for browsers without
// scripts. The template escapes the fields, which anybody may have sent.
var again = template.Must(template.New("").Parse(`<!DOCTYPE html>
<form method="post" action="/oidc/finish">
<input type="hidden" name="code" value="{{.code}}"><input type="hidden" name="state" value="{{.state}}">
<button>Continue</button></form><script>` + againScript + `</script>`))

const (
	againScript     = `document.forms[0].submit()`
	againScriptHash = `sha256-ePniVEkSivX/c7XWBGafqh8tSpiRrKiqYeqbG7N1TOE=`
)
