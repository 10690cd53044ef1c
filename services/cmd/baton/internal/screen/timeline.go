package screen

import (
	"maps"
	"slices"
	"strings"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
)

// Timeline writes all that happened to a lead, oldest first.
func (p *Page) Timeline(r *leadv1.TimelineResponse) {
	if len(r.GetEntries()) == 0 {
		p.line("nothing happened to this lead")
		return
	}
	t := p.table("", 3)
	t.head("WHEN", "", "WHAT", "SCORE", "POINTS", "FROM")
	for _, e := range r.GetEntries() {
		at := e.GetTime()
		if at == nil {
			at = e.GetArrivedAt()
		}
		st := plain
		switch e.GetKind() {
		case leadv1.TimelineEntry_KIND_FACT, leadv1.TimelineEntry_KIND_HANDOFF:
			st = bold
		case leadv1.TimelineEntry_KIND_DUPLICATE, leadv1.TimelineEntry_KIND_TOO_OLD_TO_TELL:
			st = dim
		case leadv1.TimelineEntry_KIND_UNSPECIFIED, leadv1.TimelineEntry_KIND_EVENT, leadv1.TimelineEntry_KIND_IDENTITY, leadv1.TimelineEntry_KIND_AGREEMENT:
		}
		t.row(stamp(at), p.Ago(at), cell{e.GetWhat(), st}, scores(e.GetScores()), pointsOf(e), origin(e))
	}
	t.flush()
}

func scores(by map[string]float64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(by)) {
		s := Number(by[name])
		if len(by) > 1 {
			s = name + " " + s
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ", ")
}

func pointsOf(e *leadv1.TimelineEntry) string {
	var parts []string
	for _, c := range e.GetContributions() {
		s := c.GetRule() + " " + unit(10).signed(tenths(c.GetPoints()))
		switch c.GetKind() {
		case leadv1.Contribution_KIND_CAP:
			s += " (cap)"
		case leadv1.Contribution_KIND_LIMIT:
			s += " (limit)"
		case leadv1.Contribution_KIND_UNSPECIFIED, leadv1.Contribution_KIND_ENGAGEMENT, leadv1.Contribution_KIND_FIT:
		}
		parts = append(parts, s)
	}
	switch e.GetKind() {
	case leadv1.TimelineEntry_KIND_DUPLICATE:
		parts = append(parts, "counted before")
	case leadv1.TimelineEntry_KIND_TOO_OLD_TO_TELL:
		parts = append(parts, "not counted: too old to tell")
	case leadv1.TimelineEntry_KIND_UNSPECIFIED, leadv1.TimelineEntry_KIND_EVENT, leadv1.TimelineEntry_KIND_FACT,
		leadv1.TimelineEntry_KIND_HANDOFF, leadv1.TimelineEntry_KIND_IDENTITY, leadv1.TimelineEntry_KIND_AGREEMENT:
	}
	parts = append(parts, e.GetNote())
	return join(parts...)
}

func origin(e *leadv1.TimelineEntry) string { return e.GetOrigin() }
