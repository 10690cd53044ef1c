package lead

import (
	"cmp"
	"slices"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/services/internal/agreement"
	"github.com/leadbaton/baton/services/internal/condition"
)

// line is one line of an explanation, in thousandths. It is rounded once, and every total is a sum of lines, so that they
// always add up.
type line struct {
	kind    leadv1.Contribution_Kind
	rule    string
	points  int64
	unfaded int64
	count   uint64
	first   int64
	last    int64
}

// score is what a lead is worth under one agreement at one instant, in thousandths.
type score struct {
	engagement, fit int64
	// lines add up to the score; nil if it is not explained.
	lines     []line
	explained bool
}

// tell adds a line.
func (sc *score) tell(x line) {
	if sc.explained {
		sc.lines = append(sc.lines, x)
	}
}

func (sc *score) total() int64 { return sc.engagement + sc.fit }

// refit evaluates the fit rules if anything that they see is another.
func (s *standing) refit(l *Lead, f *inForce, epoch uint64) {
	if s.fitEpoch == epoch {
		return
	}
	scope := condition.Scope{Lead: (*leadObject)(l), Account: (*accountObject)(l)}
	s.fit = slices.Grow(s.fit[:0], len(f.Fit))
	for i := range f.Fit {
		ok, errored := f.Fit[i].When.Match(&scope)
		f.erred.note(&f.erred.fit[i], errored)
		s.fit = append(s.fit, ok)
	}
	s.fitEpoch = epoch
}

// evaluate returns the score at an instant, which is not before any event of the lead, with its lines if it is to be
// explained. The standing must be bound and fitted.
func (s *standing) evaluate(f *inForce, t int64, explained bool) score {
	sc := score{explained: explained}
	var room [8]int64
	groups := room[:0]
	for range f.Groups {
		groups = append(groups, 0)
	}
	fade := fading{halfLife: -1}
	for i := 0; i < len(s.sums); {
		first := &s.sums[i]
		if first.at < 0 {
			i++
			continue
		}
		var gross, cut wide
		x := line{kind: leadv1.Contribution_KIND_ENGAGEMENT, rule: first.rule, first: first.first, last: first.last}
		unfadedCut := int64(0)
		for ; i < len(s.sums) && s.sums[i].rule == first.rule; i++ {
			sum := &s.sums[i]
			if fade.halfLife != sum.halfLife {
				fade = fadingAt(t, sum.halfLife)
			}
			g, c := sum.sums.at(&fade)
			gross, cut = gross.add(g), cut.add(c)
			x.unfaded += sum.gross
			unfadedCut += sum.cut
			x.count += sum.count
			x.first, x.last = min(x.first, sum.first), max(x.last, sum.last)
		}
		x.points = gross.round()
		sc.tell(x)
		net := x.points
		if unfadedCut != 0 {
			x.kind, x.points, x.unfaded = leadv1.Contribution_KIND_CAP, -cut.round(), -unfadedCut
			sc.tell(x)
			net += x.points
		}
		sc.engagement += net
		if g := f.Rules[first.at].Group; g >= 0 && net > 0 {
			groups[g] += net
		}
	}
	for i, sum := range groups {
		if limit := int64(f.Groups[i].Limit); sum > limit {
			sc.tell(line{
				kind: leadv1.Contribution_KIND_LIMIT, rule: f.Groups[i].ID, points: limit - sum, unfaded: limit - sum,
			})
			sc.engagement += limit - sum
		}
	}
	for i, ok := range s.fit {
		if ok {
			p := int64(f.Fit[i].Points)
			sc.tell(line{kind: leadv1.Contribution_KIND_FIT, rule: f.Fit[i].ID, points: p, unfaded: p})
			sc.fit += p
		}
	}
	return sc
}

// grade returns the cell of fit and engagement; "" if the agreement has no grades.
func grade(g *agreement.Grades, sc *score) string {
	if !g.Set {
		return ""
	}
	b := [2]byte{'D', '4'}
	switch fit := agreement.Points(sc.fit); {
	case fit >= g.A:
		b[0] = 'A'
	case fit >= g.B:
		b[0] = 'B'
	case fit >= g.C:
		b[0] = 'C'
	}
	for i, bound := range g.Engagement {
		if agreement.Points(sc.engagement) >= bound {
			b[1] = '1' + byte(i)
			break
		}
	}
	return string(b[:])
}

// points returns thousandths as points. It is used for what is shown only.
func points(thousandths int64) float64 { return float64(thousandths) / float64(agreement.Point) }

// RoundHalfUp returns whole points for thousandths, as scores are shown and tested.
func RoundHalfUp(thousandths int64) int64 {
	q, _ := floorDiv(thousandths+int64(agreement.Point)/2, int64(agreement.Point))
	return q
}

func (sc *score) proto(f *inForce) *leadv1.Score {
	return &leadv1.Score{
		Total: points(sc.total()), Engagement: points(sc.engagement), Fit: points(sc.fit), Grade: grade(&f.Grades, sc),
	}
}

// contributions returns the lines, most points first.
func (sc *score) contributions() []*leadv1.Contribution {
	lines := slices.Clone(sc.lines)
	slices.SortStableFunc(lines, func(a, b line) int {
		return cmp.Or(cmp.Compare(b.points, a.points), cmp.Compare(a.kind, b.kind), cmp.Compare(a.rule, b.rule))
	})
	list := make([]*leadv1.Contribution, 0, len(lines))
	for i := range lines {
		list = append(list, lines[i].proto())
	}
	return list
}

func (x *line) proto() *leadv1.Contribution {
	c := &leadv1.Contribution{
		Kind: x.kind, Rule: x.rule, Points: points(x.points), Unfaded: points(x.unfaded), Count: x.count,
	}
	if x.count > 0 {
		c.FirstAt, c.LastAt = stamp(x.first), stamp(x.last)
	}
	return c
}
