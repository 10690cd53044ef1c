package roster

import (
	"slices"
	"time"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/services/internal/condition"
)

// Request asks who takes a lead.
type Request struct {
	// Scope is what the teams' conditions see.
	Scope condition.Scope
	Now   time.Time
	// Loads are what the reps carry, by rep; absent = nothing.
	Loads map[string]Load
	// Turns is what picking remembers; nil = nothing.
	Turns *Turns
	// Seed breaks ties: the same seed breaks them alike.
	Seed uint64
}

// Reasons for a rep.
const (
	Rotation  = handoffv1.AssignmentReason_ASSIGNMENT_REASON_ROTATION
	FairShare = handoffv1.AssignmentReason_ASSIGNMENT_REASON_FAIR_SHARE
	LeastBusy = handoffv1.AssignmentReason_ASSIGNMENT_REASON_LEAST_BUSY
	Overflow  = handoffv1.AssignmentReason_ASSIGNMENT_REASON_OVERFLOW
	Anyone    = handoffv1.AssignmentReason_ASSIGNMENT_REASON_ANYONE
	Cover     = handoffv1.AssignmentReason_ASSIGNMENT_REASON_COVER
)

// Reasons for waiting.
const (
	NobodyFree = handoffv1.HandoffHeld_HELD_REASON_NOBODY_FREE
	NoTeam     = handoffv1.HandoffHeld_HELD_REASON_NO_TEAM
	NoRoster   = handoffv1.HandoffHeld_HELD_REASON_NO_ROSTER
)

// Recheck is how long a lead is held at the most before it is asked for again, where no better time is known: a rep's
// capacity may be free at any time.
const Recheck = time.Hour

// LongestHold is how long a lead is held at the most before it is asked for again, even if nobody is on duty by then:
// a bit more than a week, after which hours repeat. It bounds the search, which is made for every held lead.
const LongestHold = 8 * day * time.Minute

// Decision says who takes a lead and why, and why not the others; or why nobody does, and until when.
type Decision struct {
	// Home is the team whose `when` took the lead; nil if none did.
	Home *Team

	// Rep is nil if the lead is held.
	Rep    *Rep
	Team   *Team // the team that gives it: Home, or one that it overflows to
	Reason handoffv1.AssignmentReason
	Covers *Rep // whose place Rep takes, if the reason is Cover

	Held  handoffv1.HandoffHeld_HeldReason
	Until time.Time

	// PassedOver has every other rep of the teams that were asked, in the order in which they were asked.
	PassedOver []*handoffv1.PassedOver
}

// place is a rep's place in its team, and who serves it now: the rep itself, the one that covers for it, or nobody.
type place struct {
	rep, server *Rep
	against     Against // of the server; 0 = available
}

// places returns the places of a team in its order, with who serves them at an instant (Unix nanoseconds).
func (r *Roster) places(t *Team, at int64) []*place {
	now := time.Unix(0, at)
	places := make([]*place, len(t.Reps))
	for i, p := range t.Reps {
		places[i] = &place{rep: p, server: p}
		if a := p.away(now); a != nil {
			places[i].server, places[i].against = nil, Away
			// The cover takes what the rep would be given, so only when the rep would work.
			if c := r.Rep(a.Cover); c != nil && r.scheduled(p, t, now) {
				places[i].server, places[i].against = c, 0
			}
		}
	}
	return places
}

// Route returns the first team whose `when` is true for the lead; nil if there is none.
func (r *Roster) Route(scope *condition.Scope) *Team {
	for _, t := range r.Teams {
		if matches(t.When, scope) {
			return t
		}
	}
	return nil
}

// Choose decides who takes a lead. It is deterministic.
func (r *Roster) Choose(q Request) Decision {
	d := Decision{Home: r.Route(&q.Scope)}
	if q.Turns == nil {
		q.Turns = &Turns{}
	}
	if d.Home == nil {
		d.Held, d.Until = NoTeam, q.Now.Add(Recheck)
		return d
	}
	c := chooser{r: r, q: &q}
	for t := d.Home; t != nil; t = r.Team(t.Overflow) {
		places := c.ask(t)
		if free := available(places); len(free) > 0 {
			c.take(&d, t, places, c.pick(t, free))
			return d
		}
		if t.Overflow == OverflowAnyone {
			if tier := anyone(places); len(tier) > 0 {
				p := c.pick(t, tier)
				for _, o := range tier {
					o.against = 0 // they were asked too, and another came first
				}
				c.take(&d, t, places, p)
				d.Reason = Anyone
				return d
			}
		}
		c.pass(t, places, nil)
	}
	d.Held, d.PassedOver = NobodyFree, c.passed
	d.Until = c.until(d.Home)
	return d
}

type chooser struct {
	r      *Roster
	q      *Request
	passed []*handoffv1.PassedOver
}

func (c *chooser) ask(t *Team) []*place {
	places := c.r.places(t, c.q.Now.UnixNano())
	for _, p := range places {
		if p.server != nil {
			p.against = c.r.against(p.server, t, c.q)
		}
	}
	return places
}

// against says what stands against a rep in a team now; 0 = nothing.
func (r *Roster) against(p *Rep, t *Team, q *Request) Against {
	if ok, why := r.OnDuty(p, t, q.Now); !ok {
		return why
	}
	return p.full(q.Loads[p.ID])
}

func (p *Rep) full(l Load) Against {
	switch {
	case p.Capacity.Open > 0 && l.Open >= p.Capacity.Open:
		return OpenFull
	case p.Capacity.PerDay > 0 && l.Today >= p.Capacity.PerDay:
		return DayFull
	}
	return 0
}

