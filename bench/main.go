// Bench compares sessioncache with other session stores, all in one run. Samples of all
// targets alternate, so that whatever else the machine does affects each of them.
//
//	make bench                        (from the module's root: everything, 17 minutes)
//	go run . -callers 64 -rounds 3    (a part of it)
//	go run . -help
//
// It starts PostgreSQL and Redis itself, prints a table, and writes latest.md,
// latest.json and latest.svg to the folder that -out names. (Git ignores the JSON, which has
// every sample.) A part of it, or other settings, writes files named after them: latest is
// always a whole run with the default settings.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// options are what the command line says.
type options struct {
	callers  []int
	hot      []int
	rounds   int
	sample   time.Duration
	sessions int
	payload  int
	pool     int
	delay    time.Duration
	only     string
	out      string
	name     string // of the files of results
	command  string
}

func main() {
	o := options{command: strings.Join(append([]string{"go run ."}, os.Args[1:]...), " ")}
	callers := flag.String("callers", "1,16,64,256,1024", "how many callers at once, separated by commas")
	hot := flag.String("hot", strconv.Itoa(hotSessions), "of how many sessions \"get hot\" looks one up, separated by commas")
	flag.IntVar(&o.rounds, "rounds", 5, "how many samples of each target; the table shows medians")
	flag.DurationVar(&o.sample, "sample", time.Second, "how long a sample takes")
	flag.IntVar(&o.sessions, "sessions", 100_000, "how many sessions are stored before")
	flag.IntVar(&o.payload, "payload", 570, "how many bytes a user takes as JSON")
	flag.IntVar(&o.pool, "pool", 4, "how many connections to PostgreSQL each target may open")
	flag.DurationVar(&o.delay, "delay", 0, "how much longer a round trip to the servers takes: 500us, say")
	flag.StringVar(&o.only, "only", "", "measure only this operation: get, set or authenticate; or near, with hot sessions in memory, or pool, which compares sizes of the pool")
	flag.StringVar(&o.out, "out", "results", "where to write the results")
	proxyTo := flag.String("proxy", "", "run as the delaying proxy of this address (bench starts itself so)")
	flag.Parse()
	o.name = resultName(o.only, flag.CommandLine)

	var err, errHot error
	o.callers, err = numbers(*callers)
	o.hot, errHot = numbers(*hot)
	if err := errors.Join(err, errHot); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if *proxyTo != "" {
		err = runProxy(*proxyTo, o.delay)
	} else {
		err = run(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// numbers reads positive numbers that are separated by commas.
func numbers(list string) (all []int, err error) {
	for _, text := range strings.Split(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a positive number", text)
		}
		all = append(all, n)
	}
	return all, nil
}

// resultName names the files of results after what is measured and the settings that
// change what is measured. More samples only make it more precise.
func resultName(only string, flags *flag.FlagSet) string {
	name := cmp.Or(only, "latest")
	flags.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "callers", "delay", "hot", "payload", "pool", "sessions":
			name += "-" + f.Name + "-" + strings.NewReplacer(",", "-", "µ", "u").Replace(f.Value.String())
		}
	})
	return name
}

func run(o options) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	all, clean, err := openTargets(ctx, o)
	defer func() { err = errors.Join(err, clean.run()) }()
	if err != nil {
		return err
	}
	results, err := all.run(ctx, o)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	report := newReport(o, results)
	fmt.Print(report.markdown())
	path := filepath.Join(o.out, o.name)
	return errors.Join(
		os.WriteFile(path+".md", []byte(report.markdown()), 0o644),
		report.writeJSON(path+".json"),
		report.writeChart(path+".svg"),
	)
}
