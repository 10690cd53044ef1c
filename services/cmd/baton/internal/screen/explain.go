package screen

import (
	"math"
	"strings"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
)

// Explain writes where a lead's scores come from, so that the shown lines add up to the shown total. With thousandths,
// points are shown to the thousandth instead of the tenth.
func (p *Page) Explain(r *leadv1.ExplainResponse, thousandths bool) {
	p.who(r.GetLead())
	if len(r.GetExplanations()) == 0 {
		p.gap()
		p.line("no agreement applies to it")
	}
	for _, e := range r.GetExplanations() {
		p.gap()
		p.explanation(e, thousandths)
		for _, s := range r.GetLead().GetStandings() {
			if s.GetAgreement() == e.GetAgreement() {
				p.line("  now: %s", Clean(join(stageText(s), held(s))))
			}
		}
	}
}

func stageText(s *leadv1.Standing) string {
	if s.GetStage() == "" {
		return ""
	}
	return "stage " + s.GetStage()
}

func (p *Page) explanation(e *leadv1.Explanation, thousandths bool) {
	title := e.GetAgreement() + ": score " + whole(e.GetScore().GetTotal())
	if g := e.GetScore().GetGrade(); g != "" {
		title += ", grade " + g
	}
	p.Title(title)
	unit := unitOf(thousandths)
	t := p.table("  ", 0)
	t.head("POINTS", "RULE", "HOW OFTEN", "WHEN", "FADED")
	var sum int64
	for _, c := range e.GetContributions() {
		n := unit.of(c.GetPoints())
		sum += n
		t.row(unit.signed(n), c.GetRule(), times(c), p.when(c), faded(c))
	}
	total := unit.of(e.GetScore().GetTotal())
	if d := total - sum; d != 0 {
		t.row(unit.signed(d), "", "rounding of the lines above")
	}
	t.row(cell{unit.text(total), bold}, cell{"score", bold},
		"= engagement "+unit.text(unit.of(e.GetScore().GetEngagement()))+" + fit "+unit.text(unit.of(e.GetScore().GetFit())))
	t.flush()
	if len(e.GetPaths()) == 0 {
		return
	}
	p.line("  what would qualify it:")
	t = p.table("  ")
	for _, path := range e.GetPaths() {
		switch {
		case len(path.GetWants()) > 0:
			t.row("  "+path.GetPath(), "wants "+strings.Join(path.GetWants(), "; "))
		case path.GetHolds():
			t.row("  "+path.GetPath(), cell{"holds", good})
		default:
			t.row("  "+path.GetPath(), "a new act")
		}
	}
	t.flush()
}

// unit is what points are counted in on a page: 10 or 1,000 to a point.
type unit int64

func unitOf(thousandths bool) unit {
	if thousandths {
		return 1000
	}
	return 10
}

func (u unit) of(v float64) int64 {
	if u == 10 {
		return tenths(v)
	}
	return int64(math.Round(v * 1000))
}

func (u unit) text(n int64) string {
	if u == 10 {
		return fromTenths(n)
	}
	return exact(float64(n) / 1000)
}

func (u unit) signed(n int64) string {
	if n > 0 {
		return "+" + u.text(n)
	}
	return u.text(n)
}

// times says how a contribution came about.
func times(c *leadv1.Contribution) string {
	switch c.GetKind() {
	case leadv1.Contribution_KIND_FIT:
		return "fit"
	case leadv1.Contribution_KIND_CAP:
		return "cut by its cap"
	case leadv1.Contribution_KIND_LIMIT:
		return "cut by the group's limit"
	case leadv1.Contribution_KIND_ENGAGEMENT, leadv1.Contribution_KIND_UNSPECIFIED:
	}
	return Count(c.GetCount(), "time", "times")
}

// when says when the events of a contribution were.
func (p *Page) when(c *leadv1.Contribution) string {
	first, last := p.Ago(c.GetFirstAt()), p.Ago(c.GetLastAt())
	switch {
	case last == "":
		return first
	case first == "" || first == last || c.GetCount() < 2:
		return last
	}
	return first + " to " + last
}

// faded says how much of a contribution's points is left.
func faded(c *leadv1.Contribution) string {
	was, is := c.GetUnfaded(), c.GetPoints()
	if c.GetKind() != leadv1.Contribution_KIND_ENGAGEMENT || was == 0 || tenths(was) == tenths(is) {
		return ""
	}
	return Number(100*is/was) + "% of " + Number(was)
}
