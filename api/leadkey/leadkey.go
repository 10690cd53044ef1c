// Package leadkey computes the key of a lead from its identities.
//
// The key is the first 32 hex digits of the SHA-256 of one line of text, the canonical identity:
//
//	email:<address>     the address with white space of ASCII trimmed at both ends and A-Z lowered, nothing else
//	id:<system>:<id>    both exactly as published
//	anon:<id>           exactly as published
//
// The first digit is the lead's shard, the next three its bucket. testdata/vectors.json holds values that an
// implementation in any language must reproduce.
package leadkey

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Size is the length of a Key in bytes.
const Size = 32

// Key is the opaque identity of a lead: 32 lower-case hex digits. It is guessable from the identity, so it is personal
// data: it never goes into logs, metrics or traces.
type Key string

// Shard returns the lead's shard, one lower-case hex digit; "" for the empty key.
func (k Key) Shard() string {
	if len(k) < 4 {
		return ""
	}
	return string(k[:1])
}

// Bucket returns the lead's bucket within its shard, three lower-case hex digits; "" for the empty key.
func (k Key) Bucket() string {
	if len(k) < 4 {
		return ""
	}
	return string(k[1:4])
}

// FromEmail returns the key of an e-mail address. It does not judge whether address is one.
func FromEmail(address string) Key {
	var b [Size]byte
	return Key(AppendEmail(b[:0], address))
}

// FromID returns the key of an id that a system (a CRM, a marketing platform) gave.
func FromID(system, id string) Key {
	var b [Size]byte
	return Key(AppendID(b[:0], system, id))
}

// FromAnonymous returns the key of an anonymous id, such as that of a cookie.
func FromAnonymous(id string) Key {
	var b [Size]byte
	return Key(AppendAnonymous(b[:0], id))
}

// Of returns the key of a lead's first identity: the address, else the id of the first system in byte order of the
// systems' names, else the anonymous id. Empty identities are no identities. It returns false if there is none.
func Of(email string, ids map[string]string, anonymousID string) (Key, bool) {
	if TrimSpace(email) != "" {
		return FromEmail(email), true
	}
	first := ""
	for system, id := range ids {
		if system != "" && id != "" && (first == "" || system < first) {
			first = system
		}
	}
	if first != "" {
		return FromID(first, ids[first]), true
	}
	if anonymousID != "" {
		return FromAnonymous(anonymousID), true
	}
	return "", false
}

// NormalEmail returns address as it is hashed: trimmed and with A-Z lowered. It allocates only if A-Z occurs.
func NormalEmail(address string) string {
	address = TrimSpace(address)
	for i := 0; i < len(address); i++ {
		if c := address[i]; 'A' <= c && c <= 'Z' {
			b := make([]byte, 0, len(address))
			return string(appendLower(b, address))
		}
	}
	return address
}

// TrimSpace trims what FromEmail trims: space, tab, newline, carriage return, vertical tab and form feed.
func TrimSpace(s string) string {
	for len(s) > 0 && isSpace(s[0]) {
		s = s[1:]
	}
	for len(s) > 0 && isSpace(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// AppendEmail appends the key of an e-mail address to dst. It allocates only what dst lacks, for addresses of up to
// 254 bytes.
func AppendEmail(dst []byte, address string) []byte {
	var line [stackLine]byte
	return appendHash(dst, appendLower(append(line[:0], "email:"...), TrimSpace(address)))
}

// AppendID appends the key of a system's id to dst; see AppendEmail for what it allocates.
func AppendID(dst []byte, system, id string) []byte {
	var line [stackLine]byte
	b := append(line[:0], "id:"...)
	b = append(b, system...)
	b = append(b, ':')
	return appendHash(dst, append(b, id...))
}

// AppendAnonymous appends the key of an anonymous id to dst; see AppendEmail for what it allocates.
func AppendAnonymous(dst []byte, id string) []byte {
	var line [stackLine]byte
	return appendHash(dst, append(append(line[:0], "anon:"...), id...))
}

// stackLine holds the longest address (254 bytes) with its prefix.
const stackLine = 320

func appendHash(dst, line []byte) []byte {
	sum := sha256.Sum256(line)
	return hex.AppendEncode(dst, sum[:Size/2])
}

func appendLower(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// ErrNotKey is the error of Parse.
var ErrNotKey = errors.New("not a lead key: it must be 32 hex digits, a-f in lower case")

// Valid says whether s has the form of a key.
func Valid(s string) bool {
	if len(s) != Size {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Parse checks that s has the form of a key. Its error is ErrNotKey and does not quote s.
func Parse(s string) (Key, error) {
	if !Valid(s) {
		return "", ErrNotKey
	}
	return Key(s), nil
}

// ErrUnresolved is the error of Resolve.
var ErrUnresolved = errors.New("not a lead: give an e-mail address, SYSTEM:ID, anon:ID, or a key of 32 hex digits")

// Resolve returns the key of what a person calls a lead:
//
//	d@acme.example            an address: it contains @ before any colon
//	marketo:4711              the id of a system, up to the first colon
//	anon:a-17                 an anonymous id
//	email:d@acme.example      an address, said so
//	3f7a...                   a key
//
// Its error wraps ErrUnresolved and does not quote s.
func Resolve(s string) (Key, error) {
	s = TrimSpace(s)
	at, colon := strings.IndexByte(s, '@'), strings.IndexByte(s, ':')
	switch {
	case at >= 0 && (colon < 0 || at < colon):
		return FromEmail(s), nil
	case colon >= 0:
		system, id := s[:colon], s[colon+1:]
		switch {
		case system == "" || id == "":
			return "", fmt.Errorf("%w; a side of the colon is empty", ErrUnresolved)
		case system == "anon":
			return FromAnonymous(id), nil
		case system == "email":
			return FromEmail(id), nil
		}
		return FromID(system, id), nil
	case Valid(s):
		return Key(s), nil
	}
	return "", ErrUnresolved
}
