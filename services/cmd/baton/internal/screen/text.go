package screen

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Clean returns s on one line and without what would steer a terminal: control characters, and those that turn the
// direction of writing.
func Clean(s string) string {
	bad := func(r rune) bool {
		return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || r == unicode.ReplacementChar
	}
	if strings.IndexFunc(s, bad) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case bad(r):
			return '·'
		}
		return r
	}, s)
}

// Number writes points with at most one decimal; halves are rounded away from zero.
func Number(v float64) string {
	return fromTenths(tenths(v))
}

// tenths returns v in tenths.
func tenths(v float64) int64 {
	// Points are thousandths: take them whole before rounding, so that 0.05 is a half.
	return divRound(int64(math.Round(v*1000)), 100)
}

func divRound(n, d int64) int64 {
	if n < 0 {
		return -divRound(-n, d)
	}
	return (n + d/2) / d
}

func fromTenths(n int64) string {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	s := sign + strconv.FormatInt(n/10, 10)
	if n%10 != 0 {
		s += "." + strconv.FormatInt(n%10, 10)
	}
	return s
}

// whole writes a score as it is shown beside a lead: rounded half up.
func whole(v float64) string {
	return strconv.FormatInt(int64(math.Floor(math.Round(v*1000)/1000+0.5)), 10)
}

// exact writes points to the thousandth, as they are.
func exact(v float64) string {
	return strconv.FormatFloat(math.Round(v*1000)/1000, 'f', -1, 64)
}

// Count writes a number of things: "1 lead", "1,204 leads".
func Count(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Grouped(n) + " " + many
}

// Grouped writes a number with its thousands set apart.
func Grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Span writes a length of time in its two largest units at most: "4 s", "2 min", "1 h 20 min", "3 days".
func Span(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Span(-d)
	case d < 10*time.Millisecond:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 995*time.Millisecond:
		return strconv.FormatInt(d.Round(10*time.Millisecond).Milliseconds(), 10) + " ms"
	case d < 10*time.Second:
		return strings.TrimSuffix(strconv.FormatFloat(d.Seconds(), 'f', 1, 64), ".0") + " s"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < 10*time.Minute:
		m, sec := int(d.Minutes()), int(d.Seconds())%60
		if sec == 0 {
			return strconv.Itoa(m) + " min"
		}
		return strconv.Itoa(m) + " min " + strconv.Itoa(sec) + " s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 10*time.Hour:
		h, m := int(d.Hours()), int(d.Minutes())%60
		if m == 0 {
			return strconv.Itoa(h) + " h"
		}
		return strconv.Itoa(h) + " h " + strconv.Itoa(m) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + " days"
}

// Ago writes an instant relative to Now: "2 min ago", "in 4 min 50 s"; "" if it is absent. What is past is told to
// the minute, since it only gets longer; what is further than three weeks away is a date.
func (p *Page) Ago(ts *timestamppb.Timestamp) string {
	if ts == nil {
		return ""
	}
	t := ts.AsTime()
	switch d := p.Now.Sub(t).Round(time.Second); {
	case d > 21*24*time.Hour || d < -21*24*time.Hour:
		return t.Format(time.DateOnly)
	case d >= time.Minute:
		return Span(d.Truncate(time.Minute)) + " ago"
	case d > 0:
		return Span(d) + " ago"
	case d < 0:
		return "in " + Span(-d)
	}
	return "now"
}

// instant writes when something was: relative, and as RFC 3339.
func (p *Page) instant(ts *timestamppb.Timestamp) string {
	if ts == nil {
		return ""
	}
	return p.Ago(ts) + " (" + stamp(ts) + ")"
}

func stamp(ts *timestamppb.Timestamp) string {
	return ts.AsTime().Truncate(time.Second).Format(time.RFC3339)
}

// Word returns the name of a value of an enumeration as people and the command line write it: "no-path" for
// HELD_NO_PATH of Held; "" for the one that is never written.
func Word(e protoreflect.Enum) string {
	v := e.Descriptor().Values().ByNumber(e.Number())
	if v == nil || e.Number() == 0 {
		return ""
	}
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(string(v.Name()), prefix(e))), "_", "-")
}

// Words returns those of all values of the enumeration of e.
func Words(e protoreflect.Enum) []string {
	var all []string
	values := e.Descriptor().Values()
	for i := range values.Len() {
		if v := values.Get(i); v.Number() != 0 {
			all = append(all, strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(string(v.Name()), prefix(e))), "_", "-"))
		}
	}
	return all
}

// Parse returns the number of the value that Word writes as word.
func Parse(e protoreflect.Enum, word string) (protoreflect.EnumNumber, bool) {
	name := protoreflect.Name(prefix(e) + strings.ReplaceAll(strings.ToUpper(word), "-", "_"))
	v := e.Descriptor().Values().ByName(name)
	if v == nil || v.Number() == 0 {
		return 0, false
	}
	return v.Number(), true
}

// prefix is what all values of an enumeration begin with.
func prefix(e protoreflect.Enum) string {
	return strings.TrimSuffix(string(e.Descriptor().Values().ByNumber(0).Name()), "UNSPECIFIED")
}

// sentence is Word with spaces.
func sentence(e protoreflect.Enum) string { return strings.ReplaceAll(Word(e), "-", " ") }

func join(parts ...string) string {
	kept := parts[:0:0]
	for _, s := range parts {
		if s != "" {
			kept = append(kept, s)
		}
	}
	return strings.Join(kept, ", ")
}
