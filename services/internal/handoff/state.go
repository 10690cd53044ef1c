// Package handoff is the router's pure core. State + input + now -> facts (Decide...), state + fact -> state (Evolve):
// folding the HANDOFFS stream alone gives the whole state again. It reads no clock and does no I/O.
package handoff

import (
	"time"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/services/internal/roster"
)

// What is remembered of the past. The bounds count facts, not time, so that a rebuild remembers the same.
const (
	// KeptClosed is how many ended handoffs are remembered, the latest ended ones. An answer to an older one is refused as
	// unknown. One takes less than a kilobyte.
	KeptClosed = 200_000
	// KeptRequests is how many request ids are remembered, the newest. An older one would be decided anew.
	KeptRequests = 65_536
	// KeptFacts is of how many messages with facts of one handoff its story is read: the first and the newest.
	KeptFacts = 512
)

// State is everything that the router knows, from the facts of HANDOFFS alone. It is not for concurrent use.
type State struct {
	sequence uint64
	decided  int64 // Unix nanoseconds of the last decision
	leads    position

	requests   requests
	agreements map[string]*agreements
	// foldVersion is that of the scorers' fold in force; 0 = the first.
	foldVersion uint32
	rosters     rosterInForce
	turns       roster.Turns

	number   uint64 // of the last handoff
	handoffs map[string]*record
	all      []*record // by number; nil where one is forgotten
	first    uint64    // number of all[0]
	closed   []*record // in the order in which they ended
	openOf   map[claim]*record
	byLead   map[string][]*record
	aliases  map[string]string // lead key that was merged -> the key it is part of

	// What needs attention, so that nothing has to be searched for.
	awaiting map[*record]bool // deadline neither met nor missed
	held     map[*record]bool
	untold   map[*record]bool // assigned without receipt
	carried  map[string]*carried

	keptClosed, keptFacts int // KeptClosed and KeptFacts, but in tests

	// freed counts what may have made a rep free for a held handoff. It and record.tried are no part of what is folded:
	// they save asking again where nothing can have changed.
	freed uint64
	loads loadsMemo
}

// position is how far LEADS is used up.
type position struct {
	incarnation int64
	sequence    uint64
	stored      int64
}

// claim is what only one open handoff may have.
type claim struct{ agreement, lead string }

// carried is what a rep carries.
type carried struct {
	open  int64
	given []int64 // when it was assigned one, for the last two days; Unix nanoseconds
}

// record is one handoff. Once it is closed, open is nil and the rest is all that is kept.
type record struct {
	id, agreement, lead, path, team, rep, channel, reason string

	number     uint64
	version    uint32
	episode    uint32
	assignment uint32
	joined     uint32

	state   handoffv1.State
	outcome handoffv1.Outcome
	why     handoffv1.AssignmentReason
	waiting handoffv1.HandoffHeld_HeldReason
	urgent  bool
	missed  bool

	// Unix nanoseconds; 0 = not.
	openedAt, windowStartsAt, deadline, deliveredAt, assignedAt, closedAt, snoozedUntil int64

	amount *handoffv1.Money
	facts  []uint64 // sequences of their messages in HANDOFFS
	open   *openRecord
}

// openRecord is what only an open handoff needs.
type openRecord struct {
	qualified   []byte // LeadQualified, encoded: a tenth of its size decoded
	traceparent string
	heldUntil   int64
	told        bool     // the current assignment has a receipt
	dead        []string // channels that are of no use for the current assignment
	failures    uint32   // of the current assignment
	tried       uint64   // the value of State.freed when it was last asked for in vain, plus 1; see there
}

// New returns the state before the first fact.
func New() *State {
	return &State{
		requests:   requests{byID: map[string]*Request{}, kept: KeptRequests},
		keptClosed: KeptClosed,
		keptFacts:  KeptFacts,
		agreements: map[string]*agreements{},
		handoffs:   map[string]*record{},
		first:      1,
		openOf:     map[claim]*record{},
		byLead:     map[string][]*record{},
		aliases:    map[string]string{},
		awaiting:   map[*record]bool{},
		held:       map[*record]bool{},
		untold:     map[*record]bool{},
		carried:    map[string]*carried{},
	}
}

// Sequence is that of the last message that was folded: what the next publish expects to be the stream's last.
func (s *State) Sequence() uint64 { return s.sequence }

// Leads says how far LEADS is used up: the next fact to decide is the one after sequence. Both are 0 at the start.
func (s *State) Leads() (incarnation int64, sequence uint64) {
	return s.leads.incarnation, s.leads.sequence
}

// LeadsStored is when the last fact of LEADS that is used up was stored there, in Unix nanoseconds; 0 = not known.
func (s *State) LeadsStored() int64 { return s.leads.stored }

// Decided is when the last decision was made; the next one is never dated before it. Zero at the start.
func (s *State) Decided() time.Time { return timeOf(s.decided) }

// Resolve returns the key that a lead's handoffs are under: its own, or that of the lead it was merged into.
func (s *State) Resolve(leadKey string) string {
	for range len(s.aliases) + 1 {
		into, ok := s.aliases[leadKey]
		if !ok {
			break
		}
		leadKey = into
	}
	return leadKey
}

// Request is a request that was decided, for whoever repeats it.
type Request struct {
	// Sequence of the message with its first fact in HANDOFFS.
	Sequence uint64
	// HandoffID is set for an answer.
	HandoffID string
	// Agreement and AgreementVersion are set for an activation.
	Agreement        string
	AgreementVersion uint32
	// RosterVersion is set for an apply.
	RosterVersion uint32

	hash string
}

// Request returns what became of a request; false if its id is not known.
func (s *State) Request(id string) (Request, bool) {
	r := s.requests.byID[id]
	if r == nil {
		return Request{}, false
	}
	return *r, true
}

// requests remembers the newest request ids.
type requests struct {
	byID  map[string]*Request
	order []string
	kept  int // KeptRequests, but in tests
}

func (q *requests) add(id string, r *Request) {
	if q.byID[id] != nil {
		return
	}
	q.byID[id] = r
	q.order = append(q.order, id)
	if len(q.order) > q.kept {
		delete(q.byID, q.order[0])
		q.order[0] = ""
		q.order = q.order[1:]
	}
}

// timeOf is the zero time for 0.
func timeOf(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}

// qualified decodes what the handoff began with; nil if it is closed.
func (r *record) qualified() *leadv1.LeadQualified {
	if r.open == nil {
		return nil
	}
	return decodeQualified(r.open.qualified)
}
