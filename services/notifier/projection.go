package notifier

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"

	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/handoff"
)

// keptClosed is how many ended handoffs a resuming subscription is told of exactly: the newest. An older token gets all
// open handoffs anew besides.
const keptClosed = 10_000

// projection is what HANDOFFS says now: the router's own state, and beside it what subscriptions need: when each handoff
// last changed, and whose it was before. It is not for concurrent use.
type projection struct {
	state   *handoff.State
	at      fold.Position
	entries map[string]*entry // open ones and the newest closed ones
	closed  []*entry          // oldest first
	// forgot is the sequence up to which ended handoffs may be missing from entries.
	forgot uint64
}

// entry is one handoff.
type entry struct {
	id         string
	holder     holder // nobody while it waits for a rep, and once it ended
	assignment uint32
	ended      bool
	receipt    *handoffv1.HandoffDelivered // of the current assignment; nil = none yet
	// changed is the sequence of the message that last changed it, before the position just before that message.
	changed uint64
	before  fold.Position
	at      *timestamppb.Timestamp
	// left says whose it was, with the sequence at which it went elsewhere.
	left map[holder]uint64
}

// holder is who has a handoff.
type holder struct{ rep, team string }

// nobody says that no rep has it.
func (h holder) nobody() bool { return h.rep == "" }

// change is what one message did to one handoff.
type change struct {
	entry *entry
	was   holder
}

func newProjection() *projection {
	return &projection{state: handoff.New(), entries: map[string]*entry{}}
}

// apply folds one message of HANDOFFS and returns what it changed. After an error the projection is of no use any more.
func (p *projection) apply(m fold.Message) ([]change, error) {
	facts, err := handoff.Decode(m.Data)
	if err != nil {
		return nil, fmt.Errorf("message %d of HANDOFFS holds no facts: %w", m.Sequence, err)
	}
	if _, err := p.state.Evolve(facts, m.Sequence, p.at.Created); err != nil {
		return nil, err
	}
	before := p.at
	p.at.Sequence, p.at.Time = m.Sequence, m.Time
	var changes []change
	for _, f := range facts {
		p.fold(f, m, func(e *entry) {
			if e.changed != m.Sequence { // else an earlier fact of the message has changed it
				changes = append(changes, change{entry: e, was: e.holder})
			}
			e.changed, e.before, e.at = m.Sequence, before, f.GetDecidedAt()
		})
	}
	return changes, nil
}

// fold folds one fact of a message. It calls touch for each handoff that the fact changes, before it does.
func (p *projection) fold(f *handoffv1.Fact, m fold.Message, touch func(*entry)) {
	if k := f.GetLeadRekeyed(); k != nil {
		handoffs, _ := p.state.List(handoff.Filter{LeadKey: k.GetInto(), Limit: handoff.MaxLimit}, time.Unix(0, m.Time))
		for _, h := range handoffs {
			if e := p.entries[h.GetId()]; e != nil && !e.ended {
				touch(e)
			}
		}
		return
	}
	id := f.GetHandoffId()
	e := p.entries[id]
	switch v := f.GetFact().(type) {
	case *handoffv1.Fact_HandoffOpened:
		e = &entry{id: id, holder: holder{team: v.HandoffOpened.GetTeam()}}
		p.entries[id] = e
		touch(e)
	case *handoffv1.Fact_HandoffAssigned:
		touch(e)
		e.assignment, e.receipt = v.HandoffAssigned.GetAssignment(), nil
		e.give(holder{v.HandoffAssigned.GetRep(), v.HandoffAssigned.GetTeam()}, m.Sequence)
	case *handoffv1.Fact_HandoffHeld:
		touch(e)
		e.give(holder{team: e.holder.team}, m.Sequence)
	case *handoffv1.Fact_HandoffDelivered:
		touch(e)
		if v.HandoffDelivered.GetAssignment() == e.assignment {
			e.receipt = v.HandoffDelivered
		}
	case *handoffv1.Fact_HandoffClosed:
		touch(e)
		e.give(holder{}, m.Sequence)
		e.ended = true
		p.end(e)
	case *handoffv1.Fact_HandoffJoined, *handoffv1.Fact_WindowMissed, *handoffv1.Fact_HandoffAnswered:
		touch(e)
	}
	// What else there is changes nothing that a handoff shows: a failed delivery, and facts about no handoff.
}

// give notes that a handoff goes to somebody else.
func (e *entry) give(to holder, sequence uint64) {
	if e.holder == to {
		return
	}
	if !e.holder.nobody() {
		if e.left == nil {
			e.left = map[holder]uint64{}
		}
		e.left[e.holder] = sequence
	}
	delete(e.left, to)
	e.holder = to
}

// end keeps an ended handoff for a while.
func (p *projection) end(e *entry) {
	p.closed = append(p.closed, e)
	if len(p.closed) <= keptClosed {
		return
	}
	old := p.closed[0]
	p.closed[0] = nil
	p.closed = p.closed[1:]
	delete(p.entries, old.id)
	p.forgot = old.changed
}

// untold says that the current assignment has no receipt yet.
func (e *entry) untold() bool { return !e.ended && !e.holder.nobody() && e.receipt == nil }

// behind says that HANDOFFS has not been read as far as an assignment. e may be nil.
func (e *entry) behind(assignment uint32) bool {
	return e == nil || !e.ended && e.assignment < assignment
}

// sorted returns entries that match, in the order in which they last changed.
func (p *projection) sorted(match func(*entry) bool) []*entry {
	var out []*entry
	for _, e := range p.entries {
		if match(e) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.changed, b.changed), cmp.Compare(a.id, b.id))
	})
	return out
}
