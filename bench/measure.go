package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
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
	for _, operation := range []string{"get", "set", "authenticate"} {
		if o.only != "" && o.only != operation && (o.only != "pool" || operation == "authenticate") {
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

// take measures a contender for one turn, after a short run-up that fills pools
// and prepares statements.
func take(ctx context.Context, c contender, do operation, callers int, length time.Duration) (turn, error) {
	if _, err := drive(ctx, do, callers, length/10); err != nil {
		return turn{}, err
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	client, server := clientCPU(), c.server.cpu()
	start := time.Now()
	latencies, err := drive(ctx, do, callers, length)
	if err != nil {
		return turn{}, err
	}
	elapsed := time.Since(start)
	client, server = clientCPU()-client, c.server.cpu()-server
	runtime.ReadMemStats(&after)

	n := len(latencies)
	slices.Sort(latencies)
	return turn{
		PerSecond: float64(n) / elapsed.Seconds(),
		P50:       latencies[n/2],
		P99:       latencies[n*99/100],
		Allocs:    float64(after.Mallocs-before.Mallocs) / float64(n),
		ClientCPU: micros(client) / float64(n),
		ServerCPU: micros(server) / float64(n),
	}, nil
}

func micros(d time.Duration) float64 {
	return float64(d) / float64(time.Microsecond)
}

// drive runs the callers and returns how long each call took.
func drive(ctx context.Context, do operation, callers int, length time.Duration) ([]time.Duration, error) {
	latencies := make([][]time.Duration, callers)
	errs := make([]error, callers)
	end := time.Now().Add(length)
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			ctx, cancel := context.WithCancel(ctx) // a request of its own
			defer cancel()
			random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
			// Room for what is to come: growing it would count as the contender's.
			mine := make([]time.Duration, 0, 400_000*int(length/time.Millisecond)/1000/callers+1000)
			for now := time.Now(); now.Before(end); {
				if errs[caller] = do(ctx, int(random.Uint64()>>1)); errs[caller] != nil {
					return
				}
				then := now
				now = time.Now()
				mine = append(mine, now.Sub(then))
			}
			latencies[caller] = mine
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return slices.Concat(latencies...), nil
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
