package screen

import (
	"strconv"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/services/internal/roster"
)

// fact tells a fact in one line, and what there is to add.
func (p *Page) fact(h *handoffv1.Handoff, f *handoffv1.Fact) (what string, more []string) {
	switch x := f.GetFact().(type) {
	case *handoffv1.Fact_HandoffOpened:
		o := x.HandoffOpened
		q := o.GetQualified().GetLeadQualified()
		return "opened: took path " + q.GetPath() + " with " + whole(q.GetScore().GetTotal()) + " points; " +
			join(teamText(o.GetTeam()), "deadline "+stamp(o.GetDeadline())), nil
	case *handoffv1.Fact_HandoffJoined:
		q := x.HandoffJoined.GetQualified().GetLeadQualified()
		return "qualified again: path " + q.GetPath() + " with " + whole(q.GetScore().GetTotal()) + " points", nil
	case *handoffv1.Fact_HandoffAssigned:
		a := x.HandoffAssigned
		reason := roster.ReasonText(a.GetReason())
		if a.GetCovers() != "" {
			reason = "covers for " + a.GetCovers()
		}
		return "assigned to " + a.GetRep() + " of " + a.GetTeam() + ": " + reason, p.passedOver(a.GetPassedOver())
	case *handoffv1.Fact_HandoffHeld:
		return "held: " + roster.HeldText(x.HandoffHeld.GetReason()) + "; asked again by " + stamp(x.HandoffHeld.GetUntil()),
			p.passedOver(x.HandoffHeld.GetPassedOver())
	case *handoffv1.Fact_HandoffDelivered:
		d := x.HandoffDelivered
		text := "told by " + d.GetChannel()
		if d.GetBy() != "" {
			text += ", confirmed by " + d.GetBy()
		}
		if s := latency(h, d.GetDeliveredAt()); s != "" {
			text += ", " + s
		}
		return text, nil
	case *handoffv1.Fact_DeliveryFailed:
		d := x.DeliveryFailed
		text := "could not tell by " + d.GetChannel() + " (" + Count(uint64(d.GetAttempts()), "attempt", "attempts") + "): " + d.GetDetail()
		if d.GetPermanent() {
			text += "; not tried again"
		}
		if d.GetUnknown() {
			text += "; the rep may have been told all the same"
		}
		return text, nil
	case *handoffv1.Fact_WindowMissed:
		return "window missed: the deadline was " + stamp(x.WindowMissed.GetDeadline()), nil
	case *handoffv1.Fact_HandoffAnswered:
		return answered(x.HandoffAnswered), nil
	case *handoffv1.Fact_HandoffClosed:
		return "closed: " + join(sentence(x.HandoffClosed.GetOutcome()), x.HandoffClosed.GetReason()), nil
	case *handoffv1.Fact_LeadRekeyed:
		return "the lead was merged: it is now " + x.LeadRekeyed.GetInto(), nil
	case *handoffv1.Fact_AgreementActivated:
		return "agreement " + x.AgreementActivated.GetName() + " v" + strconv.FormatUint(uint64(x.AgreementActivated.GetVersion()), 10) + " put in force", nil
	case *handoffv1.Fact_RosterApplied:
		return "roster v" + strconv.FormatUint(uint64(x.RosterApplied.GetVersion()), 10) + " put in force", nil
	case *handoffv1.Fact_FoldVersionActivated:
		return "fold version " + strconv.FormatUint(uint64(x.FoldVersionActivated.GetVersion()), 10) + " put in force", nil
	case *handoffv1.Fact_LeadNoted:
		return "noted: nothing to hand off", nil
	}
	return "something that this version of baton does not know", nil
}

func answered(a *handoffv1.HandoffAnswered) string {
	who := a.GetRep()
	if who == "" {
		who = "the rep"
	}
	text := who + " said " + Word(a.GetVerb())
	if a.GetTo() != "" {
		text += " to " + a.GetTo()
	}
	if a.GetUntil() != nil {
		text += " until " + stamp(a.GetUntil())
	}
	if a.GetAmount() != nil {
		text += ", " + moneyText(a.GetAmount())
	}
	if a.GetReason() != "" {
		text += ", reason " + a.GetReason()
	}
	for _, s := range []struct{ name, text string }{{"note", a.GetNote()}, {"objection", a.GetObjection()}, {"need", a.GetNeed()}} {
		if s.text != "" {
			text += ", " + s.name + " “" + s.text + "”"
		}
	}
	return text
}
