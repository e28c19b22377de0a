package sessionhttp

import (
	"net/http"
	"slices"
	"strings"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// mostTokens is how many session cookies of a request are looked at.
const mostTokens = 4

// credentials are what a request came with.
type credentials struct {
	tokens []sid.Token // well-formed ones, one unless cookies were duplicated
	bearer bool
	many   bool  // more cookies than are looked at
	absent error // why there is no one token; nil if there is
}

// readCredentials reads the bearer token of a request, or its session cookies. Of
// several cookies nobody can tell which one is the user's: without the __Host-
// prefix a sister host may have planted one.
func (m *Manager[T]) readCredentials(r *http.Request) credentials {
	if m.takesBearer(r) {
		_, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		token, err := sid.ParseToken(strings.TrimLeft(text, " "))
		if err != nil || len(r.Header.Values("Authorization")) > 1 {
			return credentials{bearer: true, absent: ErrMalformedCookie}
		}
		return credentials{tokens: []sid.Token{token}, bearer: true}
	}
	cookies := r.CookiesNamed(m.config.sessionCookie)
	if len(cookies) == 0 {
		return credentials{absent: ErrNoCookie}
	}
	c := credentials{many: len(cookies) > mostTokens}
	for _, cookie := range cookies[:min(len(cookies), mostTokens)] {
		if token, err := sid.ParseToken(cookie.Value); err == nil {
			c.tokens = append(c.tokens, token)
		}
	}
	// Two requests with the same cookies lock the sessions in one order.
	slices.SortFunc(c.tokens, func(a, b sid.Token) int { return sid.ID(a.Handle()).Compare(sid.ID(b.Handle())) })
	if len(cookies) != 1 || len(c.tokens) != 1 {
		c.absent = ErrMalformedCookie
	}
	return c
}

// takesBearer tells whether a request is decided by its bearer token.
func (m *Manager[T]) takesBearer(r *http.Request) bool {
	return m.config.bearer && hasBearer(r)
}

// hasBearer tells whether a request says "Authorization: Bearer", in any case (RFC
// 9110 section 11.1).
func hasBearer(r *http.Request) bool {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "Bearer")
}
