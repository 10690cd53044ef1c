package lead

import (
	"cmp"
	"slices"
)

// maxStretches is how many half-lives back sums are kept: what is older has faded to nothing.
const maxStretches = 64

// stretch is the points that one rule gave within one half-life, as they are worth at its start.
type stretch struct {
	index int64
	// gross is all points, cut what the rule's cap took of them.
	gross, cut wide
}

// sums are the points of one rule under one half-life. They do not depend on the order in which events were added.
type sums struct {
	stretches []stretch // by index
	// Unfaded, in thousandths.
	gross, cut int64
	count      uint64
	first      int64
	last       int64
}

func (s *sums) add(gross, cut, t, halfLife int64) {
	index, worth := place(gross, t, halfLife)
	x := s.stretch(index)
	x.gross = x.gross.add(worth)
	if cut != 0 {
		_, worth = place(cut, t, halfLife)
		x.cut = x.cut.add(worth)
	}
	s.gross += gross
	s.cut += cut
	if s.count == 0 {
		s.first, s.last = t, t
	}
	s.first, s.last = min(s.first, t), max(s.last, t)
	s.count++
}

func (s *sums) stretch(index int64) *stretch {
	n := len(s.stretches)
	if n > 0 && s.stretches[n-1].index == index {
		return &s.stretches[n-1]
	}
	at, found := slices.BinarySearchFunc(s.stretches, index, func(x stretch, i int64) int { return cmp.Compare(x.index, i) })
	if !found {
		s.stretches = slices.Insert(s.stretches, at, stretch{index: index})
	}
	return &s.stretches[at]
}

// prune drops what has faded to nothing by the instant t.
func (s *sums) prune(t, halfLife int64) {
	if halfLife == 0 || len(s.stretches) < 2 {
		return
	}
	now, _ := floorDiv(t, halfLife)
	n := 0
	for n < len(s.stretches) && s.stretches[n].index <= now-maxStretches {
		n++
	}
	s.stretches = s.stretches[n:]
}

// at returns the sums faded to an instant, with their binary digits.
func (s *sums) at(f *fading) (gross, cut wide) {
	for i := range s.stretches {
		x := &s.stretches[i]
		gross = gross.add(f.halve(x.index, x.gross))
		if !x.cut.zero() {
			cut = cut.add(f.halve(x.index, x.cut))
		}
	}
	gross = f.finish(gross)
	if !cut.zero() {
		cut = f.finish(cut)
	}
	return gross, cut
}

// ruleSums are the sums of one rule under one half-life: a new version of the agreement may change it, and what was
// counted before fades as it did.
type ruleSums struct {
	rule     string
	halfLife int64
	sums
	// at is the rule's index in the agreement in force; -1 if it is no longer there. Not stored.
	at int
}

// spend is what a rule's cap has granted, by fixed stretches of event time.
type spend struct {
	rule    string
	per     int64
	granted []granted // by index
}

type granted struct {
	index  int64
	points int64
}

// grant returns how many of points the cap leaves in the stretch of t, and takes them off it.
func (s *spend) grant(points, limit, t int64) int64 {
	index, _ := floorDiv(t, s.per)
	at, found := slices.BinarySearchFunc(s.granted, index, func(g granted, i int64) int { return cmp.Compare(g.index, i) })
	if !found {
		s.granted = slices.Insert(s.granted, at, granted{index: index})
	}
	g := &s.granted[at]
	points = max(0, min(points, limit-g.points))
	g.points += points
	return points
}

// forget drops the stretches that ended before an instant: no event of theirs can come any more.
func (s *spend) forget(before int64) {
	oldest, _ := floorDiv(before, s.per)
	n := 0
	for n < len(s.granted) && s.granted[n].index < oldest {
		n++
	}
	s.granted = s.granted[n:]
}
