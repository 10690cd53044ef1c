package handoff

import (
	"slices"
	"time"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"

	"github.com/leadbaton/baton/services/internal/roster"
)

// missedAtOnce is how many missed windows one decision records at most: a batch has at most 1,000 facts.
const missedAtOnce = 500

// NextDue is when DecideTimer has something to decide without any other input; zero if never. It may be in the past.
func (s *State) NextDue() time.Time {
	var due int64
	sooner := func(at int64) {
		if due == 0 || at < due {
			due = at
		}
	}
	for r := range s.awaiting {
		sooner(r.deadline)
	}
	for r := range s.held {
		if r.open.tried != s.freed+1 {
			sooner(max(1, s.decided))
		} else {
			sooner(r.open.heldUntil)
		}
	}
	return timeOf(due)
}

// DecideTimer decides what is due at now: windows that were missed, and held handoffs that may be assigned, the urgent
// ones first, then by deadline. It decides one thing at a time: call it again after its facts are folded, until it
// returns none.
//
// The end of a snooze needs no fact: it stands in the answer.
func (s *State) DecideTimer(now time.Time) ([]*handoffv1.Fact, error) {
	d := s.decide(now, "")
	for _, r := range s.sorted(s.awaiting) {
		d.traceparent = r.open.traceparent
		d.window(r, d.now)
		if len(d.facts) == missedAtOnce {
			break
		}
	}
	if len(d.facts) > 0 {
		return d.facts, nil
	}
	for _, r := range s.sorted(s.held) {
		over := d.now.UnixNano() >= r.open.heldUntil
		if !over && r.open.tried == s.freed+1 {
			continue
		}
		if err := d.again(r, over); err != nil || len(d.facts) > 0 {
			return d.facts, err
		}
		r.open.tried = s.freed + 1
	}
	return nil, nil
}

// again asks once more who takes a held handoff. over: its time is up, so that it is held anew if it still is.
func (d *decision) again(r *record, over bool) error {
	d.traceparent = r.open.traceparent
	a, err := d.s.agreementOf(r.agreement, r.version)
	if err != nil {
		return err
	}
	c, ok := d.choose(a, r.agreement, r.qualified(), r.id, r.assignment+1)
	if over || c.Rep != nil {
		d.assign(r.id, r.assignment+1, c, ok)
	}
	return nil
}

// Loads returns what every rep of the roster in force carries at now.
func (s *State) Loads(now time.Time) map[string]roster.Load {
	if s.rosters.roster == nil {
		return nil
	}
	if m := &s.loads; m.loads != nil && m.now == now.UnixNano() && m.sequence == s.sequence {
		return m.loads
	}
	loads := make(map[string]roster.Load, len(s.rosters.roster.Reps))
	for _, p := range s.rosters.roster.Reps {
		loads[p.ID] = s.load(p, now)
	}
	s.loads = loadsMemo{now: now.UnixNano(), sequence: s.sequence, loads: loads}
	return loads
}

// loadsMemo keeps the last loads: many held handoffs are asked for at one instant.
type loadsMemo struct {
	now      int64
	sequence uint64
	loads    map[string]roster.Load
}

func (s *State) load(p *roster.Rep, now time.Time) roster.Load {
	c := s.carriedBy(p.ID)
	l := roster.Load{Open: c.open}
	year, month, day := now.In(p.Zone()).Date()
	for _, at := range slices.Backward(c.given) {
		if y, m, d := time.Unix(0, at).In(p.Zone()).Date(); y != year || m != month || d != day {
			break // they are in the order of time
		}
		l.Today++
	}
	return l
}

func (s *State) carriedBy(rep string) carried {
	if c := s.carried[rep]; c != nil {
		return *c
	}
	return carried{}
}
