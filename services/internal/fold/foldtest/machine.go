package foldtest

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/leadbaton/baton/services/internal/fold"
)

// Machine is a small fold: each message names a counter, which it raises by one. Every third raise is a fact, every fifth
// a message to another shard, every seventh one that expands to two. The state has a part that changes at every tenth.
type Machine struct{ V string }

var _ fold.Machine = Machine{}

type counter struct {
	n, tens            uint64
	changed, changed10 bool
}

// Changes implements fold.State.
func (c *counter) Changes(put func(string, []byte)) {
	if c.changed {
		put("", binary.BigEndian.AppendUint64(nil, c.n))
	}
	if c.changed10 {
		put("tens", binary.BigEndian.AppendUint64(nil, c.tens))
	}
	c.changed, c.changed10 = false, false
}

// LoadPart implements fold.State.
func (c *counter) LoadPart(part string, b []byte) error {
	if part != "tens" || len(b) != 8 {
		return fmt.Errorf("part %q of %d bytes", part, len(b))
	}
	c.tens = binary.BigEndian.Uint64(b)
	return nil
}

// Version implements fold.Machine.
func (m Machine) Version() string { return m.V }

// Load implements fold.Machine.
func (m Machine) Load(_ string, main []byte) (fold.State, []string, error) {
	if main == nil {
		return &counter{}, nil, nil
	}
	if len(main) != 8 {
		return nil, nil, fmt.Errorf("%d bytes", len(main))
	}
	c := &counter{n: binary.BigEndian.Uint64(main)}
	if c.n >= 10 {
		return c, []string{"tens"}, nil
	}
	return c, nil, nil
}

type input struct {
	m    fold.Message
	keys []string
}

func (i *input) Keys() []string         { return i.keys }
func (i *input) Message() *fold.Message { return &i.m }

// Decode implements fold.Machine.
func (m Machine) Decode(msg fold.Message) fold.Input {
	return &input{m: msg, keys: strings.Fields(string(msg.Data))}
}

// Fold implements fold.Machine.
func (m Machine) Fold(tx *fold.Tx, in fold.Input) error {
	i := in.(*input)
	for _, k := range append([]string{""}, i.keys...) {
		c := tx.Get(k).(*counter)
		c.n++
		c.changed = true
		if c.n%10 == 0 {
			c.tens, c.changed10 = c.n/10, true
		}
		if k == "" {
			continue
		}
		text := fmt.Appendf(nil, "%s reached %d", k, c.n)
		if c.n%3 == 0 {
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
