package lead

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"strings"

	"github.com/leadbaton/baton/services/internal/attribute"
)

// The encoding of states: varints and length-prefixed texts in a fixed order, lists sorted. Equal states give equal bytes.

var errDamaged = errors.New("lead: a stored state is damaged, or was written by another version")

func appendUint(b []byte, n uint64) []byte { return binary.AppendUvarint(b, n) }

func appendInt(b []byte, n int64) []byte { return binary.AppendVarint(b, n) }

func appendFixed(b []byte, n uint64) []byte { return binary.LittleEndian.AppendUint64(b, n) }

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// appendWide writes a sum: how many bytes its magnitude has and its sign, then the magnitude.
func appendWide(b []byte, w wide) []byte {
	var sign byte
	if w.hi < 0 {
		w, sign = w.neg(), 1
	}
	n := (bits.Len64(uint64(w.hi)) + 7) / 8
	if n > 0 {
		n += 8
	} else {
		n = (bits.Len64(w.lo) + 7) / 8
	}
	b = append(b, byte(n)<<1|sign)
	for i := range n {
		if i < 8 {
			b = append(b, byte(w.lo>>(8*i)))
		} else {
			b = append(b, byte(uint64(w.hi)>>(8*(i-8))))
		}
	}
	return b
}

// appendValue writes an attribute's value as it was published.
func appendValue(b []byte, v attribute.Value) []byte {
	b = append(b, byte(v.Kind))
	switch v.Kind {
	case attribute.Text, attribute.JSON, attribute.Float:
		b = appendText(b, v.Str)
	case attribute.Int, attribute.Bool:
		b = appendInt(b, v.Int)
	case attribute.None, attribute.Null:
	}
	return b
}

// reader reads an encoding. After its first error it returns zeros.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail() {
	r.b, r.err = nil, errDamaged
}

func (r *reader) uint() uint64 {
	n, k := binary.Uvarint(r.b)
	if k <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[k:]
	return n
}

func (r *reader) int() int64 {
	n, k := binary.Varint(r.b)
	if k <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[k:]
	return n
}

func (r *reader) fixed() uint64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	n := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return n
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) bool() bool { return r.byte() != 0 }

// text returns a copy.
func (r *reader) text() string { return string(r.view()) }

// view returns a text that is good for as long as what is read is not changed.
func (r *reader) view() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	s := r.b[:n]
	r.b = r.b[n:]
	return s
}

// word returns a text that many leads share.
func (r *reader) word(words vocabulary) string {
	b := r.view()
	if known, ok := words[string(b)]; ok {
		return known
	}
	return words.keep(string(b))
}

// count reads how many items follow, of which each takes at least size bytes.
func (r *reader) count(size int) int {
	n := r.uint()
	if n > uint64(len(r.b)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) wide() wide {
	head := r.byte()
	n := int(head >> 1)
	if n > 16 || n > len(r.b) {
		r.fail()
		return wide{}
	}
	var w wide
	for i := range n {
		if i < 8 {
			w.lo |= uint64(r.b[i]) << (8 * i)
		} else {
			w.hi |= int64(r.b[i]) << (8 * (i - 8))
		}
	}
	r.b = r.b[n:]
	if head&1 != 0 {
		w = w.neg()
	}
	return w
}

func (r *reader) value() attribute.Value {
	switch kind := attribute.Kind(r.byte()); kind {
	case attribute.Text, attribute.JSON:
		return attribute.Value{Kind: kind, Str: r.text()}
	case attribute.Float:
		return attribute.FloatOf(r.text())
	case attribute.Int, attribute.Bool:
		return attribute.Value{Kind: kind, Int: r.int()}
	default:
		return attribute.Value{Kind: kind}
	}
}

// vocabulary keeps one copy of the words that most leads share: names of attributes, sources.
type vocabulary map[string]string

// maxWords and maxWord bound a vocabulary: publishers choose the words.
const (
	maxWords = 4096
	maxWord  = 64
)

// keep returns a copy of s that does not hold on to what s is a view into.
func (v vocabulary) keep(s string) string {
	if known, ok := v[s]; ok {
		return known
	}
	s = keep(s)
	if len(v) < maxWords && len(s) <= maxWord {
		v[s] = s
	}
	return s
}

// keep returns a copy of s that does not hold on to the message that s is a view into.
func keep(s string) string { return strings.Clone(s) }
