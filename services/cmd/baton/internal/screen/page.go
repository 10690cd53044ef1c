// Package screen writes Baton's public messages as people read them in a terminal: aligned, with relative times, and with
// colour only where it is asked for. It reads no clock: a Page has the instant that "2 min ago" counts from.
//
// Much of what it shows was typed by strangers into web forms, so no text reaches the terminal with control characters.
package screen

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Page writes to one terminal, pipe or file.
type Page struct {
	// Now is what relative times count from.
	Now time.Time
	// Color says whether colours are wanted.
	Color bool

	w   io.Writer
	err error
}

// New returns a Page on w.
func New(w io.Writer, now time.Time, color bool) *Page { return &Page{Now: now, Color: color, w: w} }

// Err returns the first error of the writer.
func (p *Page) Err() error { return p.err }

// style is the closed set of looks.
type style uint8

const (
	plain style = iota
	bold
	dim
	good
	bad
	note
)

var codes = [...]string{plain: "", bold: "1", dim: "2", good: "32", bad: "31", note: "33"}

// dress returns s in a style.
func (p *Page) dress(st style, s string) string {
	if !p.Color || st == plain || s == "" {
		return s
	}
	return "\x1b[" + codes[st] + "m" + s + "\x1b[0m"
}

func (p *Page) print(s string) {
	if p.err == nil {
		_, p.err = io.WriteString(p.w, s)
	}
}

// line writes one line; the format's arguments must be clean already.
func (p *Page) line(format string, args ...any) {
	p.print(strings.TrimRight(fmt.Sprintf(format, args...), " ") + "\n")
}

// Say writes one line as it is.
func (p *Page) Say(format string, args ...any) { p.line(format, args...) }

// Title writes a line that heads what follows.
func (p *Page) Title(s string) { p.line("%s", p.dress(bold, Clean(s))) }

// Warn writes a line that asks for attention.
func (p *Page) Warn(format string, args ...any) {
	p.line("%s", p.dress(note, fmt.Sprintf(format, args...)))
}

func (p *Page) gap() { p.print("\n") }
