package sessionhttp

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
)

// Middleware makes the session of a request known to what comes after it: every
// other call needs it. It looks nothing up itself.
func (m *Manager[T]) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := &visit[T]{turn: make(chan struct{}, 1)}
		v.response.ResponseWriter = w
		v.request = r.WithContext(context.WithValue(r.Context(), m, v))
		defer v.response.addHeaders() // for a handler that writes nothing
		next.ServeHTTP(&v.response, v.request)
	})
}

// Require guards pages that need a login: next handles requests with a session,
// refused those without, a redirect to the login page say; [Manager.User] tells it
// why. When the database does not answer, [Manager.Error] does: neither is called.
func (m *Manager[T]) Require(next, refused http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := m.User(r.Context())
		switch {
		case err == nil:
			next.ServeHTTP(w, r)
		case errors.Is(err, ErrNoSession):
			refused.ServeHTTP(w, r)
		default:
			m.Error(w, r, err)
		}
	})
}

// response adds to the headers of a response what its session asks for, at the
// last moment: the session may be read on any goroutine, and the handler has the
// headers until then.
type response struct {
	http.ResponseWriter
	read  atomic.Bool // the session was: others get another page
	set   atomic.Bool // a cookie of ours was: nobody may keep it
	begun bool
}

func (w *response) addHeaders() {
	header := w.Header()
	if w.read.Load() && !slices.Contains(header["Vary"], "Cookie") {
		header.Add("Vary", "Cookie")
	}
	if w.set.Load() {
		header.Set("Cache-Control", "no-store")
	}
}

// begin is called before the first byte of the body.
func (w *response) begin() {
	if !w.begun {
		w.begun = true
		w.addHeaders()
	}
}

// WriteHeader implements [http.ResponseWriter].
func (w *response) WriteHeader(status int) {
	if !w.begun {
		w.addHeaders()
		w.begun = status >= http.StatusOK // others may come before it
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *response) Write(p []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(p)
}

// ReadFrom implements [io.ReaderFrom]: files go out as fast as without us.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	w.begin()
	return io.Copy(w.ResponseWriter, r)
}

// FlushError is what [http.ResponseController] calls.
func (w *response) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush implements [http.Flusher], which is what older code looks for.
func (w *response) Flush() {
	_ = w.FlushError()
}

// Hijack implements [http.Hijacker], which libraries for WebSocket look for.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap is for [http.ResponseController].
func (w *response) Unwrap() http.ResponseWriter {
	return w.ResponseWriter
}
