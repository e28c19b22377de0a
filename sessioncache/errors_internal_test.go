package sessioncache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// Kinds are all errors that a call may return.
var Kinds = []error{
	ErrMalformedID, ErrConflict, ErrInvalidUser, ErrUnreadableSession, ErrSuperseded, ErrUserChanged, ErrIsolation, ErrNotAwaited, ErrUnavailable,
}

// FuzzInterpret gives the one function between the driver and the callers whatever
// a server may say: it is one kind of error, with its cause in it, and only what
// is about the data is the user's.
func FuzzInterpret(f *testing.F) {
	for _, code := range []string{
		"", "2", "22P05", "22021", "54000", "42P01", "42703", "42883", "23505", "40001", "40P01", "53300", "53100", "57P01", "57P03", "25006", "08006", "é",
	} {
		f.Add(code, "no such table", false)
		f.Add(code, "", true)
	}
	f.Fuzz(func(t *testing.T, code, message string, deep bool) {
		cause := error(&pgconn.PgError{Code: code, Message: message})
		if deep {
			cause = errors.Join(fmt.Errorf("reading: %w", cause), context.DeadlineExceeded)
		}
		err := interpret("get", cause)
		kinds := 0
		for _, kind := range Kinds {
			if errors.Is(err, kind) {
				kinds++
			}
		}
		if kinds != 1 || !errors.Is(err, cause) {
			t.Errorf("%q: %v is %d kinds of error, its cause %v", code, err, kinds, errors.Is(err, cause))
		}
		if about := strings.HasPrefix(code, "22") || strings.HasPrefix(code, "54"); about != errors.Is(err, ErrInvalidUser) {
			t.Errorf("%q: %v; invalid user is %v", code, err, !about)
		}
		if code[:min(2, len(code))] == "22" && connectionLost(cause) {
			t.Errorf("%q is taken for a lost connection", code)
		}
	})
}

func TestInterpretOtherErrors(t *testing.T) {
	t.Parallel()
	if err := interpret("get", nil); err != nil {
		t.Errorf("interpret(nil) = %v", err)
	}
	for _, cause := range []error{io.EOF, context.Canceled, errors.New("odd")} {
		if err := interpret("get", cause); !errors.Is(err, ErrUnavailable) || !errors.Is(err, cause) {
			t.Errorf("interpret(%v) = %v", cause, err)
		}
	}
}

func TestBuckets(t *testing.T) {
	t.Parallel()
	bounds := LatencyBounds()
	for i, bound := range bounds {
		if below, at := bucket(bound-1), bucket(bound); below != i || at != i+1 {
			t.Errorf("just below %s is bucket %d, at it %d; want %d and %d", bound, below, at, i, i+1)
		}
	}
	if bucket(-1) != 0 || bucket(1<<62) != len(bounds) {
		t.Errorf("the ends are buckets %d and %d", bucket(-1), bucket(1<<62))
	}
}

// BenchmarkMetrics is what counting adds to a Get.
func BenchmarkMetrics(b *testing.B) {
	var m metrics
	for b.Loop() {
		m.get(monotonicNow(), true, nil)
	}
}
