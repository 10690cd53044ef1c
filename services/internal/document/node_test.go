package document

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"encoding/json"
)

// only returns the root of a document that holds one value under the key v, and the document.
func only(t *testing.T, value string) (*Document, Node) {
	t.Helper()
	d := Parse([]byte("v: " + value + "\n"))
	if fs := d.Findings(); len(fs) > 0 {
		t.Fatalf("%s: %v", value, fs)
	}
	return d, d.Root().Map().Get("v")
}

func TestScalars(t *testing.T) {
	day := 24 * time.Hour
	for _, c := range []struct {
		in   string
		read func(Node) any
		want any
		says string // of the finding; "" = none
	}{
		{"30m", dur, 30 * time.Minute, ""},
		{"4h", dur, 4 * time.Hour, ""},
		{"14d", dur, 14 * day, ""},
		{"2w", dur, 14 * day, ""},
		{"60s", dur, time.Minute, ""},
		{"0s", dur, time.Duration(0), ""},
		{"0", dur, time.Duration(0), ""},
		{`"7d"`, dur, 7 * day, ""},
		{"15", dur, time.Duration(0), `"15" is not a duration; write a whole number with s, m, h, d or w, such as 30m, 4h, 14d, 2w`},
		{"1.5h", dur, time.Duration(0), "is not a duration"},
		{"1h30m", dur, time.Duration(0), "is not a duration"},
		{"-5m", dur, time.Duration(0), "is not a duration"},
		{"+5m", dur, time.Duration(0), "is not a duration"},
		{"5 m", dur, time.Duration(0), "is not a duration"},
		{"5y", dur, time.Duration(0), "is not a duration"},
		{"m", dur, time.Duration(0), "is not a duration"},
		{"99999999999999999999d", dur, time.Duration(0), "is too long; a duration is at most 36500d"},
		{"36501d", dur, time.Duration(0), "is too long"},
		{"[1h]", dur, time.Duration(0), "must be a duration, but is a list"},

		{"15", pts, int64(15000), ""},
		{"-20", pts, int64(-20000), ""},
		{"2.5", pts, int64(2500), ""},
		{"0.001", pts, int64(1), ""},
		{"-0.001", pts, int64(-1), ""},
		{"1000000", pts, int64(1_000_000_000), ""},
		{"0.1", pts, int64(100), ""},
		{"1000000.001", pts, int64(0), "must be from -1000000 to 1000000, but is 1000000.001"},
		{"0.0001", pts, int64(0), "has more than 3 decimals"},
		{"1e3", pts, int64(0), "is not a number such as"},
		{".5", pts, int64(0), "is not a number such as"},
		{"5.", pts, int64(0), "is not a number such as"},
		{"0x10", pts, int64(0), "is not a number such as"},
		{"1_000", pts, int64(0), "is not a number such as"},
		{".inf", pts, int64(0), "is not a number such as"},
		{"99999999999999999999", pts, int64(0), "is too large"},
		{"many", pts, int64(0), `"many" is not a number such as`},

		{"50%", func(n Node) any { return n.Percent() }, int64(50), ""},
		{"200%", func(n Node) any { return n.Percent() }, int64(200), ""},
		{"50", func(n Node) any { return n.Percent() }, int64(0), "must be a whole share"},
		{"0.5%", func(n Node) any { return n.Percent() }, int64(0), "must be a whole share"},
		{"-5%", func(n Node) any { return n.Percent() }, int64(0), "must be a whole share"},
		{"2000%", func(n Node) any { return n.Percent() }, int64(0), "must be a whole share"},

		{"hello", text, "hello", ""},
		{"no", text, "no", ""},
		{`"007"`, text, "007", ""},
		{"007", text, "", "must be a text, but is the number \"007\"; put it in quotes"},
		{"true", text, "", "must be a text, but is true; put it in quotes"},
		{`""`, text, "", "is empty"},
		{"{a: b}", text, "", "must be a text, but is a map"},

		{"hand-raise", id, "hand-raise", ""},
		{"3d", id, "3d", ""},
		{"Hand", id, "", "is not an id"},
		{"-x", id, "", "is not an id"},
		{"a_b", id, "", "is not an id"},
		{strings.Repeat("a", 65), id, "", "is not an id"},

		{"true", func(n Node) any { return n.Bool() }, true, ""},
		{"false", func(n Node) any { return n.Bool() }, false, ""},
		{"yes", func(n Node) any { return n.Bool() }, false, `must be true or false, but is "yes"`},
		{`"true"`, func(n Node) any { return n.Bool() }, false, "must be true or false"},

		{"40", whole, int64(40), ""},
		{"-1", whole, int64(0), "must be from 1 to 100, but is -1"},
		{"101", whole, int64(0), "must be from 1 to 100, but is 101"},
		{"4.5", whole, int64(0), "must be a whole number, but is the number"},
		{"99999999999999999999", whole, int64(0), "must be from 1 to 100"},

		{"wall", enum, "wall", ""},
		{"workng", enum, "", `"workng" is not one of wall, working; did you mean "working"?`},
		{"moon", enum, "", `"moon" is not one of wall, working`},
		{"3", enum, "", `"3" is not one of wall, working`},

		{"2026-12-21", date, Date{2026, time.December, 21}, ""},
		{`"2026-12-21"`, date, Date{2026, time.December, 21}, ""},
		{"2026-02-30", date, Date{}, "is not a date of the calendar"},
		{"21.12.2026", date, Date{}, "is not a date of the calendar"},
		{"2026-12-21T00:00:00Z", date, Date{}, "is not a date of the calendar"},

		{`"09:00"`, timeOfDay, 540, ""},
		{`"24:00"`, timeOfDay, 1440, ""},
		{`"24:01"`, timeOfDay, 0, "is not a time of the day"},
		{`"9:00"`, timeOfDay, 0, "is not a time of the day"},
		{`"09:60"`, timeOfDay, 0, "is not a time of the day"},
		{`"-1:00"`, timeOfDay, 0, "is not a time of the day"},
		{`"+1:+1"`, timeOfDay, 0, "is not a time of the day"},
	} {
		d, n := only(t, c.in)
		if got := c.read(n); got != c.want {
			t.Errorf("%s = %v; want %v", c.in, got, c.want)
		}
		got := render(d.Findings())
		if c.says == "" && got != "" || !strings.Contains(got, c.says) {
			t.Errorf("%s: found %q; want %q", c.in, got, c.says)
		}
	}
}

