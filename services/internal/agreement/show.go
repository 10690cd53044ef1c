package agreement

import (
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/leadbaton/baton/services/internal/condition"
	"github.com/leadbaton/baton/services/internal/document"
)

// Show writes an agreement for people: both teams can read it in a meeting. Durations and points are as the document
// writes them, conditions are quoted. The first error of w is returned.
func Show(w io.Writer, a *Agreement) error {
	s := &sheet{a: a, w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	s.head()
	s.stages()
	s.fields()
	s.engagement()
	s.fit()
	s.grades()
	s.qualification()
	s.consent()
	s.sla()
	s.later()
	s.reasons()
	s.tests()
	if s.err == nil {
		s.err = s.w.Flush()
	}
	return s.err
}

// later marks what is agreed but has no effect in this version.
const later = "(not yet in force)"

// sheet writes sections of aligned rows.
type sheet struct {
	a   *Agreement
	w   *tabwriter.Writer
	err error
}

func (s *sheet) print(text string) {
	if s.err == nil {
		_, s.err = io.WriteString(s.w, text)
	}
}

// section begins a section; columns are aligned within one.
func (s *sheet) section(title string) {
	if s.err == nil {
		s.err = s.w.Flush()
	}
	s.print("\n" + title + "\n")
}

// row writes cells; empty ones at the end are left out, so that no line ends in blanks.
func (s *sheet) row(cells ...string) {
	for len(cells) > 1 && cells[len(cells)-1] == "" {
		cells = cells[:len(cells)-1]
	}
	for i, c := range cells {
		// A cell of several lines, such as a long condition, is shown on one.
		cells[i] = strings.Join(strings.Fields(c), " ")
	}
	s.print("  " + strings.Join(cells, "\t") + "\n")
}

// duration writes d as the document does at the first of some places where it stands.
func (s *sheet) duration(d time.Duration, paths ...string) string {
	for _, path := range paths {
		if text := s.a.written[path]; text != "" && text != "0" {
			if same, err := document.ParseDuration(text); err == nil && same == d {
				return text
			}
		}
	}
	return document.FormatDuration(d)
}

func when(p *condition.Program) string {
	if p == nil {
		return ""
	}
	return "when `" + strings.TrimSpace(p.String()) + "`"
}

func signed(p Points) string {
	if p > 0 {
		return "+" + p.String()
	}
	return p.String()
}

func (s *sheet) head() {
	a := s.a
	s.print("Agreement " + a.Name + "\n")
	if a.Owner != "" {
		s.row("owner", a.Owner)
	}
	if a.Review > 0 {
		s.row("review", "every "+s.duration(a.Review, "review")+" "+later)
	}
	about := "every event"
	if a.Applies != nil {
		about = "events " + when(a.Applies)
	}
	s.row("applies to", about)
	if a.Market != "" {
		s.row("market", a.Market)
	}
	if len(a.Language) > 0 {
		s.section("Language")
		for _, word := range slices.Sorted(maps.Keys(a.Language)) {
			s.row(word, a.Language[word])
		}
	}
}

func (s *sheet) stages() {
	if len(s.a.Stages) == 0 {
		return
	}
	s.section("Stages")
	for _, st := range s.a.Stages {
		expect := ""
		if st.Expect > 0 {
			expect = "usually within " + s.duration(st.Expect, "stages["+st.ID+"].expect")
		}
		s.row(st.Name, "enters when "+st.Enters, st.Owner, expect)
	}
}

func (s *sheet) fields() {
	if len(s.a.Fields) == 0 {
		return
	}
	s.section("Fields")
	for _, name := range slices.Sorted(maps.Keys(s.a.Fields)) {
		f := s.a.Fields[name]
		var more []string
		if f.Range != "" {
			more = append(more, "the "+f.Range+" end of a range")
		}
		if len(f.Prefer) > 0 {
			more = append(more, "from "+strings.Join(f.Prefer, ", then ")+", else the newest")
		}
		s.row(name, string(f.Type), strings.Join(more, "; "))
	}
}

func (s *sheet) fades(d time.Duration, path string) string {
	if d == 0 {
		return "never fades"
	}
	return "half in " + s.duration(d, path)
}

func (s *sheet) engagement() {
	a := s.a
	s.section("Engagement: " + s.fades(a.HalfLife, "engagement.halfLife"))
	for _, r := range a.Rules {
		at := "engagement.rules[" + r.ID + "]"
		var more []string
		if r.Group >= 0 {
			more = append(more, "group "+a.Groups[r.Group].ID)
		}
		if r.Cap != nil {
			more = append(more, "at most "+r.Cap.Points.String()+" in each "+s.duration(r.Cap.Per, at+".cap.per"))
		}
		if r.HalfLife != a.HalfLife {
			more = append(more, s.fades(r.HalfLife, at+".halfLife"))
		}
		s.row(r.ID, signed(r.Points), strings.Join(r.On, ", "), when(r.When), strings.Join(more, "; "))
	}
	for _, g := range a.Groups {
		s.row("group "+g.ID, "at most "+g.Limit.String())
	}
}

func (s *sheet) fit() {
	if len(s.a.Fit) == 0 {
		return
	}
	s.section("Fit")
	for _, r := range s.a.Fit {
		s.row(r.ID, signed(r.Points), when(r.When))
	}
}

func (s *sheet) grades() {
	g := s.a.Grades
	if !g.Set {
		return
	}
	s.section("Grades")
	s.row("fit", "A from "+g.A.String(), "B from "+g.B.String(), "C from "+g.C.String(), "else D")
	e := g.Engagement
	s.row("engagement", "1 from "+e[0].String(), "2 from "+e[1].String(), "3 from "+e[2].String(), "else 4")
}

func (s *sheet) qualification() {
	a := s.a
	s.section("Qualification: the first path that holds")
	for _, p := range a.Paths {
		var holds []string
		if p.Rule >= 0 {
			holds = append(holds, "an act of "+a.Rules[p.Rule].ID)
		}
		for _, bound := range []struct {
			of  string
			min *Points
		}{{"score", p.Threshold}, {"fit", p.MinFit}, {"engagement", p.MinEngagement}} {
			if bound.min != nil {
				holds = append(holds, bound.of+" from "+bound.min.String())
			}
		}
		needs := "needs nothing more"
		if len(p.Require) > 0 {
			needs = "needs " + strings.Join(p.Require, ", ")
		}
		urgent := ""
		if p.Urgent {
			urgent = "urgent"
		}
		deliver := s.duration(p.Deliver, within("qualification.paths["+p.ID+"].sla.deliver", "sla.sales.deliver")...)
		s.row(p.ID, strings.Join(holds, ", "), needs, "delivered in "+deliver+s.clock(p.Clock), urgent)
	}
	if len(a.Divert) > 0 {
		s.section("Diverted: the owner is told instead")
		for _, d := range a.Divert {
			s.row(d.ID, when(d.When), "to "+d.To)
		}
	}
	if len(a.Disqualify) > 0 {
		s.section("Turned away")
		for _, d := range a.Disqualify {
			s.row(d.ID, when(d.When))
		}
	}
	s.section("Again")
	for _, outcome := range Outcomes {
		again := a.Again[outcome]
		after := s.duration(again.After, "qualification.again."+outcome+".after")
		switch {
		case again.Never:
			s.row("after "+outcome, "never")
		case again.To != "":
			s.row("after "+outcome, after, "to the "+again.To+" "+later)
		default:
			s.row("after "+outcome, after)
		}
	}
	if a.Reset {
		s.row("engagement from before the closing counts no more")
	}
}

// within is where a term may say its time: in itself, or in its key within.
func within(terms ...string) []string {
	var paths []string
	for _, t := range terms {
		paths = append(paths, t, t+".within")
	}
	return paths
}

func (s *sheet) clock(c Clock) string {
	if c == ClockWorking {
		return " of working time"
	}
	return ""
}

func (s *sheet) consent() {
	if len(s.a.Consent) == 0 {
		return
	}
	s.section("Consent")
	for _, eventType := range slices.Sorted(maps.Keys(s.a.Consent)) {
		s.row(eventType, "withdraws "+strings.Join(s.a.Consent[eventType], ", "))
	}
}
