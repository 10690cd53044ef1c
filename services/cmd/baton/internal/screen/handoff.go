package screen

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/services/internal/roster"
)

// Handoffs writes a list of handoffs.
func (p *Page) Handoffs(r *handoffv1.ListResponse) {
	if len(r.GetHandoffs()) == 0 {
		p.line("no handoff matches")
		return
	}
	t := p.table("", 4)
	t.head("HANDOFF", "STATE", "REP", "LEAD", "SCORE", "PATH", "OPENED", "DEADLINE", "TOLD")
	for _, h := range r.GetHandoffs() {
		q := h.GetQualified()
		t.row(h.GetId(), cell{p.state(h), stateStyle(h)}, repText(h), name(q.GetProfile(), h.GetLeadKey()), scoreOf(q),
			pathText(h), p.Ago(h.GetOpenedAt()), p.deadline(h), p.told(h))
	}
	t.flush()
	if n := uint64(len(r.GetHandoffs())); r.GetTotal() > n {
		p.line("%s", p.dress(dim, Grouped(n)+" of "+Count(r.GetTotal(), "handoff", "handoffs")+"; more with --limit"))
	}
}

// scoreOf is the score that qualified a lead; nothing where that is no longer kept, as with a handoff that ended.
func scoreOf(q *leadv1.LeadQualified) string {
	if q.GetScore() == nil {
		return ""
	}
	return whole(q.GetScore().GetTotal())
}

// Handoff writes one handoff on a line, as after an answer.
func (p *Page) Handoff(h *handoffv1.Handoff) {
	p.line("%s  %s", p.dress(bold, Clean(h.GetId())), Clean(join(p.state(h), "lead "+name(h.GetQualified().GetProfile(), h.GetLeadKey()), "rep "+repText(h))))
}

// state is where a handoff is, with its outcome or what it waits for.
func (p *Page) state(h *handoffv1.Handoff) string {
	s := Word(h.GetState())
	switch {
	case h.GetState() == handoffv1.State_STATE_CLOSED:
		s = join(sentence(h.GetOutcome()), h.GetReason())
		if a := h.GetAmount(); a != nil {
			s = join(s, moneyText(a))
		}
	case h.GetHeld() != handoffv1.HandoffHeld_HELD_REASON_UNSPECIFIED && h.GetRep() == "":
		s = "held: " + roster.HeldText(h.GetHeld())
	case h.GetSnoozedUntil() != nil:
		s += ", snoozed until " + stamp(h.GetSnoozedUntil())
	}
	return s
}

func stateStyle(h *handoffv1.Handoff) style {
	switch h.GetState() {
	case handoffv1.State_STATE_OFFERED:
		return bold
	case handoffv1.State_STATE_CLOSED:
		return dim
	case handoffv1.State_STATE_UNSPECIFIED, handoffv1.State_STATE_ACKNOWLEDGED, handoffv1.State_STATE_ACCEPTED, handoffv1.State_STATE_OPPORTUNITY:
	}
	return plain
}

func repText(h *handoffv1.Handoff) string {
	if h.GetRep() == "" {
		return "nobody yet"
	}
	return h.GetRep()
}

func pathText(h *handoffv1.Handoff) string {
	if h.GetUrgent() {
		return h.GetPath() + " (urgent)"
	}
	return h.GetPath()
}

func (p *Page) deadline(h *handoffv1.Handoff) string {
	switch {
	case h.GetWindowMissed():
		return "missed " + p.Ago(h.GetDeadline())
	case h.GetDeliveredAt() != nil:
		return "kept"
	}
	return p.Ago(h.GetDeadline())
}

// told says how long it took until the rep was told.
func (p *Page) told(h *handoffv1.Handoff) string {
	if h.GetDeliveredAt() == nil {
		return ""
	}
	return latency(h, h.GetDeliveredAt())
}

// latency says how long after the window's start something was, and what the window started with.
func latency(h *handoffv1.Handoff, at *timestamppb.Timestamp) string {
	from := h.GetWindowStartsAt()
	if from == nil {
		from = h.GetQualified().GetWindowStartsAt()
	}
	if from == nil || at == nil {
		return ""
	}
	of := "the lead was complete"
	switch act := h.GetQualified().GetAct(); {
	case act == nil: // a handoff that ended is kept without it
		of = "its window began"
	case from.AsTime().Equal(act.GetTime().AsTime()):
		of = "the act"
	case from.AsTime().Equal(act.GetArrivedAt().AsTime()):
		of = "the act's arrival"
	}
	// Clocks of different machines may disagree by a little.
	return Span(max(at.AsTime().Sub(from.AsTime()), 0)) + " after " + of
}

func moneyText(m *handoffv1.Money) string {
	return strconv.FormatFloat(m.GetAmount(), 'f', -1, 64) + " " + m.GetCurrency()
}