// Available says whether a rep would be given a handoff now by one of its teams; if not, why not in the first of them.
func (r *Roster) Available(p *Rep, l Load, now time.Time) (bool, Against) {
	q := Request{Now: now, Loads: map[string]Load{p.ID: l}}
	first := NotPicked // of a rep without a team
	for i, t := range p.Teams {
		why := r.against(p, t, &q)
		if why == 0 {
			return true, 0
		}
		if i == 0 {
			first = why
		}
	}
	return false, first
}

func available(places []*place) []*place {
	var out []*place
	for _, p := range places {
		if p.server != nil && p.against == 0 {
			out = append(out, p)
		}
	}
	return out
}

// anyone returns the places with the least against them: who is at work but full comes before who is off, and who is away
// comes last.
func anyone(places []*place) []*place {
	rank := func(a Against) int {
		switch a {
		case OpenFull, DayFull:
			return 1
		case OffHours:
			return 2
		case Holiday:
			return 3
		case Away:
			return 4
		default:
			return 0
		}
	}
	var best []*place
	for _, p := range places {
		if p.server == nil {
			p.server = p.rep
		}
		n := rank(p.against)
		switch {
		case n == 0:
		case len(best) == 0 || n < rank(best[0].against):
			best = []*place{p}
		case n == rank(best[0].against):
			best = append(best, p)
		}
	}
	return best
}

// pick chooses one of the places by the team's way to pick; ties go by the seed.
func (c *chooser) pick(t *Team, places []*place) *place {
	switch t.Pick {
	case PickRotate:
		return c.q.Turns.rotate(t, places)
	case PickLeastBusy:
		return tie(c.q.Seed, c.leastBusy(t, places))
	default:
		return tie(c.q.Seed, c.q.Turns.fair(t, places))
	}
}

// leastBusy returns the places that would be the least full with one handoff more: relative to the open capacity where
// every rep of the team has one, else to the weight.
func (c *chooser) leastBusy(t *Team, places []*place) []*place {
	byCapacity := !slices.ContainsFunc(t.Reps, func(p *Rep) bool { return p.Capacity.Open == 0 })
	size := func(p *place) int64 {
		switch {
		case !byCapacity:
			return p.server.Weight
		case p.server.Capacity.Open > 0:
			return p.server.Capacity.Open
		default:
			return max(1, p.rep.Capacity.Open) // a cover from elsewhere, without a bound of its own
		}
	}
	var best []*place
	var busy, of int64
	for _, p := range places {
		b, s := c.q.Loads[p.server.ID].Open+1, size(p)
		switch {
		case len(best) == 0 || b*of < busy*s:
			best, busy, of = []*place{p}, b, s
		case b*of == busy*s:
			best = append(best, p)
		}
	}
	return best
}

// tie returns the place whose rep's id, mixed with the seed, is the least.
func tie(seed uint64, places []*place) *place {
	return slices.MinFunc(places, func(a, b *place) int {
		x, y := mix(seed, a.rep.ID), mix(seed, b.rep.ID)
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
}

// mix is FNV-1a over the id from the seed, with the last bits stirred as in SplitMix64.
func mix(seed uint64, id string) uint64 {
	h := seed ^ 14695981039346656037
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// take makes the decision for a place.
func (c *chooser) take(d *Decision, t *Team, places []*place, p *place) {
	d.Rep, d.Team = p.server, t
	switch {
	case p.server != p.rep:
		d.Reason, d.Covers = Cover, p.rep
	case t != d.Home:
		d.Reason = Overflow
	case t.Pick == PickRotate:
		d.Reason = Rotation
	case t.Pick == PickLeastBusy:
		d.Reason = LeastBusy
	default:
		d.Reason = FairShare
	}
	c.pass(t, places, p.server)
	d.PassedOver = c.passed
}

// pass records why a team's other reps, and those that cover for them, were passed over.
func (c *chooser) pass(t *Team, places []*place, chosen *Rep) {
	noted := map[*Rep]bool{chosen: true}
	note := func(p *Rep, why Against) {
		if p == nil || noted[p] {
			return
		}
		noted[p] = true
		if why == 0 {
			why = NotPicked
		}
		c.passed = append(c.passed, &handoffv1.PassedOver{Rep: p.ID, Team: t.ID, Reason: why})
	}
	for _, p := range places {
		switch p.server {
		case nil, p.rep:
			note(p.rep, p.against)
		default:
			note(p.rep, Away)
		}
	}
	for _, p := range places {
		note(p.server, p.against)
	}
}

// until is when the lead is asked for again at the latest: when the first rep of the teams that were asked is on duty
// again, and after Recheck where only capacity is missing.
func (c *chooser) until(home *Team) time.Time {
	now := c.q.Now
	until := now.Add(LongestHold)
	for t := home; t != nil; t = c.r.Team(t.Overflow) {
		for _, p := range c.ask(t) {
			from := now
			if p.against == OpenFull {
				until = minTime(until, now.Add(Recheck))
				continue
			}
			if p.against == DayFull {
				from = nextMidnight(now, p.server.Zone())
			}
			if next, ok := c.r.nextServed(p.rep, t, from, LongestHold); ok && next.After(now) {
				until = minTime(until, next)
			} else if ok {
				until = minTime(until, now.Add(Recheck))
			}
		}
	}
	return until
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func matches(p *condition.Program, s *condition.Scope) bool {
	ok, _ := p.Match(s) // a nil condition is true; one that ends in an error is false
	return ok
}
