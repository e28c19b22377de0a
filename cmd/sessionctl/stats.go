package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
)

type statsCommand struct {
	JSON bool `help:"Print JSON."`
}

func (statsCommand) Help() string {
	return `With --json it prints

    {"live": 12, "expired": 3, "oldest_expired": 61.5, "largest_user": 2}

where oldest_expired is how long ago, in seconds, the oldest of the expired sessions has expired (0 if there is none), and largest_user is how many sessions one user has at most. The sessions of all applications count.

` + example("stats --json")
}

// statsJSON is what stats --json and watch --json print.
type statsJSON struct {
	Live          int64   `json:"live"`
	Expired       int64   `json:"expired"`
	OldestExpired float64 `json:"oldest_expired"`
	LargestUser   int64   `json:"largest_user"`
}

func asJSON(stats sessioncache.Stats) statsJSON {
	return statsJSON{stats.Live, stats.Expired, stats.OldestExpired.Seconds(), stats.LargestUser}
}

func (c *statsCommand) Run(e *environment) error {
	return e.withCache(func(cache *cache) error {
		stats, err := cache.Stats(e)
		if err != nil {
			return err
		}
		if c.JSON {
			return e.printJSON(asJSON(stats))
		}
		return printStats(e.out, stats, "", "")
	})
}

// printStats prints a table. ofLive and ofExpired follow two of its numbers.
func printStats(w io.Writer, stats sessioncache.Stats, ofLive, ofExpired string) error {
	oldest := "–"
	if stats.Expired > 0 {
		oldest = stats.OldestExpired.Round(time.Second).String() + " ago"
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "live sessions\t%d%s\n", stats.Live, ofLive)
	fmt.Fprintf(table, "expired, to be purged\t%d%s\n", stats.Expired, ofExpired)
	fmt.Fprintf(table, "the oldest expired\t%s\n", oldest)
	fmt.Fprintf(table, "largest user\t%d\n", stats.LargestUser)
	return table.Flush()
}

type watchCommand struct {
	Every time.Duration `default:"2s" help:"The time between two counts."`
	Times int           `help:"Stop after this many counts (default, and 0: never)."`
	JSON  bool          `help:"Print a line of JSON each time."`
}

func (watchCommand) Help() string {
	return `With --json each line is the time and the numbers of stats --json. If the database did not answer, it is the time and the error:

    {"time": "2026-01-02T15:04:05Z", "live": 12, "expired": 3,
     "oldest_expired": 61.5, "largest_user": 2}
    {"time": "2026-01-02T15:04:07Z", "error": "…"}

` + example("watch --every 10s --times 6")
}

func (c *watchCommand) Run(e *environment) error {
	if c.Every <= 0 {
		return usageError{errors.New("--every must be longer than 0s")}
	}
	if c.Times < 0 {
		return usageError{errors.New("--times must not be negative")}
	}
	return e.withCache(func(cache *cache) error {
		show := e.showLine
		switch {
		case c.JSON:
			show = e.showJSON
		case e.terminal:
			show = e.showScreen
		}
		var before *sample
		for n := 1; ; n++ {
			stats, err := cache.Stats(e)
			switch {
			case e.Err() != nil:
				return nil //nolint:nilerr // Ctrl-C ends watch
			case err != nil: // an outage may end: watch goes on
				if c.JSON {
					document := map[string]any{"time": time.Now().UTC(), "error": message(e, err)}
					if err := e.printJSON(document); err != nil {
						return err
					}
				} else if before != nil {
					e.print("%s  %v\n", time.Now().Format(time.TimeOnly), message(e, err))
				}
				if before == nil { // a mistake in the address more probably
					return err
				}
			default:
				now := &sample{stats, time.Now()}
				if err := show(now, before); err != nil {
					return err
				}
				before = now
			}
			if n == c.Times {
				return nil
			}
			select {
			case <-time.After(c.Every):
			case <-e.Done():
			}
		}
	})
}

// sample is a result of Stats with its time.
type sample struct {
	sessioncache.Stats
	at time.Time
}

// rates returns how fast the numbers of live and expired sessions have grown since the
// sample before, per second.
func (s *sample) rates(before *sample) (live, expired string) {
	if before == nil {
		return "–", "–"
	}
	seconds := s.at.Sub(before.at).Seconds()
	return fmt.Sprintf("%+.1f", float64(s.Live-before.Live)/seconds), fmt.Sprintf("%+.1f", float64(s.Expired-before.Expired)/seconds)
}

// showJSON shows a sample to programs.
func (e *environment) showJSON(now, _ *sample) error {
	return e.printJSON(struct {
		Time time.Time `json:"time"`
		statsJSON
	}{now.at.UTC(), asJSON(now.Stats)})
}

// showLine shows a sample in a log.
func (e *environment) showLine(now, before *sample) error {
	const columns = "%-8s %12v %12s %12v %12s %16v\n"
	if before == nil {
		e.print(columns, "TIME", "LIVE", "PER SECOND", "EXPIRED", "PER SECOND", "OLDEST EXPIRED")
	}
	live, expired := now.rates(before)
	e.print(columns, now.at.Format(time.TimeOnly), now.Live, live, now.Expired, expired, now.OldestExpired.Round(time.Second))
	return nil
}

// showScreen shows a sample on a terminal, in place of the one before.
func (e *environment) showScreen(now, before *sample) error {
	const home, restOfScreen = "\x1b[H", "\x1b[J"
	live, expired := now.rates(before)
	e.control(home + restOfScreen)
	e.print("%s, Ctrl-C to end\n\n", now.at.Format(time.TimeOnly))
	return printStats(e.out, now.Stats, "\t"+live+" a second", "\t"+expired+" a second")
}
