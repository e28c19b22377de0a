package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report is the result of a run.
type report struct {
	Command  string        `json:"command"`
	Version  string        `json:"go"`
	CPUs     int           `json:"cpus"`
	Sessions int           `json:"sessions"`
	Payload  int           `json:"payload_bytes"`
	Pool     int           `json:"pool"`
	Delay    time.Duration `json:"delay_ns"`
	Rounds   int           `json:"rounds"`
	Sample   time.Duration `json:"sample_ns"`
	Results  []result      `json:"results"`
}

func newReport(o options, results []result) report {
	return report{
		Command: o.command, Version: runtime.Version(), CPUs: runtime.NumCPU(),
		Sessions: o.sessions, Payload: len(newUser(o.payload, 0)), Pool: o.pool, Delay: o.delay,
		Rounds: o.rounds, Sample: o.sample, Results: results,
	}
}

func (r report) writeJSON(path string) error {
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// median picks the middle of a figure's values over the samples.
func (r result) median(figure func(sample) float64) float64 {
	values := make([]float64, len(r.Samples))
	for i, s := range r.Samples {
		values[i] = figure(s)
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 0 {
		return (values[middle-1] + values[middle]) / 2
	}
	return values[middle]
}

func perSecond(s sample) float64 { return s.PerSecond }

// baselines are the targets that the ratios are to, by operation.
var baselines = map[string]string{"get": "scs pgxstore", "set": "scs pgxstore", "authenticate": plainGet, getHot: "scs pgxstore", "get zipf": "sessioncache, raw JSON"}

// groups groups the results by operation, hot sessions and number of callers, as they ran.
func (r report) groups() [][]result {
	var all [][]result
	for _, one := range r.Results {
		last := len(all) - 1
		if last < 0 || all[last][0].Operation != one.Operation || all[last][0].Hot != one.Hot || all[last][0].Callers != one.Callers {
			all = append(all, nil)
			last++
		}
		all[last] = append(all[last], one)
	}
	return all
}

// baselines names what the ratios of this run are to.
func (r report) baselines() string {
	var names []string
	for _, one := range r.Results {
		if name := baselines[one.Operation]; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, " or ")
}

func (r report) markdown() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Benchmark\n\n    %s\n\n", r.Command)
	fmt.Fprintf(&b, "%d sessions of %d bytes, %d connections to PostgreSQL for each target that names no MaxConns, %d CPUs for clients and servers together, %s.\n",
		r.Sessions, r.Payload, r.Pool, r.CPUs, r.Version)
	if r.Delay > 0 {
		fmt.Fprintf(&b, "A round trip to a server takes %s longer than it does on this machine.\n", r.Delay)
	}
	fmt.Fprintf(&b, "Medians of %d samples of %s each; each round takes one sample of each target. ", r.Rounds, r.Sample)
	fmt.Fprintf(&b, "The ratio is to %s in the same run: figures a second differ from machine to machine, ratios much less.\n", r.baselines())

	for _, group := range r.groups() {
		title := strings.ToUpper(group[0].Operation[:1]) + group[0].Operation[1:]
		if hot := group[0].Hot; hot > 0 {
			title += fmt.Sprintf(", %d sessions", hot)
		}
		fmt.Fprintf(&b, "\n## %s, %d callers\n\n", title, group[0].Callers)
		fmt.Fprintf(&b, "| | a second | ratio | p50 µs | p99 µs | allocations | client CPU µs | server CPU µs | statements, %% |\n")
		fmt.Fprintf(&b, "|---|---:|---:|---:|---:|---:|---:|---:|---:|\n")
		var base float64
		for _, one := range group {
			if one.Target == baselines[one.Operation] {
				base = one.median(perSecond)
			}
		}
		slices.SortStableFunc(group, func(a, b result) int { return cmp.Compare(b.median(perSecond), a.median(perSecond)) })
		for _, one := range group {
			b.WriteString(one.row(base))
		}
	}
	return b.String()
}

// row is a line of the table. The ratio is to the rate of the baseline. What a reference
// does not tell is left out.
func (r result) row(baseline float64) string {
	latency, statements := " | | | |", " |"
	if p50 := r.median(func(s sample) float64 { return micros(s.P50) }); p50 > 0 {
		latency = fmt.Sprintf(" %.0f | %.0f | %.1f | %.1f |", p50,
			r.median(func(s sample) float64 { return micros(s.P99) }),
			r.median(func(s sample) float64 { return s.Allocs }),
			r.median(func(s sample) float64 { return s.ClientCPU }))
	}
	if n := r.median(func(s sample) float64 { return s.Statements }); n > 0 {
		statements = fmt.Sprintf(" %.2f |", 100*n)
	}
	rate := r.median(perSecond)
	return fmt.Sprintf("| %s | %.0f | %.2f |%s %.1f |%s\n", r.Target, rate, rate/baseline, latency,
		r.median(func(s sample) float64 { return s.ServerCPU }), statements)
}
