package router

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/handoff"
	"github.com/leadbaton/baton/services/internal/stream"
)

// term is the time in which a router leads. It ends when another one may lead, or when somebody else has written to
// HANDOFFS; then what it had not stored is forgotten, and decided anew by whoever leads next.
type term struct {
	r        *Router
	ctx      context.Context
	leads    chan fold.Message
	requests chan *request
	results  chan result
	delivery *deliveries
	last     fold.Message  // of LEADS that was decided last, without its data
	done     chan struct{} // closed when the term has ended
	decided  atomic.Uint64 // sequence in LEADS of the last fact that was decided on, also of one that led to nothing
}

// errTermEnded says that this router leads no more, so that a request must be put again, to whoever leads.
var errTermEnded = errors.New("router: the term has ended")

// lead decides until another router may lead or ctx ends. It returns why it ended.
func (r *Router) lead(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := r.begin(ctx); err != nil {
		r.stopIfMust(err)
		return err
	}
	t := &term{
		r: r, ctx: ctx, leads: make(chan fold.Message, 256), requests: make(chan *request), results: make(chan result, calls),
		done: make(chan struct{}),
	}
	t.delivery = newDeliveries(ctx, r.o.Notifier, t.results, r.metrics)
	var beside sync.WaitGroup
	defer func() {
		r.term.Store(nil)
		cancel(errTermEnded)
		beside.Wait()
		t.delivery.wait()
		close(t.done)
	}()
	beside.Go(func() { // ends the term with the lead
		for {
			changed := r.election.Changed()
			if !r.election.Leading() {
				cancel(errTermEnded)
			}
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	})
	beside.Go(func() { t.readLeads() })
	for shard := range subject.Shards {
		beside.Go(func() { r.relay(ctx, shard) })
	}
	r.log.Info("the router leads")
	r.metrics.term("begun")
	defer r.metrics.seen.Store(nil)
	defer r.metrics.term("ended")
	r.term.Store(t)
	err := t.decide()
	if r.stopIfMust(err) {
		return err
	}
	r.log.Info("the router leads no more", "reason", err)
	return err
}

// begin reads HANDOFFS to its end, and makes sure that LEADS and the shards go with it.
func (r *Router) begin(ctx context.Context) error {
	l := r.ledger
	if err := l.acquire(ctx); err != nil {
		return err
	}
	defer l.release()
	if err := l.catchUp(ctx); err != nil {
		return err
	}
	if err := l.readOrigins(ctx); err != nil {
		return err
	}
	incarnation, sequence := l.state.Leads()
	log := r.o.Stream.Log(subject.LeadsStream)
	info, err := log.Info(ctx)
	switch {
	case err != nil:
		return err
	case incarnation != 0 && info.Created != incarnation:
		return &fold.StopError{Reason: fmt.Sprintf("stream LEADS was created at %s, but HANDOFFS was decided on one of %s: it was created anew "+
			"or restored; restore LEADS, HANDOFFS and the shards' streams from one backup", stamp(info.Created), stamp(incarnation))}
	case info.Last < sequence:
		return &fold.StopError{Reason: fmt.Sprintf("stream LEADS ends at message %d, but message %d was decided on: it was restored from an older "+
			"copy; restore LEADS, HANDOFFS and the shards' streams from one backup", info.Last, sequence)}
	}
	// An older copy may have grown past that place meanwhile: what was stored since would be taken for what was decided.
	return checkPosition(ctx, subject.LeadsStream, log, l.leadsPosition())
}

// readLeads hands over the facts of LEADS that are not decided on, in order, until the term ends.
func (t *term) readLeads() {
	log := t.r.o.Stream.Log(subject.LeadsStream)
	if t.r.ledger.acquire(t.ctx) != nil {
		return
	}
	_, after := t.r.ledger.state.Leads()
	position := t.r.ledger.leadsPosition()
	t.r.ledger.release()
	defer t.r.hinder(readingLeads, nil)
	pause := retry
	for t.ctx.Err() == nil {
		err := t.checkLeads(log, &position)
		t.r.hinder(readingLeads, err)
		if err == nil {
			pause = retry
			err = log.Read(t.ctx, after, func(m fold.Message) {
				select {
				case t.leads <- m:
					after = m.Sequence
					position.Sequence, position.Time = m.Sequence, m.Time
				case <-t.ctx.Done():
				}
			})
		}
		if t.r.stopIfMust(err) || t.ctx.Err() != nil {
			return
		}
		t.r.log.Warn("reading LEADS was interrupted; it goes on in a moment", "error", err)
		sleep(t.ctx, pause)
		pause = min(2*pause, longestRetry)
	}
}

// checkLeads says whether LEADS is still the stream that this term reads.
func (t *term) checkLeads(log *stream.Log, p *fold.Position) error {
	if p.Created == 0 {
		info, err := log.Info(t.ctx)
		if err != nil {
			return err
		}
		p.Created = info.Created
	}
	return checkPosition(t.ctx, subject.LeadsStream, log, *p)
}

// decide is the one place where decisions are made: a loop over whatever has gathered.
func (t *term) decide() error {
	l := t.r.ledger
	var first any // the input that ended the wait
	for {
		if err := l.acquire(t.ctx); err != nil {
			return err
		}
		due, err := t.round(first)
		l.release()
		if err != nil {
			return err
		}
		if first, err = t.wait(due); err != nil {
			return err
		}
	}
}

// wait waits for an input, or until an instant (zero = for ever).
func (t *term) wait(due time.Time) (any, error) {
	var timer <-chan time.Time
	if !due.IsZero() {
		tm := time.NewTimer(max(time.Until(due), minPause))
		defer tm.Stop()
		timer = tm.C
	}
	select {
	case <-t.ctx.Done():
		return nil, context.Cause(t.ctx)
	case m := <-t.leads:
		return m, nil
	case q := <-t.requests:
		return q, nil
	case res := <-t.results:
		return res, nil
	case <-timer:
		return nil, nil
	}
}

// minPause keeps a timer that is due, but has nothing to decide, from taking the processor.
const minPause = 20 * time.Millisecond

// maxInputs bounds one round, so that whoever reads the state does not wait long.
const maxInputs = 500

// round decides on the first input and all that have gathered, stores what it decided, and answers. It returns when a
// timer is due. The ledger's lock is held.
func (t *term) round(first any) (time.Time, error) {
	b := &batch{t: t}
	defer b.abandon()
	if err := t.putInitial(b); err != nil {
		return time.Time{}, err
	}
	for n, in := 0, first; n < maxInputs; n++ {
		b.begun, b.arrived = time.Now(), time.Time{}
		if err := t.timers(b); err != nil {
			return time.Time{}, err
		}
		if n > 0 || in == nil {
			if in = t.gathered(); in == nil {
				break
			}
		}
		if err := t.input(b, in); err != nil {
			return time.Time{}, err
		}
	}
	b.begun, b.arrived = time.Now(), time.Time{}
	if err := t.timers(b); err != nil {
		return time.Time{}, err
	}
	if err := b.flush(); err != nil {
		return time.Time{}, err
	}
	t.r.metrics.look(t.r.ledger.state, t.delivery.sync(t.r.ledger.state), t.last, len(t.leads))
	due := t.r.ledger.state.NextDue()
	if len(t.leads) > 0 || len(t.results) > 0 {
		due = time.Now()
	}
	return due, nil
}

// gathered returns an input that is there without waiting; nil if there is none. What reps did goes first.
func (t *term) gathered() any {
	select {
	case res := <-t.results:
		return res
	default:
	}
	select {
	case q := <-t.requests:
		return q
	default:
	}
	select {
	case m := <-t.leads:
		return m
	default:
	}
	return nil
}

// input decides on one input.
func (t *term) input(b *batch, in any) error {
	s := t.r.ledger.state
	switch in := in.(type) {
	case *request:
		facts, err := in.decide(s, time.Now())
		if err == nil {
			err = b.add(facts)
			if err != nil {
				b.answers = append(b.answers, answer{request: in})
				return err
			}
			b.answers = append(b.answers, answer{request: in, changed: len(facts) > 0})
			return nil
		}
		b.answers = append(b.answers, answer{request: in, err: err})
		return nil
	case result:
		facts, err := in.decide(s, time.Now())
		if err != nil {
			// The handoff is not known any more, or the result is of no assignment of it: nothing is lost by leaving it out.
			t.r.log.Warn("the result of a delivery fits no handoff", "handoff", in.handoffID, "error", err)
			return nil
		}
		return b.add(facts)
	case fold.Message:
		f := &leadv1.Fact{}
		if err := proto.Unmarshal(in.Data, f); err != nil {
			return &fold.StopError{Reason: fmt.Sprintf("message %d of LEADS cannot be read: %v; only scorers may write there", in.Sequence, err)}
		}
		for _, k := range []string{f.GetLeadKey(), f.GetLeadMerged().GetInto()} {
			if k != "" && !leadkey.Valid(k) {
				return &fold.StopError{Reason: fmt.Sprintf("message %d of LEADS names a lead key of %d bytes that is none; only scorers may write there", in.Sequence, len(k))}
			}
		}
		b.arrived = time.Unix(0, in.Time)
		t.last = in
		t.last.Data = nil
		facts, err := s.DecideLead(handoff.Lead{Incarnation: in.Incarnation, Sequence: in.Sequence, Stored: in.Time, Fact: f}, time.Now())
		if err != nil {
			return t.undecidable(b, in.Sequence, err)
		}
		t.decided.Store(in.Sequence)
		return b.add(facts)
	}
	return nil
}

// undecidable says what ends the term over a fact of LEADS that cannot be decided. Where another router has written to
// HANDOFFS, what is missing here (the version of an agreement that it put in force) may be there: it is decided anew.
func (t *term) undecidable(b *batch, sequence uint64, cause error) error {
	if err := b.flush(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.ctx, storeWithin)
	defer cancel()
	info, err := t.r.ledger.check(ctx)
	switch {
	case err != nil:
		return err
	case info.Last != t.r.ledger.base:
		return errOvertaken
	}
	return &fold.StopError{Reason: fmt.Sprintf("message %d of LEADS: %v", sequence, cause)}
}

// timers decides what is due.
func (t *term) timers(b *batch) error {
	s := t.r.ledger.state
	for {
		now := time.Now()
		if d := s.Decided(); now.Before(d) {
			now = d
		}
		if due := s.NextDue(); due.IsZero() || due.After(now) {
			return nil
		}
		facts, err := s.DecideTimer(now)
		if err != nil {
			return &fold.StopError{Reason: err.Error()}
		}
		if len(facts) == 0 {
			return nil
		}
		if err := b.add(facts); err != nil {
			return err
		}
	}
}
