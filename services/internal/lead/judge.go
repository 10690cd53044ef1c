package lead

import (
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/services/internal/attribute"
	"github.com/leadbaton/baton/services/internal/condition"
)

// verdict is what a lead's standing comes to at one instant.
type verdict struct {
	held leadv1.Held // unspecified: nothing holds it
	by   string      // the id of what holds it
	// path is the one that it takes or would take, by index; -1 if none holds.
	path int
	// act is what the path rests on; nil if there is none that counts.
	act *act
	// to is the owner that a diverted lead is told to.
	to string
}

// current is the event that is being judged.
type current struct {
	// act is the event, if a path may rest on it.
	act *act
	// scored says that it gave points, and is not too early for the agreement's `again`.
	scored bool
	// matched are the rules that it matched.
	matched []int
}

func (c *current) matches(rule int) bool {
	for _, m := range c.matched {
		if m == rule {
			return true
		}
	}
	return false
}

// holds says whether a path's own condition holds.
func (s *standing) holds(f *inForce, path int, sc *score) bool {
	p := &f.Paths[path]
	if p.Rule >= 0 && s.actOf(f.Rules[p.Rule].ID) == nil {
		return false
	}
	return (p.Threshold == nil || sc.total() >= int64(*p.Threshold)) &&
		(p.MinFit == nil || sc.fit >= int64(*p.MinFit)) &&
		(p.MinEngagement == nil || sc.engagement >= int64(*p.MinEngagement))
}

// lacks returns the first field that a path requires and the lead does not have; "" if it has all.
func (l *Lead) lacks(require []string) string {
	for _, name := range require {
		if v := l.read(name); v.Kind == attribute.None || v.Kind == attribute.Null || v.String() == "" {
			return name
		}
	}
	return ""
}

// restsOn returns the act that a path rests on: the event being judged if it is one, else the newest; nil if no act
// counts yet, and then why.
func (s *standing) restsOn(f *inForce, path int, now *current) (*act, leadv1.Held) {
	if s.outcome != "" && s.act == nil {
		return nil, leadv1.Held_HELD_AGAIN
	}
	rule := f.Paths[path].Rule
	switch {
	case rule >= 0 && now != nil && now.act != nil && now.matches(rule):
		return now.act, 0
	case rule >= 0:
		return s.actOf(f.Rules[rule].ID), 0
	case s.act == nil || s.loaded:
		return nil, leadv1.Held_HELD_HISTORY
	case now != nil && now.scored:
		return now.act, 0
	}
	return s.act, 0
}

// weigh finds the first path that holds with all that it requires and an act to rest on, and what else holds the lead.
// Whether an episode or a claim is open is not its concern.
func (s *standing) weigh(l *Lead, f *inForce, sc *score, now *current) verdict {
	v := verdict{held: leadv1.Held_HELD_NO_PATH, path: -1}
	var first verdict
	for i := range f.Paths {
		if !s.holds(f, i, sc) {
			continue
		}
		w := verdict{path: i}
		var held leadv1.Held
		if missing := l.lacks(f.Paths[i].Require); missing != "" {
			w.held, w.by = leadv1.Held_HELD_INCOMPLETE, missing
		} else if w.act, held = s.restsOn(f, i, now); w.act == nil {
			w.held = held
		}
		if w.act != nil {
			v = w
			break
		}
		if first.held == 0 {
			first = w
		}
		v = first
	}
	if v.path < 0 || v.held == leadv1.Held_HELD_INCOMPLETE {
		return v
	}
	// What speaks against the lead is said before what only waits for an act.
	if o := s.objection(l, f); o.held != leadv1.Held_HELD_UNSPECIFIED {
		v.held, v.by, v.to = o.held, o.by, o.to
	}
	return v
}

// objection returns what speaks against passing the lead on, whatever the path.
func (s *standing) objection(l *Lead, f *inForce) (v verdict) {
	scope := condition.Scope{Lead: (*leadObject)(l), Account: (*accountObject)(l)}
	for i := range f.Divert {
		ok, errored := f.Divert[i].When.Match(&scope)
		f.erred.note(&f.erred.divert[i], errored)
		if ok {
			v.held, v.by, v.to = leadv1.Held_HELD_DIVERTED, f.Divert[i].ID, l.read(f.Divert[i].To).String()
			return v
		}
	}
	for i := range f.Disqualify {
		ok, errored := f.Disqualify[i].When.Match(&scope)
		f.erred.note(&f.erred.disqualify[i], errored)
		if ok {
			v.held, v.by = leadv1.Held_HELD_TURNED_AWAY, f.Disqualify[i].ID
			return v
		}
	}
	if s.withdrew(everything) {
		v.held, v.by = leadv1.Held_HELD_CONSENT, everything
	}
	return v
}

// everything is the scope of consent whose withdrawal blocks a lead.
const everything = "all"

