package observability_test

import (
	"context"
	"encoding/json"
	"fmt"
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
	"github.com/rhaptos/sessiondb/sessioncache/sid"
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

	request.End()

	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(observability.Collector{Metrics: cache.Metrics})
	err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP session_gets_total Lookups, by whether there was a session.
# TYPE session_gets_total counter
session_gets_total{result="hit"} 2
session_gets_total{result="miss"} 1
`), "session_gets_total")
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
	if text := fmt.Sprint(data.ScopeMetrics); !strings.Contains(text, "session.gets") || !strings.Contains(text, "session.conflicts") {
		t.Errorf("OpenTelemetry has %s", text)
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
