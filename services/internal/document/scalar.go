package document

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Text returns a text that is not empty. A bare number or true/false is an Error, since YAML may have changed it
// (007, 1e3): quotes make it a text.
func (n Node) Text() string {
	s, _ := n.text()
	return s
}

func (n Node) text() (string, bool) {
	s, ok := n.scalar("a text")
	if !ok {
		return "", false
	}
	switch n.y.Tag {
	case "!!int", "!!float", "!!bool":
		n.Errorf("must be a text, but is %s; put it in quotes", n.kind())
		return "", false
	}
	if strings.TrimSpace(s) == "" {
		n.Errorf("is empty; give a text or leave the key out")
		return "", false
	}
	return s, true
}

// ID returns a word of a-z, 0-9 and -, that does not begin with -, of at most 64 characters.
func (n Node) ID() string {
	s, ok := n.scalar("an id")
	if !ok {
		return ""
	}
	if !validID(s) {
		n.Errorf("%s is not an id: use a-z, 0-9 and -, at most 64, and do not begin with -", quote(s))
		return ""
	}
	return s
}

func validID(s string) bool {
	if s == "" || len(s) > 64 || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// Bool returns true or false.
func (n Node) Bool() bool {
	s, ok := n.scalar("true or false")
	if !ok {
		return false
	}
	switch {
	case n.y.Tag == "!!bool" && strings.EqualFold(s, "true"):
		return true
	case n.y.Tag == "!!bool" && strings.EqualFold(s, "false"):
		return false
	}
	n.Errorf("must be true or false, but is %s", n.kind())
	return false
}

// Int returns a whole number from low to high.
func (n Node) Int(low, high int64) int64 {
	s, ok := n.scalar("a whole number")
	if !ok {
		return 0
	}
	v, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil && !wholeNumber(s):
		n.Errorf("must be a whole number, but is %s", n.kind())
		return 0
	case err != nil || v < low || v > high:
		n.Errorf("must be from %d to %d, but is %s", low, high, s)
		return 0
	}
	return v
}

func wholeNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// Enum returns one of some words.
func (n Node) Enum(words ...string) string {
	s, ok := n.scalar("one of " + strings.Join(words, ", "))
	if !ok {
		return ""
	}
	for _, w := range words {
		if s == w {
			return s
		}
	}
	switch near := Nearest(s, words); {
	case len(words) == 1:
		n.Errorf("must be %s, but is %s", words[0], quote(s))
	case near != "" && len(words) > 6:
		n.Errorf("%s is not known here; did you mean %s?", quote(s), quote(near))
	case near != "":
		n.Errorf("%s is not one of %s; did you mean %s?", quote(s), strings.Join(words, ", "), quote(near))
	default:
		n.Errorf("%s is not one of %s", quote(s), strings.Join(words, ", "))
	}
	return ""
}

// MaxDuration is the longest duration of a document: a hundred years.
const MaxDuration = 100 * 365 * 24 * time.Hour

// Duration returns a duration of at least 0 and at most MaxDuration: a whole number with s, m, h, d (24 h) or w (7 d).
// A bare 0 is a duration too.
func (n Node) Duration() time.Duration { return n.DurationIn(0, MaxDuration) }

// DurationIn is Duration from low to high.
func (n Node) DurationIn(low, high time.Duration) time.Duration {
	s, ok := n.scalar("a duration")
	if !ok {
		return 0
	}
	d, err := ParseDuration(s)
	switch {
	case err != nil:
		n.Errorf("%v", err)
		return 0
	case d < low:
		n.Errorf("must be at least %s, but is %s", FormatDuration(low), s)
		return 0
	case d > high:
		n.Errorf("must be at most %s, but is %s", FormatDuration(high), s)
		return 0
	}
	return d
}

// ParseDuration reads a duration as documents write it: 30m, 4h, 14d, 2w, 60s, 0.
func ParseDuration(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	bad := fmt.Errorf("%s is not a duration; write a whole number with s, m, h, d or w, such as 30m, 4h, 14d, 2w", quote(s))
	if len(s) < 2 {
		return 0, bad
	}
	digits, unit := s[:len(s)-1], durationUnit(s[len(s)-1])
	if unit == 0 || strings.Trim(digits, "0123456789") != "" {
		return 0, bad
	}
	v, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || v > int64(MaxDuration/unit) {
		return 0, fmt.Errorf("%s is too long; a duration is at most %s", quote(s), FormatDuration(MaxDuration))
	}
	return time.Duration(v) * unit, nil
}

func durationUnit(c byte) time.Duration {
	switch c {
	case 's':
		return time.Second
	case 'm':
		return time.Minute
	case 'h':
		return time.Hour
	case 'd':
		return 24 * time.Hour
	case 'w':
		return 7 * 24 * time.Hour
	}
	return 0
}

