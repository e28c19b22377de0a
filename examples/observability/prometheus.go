package observability

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// Collector hands the counters of a cache to Prometheus:
//
//	prometheus.MustRegister(observability.Collector{Metrics: cache.Metrics})
type Collector struct {
	Metrics func() sessioncache.Metrics
}

var (
	gets       = prometheus.NewDesc("session_gets_total", "Lookups, by whether there was a session.", []string{"result"}, nil)
	changes    = prometheus.NewDesc("session_changes_total", "Sessions stored, deleted, updated and renewed.", []string{"change"}, nil)
	conflicts  = prometheus.NewDesc("session_conflicts_total", "Session ids used twice: attacks or bugs.", nil, nil)
	superseded = prometheus.NewDesc("session_superseded_total", "Uses of a token that a renewal had replaced.", nil, nil)
	failures   = prometheus.NewDesc("session_errors_total", "Calls that failed, by kind.", []string{"kind"}, nil)
	batches    = prometheus.NewDesc("session_batches_total", "Statements that several callers shared.", []string{"call"}, nil)
	batched    = prometheus.NewDesc("session_batched_calls_total", "Calls that shared a statement.", []string{"call"}, nil)

	nearLookups = prometheus.NewDesc("session_near_cache_lookups_total", "Lookups, by whether the near cache answered.", []string{"result"}, nil)
	nearEntries = prometheus.NewDesc("session_near_cache_entries", "Sessions in the near cache.", nil, nil)

	latency = prometheus.NewDesc("session_latency_seconds", "How long calls took that were answered.", []string{"call"}, nil)
)

// Describe implements [prometheus.Collector].
func (c Collector) Describe(descriptions chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(c, descriptions)
}

// Collect implements [prometheus.Collector].
func (c Collector) Collect(metrics chan<- prometheus.Metric) {
	m := c.Metrics()
	count := func(desc *prometheus.Desc, n uint64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	count(gets, m.Hits, "hit")
	count(gets, m.Misses, "miss")
	count(changes, m.Sets, "set")
	count(changes, m.Deletes, "delete")
	count(changes, m.Updates, "update")
	count(changes, m.Renewals, "renew")
	count(conflicts, m.Conflicts)
	count(superseded, m.Superseded)
	count(failures, m.Malformed, "malformed_id")
	count(failures, m.InvalidUser, "invalid_user")
	count(failures, m.Unreadable, "unreadable_session")
	count(failures, m.Unavailable, "unavailable")
	count(failures, m.Cancelled, "cancelled")
	count(batches, m.GetBatches, "get")
	count(batched, m.BatchedGets, "get")
	count(batches, m.SetBatches, "set")
	count(batched, m.BatchedSets, "set")
	near := m.NearCache
	count(nearLookups, near.Hits, "hit")
	count(nearLookups, near.Misses, "miss")
	metrics <- prometheus.MustNewConstMetric(nearEntries, prometheus.GaugeValue, float64(near.Entries))
	metrics <- histogram(m.GetLatency, "get")
	metrics <- histogram(m.SetLatency, "set")
}

// histogram adds the buckets up: Prometheus wants to know how many were faster
// than each bound.
func histogram(h sessioncache.Histogram, call string) prometheus.Metric {
	var n uint64
	buckets := map[float64]uint64{}
	for i, bound := range sessioncache.LatencyBounds() {
		n += h.Counts[i]
		buckets[bound.Seconds()] = n
	}
	n += h.Counts[len(h.Counts)-1]
	return prometheus.MustNewConstHistogram(latency, n, h.Sum.Seconds(), buckets, call)
}
