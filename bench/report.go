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

// report is what a run has shown.
type report struct {
	Command  string        `json:"command"`
	Version  string        `json:"go"`
	CPUs     int           `json:"cpus"`
	Sessions int           `json:"sessions"`
	Payload  int           `json:"payload_bytes"`
	Pool     int           `json:"pool"`
	Delay    time.Duration `json:"delay_ns"`
	Rounds   int           `json:"rounds"`
	Turn     time.Duration `json:"turn_ns"`
	Results  []result      `json:"results"`
}

func newReport(o options, results []result) report {
	return report{
		Command: o.command, Version: runtime.Version(), CPUs: runtime.NumCPU(),
		Sessions: o.sessions, Payload: len(newUser(o.payload, 0)), Pool: o.pool, Delay: o.delay,
		Rounds: o.rounds, Turn: o.turn, Results: results,
	}
}

func (r report) writeJSON(path string) error {
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// median picks the middle of a figure's values over the turns.
func (r result) median(figure func(turn) float64) float64 {
	values := make([]float64, len(r.Turns))
	for i, t := range r.Turns {
		values[i] = figure(t)
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 0 {
		return (values[middle-1] + values[middle]) / 2
	}
	return values[middle]
}

func perSecond(t turn) float64 { return t.PerSecond }

// baselines are the contenders that the ratios are to, by operation.
var baselines = map[string]string{"get": "scs pgxstore", "set": "scs pgxstore", "authenticate": plainGet, "get hot": "scs pgxstore", "get zipf": "sessioncache, raw JSON"}

// heats groups the results by operation and number of callers, as they ran.
func (r report) heats() [][]result {
	var heats [][]result
	for _, one := range r.Results {
		last := len(heats) - 1
		if last < 0 || heats[last][0].Operation != one.Operation || heats[last][0].Callers != one.Callers {
			heats = append(heats, nil)
			last++
		}
		heats[last] = append(heats[last], one)
	}
	return heats
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
	fmt.Fprintf(&b, "%d sessions of %d bytes, %d connections to PostgreSQL for each contender, %d CPUs for clients and servers together, %s.\n",
		r.Sessions, r.Payload, r.Pool, r.CPUs, r.Version)
	if r.Delay > 0 {
		fmt.Fprintf(&b, "A round trip to a server takes %s longer than it does on this machine.\n", r.Delay)
	}
	fmt.Fprintf(&b, "Medians of %d turns of %s each; in every round each contender has one turn. ", r.Rounds, r.Turn)
	fmt.Fprintf(&b, "The ratio is to %s in the same run: figures a second differ from machine to machine, ratios much less.\n", r.baselines())

	for _, heat := range r.heats() {
		fmt.Fprintf(&b, "\n## %s, %d callers\n\n", strings.ToUpper(heat[0].Operation[:1])+heat[0].Operation[1:], heat[0].Callers)
		fmt.Fprintf(&b, "| | a second | ratio | p50 µs | p99 µs | allocations | client CPU µs | server CPU µs | statements, %% |\n")
		fmt.Fprintf(&b, "|---|---:|---:|---:|---:|---:|---:|---:|---:|\n")
		var base float64
		for _, one := range heat {
			if one.Contender == baselines[one.Operation] {
				base = one.median(perSecond)
			}
		}
		slices.SortStableFunc(heat, func(a, b result) int { return cmp.Compare(b.median(perSecond), a.median(perSecond)) })
		for _, one := range heat {
			server := one.median(func(t turn) float64 { return t.ServerCPU })
			fmt.Fprintf(&b, "| %s | %.0f | %.2f |", one.Contender, one.median(perSecond), one.median(perSecond)/base)
			if p50 := one.median(func(t turn) float64 { return micros(t.P50) }); p50 > 0 {
				fmt.Fprintf(&b, " %.0f | %.0f | %.1f | %.1f |", p50,
					one.median(func(t turn) float64 { return micros(t.P99) }),
					one.median(func(t turn) float64 { return t.Allocs }),
					one.median(func(t turn) float64 { return t.ClientCPU }))
			} else {
				fmt.Fprintf(&b, " | | | |")
			}
			fmt.Fprintf(&b, " %.1f |", server)
			if statements := one.median(func(t turn) float64 { return t.Statements }); statements > 0 {
				fmt.Fprintf(&b, " %.2f |\n", 100*statements)
			} else {
				fmt.Fprintf(&b, " |\n")
			}
		}
	}
	return b.String()
}