// FormatDuration writes a duration as documents do, in the largest of d, h, m, s that is exact. Less than a second is
// written as Go does.
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	for _, c := range []byte("dhms") {
		if unit := durationUnit(c); d%unit == 0 {
			return strconv.FormatInt(int64(d/unit), 10) + string(c)
		}
	}
	return d.String()
}

// Percent returns the number before the % sign, from 0 to 1000.
func (n Node) Percent() int64 {
	s, ok := n.scalar("a share such as 50%")
	if !ok {
		return 0
	}
	digits, ok := strings.CutSuffix(s, "%")
	v, err := strconv.ParseInt(digits, 10, 64)
	if !ok || !wholeNumber(digits) || err != nil || v < 0 || v > 1000 {
		n.Errorf("must be a whole share from 0%% to 1000%%, such as 50%%, but is %s", n.kind())
		return 0
	}
	return v
}

// MaxPoints bounds the size of points, in thousandths.
const MaxPoints = 1_000_000 * 1000

// Points returns a number as exact thousandths, from -MaxPoints to MaxPoints.
func (n Node) Points() int64 { return n.Decimal(-MaxPoints, MaxPoints) }

// Decimal returns a number with at most 3 decimals as exact thousandths, from low to high, which are thousandths too.
func (n Node) Decimal(low, high int64) int64 {
	s, ok := n.scalar("a number")
	if !ok {
		return 0
	}
	v, err := ParseThousandths(s)
	switch {
	case err != nil:
		n.Errorf("%v", err)
		return 0
	case v < low || v > high:
		n.Errorf("must be from %s to %s, but is %s", FormatThousandths(low), FormatThousandths(high), s)
		return 0
	}
	return v
}

// ParseThousandths reads a decimal number such as -12.5 exactly, as thousandths: no exponent, at most 3 decimals.
func ParseThousandths(s string) (int64, error) {
	digits, negative := strings.CutPrefix(s, "-")
	whole, fraction, point := strings.Cut(digits, ".")
	if whole == "" || point && fraction == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return 0, fmt.Errorf("%s is not a number such as 15, -20 or 2.5", quote(s))
	}
	if len(fraction) > 3 {
		return 0, fmt.Errorf("%s has more than 3 decimals; a thousandth is the smallest share of a point", quote(s))
	}
	v, err := strconv.ParseInt(whole+fraction+"000"[len(fraction):], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is too large", quote(s))
	}
	if negative {
		v = -v
	}
	return v, nil
}

// FormatThousandths writes thousandths as the shortest decimal number.
func FormatThousandths(v int64) string {
	sign := ""
	u := uint64(v)
	if v < 0 {
		sign, u = "-", -u
	}
	s := sign + strconv.FormatUint(u/1000, 10)
	if r := u % 1000; r != 0 {
		s += strings.TrimRight(fmt.Sprintf(".%03d", r), "0")
	}
	return s
}

// Date is a day of the calendar, in no zone.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// IsZero says whether no date was given.
func (d Date) IsZero() bool { return d == Date{} }

// In returns the date's first instant in a zone.
func (d Date) In(zone *time.Location) time.Time {
	return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, zone)
}

// Compare is negative, 0 or positive as d is before, the same as, or after e.
func (d Date) Compare(e Date) int { return d.In(time.UTC).Compare(e.In(time.UTC)) }

// String is the date as documents write it.
func (d Date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day) }

// Date returns a date, written 2026-12-21.
func (n Node) Date() Date {
	s, ok := n.scalar("a date")
	if !ok {
		return Date{}
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil || t.Year() < 1970 {
		n.Errorf("%s is not a date of the calendar; write it as 2026-12-21", quote(s))
		return Date{}
	}
	year, month, day := t.Date()
	return Date{Year: year, Month: month, Day: day}
}

// TimeOfDay returns the minutes since midnight of a time from "00:00" to "24:00".
func (n Node) TimeOfDay() int {
	s, ok := n.scalar("a time of the day")
	if !ok {
		return 0
	}
	hour, minute, ok := strings.Cut(s, ":")
	h, err1 := strconv.Atoi(hour)
	m, err2 := strconv.Atoi(minute)
	if !ok || len(hour) != 2 || len(minute) != 2 || err1 != nil || err2 != nil || !wholeNumber(hour) || !wholeNumber(minute) ||
		h < 0 || m < 0 || m > 59 || h*60+m > 24*60 {
		n.Errorf(`%s is not a time of the day; write it as "09:00", to "24:00" at the latest`, quote(s))
		return 0
	}
	return h*60 + m
}

// jsonScalar is Value of a scalar.
func (n Node) jsonScalar() any {
	s := n.y.Value
	switch n.y.Tag {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(s, "true")
	case "!!int", "!!float":
		if json.Valid([]byte(s)) {
			return json.Number(s)
		}
		var f float64
		if err := n.y.Decode(&f); err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			n.Errorf("must be a number that JSON knows, but is %s", quote(s))
			return nil
		}
		return json.Number(strconv.FormatFloat(f, 'f', -1, 64))
	default:
		return s
	}
}
