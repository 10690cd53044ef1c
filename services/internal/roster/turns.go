package roster

import (
	"maps"
	"slices"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
)

// Turns is what picking remembers of each team: whose turn it is, and how much each rep was given. It changes by the
// router's facts alone, so that a rebuild has the same turns. The zero Turns is ready.
//
// fair is worst-case fair queueing in whole numbers. A team has a virtual time, which grows with each handoff by what is
// due to one unit of weight. A rep has a start: the virtual time at which it has been given as much as was due to it.
// Of the reps that are not ahead of the virtual time, the one whose next handoff falls due first is picked. So a rep that
// is always available is never more than one handoff ahead of or behind its share. A rep that was not available at the
// team's last handoff starts again at the virtual time: it is owed nothing for its absence, and is not flooded.
type Turns struct{ teams map[string]*turn }

type turn struct {
	last    string // the place that rotate served last
	virtual int64
	shares  map[string]*share
}

type share struct {
	start int64
	// active: it was available when the team last looked for a rep.
	active bool
}

// unit is one handoff for a rep of weight 1, in virtual time; what a division leaves over is a billionth.
const unit = 1_000_000_000

// nearly is how far starts may be apart and still count as equal, since divisions leave something over.
const nearly = unit / 1_000_000

func stride(weight int64) int64 { return unit * 1000 / weight }

func (t *Turns) team(id string) *turn {
	if t.teams == nil {
		t.teams = map[string]*turn{}
	}
	u := t.teams[id]
	if u == nil {
		u = &turn{shares: map[string]*share{}}
		t.teams[id] = u
	}
	return u
}

// start is where a place stands if it is available now.
func (u *turn) start(place string) int64 {
	s := u.shares[place]
	switch {
	case s == nil:
		return u.virtual
	case s.active:
		return s.start
	default:
		return max(s.start, u.virtual)
	}
}

// fair returns the places to pick from: those with the earliest due time among those that are not ahead.
func (t *Turns) fair(team *Team, places []*place) []*place {
	u := t.teams[team.ID]
	if u == nil {
		u = &turn{}
	}
	lowest := u.start(places[0].rep.ID)
	for _, p := range places {
		lowest = min(lowest, u.start(p.rep.ID))
	}
	now := max(u.virtual, lowest)
	var best []*place
	var due int64
	for _, p := range places {
		start := u.start(p.rep.ID)
		if start > now+nearly {
			continue
		}
		d := start + stride(p.rep.Weight)
		switch {
		case len(best) == 0 || d < due-nearly:
			best, due = []*place{p}, d
		case d <= due+nearly:
			best = append(best, p)
		}
	}
	return best
}

// rotate returns the place after the one that was served last.
func (t *Turns) rotate(team *Team, places []*place) *place {
	last := -1
	if u := t.teams[team.ID]; u != nil {
		last = slices.IndexFunc(team.Reps, func(p *Rep) bool { return p.ID == u.last })
	}
	n := len(team.Reps)
	for i := 1; i <= n; i++ {
		next := team.Reps[(last+i)%n]
		for _, p := range places {
			if p.rep == next {
				return p
			}
		}
	}
	return places[0]
}

// Assigned takes note of a rep that was chosen under the roster. An assignment that no team made (a rep handed it over,
// or the team is gone) changes nothing.
func (t *Turns) Assigned(r *Roster, a *handoffv1.HandoffAssigned, at int64) {
	if a.GetReason() == handoffv1.AssignmentReason_ASSIGNMENT_REASON_HANDED_OVER {
		return
	}
	served := a.GetRep()
	if c := a.GetCovers(); c != "" {
		served = c
	}
	available := map[string]map[string]bool{}
	for _, p := range a.GetPassedOver() {
		set := available[p.GetTeam()]
		if set == nil {
			set = map[string]bool{}
			available[p.GetTeam()] = set
		}
		set[p.GetRep()] = p.GetReason() == NotPicked
	}
	if available[a.GetTeam()] == nil {
		available[a.GetTeam()] = map[string]bool{}
	}
	available[a.GetTeam()][a.GetRep()] = true
	for id, servers := range available {
		if id == a.GetTeam() {
			t.note(r, id, servers, at, served)
		} else {
			t.note(r, id, servers, at, "")
		}
	}
}

// Held takes note that nobody was available.
func (t *Turns) Held(r *Roster, h *handoffv1.HandoffHeld, at int64) {
	asked := map[string]bool{}
	for _, p := range h.GetPassedOver() {
		asked[p.GetTeam()] = true
	}
	for id := range asked {
		t.note(r, id, nil, at, "")
	}
}

// note brings a team up to date: servers are the reps that were available, served is the place that was given the
// handoff, if the team gave it.
func (t *Turns) note(r *Roster, id string, servers map[string]bool, at int64, served string) {
	team := r.Team(id)
	if team == nil {
		return
	}
	u := t.team(id)
	var weight int64
	lowest, any := int64(0), false
	for _, p := range r.places(team, at) {
		available := p.rep.ID == served || p.server != nil && servers[p.server.ID] ||
			p.server == nil && servers[p.rep.ID] // away, but asked all the same, as one of anyone
		s := u.shares[p.rep.ID]
		if s == nil {
			s = &share{start: u.virtual}
			u.shares[p.rep.ID] = s
		}
		if !available {
			s.active = false
			continue
		}
		s.start, s.active = u.start(p.rep.ID), true
		if !any || s.start < lowest {
			lowest, any = s.start, true
		}
		weight += p.rep.Weight
	}
	s := u.shares[served]
	if served == "" || s == nil || weight == 0 {
		return
	}
	u.last = served
	u.virtual = max(u.virtual, lowest) + stride(weight)
	s.start += stride(r.Rep(served).Weight)
}

// Applied forgets teams and reps that a new roster does not have: whoever comes back is a newcomer.
func (t *Turns) Applied(r *Roster) {
	maps.DeleteFunc(t.teams, func(id string, u *turn) bool {
		team := r.Team(id)
		if team == nil {
			return true
		}
		maps.DeleteFunc(u.shares, func(rep string, _ *share) bool {
			return !slices.ContainsFunc(team.Reps, func(p *Rep) bool { return p.ID == rep })
		})
		return false
	})
}

// Equal says whether two Turns will pick alike from now on.
func (t *Turns) Equal(o *Turns) bool {
	return maps.EqualFunc(t.teams, o.teams, func(a, b *turn) bool {
		return a.last == b.last && a.virtual == b.virtual &&
			maps.EqualFunc(a.shares, b.shares, func(x, y *share) bool { return *x == *y })
	})
}
