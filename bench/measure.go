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

// contender is one way to keep sessions.
type contender struct {
	name string

	// operations are what it can do, by name: "get" looks up one of the sessions
	// stored before, "set" stores a new one, "authenticate" looks up one of either
	// kind, plain or with a token.
	operations map[string]operation

	// statements counts those sent to the database so far, where that is of interest.
	statements func() uint64

	server server
}

// operation does one thing once. i is a random number, for picking a session.
type operation func(ctx context.Context, i int) error

// floor is a contender of another kind: a program that measures itself.
type floor struct {
	name      string
	operation string
	measure   func(ctx context.Context, turn time.Duration) (perSecond float64, err error)
	server    server
}

// turn is what one contender did in one turn.
type turn struct {
	PerSecond float64       `json:"per_second"`
	P50       time.Duration `json:"p50_ns"`
	P99       time.Duration `json:"p99_ns"`
	Allocs    float64       `json:"allocs"`           // by the client, an operation
	ClientCPU float64       `json:"client_cpu_micro"` // µs an operation
	ServerCPU float64       `json:"server_cpu_micro"` // µs an operation

	Statements float64 `json:"statements,omitempty"` // an operation
}

// result is all the turns of a contender at one operation and number of callers.
type result struct {
	Contender string `json:"contender"`
	Operation string `json:"operation"`
	Callers   int    `json:"callers"`
	Turns     []turn `json:"turns"`
}

// compete has the contenders take turns: in every round each has one, in an order
// that changes from round to round.
func compete(ctx context.Context, o options, entered entrants) ([]result, error) {
	var results []result
	for _, operation := range []string{"get", "set", "authenticate", "get hot", "get zipf"} {
		if !o.measures(operation) {
			continue
		}
		for _, callers := range o.callers {
			var heat []result
			var runs []func() (turn, error)
			for _, c := range entered.contenders {
				if do, ok := c.operations[operation]; ok {
					heat = append(heat, result{Contender: c.name, Operation: operation, Callers: callers})
					runs = append(runs, func() (turn, error) { return take(ctx, c, do, callers, o.turn) })
				}
			}
			for _, f := range entered.floors {
				if f.operation == operation {
					heat = append(heat, result{Contender: f.name, Operation: operation, Callers: callers})
					runs = append(runs, func() (turn, error) { return f.take(ctx, o.turn) })
				}
			}
			for round := range o.rounds {
				fmt.Fprintf(os.Stderr, "\r%s, %d callers, round %d of %d        ", operation, callers, round+1, o.rounds)
				for _, i := range rand.Perm(len(runs)) {
					t, err := runs[i]()
					if err != nil {
						return nil, fmt.Errorf("%s: %s, %d callers: %w", heat[i].Contender, operation, callers, err)
					}
					heat[i].Turns = append(heat[i].Turns, t)
				}
			}
			results = append(results, heat...)
		}
	}
	fmt.Fprintln(os.Stderr)
	return results, nil
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

// take measures a contender for one turn, after a short run-up that fills pools
// and prepares statements.
func take(ctx context.Context, c contender, do operation, callers int, length time.Duration) (turn, error) {
	if _, _, err := drive(ctx, do, callers, length/10); err != nil {
		return turn{}, err
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	client, server := clientCPU(), c.server.cpu()
	statements := c.countStatements()
	start := time.Now()
	n, latencies, err := drive(ctx, do, callers, length)
	if err != nil {
		return turn{}, err
	}
	elapsed := time.Since(start)
	client, server = clientCPU()-client, c.server.cpu()-server
	statements = c.countStatements() - statements
	runtime.ReadMemStats(&after)

	slices.Sort(latencies)
	return turn{
		PerSecond: float64(n) / elapsed.Seconds(),
		P50:       latencies[len(latencies)/2],
		P99:       latencies[len(latencies)*99/100],
		Allocs:    float64(after.Mallocs-before.Mallocs) / float64(n),
		ClientCPU: micros(client) / float64(n),
		ServerCPU: micros(server) / float64(n),

		Statements: float64(statements) / float64(n),
	}, nil
}

func (c contender) countStatements() uint64 {
	if c.statements == nil {
		return 0
	}
	return c.statements()
}

func micros(d time.Duration) float64 {
	return float64(d) / float64(time.Microsecond)
}

// timedCall is which calls are timed: one in so many. To time a call takes as long as
// some calls do.
const timedCall = 8

// drive runs the callers. It returns how many calls they made, and how long those took
// that were timed.
func drive(ctx context.Context, do operation, callers int, length time.Duration) (calls int, latencies []time.Duration, err error) {
	each := make([][]time.Duration, callers)
	counts, errs := make([]int, callers), make([]error, callers)
	end := time.Now().Add(length)
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			ctx, cancel := context.WithCancel(ctx) // a request of its own
			defer cancel()
			random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
			// Room for what is to come: growing it would count as the contender's.
			mine := make([]time.Duration, 0, 800_000/timedCall*int(length/time.Millisecond)/1000/callers+1000)
			for start := time.Now(); start.Before(end); start = time.Now() {
				for call := range timedCall {
					if errs[caller] = do(ctx, int(random.Uint64()>>1)); errs[caller] != nil {
						return
					}
					if call == 0 {
						mine = append(mine, time.Since(start))
					}
				}
				counts[caller] += timedCall
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

// take measures a floor for one turn. Its own client's CPU is not ours to count.
func (f floor) take(ctx context.Context, length time.Duration) (turn, error) {
	before := f.server.cpu()
	start := time.Now()
	perSecond, err := f.measure(ctx, length)
	if err != nil {
		return turn{}, err
	}
	operations := perSecond * time.Since(start).Seconds()
	return turn{PerSecond: perSecond, ServerCPU: micros(f.server.cpu()-before) / operations}, nil
}

// clientCPU is the CPU time of this process so far.
func clientCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
