package fold

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Rebuilt is a shard folded in memory.
type Rebuilt struct {
	// Fields are the records of all states, as a store would hold them.
	Fields map[string][]byte
	// Records are all that went into the outbox, in order.
	Records []Record
	// Messages is how many were folded.
	Messages uint64
}

// errFolded ends reading.
var errFolded = errors.New("fold: all is folded")

// Rebuild folds a log up to a sequence, without a store: from its start, or on from what a shard was (the zero Dump = its
// start). It is what `baton verify` compares with.
func Rebuild(ctx context.Context, log Log, m Machine, from Dump, to uint64) (*Rebuilt, error) {
	if err := checkVersion(m, from.Version); err != nil {
		return nil, err
	}
	out := &Rebuilt{Fields: maps.Clone(from.Fields)}
	if out.Fields == nil {
		out.Fields = map[string][]byte{}
	}
	// Nothing comes to say that the log's last messages were erased, so the end is looked for before it is waited for.
	for ; to > from.Position.Sequence; to-- {
		if _, err := log.TimeAt(ctx, to); err == nil {
			break
		} else if !errors.Is(err, ErrErased) {
			return nil, err
		}
	}
	if to <= from.Position.Sequence {
		return out, nil
	}
	states := map[string]State{}
	var at *Message
	var failed error
	tx := NewTx(func(key string) State {
		if s := states[key]; s != nil {
			return s
		}
		s, parts, err := m.Load(key, from.Fields[key])
		for _, p := range parts {
			if err == nil {
				err = s.LoadPart(p, from.Fields[Field(key, p)])
			}
		}
		if err != nil && failed == nil {
			failed = err
		}
		states[key] = s
		return s
	}, func(r Record) {
		r.Incarnation, r.Sequence = at.Incarnation, at.Sequence
		out.Records = append(out.Records, r)
	})
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := log.Read(ctx, from.Position.Sequence, func(msg Message) {
		if failed != nil || msg.Sequence > to {
			return
		}
		at = &msg
		tx.Begin()
		if err := m.Fold(tx, m.Decode(msg)); err != nil && failed == nil {
			failed = fmt.Errorf("message %d: %w", msg.Sequence, err)
		}
		out.Messages++
		if msg.Sequence == to || failed != nil {
			cancel(errFolded)
		}
	})
	switch {
	case failed != nil:
		return nil, failed
	case !errors.Is(context.Cause(ctx), errFolded):
		return nil, err
	}
	for key, s := range states {
		s.Changes(func(part string, value []byte) {
			if value != nil {
				out.Fields[Field(key, part)] = slices.Clone(value)
			} else {
				delete(out.Fields, Field(key, part))
			}
		})
	}
	return out, nil
}
