package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// notices are the messages that the page shows after a form.
var notices = map[string]string{
	"device":   "The device is logged out.",
	"others":   "All other devices are logged out.",
	"password": "The password is changed. All other devices are logged out.",
}

// devices is the page that lists the user's sessions.
func (a *app) devices(w http.ResponseWriter, r *http.Request) error {
	list, err := a.sessions.Sessions(r.Context())
	if err != nil {
		return err
	}
	a.show(w, http.StatusOK, "devices.html", view{
		User: a.sessions.MustUser(r.Context()), Notice: notices[r.FormValue("done")], Data: list,
	})
	return nil
}

// ends says when a login ends.
func ends(s sessionhttp.Session[user]) string {
	if !s.ExpiresAt.Before(s.Deadline) {
		return "Ends on " + showTime(s.Deadline)
	}
	idle := s.ExpiresAt.Sub(s.LastUsedAt).Round(time.Second)
	unused := idle.String()
	if days := idle / (24 * time.Hour); days > 1 {
		unused = fmt.Sprintf("%d days", days)
	}
	return fmt.Sprintf("Ends after %s unused, at the latest on %s", unused, showTime(s.Deadline))
}

func (a *app) logoutDevice(w http.ResponseWriter, r *http.Request) error {
	err := a.sessions.LogoutSession(w, r, r.PostFormValue("handle"))
	if errors.Is(err, sessionhttp.ErrUnknownHandle) {
		err = nil // the session has already ended, which the page shows
	}
	return redirect(w, r, "/devices?done=device", err)
}

func (a *app) logoutOthers(w http.ResponseWriter, r *http.Request) error {
	_, err := a.sessions.LogoutOthers(r)
	return redirect(w, r, "/devices?done=others", err)
}

func (a *app) logoutEverywhere(w http.ResponseWriter, r *http.Request) error {
	_, err := a.sessions.LogoutEverywhere(w, r)
	return redirect(w, r, "/login", err)
}

// device returns a short description of the browser.
func device(userAgent string) string {
	// The order matters: a browser's name also contains the names after it in the list.
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
