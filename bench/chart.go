package main

import (
	"fmt"
	"html"
	"strings"
)

// panel is a group of bars in the chart.
type panel struct {
	title string
	bars  []bar
}

type bar struct {
	name  string
	value float64
	unit  unit
}

func (f figure) drawn(p *panel) figure {
	f.panel = p
	return f
}

// The chart's measures, in pixels.
const (
	chartWidth  = 760
	chartMargin = 24
	labelWidth  = 190
	valueWidth  = 80
	barHeight   = 18
	barPitch    = 26
	titleHeight = 34
	panelGap    = 22
	headHeight  = 58
)

const chartStyle = `
  .page { fill: #ffffff } .text { fill: #1f2328 } .faint { fill: #59636e } .axis { stroke: #d1d9e0 }
  .ours { fill: #0d7d6c } .ours2 { fill: #74b8ab } .theirs { fill: #b4bcc6 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } .text { fill: #f0f6fc } .faint { fill: #9198a1 } .axis { stroke: #3d444d }
    .ours { fill: #2fb39b } .ours2 { fill: #1f6d60 } .theirs { fill: #545d68 }
  }
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
  .head { font-size: 17px; font-weight: 600 } .title { font-weight: 600 } .value { font-variant-numeric: tabular-nums }
`

// chart draws the panels as one SVG, for light and dark pages.
func (r *report) chart() string {
	height := headHeight + chartMargin
	for _, p := range r.panels {
		height += titleHeight + len(p.bars)*barPitch + panelGap
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="t d">`,
		chartWidth, height, chartWidth, height)
	fmt.Fprintf(&b, "\n<title id=\"t\">Pazzo beside scs and gorilla/sessions, over Redis</title>\n<desc id=\"d\">%s</desc>\n<style>%s</style>\n",
		html.EscapeString(r.inWords()), chartStyle)
	fmt.Fprintf(&b, `<rect class="page" width="%d" height="%d" rx="8"/>`+"\n", chartWidth, height)
	fmt.Fprintf(&b, `<text class="text head" x="%d" y="34">Pazzo beside its peers, over Redis</text>`+"\n", chartMargin)
	fmt.Fprintf(&b, `<text class="faint" x="%d" y="54">net/http, 64 requests in flight with one cookie; rates as multiples of scs's</text>`+"\n", chartMargin)
	y := headHeight + panelGap/2
	for _, p := range r.panels {
		y = p.draw(&b, y)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// draw returns where the next panel begins.
func (p *panel) draw(b *strings.Builder, y int) int {
	most := 0.0
	for _, bar := range p.bars {
		most = max(most, bar.value)
	}
	fmt.Fprintf(b, `<text class="text title" x="%d" y="%d">%s</text>`+"\n", chartMargin, y+20, html.EscapeString(p.title))
	y += titleHeight
	left := chartMargin + labelWidth
	room := float64(chartWidth - left - valueWidth - chartMargin)
	fmt.Fprintf(b, `<line class="axis" x1="%d" y1="%d" x2="%d" y2="%d"/>`+"\n", left, y-4, left, y+len(p.bars)*barPitch-4)
	for _, bar := range p.bars {
		width := 0.0
		if most > 0 {
			width = room * bar.value / most
		}
		fmt.Fprintf(b, `<text class="text" x="%d" y="%d" text-anchor="end">%s</text>`, left-10, y+14, html.EscapeString(bar.name))
		if width > 0 {
			fmt.Fprintf(b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, bar.class(), left, y, width, barHeight)
		}
		fmt.Fprintf(b, `<text class="text value" x="%.1f" y="%d">%s</text>`+"\n", float64(left)+width+8, y+14, bar.unit.format(bar.value))
		y += barPitch
	}
	return y + panelGap
}

func (b bar) class() string {
	switch {
	case b.name == namePazzo:
		return "ours"
	case strings.HasPrefix(b.name, namePazzo):
		return "ours2"
	}
	return "theirs"
}

// inWords says what the chart shows, for those who cannot see it.
func (r *report) inWords() string {
	var lines []string
	for _, p := range r.panels {
		var bars []string
		for _, bar := range p.bars {
			bars = append(bars, bar.name+" "+bar.unit.format(bar.value))
		}
		lines = append(lines, p.title+": "+strings.Join(bars, ", "))
	}
	return strings.Join(lines, ". ") + "."
}