// Story writes a handoff with all that happened to it.
func (p *Page) Story(r *handoffv1.GetResponse) {
	h := r.GetHandoff()
	if h.GetQualified() == nil {
		// A handoff that ended is kept without what qualified its lead; the ledger has it.
		h = proto.CloneOf(h)
		h.Qualified = qualifiedBy(r.GetFacts())
	}
	q := h.GetQualified()
	p.Title(h.GetId() + "  " + p.state(h))
	t := p.table("  ")
	p.about(t, h)
	t.row("rep", join(repText(h), teamText(h.GetTeam())))
	t.row("deadline", p.deadlineText(h))
	if h.GetJoined() > 0 {
		t.row("joined by", Count(uint64(h.GetJoined()), "further qualification", "further qualifications"))
	}
	agreement := h.GetAgreement() + " v" + strconv.FormatUint(uint64(h.GetAgreementVersion()), 10)
	if q.GetStage() != "" {
		agreement += ", stage " + q.GetStage()
	}
	t.row("agreement", agreement)
	t.flush()
	p.gap()
	p.Title("What happened")
	t = p.table("  ")
	for _, f := range r.GetFacts() {
		what, more := p.fact(h, f)
		t.row(stamp(f.GetDecidedAt()), p.Ago(f.GetDecidedAt()), what)
		for _, s := range more {
			t.row("", "", cell{"  " + s, dim})
		}
	}
	t.flush()
}

func teamText(team string) string {
	if team == "" {
		return ""
	}
	return "team " + team
}

func (p *Page) deadlineText(h *handoffv1.Handoff) string {
	at, told := stamp(h.GetDeadline()), p.told(h)
	switch {
	case h.GetDeadline() == nil:
		return "none"
	case h.GetWindowMissed() && told != "":
		return at + ", missed: told " + told
	case h.GetWindowMissed():
		return at + ", missed " + p.Ago(h.GetDeadline())
	case told != "":
		return at + ", kept: told " + told
	}
	return p.instant(h.GetDeadline())
}

// about adds who the lead is and why it was passed.
func (p *Page) about(t *table, h *handoffv1.Handoff) {
	q := h.GetQualified()
	t.row("lead", cell{join(name(q.GetProfile(), h.GetLeadKey()), person(q.GetProfile())), bold})
	path := "path " + h.GetPath()
	if h.GetUrgent() {
		path += ", urgent"
	}
	if q == nil {
		t.row("passed by", path)
		return
	}
	t.row("score", scoreText(q.GetScore())+", "+path)
	t.row("why", why(q.GetContributions()))
	if q.GetAct() != nil {
		t.row("act", p.act(q))
	}
	t.row("contact", contact(q.GetProfile()))
	if len(q.GetNoConsent()) > 0 {
		t.row("not by", cell{strings.Join(q.GetNoConsent(), ", ") + ": no consent", bad})
	}
}

// qualifiedBy returns what a handoff was opened with; nil if its facts do not say.
func qualifiedBy(facts []*handoffv1.Fact) *leadv1.LeadQualified {
	for _, f := range facts {
		if q := f.GetHandoffOpened().GetQualified().GetLeadQualified(); q != nil {
			return q
		}
	}
	return nil
}

// shownReasons is how many lines of an explanation stand in a summary.
const shownReasons = 4

// why is the top of an explanation.
func why(cs []*leadv1.Contribution) string {
	var parts []string
	rest := 0
	for _, c := range cs {
		switch {
		case len(parts) == shownReasons:
			rest++
		case c.GetKind() == leadv1.Contribution_KIND_CAP || c.GetKind() == leadv1.Contribution_KIND_LIMIT:
			parts = append(parts, unit(10).signed(tenths(c.GetPoints()))+" "+c.GetRule()+" ("+times(c)+")")
		default:
			s := unit(10).signed(tenths(c.GetPoints())) + " " + c.GetRule()
			if c.GetCount() > 1 {
				s += " (" + times(c) + ")"
			}
			parts = append(parts, s)
		}
	}
	s := strings.Join(parts, ", ")
	if rest > 0 {
		s += ", and " + strconv.Itoa(rest) + " more"
	}
	return s
}

// act is what the customer did.
func (p *Page) act(q *leadv1.LeadQualified) string {
	a := q.GetAct()
	var props []string
	for _, k := range slices.Sorted(maps.Keys(a.GetProperties())) {
		props = append(props, k+" "+a.GetProperties()[k])
	}
	text := a.GetType()
	if len(props) > 0 {
		text += " (" + strings.Join(props, ", ") + ")"
	}
	text += " " + p.Ago(a.GetTime()) + " at " + a.GetSource()
	if c := a.GetCampaign()["name"]; c != "" {
		text += ", campaign " + c
	}
	if q.GetLateArrival() {
		text += ", arrived late: " + p.Ago(a.GetArrivedAt())
	}
	return text
}

func contact(profile *leadv1.Profile) string {
	l := profile.GetLead()
	s := join(l["email"], l["phone"])
	if s == "" {
		return "no address and no number known"
	}
	return s
}

// passedOver says why each of the others was not chosen.
func (p *Page) passedOver(list []*handoffv1.PassedOver) []string {
	var lines []string
	for _, o := range list {
		lines = append(lines, "not "+o.GetRep()+" of "+o.GetTeam()+": "+roster.AgainstText(o.GetReason()))
	}
	return lines
}
