package main

import (
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// login is what is stored of a session: who, and where.
type login struct {
	sessioncache.User
	Device string `json:"device"`
}

func (l login) name() string {
	if l.FullName == nil {
		return "Somebody"
	}
	return *l.FullName
}

// profile is what the page's scripts may see of a login.
type profile struct {
	Name string `json:"name"`
}

type app struct {
	sessions *sessionhttp.Manager[login]
}

//go:embed static
var static embed.FS

func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	toLogin := http.RedirectHandler("/login", http.StatusSeeOther)
	for pattern, page := range map[string]http.HandlerFunc{
		"GET /{$}":                a.account,
		"POST /renew":             a.renew,
		"POST /revoke":            a.revoke,
		"POST /logout-others":     a.logoutOthers,
		"POST /logout-everywhere": a.logoutEverywhere,
	} {
		mux.Handle(pattern, a.sessions.Require(page, toLogin))
	}
	mux.HandleFunc("GET /login", a.loginPage)
	mux.HandleFunc("POST /login", a.login)
	mux.HandleFunc("POST /logout", a.logout)
	mux.Handle("GET /static/", http.FileServerFS(static))
	return secure(http.NewCrossOriginProtection().Handler(a.sessions.Middleware(mux)))
}

// secure adds the headers of every page: only what is ours may run, nobody may
// frame it, and no cache keeps it.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; "+
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// account is the page that needs a login.
func (a *app) account(w http.ResponseWriter, r *http.Request) {
	current, err := a.sessions.Current(r.Context())
	if err != nil {
		a.failed(w, r, err)
		return
	}
	list, err := a.sessions.Sessions(r.Context())
	if err != nil {
		a.failed(w, r, err)
		return
	}
	show(w, http.StatusOK, "account.html", map[string]any{
		"Name": current.User.name(), "User": current.User, "Current": current, "Sessions": list,
	})
}

func (a *app) loginPage(w http.ResponseWriter, r *http.Request) {
	_, err := a.sessions.User(r.Context())
	notice := ""
	switch {
	case err == nil:
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	case errors.Is(err, sessionhttp.ErrExpiredSession):
		notice = "Your login has expired."
	case errors.Is(err, sessionhttp.ErrUnknownSession):
		notice = "That session has ended: somebody, you perhaps, ended it from elsewhere."
	case errors.Is(err, sessionhttp.ErrMalformedCookie):
		notice = "Your browser sent a cookie that is none of ours."
	case !errors.Is(err, sessionhttp.ErrNoSession):
		a.sessions.Error(w, r, err)
		return
	}
	show(w, http.StatusOK, "login.html", map[string]any{"Users": sessiontest.Users(), "Notice": notice})
}

// login takes everybody's word for who they are. A service of yours does not.
func (a *app) login(w http.ResponseWriter, r *http.Request) {
	users := sessiontest.Users()
	i, err := strconv.Atoi(r.PostFormValue("user"))
	if err != nil || i < 0 || i >= len(users) {
		show(w, http.StatusBadRequest, "error.html", "There is no such user.")
		return
	}
	err = a.sessions.Login(w, r, login{User: users[i], Device: device(r.UserAgent())})
	a.done(w, r, "/", err)
}

func (a *app) logout(w http.ResponseWriter, r *http.Request) {
	a.done(w, r, "/login", a.sessions.Logout(w, r))
}

func (a *app) logoutEverywhere(w http.ResponseWriter, r *http.Request) {
	_, err := a.sessions.LogoutEverywhere(w, r)
	a.done(w, r, "/login", err)
}

func (a *app) logoutOthers(w http.ResponseWriter, r *http.Request) {
	_, err := a.sessions.LogoutOthers(r)
	a.done(w, r, "/", err)
}

func (a *app) renew(w http.ResponseWriter, r *http.Request) {
	a.done(w, r, "/", a.sessions.Renew(w, r))
}

func (a *app) revoke(w http.ResponseWriter, r *http.Request) {
	err := a.sessions.Revoke(w, r, r.PostFormValue("session"))
	if errors.Is(err, sessionhttp.ErrUnknownHandle) {
		err = nil // it has ended already: the page shows that
	}
	a.done(w, r, "/", err)
}

// done sends the browser on after a form, so that going back does not send it
// again.
func (a *app) done(w http.ResponseWriter, r *http.Request, to string, err error) {
	if err != nil {
		a.failed(w, r, err)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// failed answers a request that a session was needed for, and perhaps is no longer
// there.
func (a *app) failed(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, sessionhttp.ErrNoSession) {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	a.sessions.Error(w, r, err)
}

// showError is what the users see when something fails.
func showError(w http.ResponseWriter, _ *http.Request, err error) {
	slog.Error("request failed", "error", err)
	if errors.Is(err, sessioncache.ErrUnavailable) {
		show(w, http.StatusServiceUnavailable, "error.html",
			"The database does not answer. You are still logged in: please try again in a moment.")
		return
	}
	show(w, http.StatusInternalServerError, "error.html", "Something went wrong on our side.")
}

//go:embed templates
var templates embed.FS

// pages are the layout with each page in it.
var pages = func() map[string]*template.Template {
	pages := map[string]*template.Template{}
	for _, name := range []string{"account.html", "login.html", "error.html"} {
		pages[name] = template.Must(template.ParseFS(templates, "templates/layout.html", "templates/"+name))
	}
	return pages
}()

func show(w http.ResponseWriter, status int, page string, data any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := pages[page].ExecuteTemplate(w, "layout.html", data); err != nil {
		slog.Error("page not shown", "page", page, "error", err)
	}
}

// device says in a few words what a browser calls itself.
func device(userAgent string) string {
	// The first that fits: each but the last of a list names the next ones, too.
	find := func(names ...string) string {
		for _, name := range names {
			word, label, _ := strings.Cut(name, "=")
			if strings.Contains(userAgent, word) {
				return label
			}
		}
		return ""
	}
	browser := find("Edg/=Edge", "Firefox/=Firefox", "HeadlessChrome/=Chrome", "Chrome/=Chrome", "Safari/=Safari", "curl/=curl")
	system := find("Android=Android", "iPhone=iPhone", "iPad=iPad", "Windows=Windows", "Mac OS X=macOS", "Linux=Linux")
	switch {
	case browser != "" && system != "":
		return browser + " on " + system
	case browser+system != "":
		return browser + system
	default:
		return "Unknown device"
	}
}
