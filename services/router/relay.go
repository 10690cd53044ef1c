package router

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/handoff"
)

// outbox holds what the facts of HANDOFFS mean for the shards, and has not reached them as far as is known. Every router
// has it, so that whoever leads next goes on where the last one was: what each shard has is read from the shard.
type outbox struct {
	mu     sync.Mutex
	shards [len(subject.Shards)]shardOutbox
	moved  chan struct{} // closed and replaced when a shard has been told more
}

type shardOutbox struct {
	waiting []*shardv1.Inbound // in order
	last    fold.Origin        // of what the shard has
	any     bool
	added   chan struct{}
}

func newOutbox() *outbox {
	o := &outbox{moved: make(chan struct{})}
	for i := range o.shards {
		o.shards[i].added = make(chan struct{}, 1)
	}
	return o
}

// reset forgets what waits: it is folded again.
func (o *outbox) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.shards {
		o.shards[i].waiting = nil
	}
}

func (o *outbox) add(messages []handoff.Message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range messages {
		s := &o.shards[subject.ShardNumber(string(m.Shard))]
		if s.any && !originOf(m.Inbound).After(s.last) {
			continue
		}
		s.waiting = append(s.waiting, m.Inbound)
		select {
		case s.added <- struct{}{}:
		default:
		}
	}
}

// has takes note of the last that a shard has.
func (o *outbox) has(shard int, last fold.Origin) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := &o.shards[shard]
	if s.any && !last.After(s.last) {
		return
	}
	s.last, s.any = last, true
	close(o.moved)
	o.moved = make(chan struct{})
	n := 0
	for n < len(s.waiting) && !originOf(s.waiting[n]).After(last) {
		n++
	}
	s.waiting = s.waiting[n:]
}

// next returns the messages that a shard is told next, in one go.
func (o *outbox) next(shard int) []*shardv1.Inbound {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := o.shards[shard].waiting
	n, size := 0, 0
	for n < len(w) && n < maxEntries {
		if size += proto.Size(w[n]) + entryOverhead; size > maxBytes && n > 0 {
			break
		}
		n++
	}
	return w[:n:n]
}

// told waits until every shard has been told what the facts of HANDOFFS up to a sequence mean for it.
func (o *outbox) told(ctx context.Context, sequence uint64) error {
	for {
		o.mu.Lock()
		waits := false
		for i := range o.shards {
			w := o.shards[i].waiting
			waits = waits || len(w) > 0 && w[0].GetOrigin().GetSequence() <= sequence
		}
		moved := o.moved
		o.mu.Unlock()
		if !waits {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (o *outbox) empty(shard int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.shards[shard].waiting) == 0
}

func originOf(in *shardv1.Inbound) fold.Origin {
	o := in.GetOrigin()
	return fold.Origin{Incarnation: o.GetIncarnation(), Sequence: o.GetSequence(), Ordinal: o.GetOrdinal()}
}

// readOrigins reads what every shard has, and holds it against HANDOFFS. The ledger's lock is held.
func (l *ledger) readOrigins(ctx context.Context) error {
	info, err := l.log.Info(ctx)
	if err != nil {
		return err
	}
	for i, shard := range subject.Shards {
		last, ok, err := l.conn.LastOrigin(ctx, subject.EngagementStream(shard), subject.ProducerPrefix(handoff.Producer, shard))
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if last.Incarnation != info.Created {
			return &fold.StopError{Reason: fmt.Sprintf(
				"stream HANDOFFS was created at %s, but shard %s was told by the one created at %s: it was created anew or restored; "+
					"restore LEADS, HANDOFFS and the shards' streams from one backup", stamp(info.Created), shard, stamp(last.Incarnation))}
		}
		if last.Sequence > info.Last {
			return &fold.StopError{Reason: fmt.Sprintf(
				"stream HANDOFFS ends at message %d, but shard %s was told of message %d: it was restored from an older copy; "+
					"restore LEADS, HANDOFFS and the shards' streams from one backup", info.Last, shard, last.Sequence)}
		}
		l.outbox.has(i, last)
	}
	return nil
}

func stamp(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// pruneEvery is how often a standby looks what the leader has told the shards.
const pruneEvery = 10 * time.Second

// prune keeps a standby's outbox short.
func (r *Router) prune(ctx context.Context) {
	for sleep(ctx, pruneEvery) {
		if r.term.Load() != nil {
			continue
		}
		for i, shard := range subject.Shards {
			if r.ledger.outbox.empty(i) {
				continue
			}
			last, ok, err := r.o.Stream.LastOrigin(ctx, subject.EngagementStream(shard), subject.ProducerPrefix(handoff.Producer, shard))
			if err != nil {
				break
			}
			if ok {
				r.ledger.outbox.has(i, last)
			}
		}
	}
}

// relay tells one shard what HANDOFFS means for it, in order, exactly once, until ctx ends.
func (r *Router) relay(ctx context.Context, shard int) {
	name, o := subject.Shards[shard], r.ledger.outbox
	outlet := r.o.Stream.Outlet(nil)
	for ctx.Err() == nil {
		batch := o.next(shard)
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
			case <-o.shards[shard].added:
			}
			continue
		}
		records, err := recordsOf(name, batch)
		if err == nil {
			err = ordered(ctx, outlet, records)
		}
		var stop *fold.StopError
		switch {
		case err == nil:
			o.has(shard, records[len(records)-1].Origin())
		case ctx.Err() != nil:
		case errors.As(err, &stop):
			// Only this shard stands still: the others' leads must not wait for it.
			r.log.Error("a shard is not told what sales does with its leads until this is put right", "shard", name, "error", err)
			sleep(ctx, time.Minute)
		default:
			r.log.Warn("a shard could not be told what sales does with its leads; trying again", "shard", name, "error", err)
			sleep(ctx, retry)
		}
	}
}

func ordered(ctx context.Context, outlet fold.Outlet, records []fold.Record) error {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	return outlet.Ordered(ctx, records)
}

func recordsOf(shard string, batch []*shardv1.Inbound) ([]fold.Record, error) {
	records := make([]fold.Record, len(batch))
	for i, in := range batch {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(in)
		if err != nil {
			return nil, err
		}
		o := originOf(in)
		records[i] = fold.Record{
			Incarnation: o.Incarnation, Sequence: o.Sequence, Ordinal: o.Ordinal, Guard: fold.Ordered,
			Stream: subject.EngagementStream(shard), Subject: subject.InboundAll(handoff.Producer, shard),
			Prefix: subject.ProducerPrefix(handoff.Producer, shard), Data: data, Traceparent: in.GetTraceparent(),
		}
		if k := in.GetLeadKey(); k != "" {
			records[i].Subject = subject.Inbound(handoff.Producer, leadkey.Key(k))
		}
	}
	return records, nil
}
