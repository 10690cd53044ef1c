package foldtest

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/leadbaton/baton/services/internal/fold"
)

// Machine is a small fold: each message names counters, which it raises by one. Every third raise is a fact, every fifth a
// message to another shard, every seventh one that expands to two. The state has a part that changes at every tenth.
//
// A message that is "!" and a number puts that fold version in force. From version 2 on every second raise is a fact, and a
// counter is one record of another form: the version, then n and tens. Newest is the newest version that it folds; 0 = 1.
type Machine struct{ Newest int }

var _ fold.Machine = Machine{}

type counter struct {
	n, tens   uint64
	version   int // that it is written as; for key "" the one in force
	part      bool
	changed   bool
	changed10 bool
}

// Changes implements fold.State.
func (c *counter) Changes(put func(string, []byte)) {
	switch {
	case !c.changed:
	case c.version == 1:
		put("", binary.BigEndian.AppendUint64(nil, c.n))
		if c.changed10 {
			put("tens", binary.BigEndian.AppendUint64(nil, c.tens))
			c.part = true
		}
	default:
		put("", binary.AppendUvarint(binary.AppendUvarint([]byte{byte(c.version)}, c.n), c.tens))
		if c.part {
			put("tens", nil)
			c.part = false
		}
	}
	c.changed, c.changed10 = false, false
}

// LoadPart implements fold.State.
func (c *counter) LoadPart(part string, b []byte) error {
	if part != "tens" || len(b) != 8 {
		return fmt.Errorf("part %q of %d bytes", part, len(b))
	}
	c.tens, c.part = binary.BigEndian.Uint64(b), true
	return nil
}

func version(n int) string { return "test-" + strconv.Itoa(n) }

// Versions implements fold.Machine.
func (m Machine) Versions() []string {
	var out []string
	for n := 1; n <= max(m.Newest, 1); n++ {
		out = append(out, version(n))
	}
	return out
}

// InForce implements fold.Machine.
func (m Machine) InForce(log fold.State) string { return version(log.(*counter).version) }

// Load implements fold.Machine.
func (m Machine) Load(_ string, main []byte) (fold.State, []string, error) {
	c := &counter{version: 1}
	switch {
	case main == nil:
	case len(main) == 8 && main[0] == 0:
		if c.n = binary.BigEndian.Uint64(main); c.n >= 10 {
			return c, []string{"tens"}, nil
		}
	case len(main) >= 3:
		var k int
		c.version = int(main[0])
		c.n, k = binary.Uvarint(main[1:])
		c.tens, _ = binary.Uvarint(main[1+k:])
	default:
		return nil, nil, fmt.Errorf("%d bytes", len(main))
	}
	return c, nil, nil
}

type input struct {
	m       fold.Message
	keys    []string
	version int
}

func (i *input) Keys() []string         { return i.keys }
func (i *input) Message() *fold.Message { return &i.m }

// Decode implements fold.Machine.
func (m Machine) Decode(msg fold.Message) fold.Input {
	if n, ok := strings.CutPrefix(string(msg.Data), "!"); ok {
		v, _ := strconv.Atoi(n)
		return &input{m: msg, version: v}
	}
	return &input{m: msg, keys: strings.Fields(string(msg.Data))}
}

// Fold implements fold.Machine.
func (m Machine) Fold(tx *fold.Tx, in fold.Input) error {
	i := in.(*input)
	if i.version > max(m.Newest, 1) {
		return &fold.VersionError{Version: version(i.version), Newest: version(max(m.Newest, 1))}
	}
	log := tx.Get("").(*counter)
	log.version = max(log.version, i.version)
	facts := uint64(3)
	if log.version > 1 {
		facts = 2
	}
	for _, k := range append([]string{""}, i.keys...) {
		c := tx.Get(k).(*counter)
		c.n++
		c.changed, c.version = true, log.version
		if c.n%10 == 0 {
			c.tens, c.changed10 = c.n/10, true
		}
		if k == "" {
			continue
		}
		text := fmt.Appendf(nil, "%s reached %d", k, c.n)
		if c.n%facts == 0 {
			tx.Emit(fold.Record{Guard: fold.Once, Stream: "F", Subject: fmt.Sprintf("f.%s.%d.%d", k, i.m.Sequence, tx.NextOrdinal()), Data: text})
		}
		if c.n%5 == 0 {
			tx.Emit(fold.Record{Guard: fold.Ordered, Stream: "O", Subject: "o." + k, Prefix: "o.*", Data: text})
		}
		if c.n%7 == 0 {
			tx.Emit(fold.Record{Guard: fold.Expand, Stream: "O", Subject: "o." + k, Prefix: "o.*", Data: text})
			return nil // what it expands to takes the ordinals after it
		}
	}
	return nil
}
