package lead

import (
	"strings"

	"github.com/leadbaton/baton/api/cloudevent"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/agreement"
	"github.com/leadbaton/baton/services/internal/condition"
)

// foldEvent counts an engagement event: dedupe; attributes; rules; fit; judge.
func (m *Machine) foldEvent(l *Lead, in *input) {
	ev, t := &in.event, in.time()
	// An alias remembers what it has passed on: a repetition that comes after another lead has claimed it would count there
	// as well. What another alias has passed on to it was looked up there.
	if l.claimant == "" || in.hops == 0 {
		switch l.ids.add(t, in.hash) {
		case counted:
			m.watch.event(in, t, leadv1.TimelineEntry_KIND_DUPLICATE)
			return
		case tooOldToTell:
			l.tooOld++
			l.changed = true
			m.watch.event(in, t, leadv1.TimelineEntry_KIND_TOO_OLD_TO_TELL)
			return
		case unseen:
			l.changed = true
		}
	}
	if l.claimant != "" {
		m.forward(l, in)
		return
	}
	m.watch.event(in, t, leadv1.TimelineEntry_KIND_EVENT)
	l.changed = true
	known := l.events > 0
	if !known || t > l.clock {
		l.clock = t
	}
	l.events++
	l.take(m.log, m.words, ev, t)
	m.tie(l, in)
	if len(m.log.agreements) == 0 {
		return
	}
	m.scope = condition.Scope{
		Event: &ev.Properties, Lead: (*leadObject)(l), Account: (*accountObject)(l), Campaign: &ev.Campaign, Source: ev.Source,
	}
	var made *act
	for _, f := range m.log.agreements {
		s := l.standing(f.Name)
		applies, errored := f.Applies.Match(&m.scope)
		f.erred.note(&f.erred.applies, errored)
		if withdrawn := f.Consent[ev.Type]; len(withdrawn) > 0 {
			if s == nil {
				s = l.stand(f.Name)
			}
			m.withdraw(l, s, f, in, withdrawn, known)
		}
		o := occasion{in: in, history: ev.History}
		if applies {
			if s == nil {
				s = l.stand(f.Name)
			}
			made = m.engage(l, s, f, in, t, &o.now, made)
		}
		if s != nil {
			m.judge(l, s, f, &o)
		}
	}
	m.scope = condition.Scope{}
}

// withdraw takes note of what a lead opts out of. It does not depend on what an agreement applies to.
func (m *Machine) withdraw(l *Lead, s *standing, f *inForce, in *input, scopes []string, known bool) {
	had := s.withdrew(everything)
	for _, scope := range scopes {
		s.withdraw(scope)
	}
	if !had && known && s.withdrew(everything) {
		m.emitFact(l, f, in, &leadv1.Fact{Fact: &leadv1.Fact_ConsentWithdrawn{
			ConsentWithdrawn: &leadv1.ConsentWithdrawn{EventType: in.event.Type},
		}})
	}
}

// engage counts what an event is worth under one agreement. made is the event as an act, if another agreement made it.
func (m *Machine) engage(l *Lead, s *standing, f *inForce, in *input, t int64, now *current, made *act) *act {
	ev := &in.event
	if agreement.AttributesOnly(ev.Type) || ev.Type == cloudevent.TypeLeadMerged && ev.Source == subject.Operator ||
		s.resets && t < s.reset {
		return made
	}
	s.bind(f, m.log.epoch)
	m.matched = m.matched[:0]
	net, carries := int64(0), false
	recount := f.Reset && (s.open || l.awaits()) // a closing may yet be told of that is before this event
	for _, i := range f.RulesFor(ev.Type) {
		r := &f.Rules[i]
		ok, errored := r.When.Match(&m.scope)
		f.erred.note(&f.erred.rules[i], errored)
		if !ok {
			continue
		}
		got := s.credit(l, f, i, int64(r.Points), int64(r.HalfLife), t)
		net += got
		if recount {
			s.remember(credit{r.ID, int64(r.HalfLife), int64(r.Points), t})
		}
		m.matched = append(m.matched, i)
		carries = carries || f.carries[i]
		m.watch.credit(f, i, got)
	}
	if net > 0 && s.stage == "" {
		s.enter(f, "scored")
	}
	now.matched = m.matched
	switch {
	case ev.History:
		if net > 0 {
			s.loaded = true
		}
		return made
	case s.outcome != "" && t < s.closed, net <= 0 && !carries:
		return made
	}
	if made == nil {
		made = newAct(in, t)
	}
	if carries {
		for _, i := range m.matched {
			if f.carries[i] {
				s.setActOf(f.Rules[i].ID, made)
				now.act = made
			}
		}
	}
	if net > 0 && (s.outcome == "" || !s.never && t >= s.again) {
		now.act, now.scored = made, true
		if s.act == nil || t >= s.act.time || s.loaded {
			s.act = made
		}
		s.loaded = false
	}
	return made
}

// credit counts points of a rule for an event at t, and returns what its cap leaves of them.
func (s *standing) credit(l *Lead, f *inForce, rule int, points, halfLife, t int64) int64 {
	r := &f.Rules[rule]
	left := points
	if r.Cap != nil && points > 0 {
		spend := s.spendOf(r.ID, int64(r.Cap.Per))
		left = spend.grant(points, int64(r.Cap.Points), t)
		if oldest, ok := l.ids.oldest(); ok {
			spend.forget(oldest)
		}
	}
	sum := s.sumsOf(r.ID, halfLife, rule)
	sum.add(points, points-left, t, halfLife)
	sum.prune(l.clock, halfLife)
	return left
}

// remember keeps what was counted while an episode or a claim is open, the newest by time.
func (s *standing) remember(c credit) {
	if len(s.tail) < maxTail {
		s.tail = append(s.tail, c)
		return
	}
	oldest := 0
	for i := range s.tail {
		if s.tail[i].time < s.tail[oldest].time {
			oldest = i
		}
	}
	if s.tail[oldest].time <= c.time {
		copy(s.tail[oldest:], s.tail[oldest+1:])
		s.tail[len(s.tail)-1] = c
	}
}

// newAct keeps what a qualification tells of an event.
func newAct(in *input, t int64) *act {
	ev := &in.event
	properties, campaign := ev.Properties.Raw(), ev.Campaign.Raw()
	if len(properties) > maxActObject {
		properties = ""
	}
	if len(campaign) > maxActObject {
		campaign = ""
	}
	// One text holds them all.
	var b strings.Builder
	b.Grow(len(ev.Source) + len(ev.ID) + len(ev.Type) + len(properties) + len(campaign))
	for _, t := range [...]string{ev.Source, ev.ID, ev.Type, properties, campaign} {
		b.WriteString(t)
	}
	all := b.String()
	next := func(n int) (s string) {
		s, all = all[:n], all[n:]
		return s
	}
	return &act{
		source: next(len(ev.Source)), id: next(len(ev.ID)), kind: next(len(ev.Type)),
		properties: next(len(properties)), campaign: next(len(campaign)),
		time: t, arrived: in.arrived,
	}
}
