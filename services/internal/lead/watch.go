package lead

import (
	"time"

	engagementv1 "github.com/leadbaton/baton/api/gen/baton/engagement/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
)

// watch sees what becomes of messages, for a lead's timeline. A nil watch sees nothing: the fold of a shard has none.
type watch struct {
	entries []*leadv1.TimelineEntry
	// facts are all that were emitted.
	facts []*leadv1.Fact
	// rejections are all inputs that changed nothing.
	rejections []*engagementv1.Rejection
	last       *leadv1.TimelineEntry
}

func (w *watch) add(e *leadv1.TimelineEntry) {
	w.entries = append(w.entries, e)
	w.last = e
}

func (w *watch) event(in *input, t int64, kind leadv1.TimelineEntry_Kind) {
	if w == nil {
		return
	}
	e := &leadv1.TimelineEntry{
		ArrivedAt: stamp(in.arrived), Time: stamp(t), Kind: kind,
		What: keep(in.event.Type), Origin: keep(in.event.Source) + " " + keep(in.event.ID),
	}
	switch {
	case in.event.Time > in.arrived+tolerance:
		e.Note = "dated more than " + time.Duration(tolerance).String() + " ahead of its arrival: taken at its arrival"
	case in.event.History:
		e.Note = "loaded as history"
	case in.inbound != nil:
		e.Note = "of another identity of this lead"
	}
	w.add(e)
}

func (w *watch) credit(f *inForce, rule int, got int64) {
	if w == nil {
		return
	}
	r := &f.Rules[rule]
	w.last.Contributions = append(w.last.Contributions, &leadv1.Contribution{
		Kind: leadv1.Contribution_KIND_ENGAGEMENT, Rule: r.ID, Points: points(got), Unfaded: points(int64(r.Points)), Count: 1,
		FirstAt: w.last.GetTime(), LastAt: w.last.GetTime(),
	})
}

func (w *watch) fact(f *leadv1.Fact) {
	if w == nil {
		return
	}
	w.facts = append(w.facts, f)
	e := &leadv1.TimelineEntry{ArrivedAt: f.GetArrivedAt(), Time: f.GetAt(), Kind: leadv1.TimelineEntry_KIND_FACT, Origin: f.GetId()}
	switch x := f.GetFact().(type) {
	case *leadv1.Fact_LeadQualified:
		e.What, e.Note = "LeadQualified", "by the path "+x.LeadQualified.GetPath()
	case *leadv1.Fact_LeadDiverted:
		e.What, e.Note = "LeadDiverted", x.LeadDiverted.GetDivert()
	case *leadv1.Fact_LeadTurnedAway:
		e.What, e.Note = "LeadTurnedAway", x.LeadTurnedAway.GetDisqualifier()
	case *leadv1.Fact_ConsentWithdrawn:
		e.What, e.Note = "ConsentWithdrawn", x.ConsentWithdrawn.GetEventType()
	case *leadv1.Fact_LeadMerged:
		e.What, e.Note = "LeadMerged", "into another lead"
	}
	// The entry of the event that caused it stays the last: its scores are still to come.
	w.entries = append(w.entries, e)
}

func (w *watch) identity(in *input, what, note string) {
	if w == nil {
		return
	}
	w.entries = append(w.entries, &leadv1.TimelineEntry{
		ArrivedAt: stamp(in.message.Time), Kind: leadv1.TimelineEntry_KIND_IDENTITY, What: what, Note: note,
	})
}

func (w *watch) handoff(in *input, h *shardv1.HandoffMoved) {
	if w == nil {
		return
	}
	e := &leadv1.TimelineEntry{
		ArrivedAt: stamp(in.message.Time), Time: h.GetAt(), Kind: leadv1.TimelineEntry_KIND_HANDOFF,
		What: h.GetMoved(), Origin: h.GetHandoffId(),
	}
	if h.GetClosed() {
		e.Note = "the handoff closed"
	}
	w.add(e)
}

func (w *watch) version(in *input) {
	if w == nil {
		return
	}
	f := in.inbound.GetAgreementInForce()
	w.add(&leadv1.TimelineEntry{
		ArrivedAt: stamp(in.message.Time), Kind: leadv1.TimelineEntry_KIND_AGREEMENT,
		What: f.GetName(), Origin: versionText(f.GetVersion()),
	})
}

func (w *watch) rejection(r *engagementv1.Rejection) {
	if w != nil {
		w.rejections = append(w.rejections, r)
	}
}
