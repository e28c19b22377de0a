package suite

import (
	"bytes"
	"log/slog"
	"sync"
)

// Log is a log that several goroutines write and a test reads. The zero value is empty.
type Log struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

// Logger returns a logger that writes what has this level or a higher one.
func (l *Log) Logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: level}))
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}
