package screen

import (
	"strings"
	"unicode/utf8"
)

// cell is one cell of a table.
type cell struct {
	text  string
	style style
}

// table writes rows in aligned columns, each row indented. A row may be shorter than others.
type table struct {
	p      *Page
	indent string
	right  map[int]bool // columns whose numbers are aligned at their end
	rows   [][]cell
}

func (p *Page) table(indent string, right ...int) *table {
	t := &table{p: p, indent: indent, right: map[int]bool{}}
	for _, c := range right {
		t.right[c] = true
	}
	return t
}

// head adds the row of titles.
func (t *table) head(titles ...string) {
	row := make([]cell, len(titles))
	for i, s := range titles {
		row[i] = cell{s, dim}
	}
	t.rows = append(t.rows, row)
}

// row adds a row of texts and cells.
func (t *table) row(cells ...any) {
	row := make([]cell, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case cell:
			row[i] = cell{Clean(c.text), c.style}
		case string:
			row[i] = cell{Clean(c), plain}
		}
	}
	t.rows = append(t.rows, row)
}

func (t *table) flush() {
	var widths []int
	for _, r := range t.rows {
		for i, c := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, r := range t.rows {
		last := len(r) - 1
		for last > 0 && r[last].text == "" {
			last--
		}
		var b strings.Builder
		b.WriteString(t.indent)
		for i, c := range r[:last+1] {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text))
			if t.right[i] {
				b.WriteString(pad)
			}
			b.WriteString(t.p.dress(c.style, c.text))
			if i == last {
				break
			}
			if !t.right[i] {
				b.WriteString(pad)
			}
			b.WriteString("  ")
		}
		t.p.line("%s", b.String())
	}
	t.rows = t.rows[:0]
}
