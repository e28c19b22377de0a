// Package observability shows the few lines that bring a cache's counters to
// Prometheus and OpenTelemetry, and its statements to a trace. It is a module of
// its own, so that the store needs none of these.
package observability
