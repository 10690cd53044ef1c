package lead

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// power returns 2^(num/den) by math/big alone, with 160 digits: whole halvings, then binary digits of the exponent.
func power(num, den *big.Int) *big.Float {
	whole, rest := new(big.Int).DivMod(num, den, new(big.Int))
	p := new(big.Float).SetPrec(160).SetInt64(1)
	root := new(big.Float).SetPrec(160).SetInt64(2)
	for range 140 {
		root.Sqrt(root)
		rest.Lsh(rest, 1)
		if rest.Cmp(den) >= 0 {
			rest.Sub(rest, den)
			p.Mul(p, root)
		}
	}
	return p.SetMantExp(p, int(whole.Int64()))
}

func (w wide) big() *big.Int {
	b := new(big.Int).Lsh(big.NewInt(w.hi), 64)
	return b.Add(b, new(big.Int).SetUint64(w.lo))
}

func TestExp2IsExactToSixtyDigits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.Uint64().Draw(t, "f")
		want := power(new(big.Int).SetUint64(f), new(big.Int).Lsh(big.NewInt(1), 64))
		want.SetMantExp(want, 63)
		got := new(big.Float).SetPrec(160).SetUint64(exp2(f))
		if d := got.Sub(got, want); d.Abs(d).Cmp(big.NewFloat(8)) > 0 {
			t.Fatalf("2^(%d/2^64) is off by %v/2^63", f, d)
		}
	})
}

func TestExp2AtItsEnds(t *testing.T) {
	if exp2(0) != 1<<63 {
		t.Errorf("2^0 = %x", exp2(0))
	}
	if got := exp2(1<<64 - 1); got < 1<<64-16 {
		t.Errorf("2^(1-2^-64) = %x", got)
	}
}

// TestFadingIsExact compares the sums of many events, faded to a later instant, with the law of the design computed with
// math/big: the difference is below 0.01 points, and in fact below a thousandth.
func TestFadingIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		halfLife := rapid.Int64Range(1, int64(400*24)*3_600_000_000_000).Draw(t, "halfLife")
		last := rapid.Int64Range(-1<<62, 1<<62).Draw(t, "last")
		type event struct{ points, at int64 }
		var sums sums
		want := new(big.Float).SetPrec(200)
		age := rapid.Int64Range(0, min(70*halfLife, 1<<60)).Draw(t, "age")
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			e := event{
				rapid.Int64Range(-1_000_000_000, 1_000_000_000).Draw(t, "points"),
				last - rapid.Int64Range(0, min(60*halfLife, 1<<60)).Draw(t, "before"),
			}
			sums.add(e.points, 0, e.at, halfLife)
			p := power(new(big.Int).Neg(big.NewInt(last+age-e.at)), big.NewInt(halfLife))
			want.Add(want, p.Mul(p, new(big.Float).SetInt64(e.points)))
		}
		f := fadingAt(last+age, halfLife)
		gross, _ := sums.at(&f)
		got := new(big.Float).SetPrec(200).SetInt64(gross.round())
		if d := got.Sub(got, want); d.Abs(d).Cmp(big.NewFloat(1)) > 0 {
			t.Fatalf("faded sum is off by %v thousandths", d)
		}
	})
}

func TestWideArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) wide {
			return wide{rapid.Int64Range(-1<<60, 1<<60).Draw(t, name+"hi"), rapid.Uint64().Draw(t, name+"lo")}
		}
		a, b := draw("a"), draw("b")
		if got, want := a.add(b).big(), new(big.Int).Add(a.big(), b.big()); got.Cmp(want) != 0 {
			t.Fatalf("%v + %v = %v", a.big(), b.big(), got)
		}
		n := rapid.UintRange(0, 140).Draw(t, "n")
		if got, want := a.shift(uint64(n)).big(), new(big.Int).Rsh(a.big(), n); got.Cmp(want) != 0 {
			t.Fatalf("%v >> %d = %v, want %v", a.big(), n, got, want)
		}
		f := rapid.Uint64().Draw(t, "f")
		want := new(big.Int).Mul(a.big(), new(big.Int).SetUint64(f))
		want.Quo(want, new(big.Int).Lsh(big.NewInt(1), 64))
		if got := a.times(f).big(); got.Cmp(want) != 0 {
			t.Fatalf("%v x %d/2^64 = %v, want %v", a.big(), f, got, want)
		}
		w := wideOf(a.hi)
		if got := w.round(); got != a.hi {
			t.Fatalf("%d thousandths round to %d", a.hi, got)
		}
	})
}
