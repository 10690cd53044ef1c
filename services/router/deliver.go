package router

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	channelv1 "github.com/leadbaton/baton/api/gen/baton/channel/v1"
	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/services/internal/handoff"
)

// deliveries tells the reps of a term, beside the decisions. Every assignment without receipt has one delivery; whoever
// leads next calls again under the same idempotency keys. sync and wait are called by the decide loop's goroutine.
type deliveries struct {
	ctx      context.Context
	notifier channelv1.NotificationChannelServiceClient
	results  chan<- result
	metrics  *metrics
	slots    *slots
	active   map[assignment]*delivery
	running  sync.WaitGroup
}

type assignment struct {
	handoffID string
	number    uint32
}

// result is what came of a channel's turn, as an input of the decide loop.
type result struct {
	handoffID string
	decide    func(s *handoff.State, now time.Time) ([]*handoffv1.Fact, error)
}

func newDeliveries(ctx context.Context, notifier channelv1.NotificationChannelServiceClient, results chan<- result, m *metrics) *deliveries {
	return &deliveries{ctx: ctx, notifier: notifier, results: results, metrics: m, slots: newSlots(calls, callsPerChannel), active: map[assignment]*delivery{}}
}

// sync begins the deliveries that are wanted and ends those that are not. It returns what is wanted.
func (d *deliveries) sync(s *handoff.State) []handoff.Assignment {
	wanted := map[assignment]bool{}
	undelivered := s.Undelivered()
	for _, a := range undelivered {
		k := assignment{a.HandoffID, a.Assignment}
		wanted[k] = true
		if old := d.active[k]; old != nil {
			if old.sameChannels(a.Channels) {
				continue
			}
			old.cancel() // the roster gives the rep other channels now
		}
		d.begin(k, a, s.Handoff(a.HandoffID))
	}
	for k, v := range d.active {
		if !wanted[k] {
			v.cancel()
			delete(d.active, k)
		}
	}
	return undelivered
}

func (d *deliveries) begin(k assignment, a handoff.Assignment, h *handoffv1.Handoff) {
	ctx, cancel := context.WithCancel(d.ctx)
	v := &delivery{d: d, a: a, handoff: h, cancel: cancel, jitter: jitterOf(a), again: a.Failures > 0, channels: make([]channel, len(a.Channels))}
	for i, c := range a.Channels {
		v.channels[i] = channel{Channel: c}
	}
	d.active[k] = v
	d.running.Go(func() { v.run(ctx) })
}

// wait waits until every delivery has ended, after the context has.
func (d *deliveries) wait() {
	for _, v := range d.active {
		v.cancel()
	}
	d.running.Wait()
}

// delivery tells one rep of one assignment.
type delivery struct {
	d        *deliveries
	a        handoff.Assignment
	handoff  *handoffv1.Handoff
	cancel   context.CancelFunc
	jitter   func(time.Duration) time.Duration
	channels []channel
	again    bool // it was called for before, by whomever
}

// channel is a channel as far as this delivery has come with it.
type channel struct {
	handoff.Channel
	attempts uint32
	pause    time.Duration // before its next attempt
	noted    noted
}

// noted is the last failure of a channel that was handed over to be recorded.
type noted struct {
	kind     failureKind
	at       time.Time     // zero = none was
	interval time.Duration // until the same one is worth another fact
	since    uint32        // attempts since
}

// failureKind is what is new in a failure when it changes.
type failureKind struct {
	permanent, unknown bool
	code               codes.Code
}

func (v *delivery) sameChannels(cs []handoff.Channel) bool {
	return slices.EqualFunc(v.a.Channels, cs, func(a, b handoff.Channel) bool { return a.Name == b.Name && a.Kind == b.Kind && a.To == b.To })
}

