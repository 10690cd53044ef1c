package condition

import (
	"regexp"
	"strings"

	"github.com/leadbaton/baton/services/internal/attribute"
)

// Most conditions are of few shapes: a field compared with a literal, a prefix, a list of texts, these joined by &&, || and
// !. Such a condition is evaluated by tests, a small tree in Go, without CEL's values: tens of times faster than cel-go,
// and without an allocation. cel-go remains the judge of everything else. A test that meets what it was not made for (an
// object or a list, a value that is not of its declared type, a part of the condition that has no shape) says so, and
// cel-go evaluates the whole condition. So a shape is a shortcut, never a second meaning.

// truth is what a test comes to.
type truth uint8

const (
	no truth = iota
	yes
	failed // CEL's error: false and errored, unless || or && absorb it
	unsure // cel-go has to evaluate the whole condition
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// test is a condition, or a part of one, that is true or false.
type test interface{ eval(s *Scope) truth }

// ask stands for a part that has no shape.
type ask struct{}

func (ask) eval(*Scope) truth { return unsure }

// always is a literal.
type always bool

func (t always) eval(*Scope) truth { return truthOf(bool(t)) }

// all is &&: the first part that is false decides, whatever failed before it.
type all []test

func (t all) eval(s *Scope) truth {
	out := yes
	for _, part := range t {
		switch got := part.eval(s); got {
		case no, unsure:
			return got
		case failed:
			out = failed
		case yes:
		}
	}
	return out
}

// some is ||: the first part that is true decides, whatever failed before it.
type some []test

func (t some) eval(s *Scope) truth {
	out := no
	for _, part := range t {
		switch got := part.eval(s); got {
		case yes, unsure:
			return got
		case failed:
			out = failed
		case no:
		}
	}
	return out
}

// not is !.
type not struct{ of test }

func (t not) eval(s *Scope) truth {
	switch got := t.of.eval(s); got {
	case yes:
		return no
	case no:
		return yes
	default:
		return got
	}
}

// choice is ? and :.
type choice struct{ when, then, otherwise test }

func (t *choice) eval(s *Scope) truth {
	switch got := t.when.eval(s); got {
	case yes:
		return t.then.eval(s)
	case no:
		return t.otherwise.eval(s)
	default:
		return got
	}
}

// flag is a value that stands where true or false is wanted.
type flag struct{ of operand }

func (t *flag) eval(s *Scope) truth {
	var v attribute.Value
	switch ok := t.of.read(s, &v); {
	case ok != yes:
		return ok
	case v.Kind != attribute.Bool:
		return failed
	}
	return truthOf(v.Int != 0)
}

// present is has(), and a name `in` an object: any value is one, null too.
type present struct{ of operand }

func (t *present) eval(s *Scope) truth {
	of := t.of.object(s)
	return truthOf(of != nil && of.Lookup(t.of.name).Kind != attribute.None)
}

// equality is == or !=. Values of different kinds are not equal, and that is no error; numbers are numbers.
type equality struct {
	a, b   operand
	differ bool
}

func (t *equality) eval(s *Scope) truth {
	var a, b attribute.Value
	if ok := t.a.read(s, &a); ok != yes {
		return ok
	}
	if ok := t.b.read(s, &b); ok != yes {
		return ok
	}
	return truthOf(equal(&a, &b) != t.differ)
}

// isText is == or != of a field and a text: the most common test of all.
type isText struct {
	of     operand
	text   string
	differ bool
}

func (t *isText) eval(s *Scope) truth {
	var v attribute.Value
	if ok := t.of.read(s, &v); ok != yes {
		return ok
	}
	return truthOf((v.Kind == attribute.Text && v.Str == t.text) != t.differ)
}

// order is <, <=, > or >=.
type order struct {
	a, b operand
	// less, same and more say what the test comes to when a is that.
	less, same, more bool
}

func (t *order) eval(s *Scope) truth {
	var a, b attribute.Value
	if ok := t.a.read(s, &a); ok != yes {
		return ok
	}
	if ok := t.b.read(s, &b); ok != yes {
		return ok
	}
	switch c, ok := compare(&a, &b); {
	case ok != yes:
		return ok
	case c < 0:
		return truthOf(t.less)
	case c > 0:
		return truthOf(t.more)
	}
	return truthOf(t.same)
}

// affix is startsWith(), endsWith() or contains().
type affix struct {
	of, text operand
	holds    func(s, text string) bool
}

func (t *affix) eval(s *Scope) truth {
	var of, text attribute.Value
	if ok := t.of.read(s, &of); ok != yes {
		return ok
	}
	switch ok := t.text.read(s, &text); {
	case ok != yes:
		return ok
	case of.Kind != attribute.Text || text.Kind != attribute.Text:
		return failed
	}
	return truthOf(t.holds(of.Str, text.Str))
}

// prefix is startsWith() of a literal.
type prefix struct {
	of   operand
	text string
}

func (t *prefix) eval(s *Scope) truth {
	var v attribute.Value
	switch ok := t.of.read(s, &v); {
	case ok != yes:
		return ok
	case v.Kind != attribute.Text:
		return failed
	}
	return truthOf(strings.HasPrefix(v.Str, t.text))
}

// pattern is matches(). What it looks for is written out.
type pattern struct {
	of     operand
	regexp *regexp.Regexp
}

func (t *pattern) eval(s *Scope) truth {
	var v attribute.Value
	switch ok := t.of.read(s, &v); {
	case ok != yes:
		return ok
	case v.Kind != attribute.Text:
		return failed
	}
	return truthOf(t.regexp.MatchString(v.Str))
}

// among is `in` with a list of literals.
type among struct {
	of  operand
	set set
}

func (t *among) eval(s *Scope) truth {
	var v attribute.Value
	if ok := t.of.read(s, &v); ok != yes {
		return ok
	}
	return truthOf(t.set.holds(&v))
}
