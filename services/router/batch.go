package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/handoff"
	"github.com/leadbaton/baton/services/internal/stream"
)

// Bounds of one atomic batch.
const (
	maxEntries    = 1000
	maxBytes      = 900 << 10
	entryOverhead = 256 // subject and headers, about
	storeWithin   = 5 * time.Second
)

// request is one that waits for its decision.
type request struct {
	decide func(s *handoff.State, now time.Time) ([]*handoffv1.Fact, error)
	// reply is called when the decision is stored, with the state as it then is. changed: it had facts of its own.
	reply func(s *handoff.State, changed bool)
	done  chan error // of one place
}

type answer struct {
	request *request
	changed bool
	err     error
}

// batch gathers decisions until they are stored together. The state is already evolved by what is in it.
type batch struct {
	t       *term
	entries []stream.Entry
	bytes   int
	out     []handoff.Message
	answers []answer
	passed  []decided

	// Of the input that is being decided: when it came, and for a fact of LEADS when that arrived there.
	begun, arrived time.Time
}

// decided is a fact of the batch, to be measured once it is stored.
type decided struct {
	passed
	begun, arrived time.Time
}

// add adds the facts of one decision, which are stored together or not at all.
func (b *batch) add(facts []*handoffv1.Fact) error {
	if len(facts) == 0 {
		return nil
	}
	most := int(b.t.r.o.Stream.NATS().MaxPayload())
	messages := handoff.Pack(facts, most-entryOverhead)
	entries, size := make([]stream.Entry, len(messages)), 0
	for i, m := range messages {
		data, err := handoff.Encode(m)
		if err != nil {
			return &fold.StopError{Reason: "a fact cannot be written: " + err.Error()}
		}
		// It would be refused for ever, and everything else with it.
		if len(data)+entryOverhead > most {
			return &fold.StopError{Reason: fmt.Sprintf("a fact of %d bytes about the handoff %q cannot be written, since NATS takes at most %d: raise max_payload",
				len(data), m[0].GetHandoffId(), most)}
		}
		entries[i] = stream.Entry{Subject: subject.Handoffs(m[0].GetHandoffId()), Data: data, Traceparent: m[0].GetTraceparent()}
		size += len(data) + entryOverhead
	}
	if len(b.entries) > 0 && (len(b.entries)+len(entries) > maxEntries || b.bytes+size > maxBytes) {
		if err := b.flush(); err != nil {
			return err
		}
	}
	l := b.t.r.ledger
	for i, m := range messages {
		b.entries = append(b.entries, entries[i])
		out, ended, err := l.evolve(m, l.base+uint64(len(b.entries)))
		if err != nil {
			return err
		}
		b.out = append(b.out, out...)
		for _, p := range ended {
			b.passed = append(b.passed, decided{p, b.begun, b.arrived})
		}
	}
	b.bytes += size
	return nil
}

// flush stores what has gathered, and then answers. An error ends the term: the state has been thrown away.
func (b *batch) flush() error {
	l := b.t.r.ledger
	if len(b.entries) > 0 {
		if err := b.store(); err != nil {
			return err
		}
		l.base += uint64(len(b.entries))
		l.outbox.add(b.out)
		b.entries, b.bytes, b.out = nil, 0, nil
		for _, p := range b.passed {
			b.t.r.metrics.stored(p.passed, p.begun, p.arrived)
		}
		b.passed = nil
	}
	for _, a := range b.answers {
		if a.err == nil {
			a.request.reply(l.state, a.changed)
		}
		a.request.done <- a.err
	}
	b.answers = nil
	return nil
}

// abandon gives up what is not stored.
func (b *batch) abandon() {
	if len(b.entries) > 0 {
		b.t.r.ledger.reset()
		b.entries = nil
	}
	for _, a := range b.answers {
		a.request.done <- errTermEnded
	}
	b.answers = nil
}

// errOvertaken says that somebody else has written to HANDOFFS.
var errOvertaken = errors.New("router: another router has written to HANDOFFS")

// store appends the entries. It returns nil only when they are known to be stored. An append whose outcome is unknown is
// repeated as it is: it expects the same last sequence, so it is stored once at most.
func (b *batch) store() error {
	t := b.t
	defer t.r.hinder(writingHandoffs, nil)
	for {
		err := b.append()
		if err == nil {
			return nil
		}
		if t.ctx.Err() != nil {
			return context.Cause(t.ctx)
		}
		stored, lookErr := b.stored()
		switch {
		case lookErr == nil && stored:
			return nil
		case errors.Is(lookErr, errOvertaken):
			return lookErr
		case t.r.stopIfMust(lookErr):
			return lookErr
		}
		t.r.hinder(writingHandoffs, err)
		t.r.log.Warn("HANDOFFS could not be written; trying again", "error", errors.Join(err, lookErr))
		if !sleep(t.ctx, retry) {
			return context.Cause(t.ctx)
		}
	}
}

// append tries once. It goes on when the term ends, for its outcome would be unknown.
func (b *batch) append() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.t.ctx), storeWithin)
	defer cancel()
	_, err := b.t.r.store(ctx, b.t.r.ledger.base, b.entries)
	return err
}

// stored says whether the entries are in the stream, where they were to go. errOvertaken: something else is.
func (b *batch) stored() (bool, error) {
	l := b.t.r.ledger
	ctx, cancel := context.WithTimeout(b.t.ctx, storeWithin)
	defer cancel()
	info, err := l.check(ctx)
	if err != nil || info.Last == l.base {
		return false, err
	}
	n, same := 0, true
	err = l.log.ScanAfter(ctx, l.base, []string{subject.AllHandoffs}, func(m fold.Message) bool {
		same = m.Sequence == l.base+uint64(n)+1 && m.Subject == b.entries[n].Subject && bytes.Equal(m.Data, b.entries[n].Data)
		n++
		return same && n < len(b.entries)
	})
	switch {
	case err != nil:
		return false, err
	case !same || n < len(b.entries):
		return false, errOvertaken
	}
	return true, nil
}
