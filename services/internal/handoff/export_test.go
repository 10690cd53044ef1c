package handoff

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Fingerprint is all that is folded, as text: two states with the same one are the same.
func (s *State) Fingerprint() string {
	var b strings.Builder
	fmt.Fprintf(&b, "sequence %d decided %d leads %v number %d first %d roster %d freed %d\n",
		s.sequence, s.decided, s.leads, s.number, s.first, s.rosters.version, s.freed)
	for _, id := range s.requests.order {
		fmt.Fprintf(&b, "request %s %+v\n", id, *s.requests.byID[id])
	}
	for _, name := range slices.Sorted(maps.Keys(s.agreements)) {
		fmt.Fprintf(&b, "agreement %s %d\n", name, len(s.agreements[name].versions))
	}
	for _, r := range s.all {
		if r == nil {
			b.WriteString("forgotten\n")
			continue
		}
		c := *r
		c.open, c.amount = nil, nil
		fmt.Fprintf(&b, "%+v amount %v awaiting %v held %v untold %v", c, r.amount, s.awaiting[r], s.held[r], s.untold[r])
		fmt.Fprintf(&b, " claim %v", s.openOf[claim{r.agreement, r.lead}] == r)
		if r.open != nil {
			o := *r.open
			o.tried = 0 // not folded
			fmt.Fprintf(&b, " open %+v", o)
		}
		b.WriteByte('\n')
	}
	for _, r := range s.closed {
		fmt.Fprintf(&b, "closed %s\n", r.id)
	}
	for _, lead := range slices.Sorted(maps.Keys(s.byLead)) {
		fmt.Fprintf(&b, "lead %s:", lead)
		rs := slices.SortedFunc(slices.Values(s.byLead[lead]), func(a, b *record) int { return cmp.Compare(a.number, b.number) })
		for _, r := range rs {
			fmt.Fprintf(&b, " %s", r.id)
		}
		b.WriteByte('\n')
	}
	for _, from := range slices.Sorted(maps.Keys(s.aliases)) {
		fmt.Fprintf(&b, "alias %s %s\n", from, s.aliases[from])
	}
	for _, rep := range slices.Sorted(maps.Keys(s.carried)) {
		fmt.Fprintf(&b, "rep %s %+v\n", rep, *s.carried[rep])
	}
	fmt.Fprintf(&b, "awaiting %d held %d untold %d open %d handoffs %d\n", len(s.awaiting), len(s.held), len(s.untold), len(s.openOf), len(s.handoffs))
	return b.String()
}

// SameTurns says whether two states will pick alike.
func SameTurns(a, b *State) bool { return a.turns.Equal(&b.turns) }

// Allowed is the table of answers.
var Allowed = allowed

// Keep lowers what is remembered of the past.
func (s *State) Keep(closed, requests, facts int) {
	s.keptClosed, s.requests.kept, s.keptFacts = closed, requests, facts
}
