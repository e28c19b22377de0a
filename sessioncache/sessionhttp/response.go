package sessionhttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
)

// response adds to the headers of a response what its session asks for, at the
// last moment: the session may be read on any goroutine, and the handler has the
// headers until then. It offers what handlers look for in the one that it wraps.
type response struct {
	http.ResponseWriter
	bearer bool
	done   <-chan struct{} // closed when the request is over

	read  atomic.Bool // the session was: others get another page
	set   atomic.Bool // a cookie of ours was: nobody may keep it
	begun atomic.Bool // no header can be set any more
}

func (w *response) addHeaders() {
	if w.begun.Load() {
		return
	}
	header := w.Header()
	control := header.Get("Cache-Control")
	read := w.read.Load()
	// The session may still be read after the headers have gone: so this says, too, that
	// others may get another page, unless the handler says that all get the same.
	if read || !strings.Contains(control, "public") && !strings.Contains(control, "immutable") {
		vary(header, "Cookie")
		if w.bearer {
			vary(header, "Authorization")
		}
	}
	if w.set.Load() || read && control == "" {
		header.Set("Cache-Control", "no-store")
	}
}

func vary(header http.Header, name string) {
	if !slices.Contains(header["Vary"], name) {
		header.Add("Vary", name)
	}
}

// begin is called before the first byte of the body.
func (w *response) begin() {
	w.addHeaders()
	w.begun.Store(true)
}

// WriteHeader implements [http.ResponseWriter].
func (w *response) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols { // others may come before it
		w.begin()
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
	conn, buffer, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.begun.Store(true)
	}
	return conn, buffer, err
}

// CloseNotify implements http.CloseNotifier, which is deprecated and which gin still
// asks for.
func (w *response) CloseNotify() <-chan bool {
	if notifier, ok := w.ResponseWriter.(interface{ CloseNotify() <-chan bool }); ok {
		return notifier.CloseNotify()
	}
	gone := make(chan bool, 1)
	go func() {
		<-w.done
		gone <- true
	}()
	return gone
}

// Push implements [http.Pusher].
func (w *response) Push(target string, options *http.PushOptions) error {
	if pusher, ok := w.ResponseWriter.(http.Pusher); ok {
		return pusher.Push(target, options)
	}
	return http.ErrNotSupported
}

// Unwrap is for [http.ResponseController].
func (w *response) Unwrap() http.ResponseWriter {
	return w.ResponseWriter
}
