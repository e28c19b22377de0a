package main

import (
	"embed"
	"errors"
	"html/template"
	"net/http"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

//go:embed templates
var templates embed.FS

// layouts has, for each page, the layout with that page in it.
var layouts = func() map[string]*template.Template {
	functions := template.FuncMap{
		"time":    showTime,
		"ends":    ends,
		"machine": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}
	layouts := map[string]*template.Template{}
	for _, name := range []string{"shop.html", "login.html", "confirm.html", "devices.html", "password.html", "error.html"} {
		layouts[name] = template.Must(template.New(name).Funcs(functions).ParseFS(templates, "templates/layout.html", "templates/"+name))
	}
	return layouts
}()

func showTime(t time.Time) string {
	return t.UTC().Format("2 Jan 2006, 15:04:05 UTC")
}

// view is the data of a page.
type view struct {
	User   user   // of the session; without an id, nobody has logged in
	Notice string // what has happened
	Alert  string // what is wrong with the form
	Data   any
}

func (a *app) show(w http.ResponseWriter, status int, page string, v view) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := layouts[page].ExecuteTemplate(w, "layout.html", v); err != nil {
		a.logger.Error("page not shown", "page", page, "error", err)
	}
}

// showError shows an error page. It looks the same for everybody: if the database does
// not answer, nobody knows who has logged in.
func (a *app) showError(w http.ResponseWriter, r *http.Request, err error) {
	status, text := http.StatusInternalServerError, "Something went wrong on our side."
	switch {
	case errors.Is(err, sessioncache.ErrUnavailable), errors.Is(err, sessioncache.ErrSuperseded), errors.Is(err, sessioncache.ErrNotAwaited):
		status, text = http.StatusServiceUnavailable, "We cannot answer at the moment. Please try again in a few seconds."
		w.Header().Set("Retry-After", "1")
	case errors.Is(err, sessionhttp.ErrNoSession), errors.Is(err, sessionhttp.ErrNotFresh):
		status, text = http.StatusUnauthorized, "Please log in."
	}
	if status >= http.StatusInternalServerError {
		a.logger.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	a.show(w, status, "error.html", view{Alert: text})
}

// notFound is the page of an address that leads nowhere.
func (a *app) notFound(w http.ResponseWriter, _ *http.Request) error {
	a.show(w, http.StatusNotFound, "error.html", view{Alert: "There is no such page."})
	return nil
}

// redirect sends the browser to another page after a form, so that Back does not send the
// form again.
func redirect(w http.ResponseWriter, r *http.Request, to string, err error) error {
	if err == nil {
		http.Redirect(w, r, to, http.StatusSeeOther)
	}
	return err
}
