package lead

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/agreement"
	"github.com/leadbaton/baton/services/internal/event"
	"github.com/leadbaton/baton/services/internal/fold"
)

// world is all shards in memory: streams, states and what they tell each other. An agreement's own tests run in it.
type world struct {
	shards map[string]*worldShard
	// pending are the shards with messages that are not folded, in the order in which they came to be so.
	pending []*worldShard
	records []fold.Record // guarded Once
	watch   *watch        // of all shards
}

type worldShard struct {
	machine *Machine
	states  map[string]fold.State
	stream  []fold.Message
	folded  int
}

const worldIncarnation = 1

func newWorld(w *watch) *world {
	return &world{shards: map[string]*worldShard{}, watch: w}
}

func (w *world) shard(name string) *worldShard {
	s := w.shards[name]
	if s == nil {
		s = &worldShard{machine: New(name), states: map[string]fold.State{}}
		s.machine.watch = w.watch
		w.shards[name] = s
	}
	return s
}

// state returns the state of a key; it is loaded from nothing if it is new.
func (s *worldShard) state(key string) fold.State {
	st := s.states[key]
	if st == nil {
		var err error
		if st, _, err = s.machine.Load(key, nil); err != nil {
			panic(err) // an absent state is never damaged
		}
		s.states[key] = st
	}
	return st
}

func (w *world) lead(key leadkey.Key) *Lead {
	l, _ := w.shard(key.Shard()).state(string(key)).(*Lead)
	return l
}

func (w *world) log(key leadkey.Key) *Log {
	g, _ := w.shard(key.Shard()).state("").(*Log)
	return g
}

// enforce puts an agreement in force everywhere, without a message.
func (w *world) enforce(a *agreement.Agreement) {
	for _, name := range subject.Shards {
		g, _ := w.shard(name).state("").(*Log)
		g.enforce(a, 1)
	}
}

// publish stores a message in the shard of its subject.
func (w *world) publish(subj string, data []byte, at int64) error {
	p, ok := subject.ParseEngagement(subj)
	if !ok {
		return fmt.Errorf("lead: %q is not the subject of a shard", subj)
	}
	s := w.shard(p.Shard)
	if n := len(s.stream); n > 0 {
		at = max(at, s.stream[n-1].Time)
	}
	s.stream = append(s.stream, fold.Message{
		Subject: subj, Data: data, Incarnation: worldIncarnation, Sequence: uint64(len(s.stream)) + 1, Time: at,
	})
	w.pending = append(w.pending, s)
	return nil
}

// publishEvent stores an engagement event where it belongs, and returns its lead's key.
func (w *world) publishEvent(body []byte, at time.Time) (leadkey.Key, error) {
	var ev event.Event
	if err := event.Decode(body, &ev); err != nil {
		return "", err
	}
	return ev.Key, w.publish(subject.ForEvent(ev.Source, ev.Key), body, at.UnixNano())
}

// settle folds until nothing is left to fold.
func (w *world) settle() error {
	for len(w.pending) > 0 {
		s := w.pending[0]
		w.pending = w.pending[1:]
		if err := w.step(s); err != nil {
			return err
		}
	}
	return nil
}

// step folds one message of a shard.
func (w *world) step(s *worldShard) error {
	msg := s.stream[s.folded]
	s.folded++
	var emitted []fold.Record
	tx := fold.NewTx(s.state, func(r fold.Record) {
		r.Incarnation, r.Sequence = msg.Incarnation, msg.Sequence
		emitted = append(emitted, r)
	})
	if err := s.machine.Fold(tx, s.machine.Decode(msg)); err != nil {
		return err
	}
	for _, r := range emitted {
		if err := w.leave(s, r, msg.Time); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) leave(s *worldShard, r fold.Record, at int64) error {
	switch r.Guard {
	case fold.Ordered:
		return w.publish(r.Subject, r.Data, at)
	case fold.Expand:
		e, err := ReadExpansion(r)
		if err != nil {
			return err
		}
		for x, err := range e.Records(w.bucket(s, e.alias)) {
			if err == nil {
				err = w.publish(x.Subject, x.Data, at)
			}
			if err != nil {
				return err
			}
		}
	default:
		w.records = append(w.records, r)
	}
	return nil
}

// bucket returns the messages of a lead's bucket as they are now.
func (w *world) bucket(s *worldShard, key string) iter.Seq2[fold.Message, error] {
	stream := slices.Clip(s.stream)
	return func(yield func(fold.Message, error) bool) {
		for _, msg := range stream {
			p, _ := subject.ParseEngagement(msg.Subject)
			if p.Holds(leadkey.Key(key)) && !yield(msg, nil) {
				return
			}
		}
	}
}
