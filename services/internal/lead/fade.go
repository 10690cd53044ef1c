package lead

import (
	"math/big"
	"math/bits"
)

// wide is a signed 128-bit integer in two's complement. Sums of points are wide: thousandths of a point with 32 binary
// digits after them, so that neither a million events nor a thousand half-lives lose a hundredth of a point.
type wide struct {
	hi int64
	lo uint64
}

// fraction is how many binary digits of a wide sum are after the thousandths.
const fraction = 32

func (w wide) add(x wide) wide {
	lo, carry := bits.Add64(w.lo, x.lo, 0)
	hi, _ := bits.Add64(uint64(w.hi), uint64(x.hi), carry)
	return wide{int64(hi), lo}
}

func (w wide) neg() wide {
	lo, borrow := bits.Sub64(0, w.lo, 0)
	hi, _ := bits.Sub64(0, uint64(w.hi), borrow)
	return wide{int64(hi), lo}
}

func (w wide) zero() bool { return w.hi == 0 && w.lo == 0 }

// shift divides by 2^n, towards negative infinity.
func (w wide) shift(n uint64) wide {
	switch {
	case n == 0:
		return w
	case n < 64:
		return wide{w.hi >> n, w.lo>>n | uint64(w.hi)<<(64-n)}
	case n < 128:
		return wide{w.hi >> 63, uint64(w.hi >> (n - 64))}
	default:
		return wide{w.hi >> 63, uint64(w.hi >> 63)}
	}
}

// times multiplies by f/2^64, towards zero.
func (w wide) times(f uint64) wide {
	negative := w.hi < 0
	if negative {
		w = w.neg()
	}
	h1, l1 := bits.Mul64(uint64(w.hi), f)
	h0, _ := bits.Mul64(w.lo, f)
	lo, carry := bits.Add64(l1, h0, 0)
	w = wide{int64(h1 + carry), lo}
	if negative {
		w = w.neg()
	}
	return w
}

// round returns the nearest whole thousandths, halves up, within what an int64 holds.
func (w wide) round() int64 {
	w = w.add(wide{0, 1 << (fraction - 1)}).shift(fraction)
	switch {
	case w.hi == 0 && w.lo < 1<<63:
		return int64(w.lo)
	case w.hi == -1 && w.lo >= 1<<63:
		return int64(w.lo)
	case w.hi < 0:
		return -1 << 63
	default:
		return 1<<63 - 1
	}
}

// wideOf returns whole thousandths as a sum.
func wideOf(thousandths int64) wide {
	return wide{thousandths >> (64 - fraction), uint64(thousandths) << fraction}
}

// Powers of two with 63 binary digits after the point: 2^(i/256) and 2^(i/65536). They are computed with math/big, which
// is software and so the same on every machine.
var coarse, fine [256]uint64

func init() {
	const precision = 200
	root := func(x *big.Float, times int) *big.Float {
		r := new(big.Float).SetPrec(precision).Set(x)
		for range times {
			r.Sqrt(r)
		}
		return r
	}
	two := new(big.Float).SetPrec(precision).SetInt64(2)
	scale := new(big.Float).SetPrec(precision).SetMantExp(big.NewFloat(1), 63)
	fill := func(table *[256]uint64, step *big.Float) {
		p := new(big.Float).SetPrec(precision).SetInt64(1)
		for i := range table {
			table[i], _ = new(big.Float).SetPrec(precision).Mul(p, scale).Uint64()
			p.Mul(p, step)
		}
	}
	fill(&coarse, root(two, 8))
	fill(&fine, root(two, 16))
}

// ln2 is the natural logarithm of 2 with 64 binary digits after the point.
const ln2 = 0xb17217f7d1cf79ab

// exp2 returns 2^(f/2^64) with 63 binary digits after the point: 2^63 to 2^64-1. It is off by less than 2^-60.
func exp2(f uint64) uint64 {
	hi, lo := bits.Mul64(coarse[f>>56], fine[f>>48&0xff])
	p := hi<<1 | lo>>63
	// 2^r for the rest r < 2^-16 by its series: 1 + y + y^2/2 + y^3/6 with y = r ln 2.
	y, _ := bits.Mul64(f&(1<<48-1), ln2)
	y2, _ := bits.Mul64(y, y)
	y3, _ := bits.Mul64(y2, y)
	rest, _ := bits.Mul64(p, y+y2/2+y3/6)
	return p + rest
}

// floorDiv returns the quotient towards negative infinity and the remainder, 0 <= r < n.
func floorDiv(t, n int64) (q, r int64) {
	q, r = t/n, t%n
	if r < 0 {
		q, r = q-1, r+n
	}
	return q, r
}

// place says which stretch of one half-life an instant is in, and returns points as they are worth at its start:
// points x 2^((t-start)/halfLife). Without a half-life there is one stretch, and points are worth themselves.
func place(thousandths, t, halfLife int64) (index int64, worth wide) {
	if halfLife == 0 {
		return 0, wideOf(thousandths)
	}
	index, r := floorDiv(t, halfLife)
	f, _ := bits.Div64(uint64(r), 0, uint64(halfLife))
	magnitude := uint64(thousandths)
	if thousandths < 0 {
		magnitude = -magnitude
	}
	hi, lo := bits.Mul64(magnitude, exp2(f))
	const cut = 63 - fraction
	lo, carry := bits.Add64(lo, 1<<(cut-1), 0)
	worth = wide{int64(hi + carry), lo}.shift(cut)
	if thousandths < 0 {
		worth = worth.neg()
	}
	return index, worth
}

// fading is what sums of one half-life have faded by at one instant. All stretches end at multiples of the half-life, so
// they differ by whole halvings only.
type fading struct {
	halfLife int64
	index    int64
	// rest is 2^-(r/halfLife) in units of 2^-64; 0 stands for 1.
	rest uint64
}

func fadingAt(t, halfLife int64) fading {
	if halfLife == 0 {
		return fading{}
	}
	index, r := floorDiv(t, halfLife)
	if r == 0 {
		return fading{halfLife, index, 0}
	}
	f, _ := bits.Div64(uint64(r), 0, uint64(halfLife))
	// 2^-x = 2^(1-x)/2, and exp2 has 63 digits where rest has 64.
	return fading{halfLife, index, exp2(-f)}
}

// halve is a stretch's sum after the whole half-lives since.
func (f *fading) halve(index int64, sum wide) wide {
	if f.halfLife == 0 || index >= f.index {
		return sum
	}
	return sum.shift(uint64(f.index - index))
}

// finish applies the part of a half-life to what was halved.
func (f *fading) finish(sum wide) wide {
	if f.rest == 0 {
		return sum
	}
	return sum.times(f.rest)
}
