package observability_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/rhaptos/sessiondb/examples/observability"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	_ "github.com/rhaptos/sessiondb/sessioncache/sessiontest/docker"
	"github.com/rhaptos/sessiondb/sid"
)

func TestExporters(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)))
	pool := sessiontest.NewPool(t, func(config *pgxpool.Config) { observability.Trace(config) })
	cache := sessioncache.New[json.RawMessage](pool)
	reader := sdkmetric.NewManualReader()
	if err := observability.Observe(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("sessions"), cache.Metrics); err != nil {
		t.Fatal(err)
	}

	ctx, request := otel.Tracer("test").Start(t.Context(), "request")
	id := sid.New().String()
	if err := cache.Set(ctx, id, json.RawMessage(`{}`)); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{id, id, sid.New().String()} {
		if _, _, err := cache.Get(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	token, err := cache.Issue(ctx, json.RawMessage(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := cache.Renew(ctx, token); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if _, _, err := cache.Authenticate(ctx, token); !errors.Is(err, sessioncache.ErrSuperseded) {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err := cache.Get(gone, id); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	request.End()

	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(observability.Collector{Metrics: cache.Metrics})
	err = testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP session_gets_total Lookups, by whether there was a session.
# TYPE session_gets_total counter
session_gets_total{result="hit"} 2
session_gets_total{result="miss"} 1
# HELP session_superseded_total Uses of a token that a renewal had replaced.
# TYPE session_superseded_total counter
session_superseded_total 1
# HELP session_changes_total Sessions stored, deleted, updated and renewed.
# TYPE session_changes_total counter
session_changes_total{change="delete"} 0
session_changes_total{change="renew"} 1
session_changes_total{change="set"} 2
session_changes_total{change="update"} 0
# HELP session_errors_total Calls that failed, by kind.
# TYPE session_errors_total counter
session_errors_total{kind="cancelled"} 1
session_errors_total{kind="invalid_user"} 0
session_errors_total{kind="malformed_id"} 0
session_errors_total{kind="unavailable"} 0
session_errors_total{kind="unreadable_session"} 0
`), "session_gets_total", "session_superseded_total", "session_changes_total", "session_errors_total")
	if err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(registry, "session_latency_seconds"); err != nil || n != 2 {
		t.Errorf("%d histograms, %v; want 2", n, err)
	}

	var data metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &data); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint(data.ScopeMetrics)
	for _, name := range []string{"session.gets", "session.conflicts", "session.superseded", "session.unavailable"} {
		if !strings.Contains(text, name) {
			t.Errorf("OpenTelemetry lacks %s: %s", name, text)
		}
	}

	var names []string
	for _, span := range spans.Ended() {
		names = append(names, span.Name())
		if strings.Contains(fmt.Sprint(span.Attributes()), id) {
			t.Errorf("span %s shows the id: %v", span.Name(), span.Attributes())
		}
	}
	if !slices.Contains(names, "GetSession") {
		t.Errorf("spans %s; want one of GetSession", names)
	}
}

// TestNearCacheExporters gives each counter a number of its own.
func TestNearCacheExporters(t *testing.T) {
	t.Parallel()
	read := func() sessioncache.Metrics {
		return sessioncache.Metrics{NearCache: sessioncache.NearCacheMetrics{Hits: 71, Misses: 72, Entries: 74}}
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(observability.Collector{Metrics: read})
	err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP session_near_cache_lookups_total Lookups, by whether the near cache answered.
# TYPE session_near_cache_lookups_total counter
session_near_cache_lookups_total{result="hit"} 71
session_near_cache_lookups_total{result="miss"} 72
# HELP session_near_cache_entries Sessions in the near cache.
# TYPE session_near_cache_entries gauge
session_near_cache_entries 74
`), "session_near_cache_lookups_total", "session_near_cache_entries")
	if err != nil {
		t.Error(err)
	}

	reader := sdkmetric.NewManualReader()
	if err := observability.Observe(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("sessions"), read); err != nil {
		t.Fatal(err)
	}
	var data metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, m := range data.ScopeMetrics[0].Metrics {
		var points []metricdata.DataPoint[int64]
		switch values := m.Data.(type) {
		case metricdata.Sum[int64]:
			points = values.DataPoints
		case metricdata.Gauge[int64]:
			points = values.DataPoints
		}
		for _, point := range points {
			name, ok := strings.CutPrefix(m.Name, "session.near_cache.")
			for _, a := range point.Attributes.ToSlice() {
				name += " " + a.Value.String()
			}
			if ok {
				got[name] = point.Value
			}
		}
	}
	want := map[string]int64{"lookups true": 71, "lookups false": 72, "entries": 74}
	if !maps.Equal(got, want) {
		t.Errorf("OpenTelemetry has %v; want %v", got, want)
	}
}
