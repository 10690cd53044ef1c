// Package attribute is what is known of a lead, an account, an event: named values, as published.
package attribute

import "strconv"

// Kind is the closed set of kinds of a value.
type Kind uint8

// The kinds. Numbers of an event are Float; a field declared `int` is Int.
const (
	None Kind = iota // absent: the zero Value
	Null             // null: clears an attribute
	Text
	Int
	Float
	Bool
	JSON // an object or a list, kept as its JSON text
)

// Value is one value. It is small, comparable, and copied freely. The zero Value is absent.
type Value struct {
	Kind Kind
	Str  string  // Text, JSON; for Float the digits as published
	Int  int64   // Int; Bool as 0 or 1
	Num  float64 // Float; never stored in a state: a state keeps the digits
}

// TextOf returns a Text value.
func TextOf(s string) Value { return Value{Kind: Text, Str: s} }

// IntOf returns an Int value.
func IntOf(n int64) Value { return Value{Kind: Int, Int: n} }

// BoolOf returns a Bool value.
func BoolOf(b bool) Value {
	if b {
		return Value{Kind: Bool, Int: 1}
	}
	return Value{Kind: Bool}
}

// FloatOf returns a Float value from its digits, which must be a JSON number.
func FloatOf(digits string) Value {
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return Value{}
	}
	return Value{Kind: Float, Str: digits, Num: f}
}

// String returns the value as a person reads it; "" for None and Null.
func (v Value) String() string {
	switch v.Kind {
	case Text, JSON, Float:
		return v.Str
	case Int:
		return strconv.FormatInt(v.Int, 10)
	case Bool:
		if v.Int != 0 {
			return "true"
		}
		return "false"
	default:
		return ""
	}
}

// Object is a set of named values.
type Object interface {
	// Lookup returns the value of a name; None if it is not known.
	Lookup(name string) Value
}

// Map is the simplest Object.
type Map map[string]Value

// Lookup implements Object.
func (m Map) Lookup(name string) Value { return m[name] }
