package main

import (
	"context"
	"encoding/json"
	"fmt"
	"image/color"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

// hour is how long sessions live in the day.
const hour = 12 * time.Second

// day has sessions created at a steady rate; they expire, and a janitor removes them.
// The table grows until as many expire as are created. Then it should not grow any more.
func day(ctx context.Context, server *sessiontest.Server, o options, page *strings.Builder) error {
	pool, err := newPool(ctx, server)
	if err != nil {
		return err
	}
	defer pool.Close()
	cache := sessioncache.New[json.RawMessage](pool, sessioncache.WithLifetime(hour))
	limited, cancel := context.WithTimeout(ctx, o.day)
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() { cache.RunJanitor(limited, hour/12) }) // "every five minutes"
	logins := startLogins(limited, &all, cache, o.rate)

	var table, indexes, live plotter.XYs
	start := time.Now()
	for wait(limited, hour/12) == nil {
		size, err := measureSize(limited, pool)
		if limited.Err() != nil {
			break
		}
		if err != nil {
			return err
		}
		at := time.Since(start).Seconds() / hour.Seconds()
		table = append(table, plotter.XY{X: at, Y: size.table})
		indexes = append(indexes, plotter.XY{X: at, Y: size.indexes})
		live = append(live, plotter.XY{X: at, Y: size.live})
	}
	all.Wait()
	second := len(table) / 2 // half of the day
	if second == 0 {
		return fmt.Errorf("the day was too short to measure anything")
	}
	alone, err := measureCopy(ctx, server, int(mean(live[second:])))
	if err != nil {
		return err
	}
	fmt.Fprintf(page, "\n## A day\n\nSessions live %s in place of an hour, and a janitor comes every twelfth of that. In %.0f such hours %d sessions were created; %d logins failed.\n"+
		"In the second half of the day the table took %.2f times what a fresh copy of the live sessions takes (at most %.2f), its indexes %.2f times (at most %.2f).\n\n![Size over time](scale.svg)\n",
		hour, o.day.Seconds()/hour.Seconds(), logins.created.Load(), logins.failed.Load(),
		mean(table[second:])/alone.table, most(table[second:])/alone.table, mean(indexes[second:])/alone.indexes, most(indexes[second:])/alone.indexes)
	return chart(filepath.Join(o.out, "scale.svg"), alone, table, indexes)
}

// logins counts sessions that are created at a steady rate.
type logins struct {
	created, failed atomic.Int64
}

// startLogins creates sessions, at so many a second, until the context ends.
func startLogins(ctx context.Context, all *sync.WaitGroup, cache *cache, rate int) *logins {
	const callers = 64
	l := &logins{}
	for range callers {
		all.Go(func() {
			next := time.NewTicker(time.Second * callers / time.Duration(rate))
			defer next.Stop()
			for ctx.Err() == nil {
				if err := cache.Set(ctx, sid.New().String(), user); err == nil {
					l.created.Add(1)
				} else if ctx.Err() == nil {
					l.failed.Add(1)
				}
				select {
				case <-next.C:
				case <-ctx.Done():
				}
			}
		})
	}
	return l
}

// measureCopy measures so many live sessions alone, in a new table.
func measureCopy(ctx context.Context, server *sessiontest.Server, sessions int) (size, error) {
	pool, err := newPool(ctx, server)
	if err != nil {
		return size{}, err
	}
	defer pool.Close()
	_, err = pool.Exec(ctx, `
		INSERT INTO session_cache (sessionid, userdict, session_startutc, session_endutc, session_deadlineutc)
		SELECT gen_random_uuid(), $1::json, now(), now() + interval '1 hour', now() + interval '1 hour' FROM generate_series(1, $2::int)`, string(user), sessions)
	if err != nil {
		return size{}, err
	}
	return measureSize(ctx, pool)
}

// size is in bytes, and live in sessions.
type size struct {
	table, indexes, live float64
}

func measureSize(ctx context.Context, pool *pgxpool.Pool) (s size, err error) {
	err = pool.QueryRow(ctx, `
		SELECT pg_table_size('session_cache'), pg_indexes_size('session_cache'),
		       (SELECT count(*) FROM session_cache WHERE session_endutc >= now())`).Scan(&s.table, &s.indexes, &s.live)
	return s, err
}

func mean(points plotter.XYs) float64 {
	var sum float64
	for _, point := range points {
		sum += point.Y
	}
	return sum / float64(len(points))
}

func most(points plotter.XYs) float64 {
	var most float64
	for _, point := range points {
		most = max(most, point.Y)
	}
	return most
}

// chart draws both sizes relative to those of the live sessions alone.
func chart(path string, alone size, table, indexes plotter.XYs) error {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.Title.Text = "Size of the table and its indexes over a day, relative to the live sessions alone"
	p.Title.Padding = vg.Points(8)
	p.X.Label.Text = "hours (scaled down)"
	p.Y.Min = 0
	p.Add(plotter.NewGrid())
	p.Legend.Left = true
	for _, line := range []struct {
		name   string
		points plotter.XYs
		unit   float64
		color  color.Color
	}{
		{"table", table, alone.table, color.RGBA{R: 0x1f, G: 0x4e, B: 0x9c, A: 0xff}},
		{"indexes", indexes, alone.indexes, color.RGBA{R: 0xc0, G: 0x39, B: 0x2b, A: 0xff}},
	} {
		for i := range line.points {
			line.points[i].Y /= line.unit
		}
		drawn, err := plotter.NewLine(line.points)
		if err != nil {
			return err
		}
		drawn.Color, drawn.Width = line.color, vg.Points(2)
		p.Add(drawn)
		p.Legend.Add(line.name, drawn)
	}
	return p.Save(22*vg.Centimeter, 10*vg.Centimeter, path)
}
