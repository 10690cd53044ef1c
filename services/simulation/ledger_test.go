package simulation_test

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/services/internal/handoff"
)

// handover is what the judge knows of one handoff, from HANDOFFS alone.
type handover struct {
	lead, rep  string
	assignment uint32
	deadline   time.Time
	awaiting   bool            // neither told nor missed
	told       map[uint32]bool // by assignment
	held       bool
	closed     bool
}

// bookkeeper reads HANDOFFS with a pencil.
type bookkeeper struct {
	w        *world
	handoffs map[string]*handover
	openOf   map[string]string         // by lead
	partOf   map[string]string         // the lead that another became part of
	load     map[string]int            // open handoffs by rep
	today    map[string]map[string]int // by rep and day
	used     map[string]int            // LeadQualified facts, by id
	now      time.Time
}

var (
	openCapacity = map[string]int{"ann": 3, "bob": 4, "cid": 4, "dee": 4, "eve": 2}
	dayCapacity  = map[string]int{"bob": 6, "dee": 12}
)

// judgeHandoffs is P3 to P6 in HANDOFFS.
func (w *world) judgeHandoffs(facts []*leadv1.Fact, models map[string]*model) {
	b := &bookkeeper{
		w: w, handoffs: map[string]*handover{}, openOf: map[string]string{}, load: map[string]int{}, today: map[string]map[string]int{},
		used: map[string]int{}, partOf: map[string]string{},
	}
	rebuilt := handoff.New()
	ledger := w.ledger()
	decision := uint64(0) // the place in LEADS that is being decided on; its facts may be several messages
	for i, message := range ledger {
		if used := message[0].GetConsumed().GetLeadsSequence(); used == 0 || used != decision {
			b.one()
			decision = used
		}
		for _, f := range message {
			b.take(f)
		}
		if _, err := rebuilt.Evolve(message, uint64(i+1), 0); err != nil {
			w.fail("", "P6: %v", err)
			return
		}
	}
	b.one()
	for _, f := range facts {
		if f.GetLeadQualified() != nil && b.used[f.GetId()] != 1 {
			w.fail(f.GetLeadKey(), "P3: the qualification %s is used %d times in HANDOFFS", f.GetId(), b.used[f.GetId()])
		}
	}
	if incarnation, n := rebuilt.Leads(); n != uint64(len(facts)) {
		w.fail("", "P3: HANDOFFS has used %d facts of %d in LEADS (%d)", n, len(facts), incarnation)
	}
	for id, h := range b.handoffs {
		switch {
		case h.closed:
		case root(models, h.lead) != h.lead:
			w.fail(h.lead, "P3: %s is open under %s, which is part of %s", id, h.lead, root(models, h.lead))
		case h.awaiting && !time.Now().Before(h.deadline):
			w.fail(h.lead, "P4: %s: the window ended at %s and nothing says that it was missed", id, h.deadline)
		case h.rep != "" && !h.told[h.assignment]:
			w.fail(h.lead, "P4: assignment %d of %s to %s was never delivered", h.assignment, id, h.rep)
		case h.rep == "" && !h.held:
			w.fail(h.lead, "P4: %s is with nobody, and nothing says why", id)
		}
	}
	joined := map[string]bool{} // leads that others have become part of
	for _, m := range models {
		for key, p := range m.leads {
			if p.claimant != "" {
				joined[root(models, key)] = true
			}
		}
	}
	for _, m := range models {
		for key, p := range m.leads {
			if id := b.openOf[key]; p.claimant == "" && !joined[key] && p.open != (id != "") {
				w.fail(key, "P3: the handoff %q of %s is open, and the lead's episode is open: %t", id, key, p.open)
			}
		}
	}
	w.judgeView(rebuilt)
}

