package cloudevent

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// Kind is the closed set of kinds of a JSON value.
type Kind uint8

// The kinds. The zero Kind is that of a value that is not there.
const (
	Absent Kind = iota
	Null
	String
	Number
	Bool
	Object
	List
)

// Value is one JSON value.
type Value struct {
	Kind Kind
	// Text is what a String says, unescaped; the digits of a Number; "true" or "false"; the JSON text of an Object or
	// a List.
	Text string
}

// Member is one named value of an object.
type Member struct {
	Name string
	Value
}

// maxDepth is how deep objects and lists may be nested, the event itself included.
const maxDepth = 64

// scanner reads JSON text as encoding/json does, without reflection. What it returns are views into s, but for strings
// with escapes. s must be valid UTF-8.
type scanner struct {
	s string
	i int
}

func (p *scanner) space() {
	if p.i < len(p.s) && p.s[p.i] > ' ' {
		return
	}
	p.spaces()
}

func (p *scanner) spaces() {
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

// take takes c after white space.
func (p *scanner) take(c byte) bool {
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return p.takeLater(c)
}

func (p *scanner) takeLater(c byte) bool {
	p.space()
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

// end says whether only white space is left.
func (p *scanner) end() bool {
	p.space()
	return p.i == len(p.s)
}

// value reads the next value; objects and lists are checked, not kept. depth counts the objects and lists around it.
func (p *scanner) value(depth int) (v Value, ok bool) {
	p.space()
	if p.i >= len(p.s) {
		return v, false
	}
	start := p.i
	switch c := p.s[p.i]; c {
	case '"':
		v.Kind = String
		v.Text, ok = p.str()
		return v, ok
	case '{':
		v.Kind, ok = Object, p.skipObject(depth)
	case '[':
		v.Kind, ok = List, p.skipList(depth)
	case 't':
		v.Kind, ok = Bool, p.word("true")
	case 'f':
		v.Kind, ok = Bool, p.word("false")
	case 'n':
		v.Kind, ok = Null, p.word("null")
	default:
		v.Kind, ok = Number, p.number()
	}
	v.Text = p.s[start:p.i]
	return v, ok
}

// skip passes over the next value.
func (p *scanner) skip(depth int) bool {
	p.space()
	if p.i >= len(p.s) {
		return false
	}
	switch p.s[p.i] {
	case '"':
		_, ok := p.rawString()
		return ok
	case '{':
		return p.skipObject(depth)
	case '[':
		return p.skipList(depth)
	case 't':
		return p.word("true")
	case 'f':
		return p.word("false")
	case 'n':
		return p.word("null")
	default:
		return p.number()
	}
}

func (p *scanner) skipObject(depth int) bool {
	if depth >= maxDepth || !p.take('{') {
		return false
	}
	if p.take('}') {
		return true
	}
	for {
		p.space()
		if _, ok := p.rawString(); !ok || !p.take(':') || !p.skip(depth+1) {
			return false
		}
		if !p.take(',') {
			return p.take('}')
		}
	}
}

func (p *scanner) skipList(depth int) bool {
	if depth >= maxDepth || !p.take('[') {
		return false
	}
	if p.take(']') {
		return true
	}
	for {
		if !p.skip(depth + 1) {
			return false
		}
		if !p.take(',') {
			return p.take(']')
		}
	}
}

func (p *scanner) word(w string) bool {
	if !strings.HasPrefix(p.s[p.i:], w) {
		return false
	}
	p.i += len(w)
	return true
}

func (p *scanner) number() bool {
	if p.i < len(p.s) && p.s[p.i] == '-' {
		p.i++
	}
	switch {
	case p.i >= len(p.s):
		return false
	case p.s[p.i] == '0':
		p.i++
	case !p.digits():
		return false
	}
	if p.i < len(p.s) && p.s[p.i] == '.' {
		p.i++
		if !p.digits() {
			return false
		}
	}
	if p.i < len(p.s) && (p.s[p.i] == 'e' || p.s[p.i] == 'E') {
		p.i++
		if p.i < len(p.s) && (p.s[p.i] == '+' || p.s[p.i] == '-') {
			p.i++
		}
		return p.digits()
	}
	return true
}

func (p *scanner) digits() bool {
	start := p.i
	for p.i < len(p.s) && '0' <= p.s[p.i] && p.s[p.i] <= '9' {
		p.i++
	}
	return p.i > start
}

// special returns where the next byte is that a string cannot hold as it is: a quote, a backslash, a control character. It
// looks at eight bytes at once: a byte's high bit is set if the byte is below 0x20, or zero after the exclusive or with the
// one sought. A borrow makes false hits only above a true one, and the lowest is taken.
func special(s string, i int) int {
	const (
		ones = 0x0101010101010101
		high = 0x8080808080808080
	)
	b := unsafe.Slice(unsafe.StringData(s), len(s))
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		quote, slash := x^(ones*'"'), x^(ones*'\\')
		if hit := ((x-ones*0x20)&^x | (quote-ones)&^quote | (slash-ones)&^slash) & high; hit != 0 {
			return i + bits.TrailingZeros64(hit)>>3
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < 0x20 || c == '"' || c == '\\' {
			break
		}
	}
	return i
}

// rawString passes over a string and says whether it holds escapes, which it checks.
func (p *scanner) rawString() (escaped, ok bool) {
	s, i := p.s, p.i
	if i >= len(s) || s[i] != '"' {
		return false, false
	}
	for i++; ; i++ {
		if i = special(s, i); i >= len(s) {
			break
		}
		switch s[i] {
		case '"':
			p.i = i + 1
			return escaped, true
		case '\\':
			escaped = true
			i++
			if i >= len(s) {
				p.i = i
				return true, false
			}
			switch s[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if _, ok := hex4(s[i+1:]); !ok {
					p.i = i
					return true, false
				}
				i += 4
			default:
				p.i = i
				return true, false
			}
		default:
			p.i = i
			return escaped, false
		}
	}
	p.i = i
	return escaped, false
}

// str reads a string.
func (p *scanner) str() (string, bool) {
	// Most strings have no escapes: they end at the first byte that is special.
	s, start := p.s, p.i+1
	if p.i < len(s) && s[p.i] == '"' {
		if end := special(s, start); end < len(s) && s[end] == '"' {
			p.i = end + 1
			return s[start:end], true
		}
	}
	return p.escaped()
}

func (p *scanner) escaped() (string, bool) {
	start := p.i + 1
	escaped, ok := p.rawString()
	if !ok {
		return "", false
	}
	t := p.s[start : p.i-1]
	if escaped {
		t = unescape(t)
	}
	return t, true
}

// unescape returns the text of a checked string. Half a surrogate pair becomes U+FFFD, as in encoding/json.
func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b = append(b, s[i])
			continue
		}
		i++
		switch c := s[i]; c {
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, _ := hex4(s[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				low, ok := rune(0), false
				if strings.HasPrefix(s[i+1:], `\u`) {
					low, ok = hex4(s[i+3:])
				}
				if r = utf16.DecodeRune(r, low); ok && r != utf8.RuneError {
					i += 6
				}
			}
			b = utf8.AppendRune(b, r)
		default: // quote, backslash, slash
			b = append(b, c)
		}
	}
	return string(b)
}