// run tries the channels in the rep's order, and again from the first, until a receipt or until ctx ends.
func (v *delivery) run(ctx context.Context) {
	defer v.cancel()
	if len(v.channels) == 0 { // until the roster gives the rep a channel
		<-ctx.Done()
		return
	}
	var pause time.Duration
	for ctx.Err() == nil {
		tryAll := !slices.ContainsFunc(v.channels, func(c channel) bool { return !c.Dead })
		for i := range v.channels {
			if c := &v.channels[i]; tryAll || !c.Dead {
				if v.turn(ctx, c) {
					return
				}
			}
		}
		pause = longer(pause)
		sleep(ctx, v.jitter(pause))
	}
}

// turn is one turn of a channel: attempts until a receipt, a permanent failure or the turn's end. It hands over what came
// of it; true if the delivery has ended.
func (v *delivery) turn(ctx context.Context, c *channel) bool {
	var (
		end      time.Time
		last     attempt
		attempts uint32
		unknown  bool
	)
	for {
		release, ok := v.d.slots.acquire(ctx, v.again, v.a.Urgent, v.a.Deadline, c.Name)
		if !ok {
			return true
		}
		now := time.Now()
		if end.IsZero() {
			end = now.Add(turnTime) // it starts with the first call: waiting for others is not the channel's fault
		}
		if attempts > 0 && end.Sub(now) < leastCall {
			release()
			break
		}
		attempts++
		c.attempts++
		v.again = true
		last = v.call(ctx, c, min(callTime, end.Sub(now)))
		release()
		if ctx.Err() != nil {
			return true
		}
		if last.receipt != nil {
			return v.told(ctx, c, last.receipt)
		}
		unknown = unknown || last.unknown
		if last.permanent {
			c.Dead = true
			break
		}
		c.pause = longer(c.pause)
		wait := v.jitter(c.pause)
		if left := time.Until(end); left < wait+leastCall {
			sleep(ctx, left)
			break
		}
		sleep(ctx, wait)
	}
	c.noted.since += attempts
	if !c.noted.news(failureKind{last.permanent, unknown, last.code}, time.Now()) {
		return ctx.Err() != nil
	}
	in := handoff.Failure{Permanent: last.permanent, Unknown: unknown, Detail: last.detail, Attempts: c.noted.since}
	c.noted.since = 0
	return v.failed(ctx, c, in)
}

// longestSilence is how long a failure that stays the same is not recorded again.
const longestSilence = time.Hour

// news says whether a failure is worth a fact: another one than the last, or again after an interval that doubles. A
// handoff that nobody confirms for days would else fill HANDOFFS for ever.
func (n *noted) news(kind failureKind, now time.Time) bool {
	if !n.at.IsZero() && kind == n.kind && now.Sub(n.at) < n.interval {
		return false
	}
	n.kind, n.at, n.interval = kind, now, min(max(2*n.interval, turnTime), longestSilence)
	return true
}

func (v *delivery) told(ctx context.Context, c *channel, r *channelv1.DeliverResponse) bool {
	in := handoff.Receipt{
		HandoffID: v.a.HandoffID, Assignment: v.a.Assignment, Channel: c.Name, Receipt: r.GetReceipt(), By: r.GetBy(),
		DeliveredAt: timeOf(r.GetDeliveredAt()), Traceparent: v.a.Traceparent,
	}
	v.send(ctx, func(s *handoff.State, now time.Time) ([]*handoffv1.Fact, error) { return s.DecideReceipt(in, now) })
	return true
}

func (v *delivery) failed(ctx context.Context, c *channel, in handoff.Failure) bool {
	in.HandoffID, in.Assignment, in.Channel, in.Traceparent = v.a.HandoffID, v.a.Assignment, c.Name, v.a.Traceparent
	return !v.send(ctx, func(s *handoff.State, now time.Time) ([]*handoffv1.Fact, error) { return s.DecideFailure(in, now) })
}

func (v *delivery) send(ctx context.Context, decide func(*handoff.State, time.Time) ([]*handoffv1.Fact, error)) bool {
	select {
	case v.d.results <- result{handoffID: v.a.HandoffID, decide: decide}:
		return true
	case <-ctx.Done():
		return false
	}
}

// timeOf is the zero time for what is no time.
func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil || t.CheckValid() != nil {
		return time.Time{}
	}
	return t.AsTime()
}
