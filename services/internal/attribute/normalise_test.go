package attribute

import (
	"math"
	"testing"
)

// What forms, CRMs and enrichment services send, and how it is read.
func TestNormalise(t *testing.T) {
	low := Declaration{Type: TypeInt, Range: RangeLow}
	high := Declaration{Type: TypeInt, Range: RangeHigh}
	plain := Declaration{Type: TypeInt}
	boolean := Declaration{Type: TypeBool}
	country := Declaration{Type: TypeCountry}
	unreadable := Value{Kind: 255} // marks ok = false in the table
	for _, c := range []struct {
		d        Declaration
		in, want Value
	}{
		{low, TextOf("201-500"), IntOf(201)},
		{plain, TextOf("201-500"), IntOf(201)},
		{high, TextOf("201-500"), IntOf(500)},
		{high, TextOf("201 – 500 employees"), IntOf(500)},
		{low, TextOf("1,001 to 5,000"), IntOf(1001)},
		{high, TextOf("1.001-5.000"), IntOf(5000)},
		{low, TextOf("1,000+"), IntOf(1000)},
		{high, TextOf("1,000+"), IntOf(1000)},
		{low, TextOf("10001+"), IntOf(10001)},
		{low, TextOf(" 80 "), IntOf(80)},
		{low, TextOf("1 000 000"), IntOf(1000000)},
		{low, TextOf("1\u00a0000"), IntOf(1000)},
		{low, TextOf("12'500"), IntOf(12500)},
		{low, TextOf("12.5"), IntOf(12)},
		{low, TextOf("1,5"), IntOf(1)},
		{low, TextOf("1,234.56"), IntOf(1234)},
		{low, TextOf("5k"), IntOf(5000)},
		{low, TextOf("1.5k"), IntOf(1500)},
		{low, TextOf("2M"), IntOf(2000000)},
		{low, TextOf("> 500"), IntOf(500)},
		{low, TextOf("more than 500"), IntOf(500)},
		{low, TextOf("<50"), IntOf(0)},
		{high, TextOf("less than 50"), IntOf(50)},
		{low, TextOf("-3"), IntOf(-3)},
		{low, FloatOf("80"), IntOf(80)},
		{low, FloatOf("80.9"), IntOf(80)},
		{low, FloatOf("-80.9"), IntOf(-80)},
		{low, FloatOf("1e3"), IntOf(1000)},
		{low, FloatOf("9007199254740993"), IntOf(9007199254740993)},
		{low, FloatOf("1e300"), unreadable},
		{low, FloatOf("99999999999999999999"), unreadable},
		{low, IntOf(7), IntOf(7)},
		{low, TextOf("many"), unreadable},
		{low, TextOf("500-201"), unreadable},
		{low, TextOf("1-2-3"), unreadable},
		{low, TextOf("12,34,5"), unreadable},
		{low, TextOf("1234,567"), unreadable},
		{low, TextOf("+"), unreadable},
		{low, TextOf("-"), unreadable},
		{low, TextOf("99999999999999999999"), unreadable},
		{low, TextOf("9999999999999999k"), unreadable},
		{low, BoolOf(true), unreadable},
		{low, Value{Kind: JSON, Str: "[1]"}, unreadable},

		{boolean, BoolOf(true), BoolOf(true)},
		{boolean, TextOf("Yes"), BoolOf(true)},
		{boolean, TextOf("false"), BoolOf(false)},
		{boolean, FloatOf("1"), BoolOf(true)},
		{boolean, IntOf(0), BoolOf(false)},
		{boolean, FloatOf("2"), unreadable},
		{boolean, TextOf("maybe"), unreadable},

		{country, TextOf("Germany"), TextOf("DE")},
		{country, TextOf("DEU"), TextOf("DE")},
		{country, TextOf(" de "), TextOf("DE")},
		{country, TextOf("Atlantis"), unreadable},
		{country, FloatOf("49"), unreadable},
		{country, BoolOf(true), unreadable},

		{Declaration{Type: TypeText}, TextOf(" Acme "), TextOf("Acme")},
		{Declaration{}, FloatOf("4711"), TextOf("4711")},
		{Declaration{}, FloatOf("1.50"), TextOf("1.50")},
		{Declaration{}, IntOf(3), TextOf("3")},
		{Declaration{}, BoolOf(true), TextOf("true")},
		{Declaration{}, Value{Kind: JSON, Str: "{}"}, unreadable},

		{low, TextOf(""), Value{}},
		{country, TextOf("  "), Value{}},
		{Declaration{}, TextOf(""), Value{}},
		{low, Value{}, Value{}},
		{low, Value{Kind: Null}, Value{Kind: Null}},
		{Declaration{}, Value{Kind: Null}, Value{Kind: Null}},
	} {
		got, ok := Normalise(c.d, c.in)
		switch {
		case c.want == unreadable && (ok || got != Value{}):
			t.Errorf("%+v of %+v = %+v, %v; want it unreadable", c.in, c.d, got, ok)
		case c.want != unreadable && (!ok || got != c.want):
			t.Errorf("%+v of %+v = %+v, %v; want %+v", c.in, c.d, got, ok, c.want)
		}
	}
}

// Reading what was read changes nothing: an attribute may pass twice, as when a version re-declares it.
func TestNormaliseTwice(t *testing.T) {
	for _, d := range []Declaration{{}, {Type: TypeInt}, {Type: TypeInt, Range: RangeHigh}, {Type: TypeBool}, {Type: TypeCountry}} {
		for _, v := range []Value{TextOf("DE"), TextOf("201-500"), TextOf("yes"), TextOf(" x "), FloatOf("12.5"), IntOf(math.MinInt64), BoolOf(true), {Kind: Null}} {
			once, ok := Normalise(d, v)
			if !ok {
				continue
			}
			if twice, ok := Normalise(d, once); !ok || twice != once {
				t.Errorf("%+v: %+v, then %+v, %v", d, once, twice, ok)
			}
		}
	}
}

func TestValue(t *testing.T) {
	for want, v := range map[string]Value{
		"": {}, "x": TextOf("x"), "-7": IntOf(-7), "1.50": FloatOf("1.50"), "true": BoolOf(true), "false": BoolOf(false), "[1]": {Kind: JSON, Str: "[1]"},
	} {
		if got := v.String(); got != want {
			t.Errorf("%+v = %q; want %q", v, got, want)
		}
	}
	if v := FloatOf("x"); v != (Value{}) {
		t.Errorf("FloatOf(x) = %+v", v)
	}
	if FloatOf("1.50").Num != 1.5 || (Map{"a": IntOf(1)}).Lookup("b") != (Value{}) {
		t.Error("FloatOf or Lookup")
	}
}

func FuzzNormalise(f *testing.F) {
	for _, s := range []string{"201-500", "1,000+", "Germany", "yes", "1.5k", "<50", "  "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, d := range []Declaration{{}, {Type: TypeInt}, {Type: TypeInt, Range: RangeHigh}, {Type: TypeBool}, {Type: TypeCountry}} {
			once, ok := Normalise(d, TextOf(s))
			if !ok {
				continue
			}
			if twice, ok := Normalise(d, once); !ok || twice != once {
				t.Errorf("%+v of %q: %+v, then %+v, %v", d, s, once, twice, ok)
			}
		}
	})
}