func hex4(s string) (r rune, ok bool) {
	if len(s) < 4 {
		return 0, false
	}
	for i := range 4 {
		c := s[i]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// fewMembers is up to how many members a name is looked for one by one.
const fewMembers = 24

// Members appends the members of an object's JSON text to dst, in document order. A name that is given twice stands once,
// in its first place with its last value. The text must be that of an Object value of this package; of anything else it
// returns dst.
func Members(dst []Member, object string) []Member {
	p := scanner{s: object}
	if all, ok := p.members(dst, 0); ok {
		return all
	}
	return dst
}

// members reads the next object; depth counts the objects and lists around it.
func (p *scanner) members(dst []Member, depth int) ([]Member, bool) {
	base := len(dst)
	if depth >= maxDepth || !p.take('{') {
		return dst, false
	}
	if p.take('}') {
		return dst, true
	}
	var places map[string]int
	for {
		p.space()
		name, ok := p.str()
		if !ok || !p.take(':') {
			return dst, false
		}
		at := -1
		if places == nil {
			for i := base; i < len(dst); i++ {
				if dst[i].Name == name {
					at = i
					break
				}
			}
		} else if i, ok := places[name]; ok {
			at = i
		}
		if at < 0 {
			at = len(dst)
			dst = append(dst, Member{Name: name})
			if places != nil {
				places[name] = at
			} else if at-base >= fewMembers {
				places = make(map[string]int, 4*fewMembers)
				for i := base; i < len(dst); i++ {
					places[dst[i].Name] = i
				}
			}
		}
		if dst[at].Value, ok = p.value(depth + 1); !ok {
			return dst, false
		}
		if !p.take(',') {
			return dst, p.take('}')
		}
	}
}
