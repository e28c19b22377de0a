package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/rhaptos/sessiondb/sessioncache/sessionhttp"
)

// live is a stream of server-sent events that ends with the session. The browser then
// connects again, with its current cookie. After a renewal of the token, the new stream
// goes on. After a logout, it sends one event, logged-out.
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
	fmt.Fprintf(w, "retry: 500\n%s", first) // milliseconds until the browser connects again
	if err := http.NewResponseController(w).Flush(); err != nil {
		return
	}
	select {
	case <-ctx.Done():
	case <-a.stopping:
	}
}
