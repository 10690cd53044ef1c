package roster

import (
	"time"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
)

// Against is a reason against a rep; 0 = none.
type Against = handoffv1.PassedOverReason

// Short names of the reasons.
const (
	OffHours  = handoffv1.PassedOverReason_PASSED_OVER_REASON_OFF_HOURS
	Away      = handoffv1.PassedOverReason_PASSED_OVER_REASON_AWAY
	Holiday   = handoffv1.PassedOverReason_PASSED_OVER_REASON_HOLIDAY
	OpenFull  = handoffv1.PassedOverReason_PASSED_OVER_REASON_OPEN_FULL
	DayFull   = handoffv1.PassedOverReason_PASSED_OVER_REASON_DAY_FULL
	NotPicked = handoffv1.PassedOverReason_PASSED_OVER_REASON_NOT_PICKED
)

// OnDuty says whether a rep works for a team at an instant, and if not, why not: Away, Holiday or OffHours.
// It works within the team's hours, and within its own, or without any within those of the team that it belongs to.
func (r *Roster) OnDuty(p *Rep, t *Team, at time.Time) (bool, Against) {
	if p.away(at) != nil {
		return false, Away
	}
	hours := someHours(p.hours(), t.Hours)
	for _, h := range hours {
		if !h.open(at) {
			return false, OffHours
		}
	}
	for _, h := range hours {
		if h.holiday(at) != "" {
			return false, Holiday
		}
	}
	return true, 0
}

// NextOnDuty returns the first instant from at on when the rep is on duty for the team; false if there is none within
// a year.
func (r *Roster) NextOnDuty(p *Rep, t *Team, at time.Time) (time.Time, bool) {
	return firstOpen(at, longestSearch, edges(t, p), func(at time.Time) bool {
		ok, _ := r.OnDuty(p, t, at)
		return ok
	})
}

// nextServed returns the first instant from at on when the rep, or while it is away the one that covers for it, is on
// duty for the team; false if there is none within a stretch of time.
func (r *Roster) nextServed(p *Rep, t *Team, at time.Time, within time.Duration) (time.Time, bool) {
	reps := []*Rep{p}
	for _, a := range p.Away {
		if c := r.Rep(a.Cover); c != nil {
			reps = append(reps, c)
		}
	}
	return firstOpen(at, within, edges(t, reps...), func(at time.Time) bool {
		if a := p.away(at); a != nil {
			c := r.Rep(a.Cover)
			if c == nil || !r.scheduled(p, t, at) {
				return false
			}
			ok, _ := r.OnDuty(c, t, at)
			return ok
		}
		ok, _ := r.OnDuty(p, t, at)
		return ok
	})
}

// edges returns the hours at whose edges somebody's duty for a team may change: the team's, the reps', and for reps
// without hours the midnights at which their absences begin and end.
func edges(t *Team, reps ...*Rep) []*Hours {
	hours := someHours(t.Hours)
	for _, p := range reps {
		if h := p.hours(); h != nil {
			hours = someHours(append(hours, h)...)
		} else {
			hours = append(hours, &Hours{Zone: p.Zone()})
		}
	}
	return hours
}

// away returns the absence at an instant; nil if there is none.
func (p *Rep) away(at time.Time) *Absence {
	if len(p.Away) == 0 {
		return nil
	}
	today := dateOf(at.In(p.Zone()))
	for i := range p.Away {
		a := &p.Away[i]
		if a.From.Compare(today) <= 0 && today.Compare(a.To) <= 0 {
			return a
		}
	}
	return nil
}

// scheduled says whether the rep would be on duty if it were not away.
func (r *Roster) scheduled(p *Rep, t *Team, at time.Time) bool {
	for _, h := range someHours(p.hours(), t.Hours) {
		if !h.open(at) || h.holiday(at) != "" {
			return false
		}
	}
	return true
}
