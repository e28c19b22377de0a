package sessionhttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// response adds the headers that the use of the session asks for. It adds them just
// before the headers are sent, because the session may be read until then, on any
// goroutine. It has the optional interfaces of the ResponseWriter that it wraps.
type response struct {
	http.ResponseWriter
	bearer bool
	done   <-chan struct{} // closed when the request is over

	sessionRead atomic.Bool // the session was read: the page is for this user only
	cookieSet   atomic.Bool // a cookie of the Manager was set: the response must not be stored
	headersSent atomic.Bool // no header can be set

	mu    sync.Mutex
	lines []string // of Set-Cookie: the Manager's last one for each name, domain and path
}

func (w *response) addHeaders() {
	if w.headersSent.Load() {
		return
	}
	w.restoreCookies()
	header := w.Header()
	control := header.Get("Cache-Control")
	read := w.sessionRead.Load()
	// The session may be read after the headers are sent. So Vary is set even before
	// that, unless the handler says that all users get the same page.
	if read || !strings.Contains(control, "public") && !strings.Contains(control, "immutable") {
		vary(header, "Cookie")
		if w.bearer {
			vary(header, "Authorization")
		}
	}
	if w.cookieSet.Load() || read && control == "" {
		header.Set("Cache-Control", "no-store")
		for name := range header { // what caches in front of the service obey instead (RFC 9213)
			if name == "Surrogate-Control" || strings.HasSuffix(name, "Cdn-Cache-Control") {
				header.Del(name)
			}
		}
	}
}

func vary(header http.Header, name string) {
	if !slices.Contains(header["Vary"], name) {
		header.Add("Vary", name)
	}
}

// finishHeaders is called before the headers are sent.
func (w *response) finishHeaders() {
	w.addHeaders()
	w.headersSent.Store(true)
}

// WriteHeader implements [http.ResponseWriter].
func (w *response) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols { // a 1xx response may come before the final one
		w.finishHeaders()
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *response) Write(p []byte) (int, error) {
	w.finishHeaders()
	return w.ResponseWriter.Write(p)
}

// ReadFrom implements [io.ReaderFrom]. So files are sent as fast as without this wrapper.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	w.finishHeaders()
	return io.Copy(w.ResponseWriter, r)
}

// FlushError is what [http.ResponseController] calls.
func (w *response) FlushError() error {
	w.finishHeaders()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush implements [http.Flusher], for older code.
func (w *response) Flush() {
	_ = w.FlushError()
}

// Hijack implements [http.Hijacker], for WebSocket libraries.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffer, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.headersSent.Store(true)
	}
	return conn, buffer, err
}

// CloseNotify implements http.CloseNotifier, which is deprecated. gin still needs it.
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
