package observability

import (
	"context"
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
	gets, err := meter.Int64ObservableCounter("session.gets", metric.WithDescription("Lookups, by whether there was a session."))
	if err != nil {
		return err
	}
	conflicts, err := meter.Int64ObservableCounter("session.conflicts", metric.WithDescription("Session ids used twice: attacks or bugs."))
	if err != nil {
		return err
	}
	superseded, err := meter.Int64ObservableCounter("session.superseded", metric.WithDescription("Uses of a token that a renewal had replaced."))
	if err != nil {
		return err
	}
	unavailable, err := meter.Int64ObservableCounter("session.unavailable", metric.WithDescription("Calls that the database did not answer."))
	if err != nil {
		return err
	}
	_, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		m := read()
		o.ObserveInt64(gets, int64(m.Hits), metric.WithAttributes(attribute.Bool("found", true)))
		o.ObserveInt64(gets, int64(m.Misses), metric.WithAttributes(attribute.Bool("found", false)))
		o.ObserveInt64(conflicts, int64(m.Conflicts))
		o.ObserveInt64(superseded, int64(m.Superseded))
		o.ObserveInt64(unavailable, int64(m.Unavailable))
		return nil
	}, gets, conflicts, superseded, unavailable)
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
