package sessioncache

import (
	"context"
	"errors"
	"math/bits"
	"sync/atomic"
	"time"
)

// Metrics counts what a Cache has done since New, including its copies in transactions.
// The numbers only grow.
type Metrics struct {
	// Calls of Get and Authenticate that were answered, and those of them that found a
	// session and that found none.
	Gets, Hits, Misses uint64

	Sets       uint64 // sessions stored, by Set and Issue
	Deletes    uint64 // calls of Delete, Revoke and DeleteSession that were answered
	Updates    uint64 // sessions changed, by Update and UpdateSession
	Renewals   uint64 // sessions that got a new token, by Renew
	Conflicts  uint64 // ids used twice: each an attack or a bug
	Superseded uint64 // uses of a token that Renew had replaced

	// Statements that several calls shared, and the calls in them.
	GetBatches, BatchedGets, SetBatches, BatchedSets uint64

	// Calls that ended with the error of this name. Conflicts and superseded tokens are
	// counted above.
	Malformed, InvalidUser, Unreadable, Unavailable uint64

	// Calls whose callers cancelled their context before the database answered. Unavailable
	// does not include them.
	Cancelled uint64

	GetLatency, SetLatency Histogram // Gets that the database answered; Sets

	NearCache NearCacheMetrics
}

// NearCacheMetrics counts what a near cache ([WithNearCache]) has done.
type NearCacheMetrics struct {
	Hits    uint64 // lookups that memory answered; Metrics.Gets and Metrics.Hits include them
	Misses  uint64 // lookups that memory did not answer
	Entries int    // sessions in memory now, including those that do not count any more
}

// Histogram counts calls by their latency.
type Histogram struct {
	// Counts[i] is the number of calls whose latency is in [bounds[i-1], bounds[i]), with
	// the bounds of [LatencyBounds]. The last one counts all slower calls.
	Counts [latencyBuckets]uint64

	Sum time.Duration // of all latencies
}

const (
	latencyBuckets = 21
	firstBits      = 14 // the first bound is 2^14 ns
)

// LatencyBounds returns the upper bounds of the buckets of a [Histogram], except the
// last bucket: 16 µs (exactly 16,384 ns), 33 µs and so on. Each is twice the one
// before, up to 8.6 s.
func LatencyBounds() []time.Duration {
	bounds := make([]time.Duration, latencyBuckets-1)
	for i := range bounds {
		bounds[i] = 1 << (firstBits + i)
	}
	return bounds
}

// Metrics returns the counters. They are not read at one moment: while calls go on, one
// counter may be ahead of another by a few calls.
func (s *store) Metrics() Metrics {
	m := &s.shared.metrics
	metrics := Metrics{
		Hits: m.hits.Load(), Misses: m.misses.Load(),
		Sets: m.sets.Load(), Deletes: m.deletes.Load(), Updates: m.updates.Load(), Renewals: m.renewals.Load(),
		Conflicts: m.conflicts.Load(), Superseded: m.superseded.Load(),
		GetBatches: m.getBatches.statements.Load(), BatchedGets: m.getBatches.calls.Load(),
		SetBatches: m.setBatches.statements.Load(), BatchedSets: m.setBatches.calls.Load(),
		Malformed: m.malformed.Load(), InvalidUser: m.invalidUser.Load(), Unreadable: m.unreadable.Load(), Unavailable: m.unavailable.Load(), Cancelled: m.cancelled.Load(),
		GetLatency: m.getLatency.load(), SetLatency: m.setLatency.load(),
	}
	metrics.NearCache = NearCacheMetrics(s.shared.near.Stats())
	metrics.Hits += metrics.NearCache.Hits
	metrics.Gets = metrics.Hits + metrics.Misses
	return metrics
}

type metrics struct {
	hits, misses, sets, deletes, updates, renewals  atomic.Uint64
	conflicts, superseded                           atomic.Uint64
	malformed, invalidUser, unreadable, unavailable atomic.Uint64
	cancelled                                       atomic.Uint64
	getBatches, setBatches                          batches
	getLatency, setLatency                          histogram
}

// epoch lets monotonicNow read the monotonic clock alone, which takes half the time of
// [time.Now].
var epoch = time.Now()

func monotonicNow() time.Duration {
	return time.Since(epoch)
}

// get counts a Get or an Authenticate.
func (m *metrics) get(start time.Duration, ok bool, err error) {
	switch {
	case err != nil:
		m.failed(err)
		return
	case ok:
		m.hits.Add(1)
	default:
		m.misses.Add(1)
	}
	m.getLatency.add(monotonicNow() - start)
}

// set counts a Set or an Issue.
func (m *metrics) set(start time.Duration, err error) {
	if err != nil {
		m.failed(err)
		return
	}
	m.sets.Add(1)
	m.setLatency.add(monotonicNow() - start)
}

// call counts another call, with counter.
func (m *metrics) call(counter *atomic.Uint64, did bool, err error) {
	switch {
	case err != nil:
		m.failed(err)
	case did:
		counter.Add(1)
	}
}

func (m *metrics) failed(err error) {
	switch {
	case errors.Is(err, ErrMalformedID):
		m.malformed.Add(1)
	case errors.Is(err, ErrInvalidUser):
		m.invalidUser.Add(1)
	case errors.Is(err, ErrUnreadableSession):
		m.unreadable.Add(1)
	case errors.Is(err, ErrUnavailable) && errors.Is(err, context.Canceled):
		m.cancelled.Add(1)
	case errors.Is(err, ErrUnavailable):
		m.unavailable.Add(1)
	}
}

// batches counts the statements that several calls share.
type batches struct {
	statements, calls atomic.Uint64
}

func (b *batches) add(calls int) {
	b.statements.Add(1)
	b.calls.Add(uint64(calls))
}

type histogram struct {
	counts [latencyBuckets]atomic.Uint64
	sum    atomic.Int64
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucket(d)].Add(1)
	h.sum.Add(int64(d))
}

// bucket is the index of the first bucket whose bound is above d.
func bucket(d time.Duration) int {
	return min(bits.Len64(uint64(max(0, d))>>firstBits), latencyBuckets-1)
}

func (h *histogram) load() (counts Histogram) {
	for i := range h.counts {
		counts.Counts[i] = h.counts[i].Load()
	}
	counts.Sum = time.Duration(h.sum.Load())
	return counts
}