func dur(n Node) any       { return n.Duration() }
func pts(n Node) any       { return n.Points() }
func text(n Node) any      { return n.Text() }
func id(n Node) any        { return n.ID() }
func whole(n Node) any     { return n.Int(1, 100) }
func enum(n Node) any      { return n.Enum("wall", "working") }
func date(n Node) any      { return n.Date() }
func timeOfDay(n Node) any { return n.TimeOfDay() }

func TestFormat(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 90 * time.Second: "90s", time.Hour: "1h", 36 * time.Hour: "36h", 336 * time.Hour: "14d", time.Millisecond: "1ms",
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%d) = %s; want %s", d, got, want)
		}
	}
	for v, want := range map[int64]string{0: "0", 1: "0.001", -1: "-0.001", 1500: "1.5", -20000: "-20", 100: "0.1", -1 << 63: "-9223372036854775.808"} {
		if got := FormatThousandths(v); got != want {
			t.Errorf("FormatThousandths(%d) = %s; want %s", v, got, want)
		}
	}
	if got := (Date{2026, time.March, 1}).String(); got != "2026-03-01" {
		t.Errorf("Date = %s", got)
	}
}

func TestMap(t *testing.T) {
	d := Parse([]byte(strings.TrimLeft(`
name: b2b
holflife: 3d
owner:
rules:
  - {id: one, points: 3}
  - {points: 4, extra: 1}
  - five
`, "\n")))
	m := d.Root().Map()
	if got := m.ID("name", Required); got != "b2b" {
		t.Errorf("name = %q", got)
	}
	m.Duration("halfLife", Required)
	m.Text("owner")
	for _, item := range m.List("rules", NotInForce) {
		r := item.Map()
		r.ID("id", Required)
		r.Points("points", Required)
		r.Done()
	}
	m.Done()
	want := strings.TrimLeft(`
1:1: error: document: the key "halfLife" is missing
2:1: error: holflife: unknown key "holflife"; did you mean "halfLife"?
3:1: error: owner: has no value; give it one or leave the key out
4:1: warning: rules: parsed and checked, but not yet in force in this version
6:5: error: rules[1]: the key "id" is missing
6:17: error: rules[1].extra: unknown key "extra"; known here: id, points
7:5: error: rules[2]: must be a map (key: value), but is "five"
`, "\n")
	if got := render(d.Findings()); got != want {
		t.Errorf("found:\n%swant:\n%s", got, want)
	}
}

