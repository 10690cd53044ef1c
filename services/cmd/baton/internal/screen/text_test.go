package screen

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
)

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 12: "12", 12.5: "12.5", 0.05: "0.1", -0.05: "-0.1", 0.049: "0", -0.04: "0", 87.956: "88", 99.95: "100",
		-20.04: "-20", 100000000.04: "100000000", 1.15: "1.2", 2.675: "2.7",
	} {
		if got := Number(v); got != want {
			t.Errorf("Number(%v) = %s, want %s", v, got, want)
		}
	}
}

func TestWholeRoundsHalfUp(t *testing.T) {
	for v, want := range map[float64]string{79.5: "80", 79.499: "79", -0.5: "0", -0.501: "-1", 0: "0"} {
		if got := whole(v); got != want {
			t.Errorf("whole(%v) = %s, want %s", v, got, want)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", 72 * time.Millisecond: "70 ms", 994 * time.Millisecond: "990 ms", 996 * time.Millisecond: "1 s",
		2100 * time.Millisecond: "2.1 s", 59 * time.Second: "59 s", 2 * time.Minute: "2 min", 298 * time.Second: "4 min 58 s",
		42*time.Minute + 59*time.Second: "42 min", time.Hour: "1 h", 80 * time.Minute: "1 h 20 min", 30 * time.Hour: "30 h",
		72 * time.Hour: "3 days", -time.Minute: "-1 min",
	} {
		if got := Span(d); got != want {
			t.Errorf("Span(%d) = %s, want %s", d, got, want)
		}
	}
}

func TestAgo(t *testing.T) {
	now := time.Date(2026, 11, 16, 12, 0, 0, 0, time.UTC)
	p := New(&bytes.Buffer{}, now, false)
	for d, want := range map[time.Duration]string{
		0: "now", -400 * time.Millisecond: "now", -30 * time.Second: "30 s ago", -150 * time.Second: "2 min ago",
		-112 * time.Minute: "1 h 52 min ago", -5 * 24 * time.Hour: "5 days ago", -30 * 24 * time.Hour: "2026-10-17",
		298 * time.Second: "in 4 min 58 s", 299900 * time.Millisecond: "in 5 min", 40 * 24 * time.Hour: "2026-12-26",
	} {
		if got := p.Ago(timestamppb.New(now.Add(d))); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
	if got := p.Ago(nil); got != "" {
		t.Errorf("no time is %q", got)
	}
}

// What strangers typed must not steer the terminal of a rep.
func TestClean(t *testing.T) {
	for s, want := range map[string]string{
		"Ünïcode 日本": "Ünïcode 日本", "a\x1b[2Jb": "a·[2Jb", "one\r\ntwo\tthree": "one  two three", "\x00\x7f\u009b": "···",
		"left\u202eright": "left·right", "": "",
	} {
		if got := Clean(s); got != want {
			t.Errorf("Clean(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestWords(t *testing.T) {
	for _, w := range Words(leadv1.Held(0)) {
		n, ok := Parse(leadv1.Held(0), w)
		if !ok || Word(leadv1.Held(n)) != w {
			t.Errorf("%s does not read as what it was written from", w)
		}
	}
	if got := Word(handoffv1.Verb_VERB_HAND_OVER); got != "hand-over" {
		t.Errorf("hand-over is written %s", got)
	}
	for _, w := range []string{"", "unspecified", "no_path ", "NO PATH"} {
		if _, ok := Parse(leadv1.Held(0), w); ok {
			t.Errorf("%q is taken for a reason", w)
		}
	}
}

func TestColorOnlyWhereAskedFor(t *testing.T) {
	for _, color := range []bool{false, true} {
		var b bytes.Buffer
		p := New(&b, time.Unix(0, 0), color)
		p.Title("x")
		p.Offer(&handoffv1.Handoff{Id: "h-1"})
		if got := strings.Contains(b.String(), "\x1b["); got != color {
			t.Errorf("color %v: %q", color, b.String())
		}
	}
}
