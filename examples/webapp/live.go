package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// live is a stream of server-sent events that ends with the session. The browser then
// asks again, with the cookie that it has by now: where the login goes on with a new
// token, so does the stream. Otherwise its one event says that nobody is logged in.
func (a *app) live(w http.ResponseWriter, r *http.Request) {
	ctx := a.sessions.Context(r)
	ended := context.Cause(ctx)
	if ended != nil && !errors.Is(ended, sessionhttp.ErrNoSession) {
		a.sessions.Error(w, r, ended)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	first := ": connected\n\n"
	if ended != nil {
		first = "event: logged-out\ndata:\n\n"
	}
	fmt.Fprintf(w, "retry: 500\n%s", first) // milliseconds, until the browser asks again
	if err := http.NewResponseController(w).Flush(); err != nil {
		return
	}
	select {
	case <-ctx.Done():
	case <-a.stopping:
	}
}
