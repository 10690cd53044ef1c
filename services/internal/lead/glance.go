package lead

import "github.com/leadbaton/baton/services/internal/fold"

// Glance is what may be measured of an input. Nothing in it says whom it is about, and nothing may be decided on it.
type Glance struct {
	// Acted and Arrived are when the customer acted and when that arrived, in Unix nanoseconds; Acted is 0 unless the input
	// is an event as published, not loaded as history, that says when it happened.
	Acted, Arrived int64
	Shard          string
	Sequence       uint64
	Traceparent    string
}

// Look glances at an input before it is folded.
func (m *Machine) Look(decoded fold.Input) Glance {
	in, ok := decoded.(*input)
	if !ok {
		return Glance{}
	}
	g := Glance{Arrived: in.message.Time, Shard: m.shard, Sequence: in.message.Sequence}
	if in.rejected != nil {
		g.Traceparent = in.message.Traceparent
		return g
	}
	g.Traceparent = in.traceparent()
	if in.isEvent && in.inbound == nil && !in.event.History {
		g.Acted = in.event.Time
	}
	return g
}

// erred counts the conditions of a version that ended in an error, and so counted as false. Nothing is decided on it.
type erred struct {
	any                            bool
	applies                        uint64
	rules, fit, divert, disqualify []uint64
}

func newErred(f *inForce) erred {
	return erred{
		rules: make([]uint64, len(f.Rules)), fit: make([]uint64, len(f.Fit)),
		divert: make([]uint64, len(f.Divert)), disqualify: make([]uint64, len(f.Disqualify)),
	}
}

// note counts a condition if it ended in an error.
func (e *erred) note(count *uint64, errored bool) {
	if errored {
		*count++
		e.any = true
	}
}

// Kinds of conditions, as Errors tells them.
const (
	conditionApplies    = "applies"
	conditionEngagement = "engagement"
	conditionFit        = "fit"
	conditionDivert     = "divert"
	conditionDisqualify = "disqualify"
)

// Errors tells how often each condition of the versions in force ended in an error since it was asked last: by agreement,
// kind, and id within the kind.
func (m *Machine) Errors(each func(agreement, kind, id string, n uint64)) {
	if m.log == nil {
		return
	}
	for _, f := range m.log.agreements {
		e := &f.erred
		if !e.any {
			continue
		}
		e.any = false
		tell := func(kind, id string, n *uint64) {
			if *n > 0 {
				each(f.Name, kind, id, *n)
				*n = 0
			}
		}
		tell(conditionApplies, "", &e.applies)
		for i := range e.rules {
			tell(conditionEngagement, f.Rules[i].ID, &e.rules[i])
		}
		for i := range e.fit {
			tell(conditionFit, f.Fit[i].ID, &e.fit[i])
		}
		for i := range e.divert {
			tell(conditionDivert, f.Divert[i].ID, &e.divert[i])
		}
		for i := range e.disqualify {
			tell(conditionDisqualify, f.Disqualify[i].ID, &e.disqualify[i])
		}
	}
}
