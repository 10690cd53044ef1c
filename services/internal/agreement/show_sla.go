package agreement

import (
	"strconv"
	"strings"
)

// sla writes who owes what by when.
func (s *sheet) sla() {
	sla := s.a.SLA
	s.section("Sales owes")
	s.row("deliver", "within "+s.duration(sla.Deliver, within("sla.sales.deliver")...), "from act")
	s.term("acknowledge", sla.Acknowledge, "sla.sales.acknowledge")
	s.term("follow up", sla.FollowUp, "sla.sales.followUp")
	s.term("feedback", sla.Feedback, "sla.sales.feedback")
	s.term("outcome", sla.Outcome, "sla.sales.outcome")
	for _, p := range s.a.Paths {
		at := "qualification.paths[" + p.ID + "].sla."
		s.term("acknowledge "+p.ID, p.Acknowledge, at+"acknowledge")
		s.term("follow up "+p.ID, p.FollowUp, at+"followUp")
	}
	if sla.PerDay > 0 {
		s.row("coverage", strconv.FormatInt(sla.PerDay, 10)+" a day", later)
	}
	m := sla.Marketing
	if m == nil {
		return
	}
	s.section("Marketing owes")
	if m.Qualified > 0 {
		s.row("volume", strconv.FormatInt(m.Qualified, 10)+" qualified a "+m.Per, later)
	}
	if m.Completeness != "" {
		s.row("completeness", m.Completeness+" with "+strings.Join(m.Wanted, ", "), later)
	}
	if m.Acceptance != "" {
		s.row("acceptance", m.Acceptance, later)
	}
}

func (s *sheet) term(name string, t *Term, path string) {
	if t != nil {
		s.row(name, "within "+s.duration(t.Within, within(path)...)+s.clock(t.Clock), "from "+t.From, later)
	}
}

// later writes the sections that are agreed but not yet in force.
func (s *sheet) later() {
	a := s.a
	if len(a.Escalation) > 0 {
		s.section("Escalation " + later)
		for _, e := range a.Escalation {
			s.row(strconv.FormatInt(e.Percent, 10)+"% of "+e.Of, e.Do)
		}
	}
	if r := a.Account; r != nil {
		s.section("Account " + later)
		s.row("by", r.Key)
		s.row("threshold", r.Threshold.String())
		s.row("leads", strconv.FormatInt(r.MinLeads, 10)+" with an act within "+s.duration(r.Within, "account.within"))
	}
	if t := a.Targets; t != nil {
		s.section("Targets for each " + t.Per + " " + later)
		if t.Won > 0 {
			s.row("won", strconv.FormatInt(t.Won, 10))
		}
		if t.Revenue != "" {
			s.row("revenue", t.Revenue+" "+t.Currency)
		}
		if t.Expansion != "" {
			s.row("expansion", t.Expansion+" "+t.Currency)
		}
	}
	if len(a.Signers.Marketing)+len(a.Signers.Sales) > 0 {
		s.section("Signers " + later)
		s.row("marketing", strings.Join(a.Signers.Marketing, ", "))
		s.row("sales", strings.Join(a.Signers.Sales, ", "))
	}
}

// reasons writes why sales says no.
func (s *sheet) reasons() {
	for _, list := range []struct {
		title   string
		reasons []Reason
	}{{"Reasons to reject", s.a.Reasons.Reject}, {"Reasons to disqualify", s.a.Reasons.Disqualify}} {
		if len(list.reasons) == 0 {
			continue
		}
		s.section(list.title)
		for _, r := range list.reasons {
			note := ""
			if r.NoteRequired {
				note = "with a note"
			}
			s.row(r.ID, "then "+r.Then, "against "+r.Against, note)
		}
	}
}

func (s *sheet) tests() {
	if len(s.a.Tests) == 0 {
		return
	}
	s.section("Tests")
	for _, t := range s.a.Tests {
		s.row(t.Name)
	}
}
