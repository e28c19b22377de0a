package main

import (
	"fmt"
	"image/color"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// plotted are the targets that the chart shows, and how. The table has all of them.
var plotted = []struct {
	target string
	color  color.Color
	width  vg.Length
}{
	{"sessioncache, near cache", color.RGBA{R: 0x1f, G: 0x4e, B: 0x9c, A: 0xff}, vg.Points(3)},
	{"Redis, rueidis with client-side caching", color.RGBA{R: 0xe5, G: 0x98, B: 0x66, A: 0xff}, vg.Points(1.5)},
	{"sessioncache, raw JSON", color.RGBA{R: 0x6c, G: 0x9b, B: 0xe0, A: 0xff}, vg.Points(3)},
	{"Redis, rueidis", color.RGBA{R: 0xc0, G: 0x39, B: 0x2b, A: 0xff}, vg.Points(1.5)},
	{"scs pgxstore", color.RGBA{R: 0x4d, G: 0x4d, B: 0x4d, A: 0xff}, vg.Points(1.5)},
}

// writeChart draws how many Gets of hot sessions a second the targets do at each number of
// callers, if they were measured.
func (r report) writeChart(path string) error {
	gets := slices.DeleteFunc(slices.Clone(r.Results), func(one result) bool { return one.Operation != getHot || one.Hot != hotSessions })
	if len(gets) == 0 {
		return nil
	}
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.Title.Text = fmt.Sprintf("Lookups of %d hot sessions a second (%d CPUs for client and server together)", hotSessions, r.CPUs)
	p.Title.Padding = vg.Points(8)
	p.X.Label.Text = "callers at once"
	p.X.Scale = plot.LogScale{}
	p.Y.Scale = plot.LogScale{}
	p.Y.Tick.Marker = plot.ConstantTicks{{Value: 1e4, Label: "10,000"}, {Value: 1e5, Label: "100,000"}, {Value: 1e6, Label: "1 million"}, {Value: 1e7, Label: "10 million"}}
	p.Add(plotter.NewGrid())
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.XOffs, p.Legend.Padding = vg.Points(12), vg.Points(3)

	ticks := map[int]plot.Tick{}
	for _, one := range gets {
		ticks[one.Callers] = plot.Tick{Value: float64(one.Callers), Label: strconv.Itoa(one.Callers)}
	}
	var marks plot.ConstantTicks
	for _, tick := range ticks {
		marks = append(marks, tick)
	}
	p.X.Tick.Marker = marks

	for _, show := range plotted {
		var line plotter.XYs
		for _, one := range gets {
			if one.Target == show.target {
				line = append(line, plotter.XY{X: float64(one.Callers), Y: one.median(perSecond)})
			}
		}
		if line == nil {
			continue // Redis, where there is none
		}
		drawn, points, err := plotter.NewLinePoints(line)
		if err != nil {
			return err
		}
		drawn.Color, drawn.Width = show.color, show.width
		points.Color, points.Shape, points.Radius = show.color, draw.CircleGlyph{}, vg.Points(2.5)
		p.Add(drawn, points)
		p.Legend.Add(show.target, drawn, points)
	}
	p.X.Max *= 1.2                                            // or the last label is cut off at the edge
	p.Y.Min, p.Y.Max = min(p.Y.Min, 1e4), max(p.Y.Max, 1e7)*5 // with room for the legend
	return p.Save(22*vg.Centimeter, 12*vg.Centimeter, path)
}
