package recipes

import (
	"net/http"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// SisterHosts are two services on hosts of one domain, with logins of their own. Pages of
// https://www.example.com may post to https://shop.example.com, for example a form "buy". The
// protection refuses that without AddTrustedOrigin: to it, a sister host is another origin.
//
// Trust a host only if nobody else writes its pages. Its scripts can then act for every user
// of the shop.
func SisterHosts(pool *pgxpool.Pool) (www, shop http.Handler) {
	// The login of www is for all hosts of the domain, and the shop gets its cookie, too. With
	// names of their own the services never take or overwrite each other's cookie. Two with
	// WithDomain and one name would: a login in the shop would be one at www.
	portal := sessionhttp.New(sessioncache.New[Account](pool),
		sessionhttp.WithDomain("example.com"), sessionhttp.WithCookieName("www"))

	protection := http.NewCrossOriginProtection()
	if err := protection.AddTrustedOrigin("https://www.example.com"); err != nil { // scheme and host, no slash
		panic(err)
	}
	// A token is valid only under its cookie's name: that of www is not valid in the shop.
	goods := sessionhttp.New(sessioncache.New[Account](pool),
		sessionhttp.WithCookieName("shop"), sessionhttp.WithCrossOriginProtection(protection))

	return pages(portal), pages(goods)
}

// pages are those of a service with a login.
func pages(sessions *sessionhttp.Manager[Account]) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", logIn(sessions))
	mux.HandleFunc("POST /logout", logOut(sessions))
	mux.Handle("GET /account", sessions.Require(showAccount(sessions)))
	mux.Handle("POST /password", sessions.Require(http.HandlerFunc(changePassword)))
	return sessions.Middleware(mux)
}
