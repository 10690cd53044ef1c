package condition

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/leadbaton/baton/services/internal/attribute"
)

// operand is where a test has a value from.
type operand struct {
	from origin
	// name is that of the field, of an object.
	name string
	// kind is the one that the field's declaration promises; None if it promises nothing.
	kind attribute.Kind
	// literal is the value of a literal.
	literal attribute.Value
	// size says that not the text is wanted but how many characters it has.
	size bool
}

// origin is the closed set of what a value is from.
type origin uint8

const (
	fromLiteral origin = iota
	fromEvent
	fromLead
	fromAccount
	fromCampaign
	fromSource
	fromScore
	fromGrade
	fromPath
	fromAgreement
)

// origins are the variables by their names.
var origins = map[string]origin{
	"event": fromEvent, "lead": fromLead, "account": fromAccount, "campaign": fromCampaign,
	"source": fromSource, "score": fromScore, "grade": fromGrade, "path": fromPath, "agreement": fromAgreement,
}

// isObject says whether values are fields of it.
func (o origin) isObject() bool { return o >= fromEvent && o <= fromCampaign }

func (o *operand) object(s *Scope) attribute.Object {
	switch o.from {
	case fromEvent:
		return s.Event
	case fromLead:
		return s.Lead
	case fromAccount:
		return s.Account
	case fromCampaign:
		return s.Campaign
	default:
		return nil
	}
}

// read finds the value. It returns yes, failed if there is none, or unsure if it is no scalar or not of its declared kind.
func (o *operand) read(s *Scope, v *attribute.Value) truth {
	switch {
	case o.size:
		return o.characters(s, v)
	case o.from.isObject():
		return o.field(s, v)
	}
	switch o.from {
	case fromSource:
		*v = attribute.TextOf(s.Source)
	case fromScore:
		*v = attribute.Value{Kind: attribute.Float, Num: s.Score}
	case fromGrade:
		*v = attribute.TextOf(s.Grade)
	case fromPath:
		*v = attribute.TextOf(s.Path)
	case fromAgreement:
		*v = attribute.TextOf(s.Agreement)
	default:
		*v = o.literal
	}
	return yes
}

func (o *operand) field(s *Scope, v *attribute.Value) truth {
	of := o.object(s)
	if of == nil {
		return failed
	}
	*v = of.Lookup(o.name)
	switch {
	case v.Kind == attribute.None:
		return failed
	case v.Kind == attribute.JSON, o.kind != attribute.None && v.Kind != o.kind:
		return unsure
	}
	return yes
}

// characters is size() of a text.
func (o *operand) characters(s *Scope, v *attribute.Value) truth {
	text := *o
	text.size = false
	switch ok := text.read(s, v); {
	case ok != yes:
		return ok
	case v.Kind != attribute.Text:
		return unsure
	}
	*v = attribute.IntOf(int64(utf8.RuneCountInString(v.Str)))
	return yes
}

// equal is CEL's == of scalars that are there.
func equal(a, b *attribute.Value) bool {
	switch {
	case isNumber(a) && isNumber(b):
		c, ok := compareNumbers(a, b)
		return ok && c == 0
	case a.Kind != b.Kind:
		return false
	case a.Kind == attribute.Text:
		return a.Str == b.Str
	case a.Kind == attribute.Bool:
		return bit(a) == bit(b)
	}
	return true // null
}

// compare is CEL's order of two scalars. ok is failed if they have none. Nothing is true of what is not a number.
func compare(a, b *attribute.Value) (c int, ok truth) {
	switch {
	case a.Kind == attribute.Null:
		return 0, failed
	case isNaN(a) || isNaN(b):
		return 0, no
	case isNumber(a) && isNumber(b):
		c, _ = compareNumbers(a, b)
		return c, yes
	case a.Kind != b.Kind:
		return 0, failed
	case a.Kind == attribute.Text:
		return strings.Compare(a.Str, b.Str), yes
	case a.Kind == attribute.Bool:
		return bit(a) - bit(b), yes
	}
	return 0, failed
}

// bit returns 1 for true, 0 for false.
func bit(v *attribute.Value) int {
	if v.Int != 0 {
		return 1
	}
	return 0
}

func isNumber(v *attribute.Value) bool { return v.Kind == attribute.Int || v.Kind == attribute.Float }

func isNaN(v *attribute.Value) bool { return v.Kind == attribute.Float && math.IsNaN(v.Num) }

// compareNumbers compares as CEL does: a whole number with a double as doubles, once the double is within the range of
// whole numbers. ok is false for what is not a number.
func compareNumbers(a, b *attribute.Value) (c int, ok bool) {
	switch {
	case isNaN(a) || isNaN(b):
		return 0, false
	case a.Kind == attribute.Int && b.Kind == attribute.Int:
		return cmp.Compare(a.Int, b.Int), true
	case a.Kind == attribute.Int:
		return -compareWithInt(b.Num, a.Int), true
	case b.Kind == attribute.Int:
		return compareWithInt(a.Num, b.Int), true
	}
	return cmp.Compare(a.Num, b.Num), true
}

func compareWithInt(d float64, n int64) int {
	switch {
	case d < math.MinInt64:
		return -1
	case d > math.MaxInt64:
		return 1
	}
	return cmp.Compare(d, float64(n))
}

// set is a list of literals, sorted by kind.
type set struct {
	texts  []string
	ints   []int64
	floats []float64
	bools  [2]bool // false, true
}

// add puts a literal in. Numbers are found by their value, whichever kind they are of.
func (s *set) add(v *attribute.Value) {
	switch v.Kind {
	case attribute.Text:
		s.texts = append(s.texts, v.Str)
	case attribute.Int:
		s.ints = append(s.ints, v.Int)
		s.floats = append(s.floats, float64(v.Int))
	case attribute.Float:
		s.floats = append(s.floats, v.Num)
		// The bounds themselves are no whole number that a double can be told from its neighbours by.
		if n := int64(v.Num); v.Num > math.MinInt64 && v.Num < math.MaxInt64 && float64(n) == v.Num {
			s.ints = append(s.ints, n)
		}
	case attribute.Bool:
		s.bools[bit(v)] = true
	case attribute.None, attribute.Null, attribute.JSON:
	}
}

func (s *set) sort() {
	slices.Sort(s.texts)
	slices.Sort(s.ints)
	slices.Sort(s.floats)
}

// few is up to how many texts are compared one by one.
const few = 8

func (s *set) holds(v *attribute.Value) (found bool) {
	switch v.Kind {
	case attribute.Text:
		if len(s.texts) <= few {
			for _, t := range s.texts {
				if t == v.Str {
					return true
				}
			}
			return false
		}
		_, found = slices.BinarySearch(s.texts, v.Str)
	case attribute.Int:
		_, found = slices.BinarySearch(s.ints, v.Int)
	case attribute.Float:
		if !math.IsNaN(v.Num) {
			_, found = slices.BinarySearch(s.floats, v.Num)
		}
	case attribute.Bool:
		found = s.bools[bit(v)]
	case attribute.None, attribute.Null, attribute.JSON:
	}
	return found
}
