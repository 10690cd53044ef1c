package router

import (
	"time"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/services/internal/telemetry"
)

// milestones is when each open handoff came how far, folded from HANDOFFS beside the state, so that whoever leads next
// measures the hops on. Nothing is decided on it.
type milestones map[string]*milestone

type milestone struct {
	act    time.Time // the customer's, else when the window started
	window time.Time // when it started
	// last is when the last step was taken, and step which; the next one is measured from there.
	last        time.Time
	step        telemetry.Hop
	traceparent string
}

// passed is what one fact ends.
type passed struct {
	fact        *handoffv1.Fact
	hops        []hop
	window      time.Duration // from the window's start to the receipt; 0 = not now
	headline    time.Duration // from the act to the first attempt; 0 = not now
	traceparent string        // of the handoff
}

type hop struct {
	name telemetry.Hop
	took time.Duration
}

// fold takes note of a fact and returns what it ends.
func (all milestones) fold(f *handoffv1.Fact) passed {
	out := passed{fact: f, traceparent: f.GetTraceparent()}
	at := f.GetDecidedAt().AsTime()
	if o := f.GetHandoffOpened(); o != nil {
		m := &milestone{window: o.GetWindowStartsAt().AsTime(), step: telemetry.Qualified, traceparent: f.GetTraceparent()}
		m.act = m.window
		if a := o.GetQualified().GetLeadQualified().GetAct(); a.GetTime() != nil {
			m.act = a.GetTime().AsTime()
		}
		all[f.GetHandoffId()] = m
		return out
	}
	m := all[f.GetHandoffId()]
	if m == nil {
		return out
	}
	out.traceparent = m.traceparent
	// A step that was taken already is not measured again, nor is one that a later one took the place of.
	step := func(h telemetry.Hop, at time.Time) {
		if m.step >= h {
			return
		}
		if !m.last.IsZero() {
			out.hops = append(out.hops, hop{h, at.Sub(m.last)})
		}
		m.step, m.last = h, at
	}
	switch {
	case f.GetHandoffAssigned() != nil:
		if m.step < telemetry.Delivered {
			m.last = at // delivery is measured from the assignment that it is of
		}
		m.step = max(m.step, telemetry.Assigned)
	case f.GetHandoffDelivered() != nil:
		if m.step < telemetry.Delivered {
			d := f.GetHandoffDelivered().GetDeliveredAt().AsTime()
			step(telemetry.Delivered, d)
			out.window = max(1, d.Sub(m.window))
		}
	case f.GetHandoffAnswered() != nil:
		switch f.GetHandoffAnswered().GetVerb() { //nolint:exhaustive // the others are no steps
		case handoffv1.Verb_VERB_ACKNOWLEDGE:
			step(telemetry.Acknowledged, at)
		case handoffv1.Verb_VERB_ACCEPT:
			step(telemetry.Accepted, at)
		case handoffv1.Verb_VERB_ATTEMPTED, handoffv1.Verb_VERB_REACHED, handoffv1.Verb_VERB_MEETING:
			if m.step < telemetry.Attempted {
				step(telemetry.Attempted, at)
				out.headline = max(1, at.Sub(m.act))
			}
		}
	case f.GetHandoffClosed() != nil:
		delete(all, f.GetHandoffId())
	}
	return out
}
