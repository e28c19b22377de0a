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

// pictured are the contenders that the picture shows, and how. The table has all
// of them.
var pictured = []struct {
	contender string
	color     color.Color
	width     vg.Length
}{
	{"sessioncache, raw JSON", color.RGBA{R: 0x1f, G: 0x4e, B: 0x9c, A: 0xff}, vg.Points(3)},
	{"sessioncache, User", color.RGBA{R: 0x6c, G: 0x9b, B: 0xe0, A: 0xff}, vg.Points(3)},
	{"Redis, rueidis", color.RGBA{R: 0xc0, G: 0x39, B: 0x2b, A: 0xff}, vg.Points(1.5)},
	{"Redis, go-redis", color.RGBA{R: 0xe5, G: 0x98, B: 0x66, A: 0xff}, vg.Points(1.5)},
	{"scs pgxstore", color.RGBA{R: 0x4d, G: 0x4d, B: 0x4d, A: 0xff}, vg.Points(1.5)},
	{"gorilla pgstore", color.RGBA{R: 0xa6, G: 0xa6, B: 0xa6, A: 0xff}, vg.Points(1.5)},
}

// writePicture draws how many Gets a second the contenders do at each number of
// callers, if Gets were measured.
func (r report) writePicture(path string) error {
	gets := slices.DeleteFunc(slices.Clone(r.Results), func(one result) bool { return one.Operation != "get" })
	if len(gets) == 0 {
		return nil
	}
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.Title.Text = fmt.Sprintf("Session lookups a second, in thousands (%d CPUs for client and server together)", r.CPUs)
	p.Title.Padding = vg.Points(8)
	p.X.Label.Text = "callers at once"
	p.X.Scale = plot.LogScale{}
	p.Y.Min = 0
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

	for _, show := range pictured {
		var line plotter.XYs
		for _, one := range gets {
			if one.Contender == show.contender {
				line = append(line, plotter.XY{X: float64(one.Callers), Y: one.median(perSecond) / 1000})
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
		p.Legend.Add(show.contender, drawn, points)
	}
	return p.Save(22*vg.Centimeter, 12*vg.Centimeter, path)
}
