package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// target is one way to keep sessions.
type target struct {
	name string

	// operations are what it can do, by name: "get" looks up one of the sessions
	// stored before, "set" stores a new one, "authenticate" looks up one of either
	// kind, plain or with a token.
	operations map[string]operation

	// keeps tells that the client keeps sessions in memory. Before a sample of "get hot" it
	// looks each of them up once.
	keeps bool

	// statements counts those sent to the database so far. It may be nil.
	statements func() uint64

	server server
}

// operation does one thing once. i is a random number, for picking a session.
type operation func(ctx context.Context, i int) error

// reference is a program that measures itself, for comparison.
type reference struct {
	name      string
	operation string
	run       func(ctx context.Context, length time.Duration) (perSecond float64, err error)
	server    server
}

// sample is what one target did in one measurement.
type sample struct {
	PerSecond float64       `json:"per_second"`
	P50       time.Duration `json:"p50_ns"`
	P99       time.Duration `json:"p99_ns"`
	Allocs    float64       `json:"allocs"`           // by the client, an operation
	ClientCPU float64       `json:"client_cpu_micro"` // µs an operation
	ServerCPU float64       `json:"server_cpu_micro"` // µs an operation

	Statements float64 `json:"statements,omitempty"` // an operation
}

// result is all the samples of a target at one operation and number of callers.
type result struct {
	Target    string   `json:"target"`
	Operation string   `json:"operation"`
	Hot       int      `json:"hot,omitempty"` // of how many sessions one is looked up; 0: of all
	Callers   int      `json:"callers"`
	Samples   []sample `json:"samples"`
}

// operations are all, in the order of the report.
var operations = []string{"get", "set", "authenticate", getHot, "get zipf"}

// run measures each operation at each number of callers.
func (all targets) run(ctx context.Context, o options) (results []result, err error) {
	for _, operation := range operations {
		if !o.measures(operation) {
			continue
		}
		sizes := []int{0}
		if operation == getHot {
			sizes = o.hot
		}
		for _, hot := range sizes {
			for _, callers := range o.callers {
				group, err := all.runGroup(ctx, o, operation, hot, callers)
				if err != nil {
					return nil, err
				}
				results = append(results, group...)
			}
		}
	}
	fmt.Fprintln(os.Stderr)
	return results, nil
}

// runGroup takes a sample of each target in every round, in an order that changes from
// round to round.
func (all targets) runGroup(ctx context.Context, o options, operation string, hot, callers int) (group []result, err error) {
	var measure []func() (sample, error)
	add := func(name string, one func() (sample, error)) {
		group = append(group, result{Target: name, Operation: operation, Hot: hot, Callers: callers})
		measure = append(measure, one)
	}
	for _, t := range all.stores {
		if do, ok := t.operations[operation]; ok {
			if hot > 0 {
				do = do.among(hot)
			}
			add(t.name, func() (sample, error) {
				if hot > 0 && t.keeps {
					if err := lookUpEach(ctx, do, hot); err != nil {
						return sample{}, err
					}
				}
				return t.measure(ctx, do, callers, o.sample)
			})
		}
	}
	for _, r := range all.references {
		if r.operation == operation {
			add(r.name, func() (sample, error) { return r.measure(ctx, o.sample) })
		}
	}
	for round := range o.rounds {
		fmt.Fprintf(os.Stderr, "\r%s, %d callers, round %d of %d        ", operation, callers, round+1, o.rounds)
		for _, i := range rand.Perm(len(group)) {
			s, err := measure[i]()
			if err != nil {
				return nil, fmt.Errorf("%s: %s, %d callers: %w", group[i].Target, operation, callers, err)
			}
			group[i].Samples = append(group[i].Samples, s)
		}
	}
	return group, nil
}

// measures tells whether an operation is asked for.
func (o options) measures(operation string) bool {
	switch o.only {
	case "":
		return true
	case "pool":
		return operation == "get" || operation == "set"
	case "near":
		return strings.HasPrefix(operation, "get ")
	}
	return o.only == operation
}

// measure takes one sample, after a short warm-up that fills pools and prepares
// statements.
func (t target) measure(ctx context.Context, do operation, callers int, length time.Duration) (sample, error) {
	if _, _, err := runCallers(ctx, do, callers, length/10); err != nil {
		return sample{}, err
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	client, server := clientCPU(), t.server.cpu()
	statements := t.countStatements()
	start := time.Now()
	n, latencies, err := runCallers(ctx, do, callers, length)
	if err != nil {
		return sample{}, err
	}
	elapsed := time.Since(start)
	client, server = clientCPU()-client, t.server.cpu()-server
	statements = t.countStatements() - statements
	runtime.ReadMemStats(&after)

	slices.Sort(latencies)
	return sample{
		PerSecond: float64(n) / elapsed.Seconds(),
		P50:       latencies[len(latencies)/2],
		P99:       latencies[len(latencies)*99/100],
		Allocs:    float64(after.Mallocs-before.Mallocs) / float64(n),
		ClientCPU: micros(client) / float64(n),
		ServerCPU: micros(server) / float64(n),

		Statements: float64(statements) / float64(n),
	}, nil
}

func (t target) countStatements() uint64 {
	if t.statements == nil {
		return 0
	}
	return t.statements()
}

func micros(d time.Duration) float64 {
	return float64(d) / float64(time.Microsecond)
}

// timedEvery says that one call in so many is timed. Timing a call takes as long as some
// calls do.
const timedEvery = 8

// runCallers has so many callers call without a pause. It returns how many calls they
// made, and the latencies of those that were timed.
func runCallers(ctx context.Context, do operation, callers int, length time.Duration) (calls int, latencies []time.Duration, err error) {
	each := make([][]time.Duration, callers)
	counts, errs := make([]int, callers), make([]error, callers)
	end := time.Now().Add(length)
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			ctx, cancel := context.WithCancel(ctx) // a request of its own
			defer cancel()
			random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
			// Allocated before: growing it would count as the target's.
			mine := make([]time.Duration, 0, 800_000/timedEvery*int(length/time.Millisecond)/1000/callers+1000)
			for start := time.Now(); start.Before(end); start = time.Now() {
				for call := range timedEvery {
					if errs[caller] = do(ctx, int(random.Uint64()>>1)); errs[caller] != nil {
						return
					}
					if call == 0 {
						mine = append(mine, time.Since(start))
					}
				}
				counts[caller] += timedEvery
			}
			each[caller] = mine
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, nil, err
	}
	for _, count := range counts {
		calls += count
	}
	return calls, slices.Concat(each...), nil
}

// measure takes one sample. The CPU time of the reference's own client is not counted.
func (r reference) measure(ctx context.Context, length time.Duration) (sample, error) {
	before := r.server.cpu()
	start := time.Now()
	perSecond, err := r.run(ctx, length)
	if err != nil {
		return sample{}, err
	}
	operations := perSecond * time.Since(start).Seconds()
	return sample{PerSecond: perSecond, ServerCPU: micros(r.server.cpu()-before) / operations}, nil
}

// clientCPU is the CPU time of this process so far.
func clientCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