// occasion is what a judgement is made on: an event that counted, or that a claim is done.
type occasion struct {
	in *input
	// now is set for an event.
	now current
	// history says that the event was loaded as history: it hands nothing off.
	history bool
	merged  bool
}

// judge opens an episode if a path holds and nothing holds the lead, and tells when somebody owns it or it is turned away.
func (m *Machine) judge(l *Lead, s *standing, f *inForce, o *occasion) {
	if s.open || l.awaits() || o.history {
		return
	}
	s.bind(f, m.log.epoch)
	s.refit(l, f, m.log.epoch)
	sc := s.evaluate(f, l.clock, false)
	v := s.weigh(l, f, &sc, &o.now)
	if v.act == nil || s.withdrew(everything) {
		v.held = leadv1.Held_HELD_UNSPECIFIED
		s.tell(v)
		return
	}
	changed := s.tell(v)
	path := f.Paths[v.path].ID
	switch {
	case v.held == leadv1.Held_HELD_UNSPECIFIED:
		m.qualify(l, s, f, o, &v)
	case !changed:
	case v.held == leadv1.Held_HELD_DIVERTED:
		m.emitFact(l, f, o.in, &leadv1.Fact{Fact: &leadv1.Fact_LeadDiverted{
			LeadDiverted: &leadv1.LeadDiverted{Divert: v.by, To: v.to, Path: path},
		}})
	case v.held == leadv1.Held_HELD_TURNED_AWAY:
		m.emitFact(l, f, o.in, &leadv1.Fact{Fact: &leadv1.Fact_LeadTurnedAway{
			LeadTurnedAway: &leadv1.LeadTurnedAway{Disqualifier: v.by, Path: path},
		}})
	}
}

// tell takes note of what holds a lead that would be passed, and says whether that is another thing than before.
func (s *standing) tell(v verdict) bool {
	by := v.by
	if v.held == leadv1.Held_HELD_UNSPECIFIED {
		by = ""
	}
	if s.told == uint8(v.held) && s.toldBy == by {
		return false
	}
	s.told, s.toldBy = uint8(v.held), by
	return true
}

// qualify opens an episode.
func (m *Machine) qualify(l *Lead, s *standing, f *inForce, o *occasion, v *verdict) {
	p := &f.Paths[v.path]
	sc := s.evaluate(f, l.clock, true)
	s.open = true
	s.episode++
	s.path = p.ID
	s.tail = nil
	s.enter(f, "qualified")
	q := &leadv1.LeadQualified{
		Path: p.ID, Urgent: p.Urgent,
		Act:           v.act.proto(),
		Score:         sc.proto(f),
		Profile:       l.profile(maxProfile),
		Contributions: sc.contributions(),
		NoConsent:     s.consent,
		Stage:         s.stage,
		Episode:       s.episode,
	}
	starts := o.in.message.Time
	switch {
	case o.merged:
		q.Cause = leadv1.Cause_CAUSE_MERGED
	case v.act != o.now.act:
		q.Cause = leadv1.Cause_CAUSE_COMPLETED
	default:
		q.Cause = leadv1.Cause_CAUSE_ACT
		if v.act.arrived-v.act.time > int64(p.Deliver) {
			q.LateArrival = true
			starts = v.act.arrived
		} else {
			starts = v.act.time
		}
	}
	q.WindowStartsAt = stamp(starts)
	m.emitFact(l, f, o.in, &leadv1.Fact{Fact: &leadv1.Fact_LeadQualified{LeadQualified: q}})
}

// enter moves the lead to the stage that something leads to, if there is one.
func (s *standing) enter(f *inForce, what string) {
	for i := range f.Stages {
		if f.Stages[i].Enters == what {
			s.stage = f.Stages[i].ID
			return
		}
	}
}

// close ends the newest episode: what comes after is counted anew, and the lead waits for its time.
func (s *standing) close(l *Lead, f *inForce, outcome string, at int64) {
	s.open = false
	s.outcome, s.closed = outcome, at
	again := f.Again[outcome]
	s.never, s.again = again.Never, at+int64(again.After)
	s.told, s.toldBy = 0, ""
	s.loaded = false
	if s.act != nil && (s.never || s.act.time < s.again) {
		s.act = nil
	}
	s.dropRuleActs(at)
	tail := s.tail
	s.tail = nil
	if !f.Reset {
		return
	}
	s.resets, s.reset = true, at
	s.sums, s.spends = nil, nil
	for _, c := range tail {
		if i, ok := f.rule[c.rule]; ok && c.time >= at {
			s.credit(l, f, i, c.points, c.halfLife, c.time)
		}
	}
}

// dropRuleActs forgets the acts before an instant.
func (s *standing) dropRuleActs(before int64) {
	kept := s.byRule[:0]
	for _, x := range s.byRule {
		if x.act.time >= before {
			kept = append(kept, x)
		}
	}
	clear(s.byRule[len(kept):])
	s.byRule = kept
}
