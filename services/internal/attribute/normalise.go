package attribute

import (
	"math"
	"strconv"
	"strings"
)

// Type is the closed set of types that an agreement declares for an attribute.
type Type string

// The types.
const (
	TypeText    Type = "text"
	TypeInt     Type = "int"
	TypeBool    Type = "bool"
	TypeCountry Type = "country"
)

// Ranges: which end of "201-500" an int is.
const (
	RangeLow  = "low"
	RangeHigh = "high"
)

// Declaration says how the values of an attribute are read. The zero Declaration is that of an undeclared one: text.
type Declaration struct {
	Type  Type
	Range string // RangeLow (also ""), RangeHigh; int only
}

// Normalise reads a published value as the declared type. ok is false if it cannot be read so; then the attribute
// stays as it was. Absent, null and "" have no type and pass as None, Null and None: "" says nothing.
//
// The result is always Text (text, country), Int, Bool, None or Null, so a state needs no other kinds.
func Normalise(d Declaration, v Value) (Value, bool) {
	switch v.Kind {
	case None, Null:
		return Value{Kind: v.Kind}, true
	case Text:
		v.Str = strings.TrimSpace(v.Str)
		if v.Str == "" {
			return Value{}, true
		}
	case JSON:
		return Value{}, false
	case Int, Float, Bool:
	}
	switch d.Type {
	case TypeInt:
		return normaliseInt(d.Range, v)
	case TypeBool:
		return normaliseBool(v)
	case TypeCountry:
		if v.Kind != Text {
			return Value{}, false
		}
		code, ok := Country(v.Str)
		if !ok {
			return Value{}, false
		}
		return TextOf(code), true
	case TypeText:
	}
	return TextOf(v.String()), true
}

// normaliseBool reads the words that forms and CRMs use for true and false.
func normaliseBool(v Value) (Value, bool) {
	switch v.Kind {
	case Bool:
		return v, true
	case Int, Float:
		switch v.String() {
		case "1":
			return BoolOf(true), true
		case "0":
			return BoolOf(false), true
		}
	case Text:
		switch strings.ToLower(v.Str) {
		case "true", "yes", "y", "on", "1":
			return BoolOf(true), true
		case "false", "no", "n", "off", "0":
			return BoolOf(false), true
		}
	case None, Null, JSON:
	}
	return Value{}, false
}

// normaliseInt reads a whole number, or one end of a range of whole numbers: "201-500", "1,000+", "over 500", "< 50".
// Fractions are cut towards zero, since half an employee is none.
func normaliseInt(end string, v Value) (Value, bool) {
	switch v.Kind {
	case Int:
		return v, true
	case Float:
		if n, ok := wholePart(v.Str); ok {
			return IntOf(n), true
		}
	case Text:
		if n, ok := parseRange(end, v.Str); ok {
			return IntOf(n), true
		}
	case None, Null, Bool, JSON:
	}
	return Value{}, false
}

// wholePart is a JSON number cut to its whole part, by its digits where it has no exponent.
func wholePart(digits string) (int64, bool) {
	if !strings.ContainsAny(digits, "eE") {
		whole, _, _ := strings.Cut(digits, ".")
		n, err := strconv.ParseInt(whole, 10, 64)
		return n, err == nil
	}
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil || math.Abs(f) >= 1<<53 {
		return 0, false
	}
	return int64(f), true
}

// parseRange reads one number, or two with a dash or "to" between; below and above may be open.
func parseRange(end, s string) (int64, bool) {
	s = strings.ToLower(s)
	for _, dash := range []string{"–", "—", "‒", "−", " to ", " bis "} {
		s = strings.ReplaceAll(s, dash, "-")
	}
	s = strings.TrimSpace(strings.TrimSuffix(strings.TrimSuffix(s, "employees"), "mitarbeiter"))
	for _, open := range []string{"more than", "over", "at least", "from", "ab", "über", ">=", ">", "≥"} {
		if rest, ok := strings.CutPrefix(s, open); ok {
			return groupedInt(rest)
		}
	}
	for _, open := range []string{"less than", "under", "up to", "bis", "<=", "<", "≤"} {
		if rest, ok := strings.CutPrefix(s, open); ok {
			n, ok := groupedInt(rest)
			if ok && end != RangeHigh {
				n = 0
			}
			return n, ok
		}
	}
	if rest, ok := strings.CutSuffix(s, "+"); ok {
		return groupedInt(rest)
	}
	negative := strings.HasPrefix(s, "-")
	low, high, isRange := strings.Cut(strings.TrimPrefix(s, "-"), "-")
	a, ok := groupedInt(low)
	if !ok {
		return 0, false
	}
	if !isRange {
		if negative {
			a = -a
		}
		return a, true
	}
	b, ok := groupedInt(high)
	if !ok || negative || b < a {
		return 0, false
	}
	if end == RangeHigh {
		return b, true
	}
	return a, true
}

// groupedInt reads digits that may be grouped in threes by a comma, a dot, an apostrophe or a space: 1,000 and 1.000
// are both a thousand. A last group of another length is a fraction, which is cut: 12.5 is 12. A k or m multiplies.
func groupedInt(s string) (int64, bool) {
	s = strings.TrimSpace(s)
	times := int64(1)
	switch {
	case strings.HasSuffix(s, "k"):
		times, s = 1000, strings.TrimSpace(s[:len(s)-1])
	case strings.HasSuffix(s, "m"):
		times, s = 1_000_000, strings.TrimSpace(s[:len(s)-1])
	}
	for _, space := range []string{"\u00a0", "\u202f", "’"} {
		s = strings.ReplaceAll(s, space, " ")
	}
	groups := strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == '.' || r == '\'' || r == ' ' })
	if len(groups) == 0 || len(s) > 32 || s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	fraction := ""
	if last := groups[len(groups)-1]; len(groups) > 1 && len(last) != 3 {
		if len(groups) > 2 && len(groups[1]) != 3 {
			return 0, false
		}
		fraction, groups = last, groups[:len(groups)-1]
	}
	for i, g := range groups {
		if strings.Trim(g, "0123456789") != "" || i > 0 && len(g) != 3 || len(groups) > 1 && len(g) > 3 {
			return 0, false
		}
	}
	if strings.Trim(fraction, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.Join(groups, ""), 10, 64)
	if err != nil || n >= math.MaxInt64/times {
		return 0, false
	}
	n *= times
	// 1.5k is 1500: the fraction counts as far as the factor carries it.
	for _, c := range fraction {
		times /= 10
		n += int64(c-'0') * times
	}
	return n, true
}