func TestEntriesAreInTheOrderOfTheDocument(t *testing.T) {
	m := Parse([]byte("type: x\nb: 1\na: 2\n")).Root().Map()
	m.Text("type")
	var keys []string
	for _, e := range m.Entries() {
		keys = append(keys, e.Key)
	}
	if !reflect.DeepEqual(keys, []string{"b", "a"}) || len(m.Entries()) != 0 {
		t.Errorf("keys = %v", keys)
	}
}

func TestValue(t *testing.T) {
	_, n := only(t, `{a: [1, 2.50, 0x10, .5, true, no, "3", null, 2026-01-01], b: {c: -7}}`)
	got, err := json.Marshal(n.Value())
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"a":[1,2.50,16,0.5,true,"no","3",null,"2026-01-01"],"b":{"c":-7}}`; string(got) != want {
		t.Errorf("Value = %s; want %s", got, want)
	}
	d, n := only(t, ".nan")
	if n.Value() != nil || !Invalid(d.Findings()) {
		t.Error("not a number is no JSON")
	}
}

// Findings within a text point at the character, whichever way the text is written.
func TestErrorWithin(t *testing.T) {
	for doc, want := range map[string]string{
		"v: abcdef\n":            "1:6: error: v: here\n",
		"v: 'abcdef'\n":          "1:7: error: v: here\n",
		"v: 'a''cdef'\n":         "1:8: error: v: here\n",
		`v: "a\"cdef"` + "\n":    "1:8: error: v: here\n",
		`v: "\u0041bcde"` + "\n": "1:12: error: v: here\n",
		"v: |\n  abcdef\n":       "2:5: error: v: here\n",
		"v: >-\n  abcdef\n":      "2:1: error: v: here\n",
	} {
		d := Parse([]byte(doc))
		d.Root().Map().Get("v").ErrorWithin(1, 3, "here")
		if got := render(d.Findings()); got != want {
			t.Errorf("%q: %s; want %s", doc, got, want)
		}
	}
	d := Parse([]byte("v: |\n    one\n    two\n"))
	d.Root().Map().Get("v").ErrorWithin(2, 2, "here")
	if got, want := render(d.Findings()), "3:6: error: v: here\n"; got != want {
		t.Errorf("second line of a block: %s; want %s", got, want)
	}
}

func TestNearest(t *testing.T) {
	words := []string{"halfLife", "points", "group", "on"}
	for s, want := range map[string]string{
		"halflife": "halfLife", "pionts": "points", "groups": "group", "in": "on", "colour": "", "": "", "x": "",
	} {
		if got := Nearest(s, words); got != want {
			t.Errorf("Nearest(%q) = %q; want %q", s, got, want)
		}
	}
}