// judgeView is P6: what the leader shows is what HANDOFFS says.
func (w *world) judgeView(rebuilt *handoff.State) {
	conn, err := w.dial(nil, "router-1")
	if err != nil {
		w.fail("", "%v", err)
		return
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	got, err := handoffv1.NewHandoffServiceClient(conn).List(ctx, &handoffv1.ListRequest{Limit: 10_000})
	if err != nil {
		w.fail("", "P6: %v", err)
		return
	}
	for _, h := range got.GetHandoffs() {
		if want := rebuilt.Handoff(h.GetId()); !proto.Equal(h, want) {
			w.fail(h.GetLeadKey(), "P6: the leader shows %v\nHANDOFFS says %v", h, want)
		}
	}
	if _, n := rebuilt.List(handoff.Filter{}, time.Now()); n != got.GetTotal() {
		w.fail("", "P6: the leader shows %d handoffs, HANDOFFS has %d", got.GetTotal(), n)
	}
}

func (b *bookkeeper) fail(f *handoffv1.Fact, format string, args ...any) {
	lead := ""
	if h := b.handoffs[f.GetHandoffId()]; h != nil {
		lead = h.lead
	}
	b.w.fail(lead, "%s: %s", f.GetHandoffId(), fmt.Sprintf(format, args...))
}

// take reads one fact.
func (b *bookkeeper) take(f *handoffv1.Fact) {
	at := f.GetDecidedAt().AsTime()
	if at.Before(b.now) {
		b.fail(f, "P6: decided at %s, after a decision at %s", at, b.now)
	}
	b.now = at
	h := b.handoffs[f.GetHandoffId()]
	if o := f.GetHandoffOpened(); o != nil {
		b.opened(f, o)
		return
	}
	if k := f.GetLeadRekeyed(); k != nil {
		b.rekeyed(k)
		return
	}
	if h == nil {
		return
	}
	if h.closed {
		b.fail(f, "P3: a fact after the end")
	}
	switch e := f.GetFact().(type) {
	case *handoffv1.Fact_HandoffJoined:
		b.used[e.HandoffJoined.GetQualified().GetId()]++
		b.w.chance.note(joined)
	case *handoffv1.Fact_HandoffAssigned:
		b.assigned(f, h, e.HandoffAssigned)
	case *handoffv1.Fact_HandoffHeld:
		b.release(h)
		h.held = true
		if e.HandoffHeld.GetReason() == handoffv1.HandoffHeld_HELD_REASON_UNSPECIFIED {
			b.fail(f, "P6: held without a reason")
		}
		b.w.chance.note(heldBy(e.HandoffHeld.GetReason()))
	case *handoffv1.Fact_HandoffDelivered:
		b.delivered(f, h, e.HandoffDelivered)
	case *handoffv1.Fact_WindowMissed:
		if d := e.WindowMissed.GetDeadline().AsTime(); !h.awaiting || !d.Equal(h.deadline) || at.Before(d) {
			b.fail(f, "P4: a window missed at %s that ends at %s (awaiting: %t)", at, h.deadline, h.awaiting)
		}
		h.awaiting = false
		b.w.chance.note(windowMissed)
	case *handoffv1.Fact_HandoffClosed:
		if h.awaiting && !at.Before(h.deadline) {
			b.fail(f, "P4: closed at %s, and nothing says that the window ended at %s", at, h.deadline)
		}
		if e.HandoffClosed.GetReason() == handoff.ReasonMerged {
			b.w.chance.note(mergedOpen)
		}
		b.release(h)
		h.closed = true
		if b.openOf[h.lead] == f.GetHandoffId() {
			delete(b.openOf, h.lead)
		}
	}
}

// rekeyed gives the handoffs of a lead to the one that it became part of.
func (b *bookkeeper) rekeyed(k *handoffv1.LeadRekeyed) {
	b.partOf[k.GetFrom()] = k.GetInto()
	delete(b.partOf, k.GetInto())
	for _, h := range b.handoffs {
		if h.lead == k.GetFrom() {
			h.lead = k.GetInto()
		}
	}
	delete(b.openOf, k.GetFrom())
}

// one is P3 after each decision: a lead has one open handoff.
func (b *bookkeeper) one() {
	for id, h := range b.handoffs {
		other := b.openOf[h.lead]
		if !h.closed && other != "" && other != id && !b.handoffs[other].closed {
			b.w.fail(h.lead, "P3: %s and %s of one lead are open", id, other)
		}
		if !h.closed {
			b.openOf[h.lead] = id
		}
	}
}

func (b *bookkeeper) opened(f *handoffv1.Fact, o *handoffv1.HandoffOpened) {
	lead := o.GetQualified().GetLeadKey()
	for range maxAliases {
		lead = cmp.Or(b.partOf[lead], lead)
	}
	if other := b.openOf[lead]; other != "" {
		b.w.fail(lead, "P3: %s opens while %s is open", f.GetHandoffId(), other)
	}
	if b.handoffs[f.GetHandoffId()] != nil {
		b.w.fail(lead, "P3: %s opens twice", f.GetHandoffId())
	}
	b.used[o.GetQualified().GetId()]++
	b.openOf[lead] = f.GetHandoffId()
	b.handoffs[f.GetHandoffId()] = &handover{lead: lead, deadline: o.GetDeadline().AsTime(), awaiting: true, told: map[uint32]bool{}}
}

// release takes a handoff off its rep.
func (b *bookkeeper) release(h *handover) {
	if h.rep != "" {
		b.load[h.rep]--
	}
	h.rep = ""
}

// assigned is P5, and P6 of an assignment.
func (b *bookkeeper) assigned(f *handoffv1.Fact, h *handover, a *handoffv1.HandoffAssigned) {
	b.w.chance.note(assignedBy(a.GetReason()))
	b.release(h)
	at, rep := f.GetDecidedAt().AsTime(), a.GetRep()
	day := at.Format(time.DateOnly)
	if b.today[rep] == nil {
		b.today[rep] = map[string]int{}
	}
	if a.GetReason() == handoffv1.AssignmentReason_ASSIGNMENT_REASON_UNSPECIFIED || a.GetRosterVersion() == 0 || a.GetAssignment() != h.assignment+1 {
		b.fail(f, "P6: assignment %d after %d, reason %s, roster version %d", a.GetAssignment(), h.assignment, a.GetReason(), a.GetRosterVersion())
	}
	switch a.GetReason() {
	case handoffv1.AssignmentReason_ASSIGNMENT_REASON_ANYONE, handoffv1.AssignmentReason_ASSIGNMENT_REASON_HANDED_OVER:
	default:
		if b.load[rep] >= openCapacity[rep] {
			b.fail(f, "P5: %s has %d open handoffs and is given one more", rep, b.load[rep])
		}
		if most := dayCapacity[rep]; most > 0 && b.today[rep][day] >= most {
			b.fail(f, "P5: %s was given %d handoffs today and is given one more", rep, most)
		}
		if a.GetTeam() == "dach" && (at.Hour() < 8 || at.Hour() >= 18) {
			b.fail(f, "P5: %s is given a handoff at %s, off hours", rep, at)
		}
		if rep == "bob" && day == "2000-01-01" {
			b.fail(f, "P5: bob is given a handoff while away")
		}
	}
	b.load[rep]++
	b.today[rep][day]++
	h.rep, h.assignment, h.held = rep, a.GetAssignment(), false
}

// delivered is P4 of a receipt.
func (b *bookkeeper) delivered(f *handoffv1.Fact, h *handover, d *handoffv1.HandoffDelivered) {
	n := d.GetAssignment()
	switch {
	case h.told[n]:
		b.fail(f, "P4: assignment %d is delivered twice", n)
	case n == 0 || n > h.assignment:
		b.fail(f, "P4: assignment %d is delivered before it is made", n)
	case d.GetChannel() == "desk" && !b.w.sales.hasConfirmed(f.GetHandoffId(), n),
		d.GetChannel() == "mail" && !b.w.mail.hasTold(fmt.Sprintf("%s/%d/mail", f.GetHandoffId(), n)):
		b.fail(f, "P4: assignment %d is recorded as delivered on %s, and nobody was told", n, d.GetChannel())
	}
	b.w.chance.note(deliveredOn(d.GetChannel()))
	h.told[n] = true
	if h.awaiting && !d.GetDeliveredAt().AsTime().Before(h.deadline) {
		b.fail(f, "P4: delivered at %s, and nothing says that the window ended at %s", d.GetDeliveredAt().AsTime(), h.deadline)
	}
	h.awaiting = false
}
