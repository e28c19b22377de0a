package observability

import (
	"context"
	"errors"
	"strings"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// Observe hands the counters of a cache to OpenTelemetry:
//
//	err := observability.Observe(otel.Meter("sessions"), cache.Metrics)
func Observe(meter metric.Meter, read func() sessioncache.Metrics) error {
	var all []metric.Observable
	var failed error
	counter := func(name, description string) metric.Int64Observable {
		c, err := meter.Int64ObservableCounter(name, metric.WithDescription(description))
		all, failed = append(all, c), errors.Join(failed, err)
		return c
	}
	gets := counter("session.gets", "Lookups, by whether there was a session.")
	conflicts := counter("session.conflicts", "Session ids used twice: attacks or bugs.")
	superseded := counter("session.superseded", "Uses of a token that a renewal had replaced.")
	unavailable := counter("session.unavailable", "Calls that the database did not answer.")
	nearLookups := counter("session.near_cache.lookups", "Lookups, by whether the near cache answered.")
	nearEntries, err := meter.Int64ObservableGauge("session.near_cache.entries", metric.WithDescription("Sessions in the near cache."))
	if failed = errors.Join(failed, err); failed != nil {
		return failed
	}
	_, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		m := read()
		near := m.NearCache
		observe := func(instrument metric.Int64Observable, n uint64, attributes ...attribute.KeyValue) {
			o.ObserveInt64(instrument, int64(n), metric.WithAttributes(attributes...))
		}
		observe(gets, m.Hits, attribute.Bool("found", true))
		observe(gets, m.Misses, attribute.Bool("found", false))
		observe(conflicts, m.Conflicts)
		observe(superseded, m.Superseded)
		observe(unavailable, m.Unavailable)
		observe(nearLookups, near.Hits, attribute.Bool("hit", true))
		observe(nearLookups, near.Misses, attribute.Bool("hit", false))
		observe(nearEntries, uint64(near.Entries))
		return nil
	}, append(all, nearEntries)...)
	return err
}

// Trace has every statement of a pool to be made show in traces. Their arguments,
// which hold session ids, are left out. Callers who share a statement show in the
// trace of the first of them.
func Trace(config *pgxpool.Config) {
	config.ConnConfig.Tracer = otelpgx.NewTracer(otelpgx.WithSpanNameFunc(queryName))
}

// queryName reads the name that sqlc puts before each statement.
func queryName(statement string) string {
	name, ours := strings.CutPrefix(statement, "-- name: ")
	if !ours {
		return "query"
	}
	name, _, _ = strings.Cut(name, " ")
	return name
}
