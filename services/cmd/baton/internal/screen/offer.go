package screen

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"
	"github.com/leadbaton/baton/services/internal/roster"
)

// Offer writes an offered handoff as a sales tool shows it.
func (p *Page) Offer(h *handoffv1.Handoff) {
	p.gap()
	head := "Lead for " + repText(h)
	if h.GetTeam() != "" {
		head += " of team " + h.GetTeam()
	}
	p.line("%s  %s", p.dress(good, Clean(head)), p.dress(dim, Clean(h.GetId())+assignment(h)))
	t := p.table("  ")
	p.about(t, h)
	t.row("given", roster.ReasonText(h.GetAssignmentReason()))
	st := plain
	if h.GetDeliveredAt() == nil && (h.GetWindowMissed() || h.GetDeadline() != nil && !p.Now.Before(h.GetDeadline().AsTime())) {
		st = bad
	}
	t.row("deadline", cell{p.deadlineText(h), st})
	t.flush()
}

func assignment(h *handoffv1.Handoff) string {
	if h.GetAssignment() > 1 {
		return ", assignment " + exact(float64(h.GetAssignment()))
	}
	return ""
}

// Confirmed writes what became of a receipt that was given at an instant.
func (p *Page) Confirmed(h *handoffv1.Handoff, result subscriptionv1.ConfirmResponse_Result, at *timestamppb.Timestamp) {
	switch result {
	case subscriptionv1.ConfirmResponse_RESULT_TAKEN:
		p.line("  %s", p.dress(good, "receipt given: delivered "+latency(h, at)))
	case subscriptionv1.ConfirmResponse_RESULT_ALREADY:
		text := "it had been delivered before"
		if h.GetDeliveredAt() != nil {
			text += ": " + p.told(h)
		}
		p.line("  %s", p.dress(dim, text))
	case subscriptionv1.ConfirmResponse_RESULT_GONE:
		p.line("  %s", p.dress(note, "no receipt: it is no longer offered under this assignment"))
	case subscriptionv1.ConfirmResponse_RESULT_UNSPECIFIED:
		p.line("  %s", p.dress(note, "the receipt had an answer that this version of baton does not know"))
	}
}

// Change writes what became of a handoff that was shown before, or is shown for the first time other than offered.
func (p *Page) Change(r *subscriptionv1.SubscribeResponse) {
	h := r.GetHandoff()
	what := p.state(h)
	if r.GetKind() == subscriptionv1.SubscribeResponse_KIND_GONE && h.GetState() != handoffv1.State_STATE_CLOSED {
		what = "gone: now with " + repText(h)
	} else if h.GetState() == handoffv1.State_STATE_OFFERED && h.GetDeliveredAt() != nil {
		what = "delivered " + p.told(h)
	}
	if h.GetWindowMissed() && h.GetDeliveredAt() == nil {
		what = join(what, "the window was missed")
	}
	p.line("%s  %s  %s", p.dress(dim, Clean(h.GetId())), Clean(name(h.GetQualified().GetProfile(), h.GetLeadKey())), Clean(what))
}

// Live says that all open handoffs have been shown.
func (p *Page) Live(shown int) {
	text := "waiting for leads"
	if shown > 0 {
		text = "that is all that is open; waiting for more leads"
	}
	p.gap()
	p.line("%s", p.dress(dim, text))
}
