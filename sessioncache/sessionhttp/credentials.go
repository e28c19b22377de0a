package sessionhttp

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/rhaptos/sessiondb/sid"
)

// maxTokens is how many session cookies of a request are read.
const maxTokens = 4

// credentials are the tokens that a request carries.
type credentials struct {
	tokens  []sid.Token // the well-formed ones; several only if there are several cookies
	bearer  bool
	tooMany bool  // more cookies than maxTokens
	several bool  // more cookies than one
	absent  error // why there is not exactly one token; nil if there is
}

// readCredentials reads the bearer token of a request, or its session cookies. If there
// are several cookies, it cannot tell which one is the user's: without the prefix __Host-
// another host of the domain may have set one.
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
	switch {
	case len(cookies) == 0 && areRefused(r):
		return credentials{tooMany: true, absent: errTooManyCookies}
	case len(cookies) == 0:
		return credentials{absent: ErrNoCookie}
	}
	c := credentials{tooMany: len(cookies) > maxTokens, several: len(cookies) > 1}
	for _, cookie := range cookies[:min(len(cookies), maxTokens)] {
		if token, err := sid.ParseToken(cookie.Value); err == nil {
			c.tokens = append(c.tokens, token)
		}
	}
	// Sorted, so that concurrent requests with the same cookies lock the sessions in the
	// same order.
	slices.SortFunc(c.tokens, func(a, b sid.Token) int { return sid.ID(a.Handle()).Compare(sid.ID(b.Handle())) })
	switch {
	case c.several:
		c.absent = errSeveralCookies
	case len(c.tokens) != 1:
		c.absent = ErrMalformedCookie
	}
	return c
}

var (
	errSeveralCookies = fmt.Errorf("%w: several cookies", ErrMalformedCookie)
	errTooManyCookies = fmt.Errorf("%w: too many cookies", ErrMalformedCookie)
)

// areRefused reports whether net/http has read no cookie because there are too many. By
// default it reads 3,000 at most. A browser does not send nearly as many.
func areRefused(r *http.Request) bool {
	const many = 100
	n := 0
	for _, line := range r.Header["Cookie"] {
		n += 1 + strings.Count(line, ";")
	}
	return n > many && len(r.Cookies()) == 0
}

// takesBearer reports whether the request is authenticated by its bearer token alone.
func (m *Manager[T]) takesBearer(r *http.Request) bool {
	return m.config.bearer && hasBearer(r)
}

// hasBearer reports whether a request has the header "Authorization: Bearer", in upper or
// lower case (RFC 9110 section 11.1).
func hasBearer(r *http.Request) bool {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "Bearer")
}
