package roster

import (
	"slices"
	"time"
)

// Hours are the weekly hours of a team or a rep, in local wall time: where a clock is put forward the lost hour is lost,
// and where it is put back the double hour counts twice.
type Hours struct {
	Zone     *time.Location
	Holidays string // a code of Regions; "" = none
	Shifts   []Shift
}

// Shift is a stretch of some days of the week. One that does not end after it begins goes over midnight into the next day.
type Shift struct {
	Days     [7]bool // by time.Weekday: the days on which it begins
	From, To int     // minutes since midnight; To may be 24*60
}

const day = 24 * 60

// open says whether the shifts cover an instant, whatever the holidays.
func (h *Hours) open(at time.Time) bool {
	local := at.In(h.Zone)
	minute := local.Hour()*60 + local.Minute()
	today := local.Weekday()
	yesterday := (today + 6) % 7
	for _, s := range h.Shifts {
		over := s.To <= s.From
		switch {
		case !over && s.Days[today] && s.From <= minute && minute < s.To,
			over && s.Days[today] && s.From <= minute,
			over && s.Days[yesterday] && minute < s.To:
			return true
		}
	}
	return false
}

// holiday returns the public holiday at an instant, or "".
func (h *Hours) holiday(at time.Time) string {
	return holiday(h.Holidays, dateOf(at.In(h.Zone)))
}

// next returns the first instant after at when open, holiday or the date may change.
//
// It goes from one change of the clock to the next at most, so that within the step wall time and time run alike and no
// wall time is missing or double.
func (h *Hours) next(at time.Time) time.Time {
	local := at.In(h.Zone)
	midnight := time.Duration(local.Hour())*time.Hour + time.Duration(local.Minute())*time.Minute +
		time.Duration(local.Second())*time.Second + time.Duration(local.Nanosecond())
	step := day*time.Minute - midnight
	for _, s := range h.Shifts {
		for _, edge := range []int{s.From, s.To} {
			if d := time.Duration(edge)*time.Minute - midnight; d > 0 {
				step = min(step, d)
			}
		}
	}
	then := at.Add(step)
	if _, change := local.ZoneBounds(); !change.IsZero() && change.After(at) && change.Before(then) {
		return change.In(at.Location())
	}
	return then
}

// longestSearch bounds how far ahead a next time on duty is looked for.
const longestSearch = 366 * day * time.Minute

// firstOpen returns the first instant from at on when ok holds, asked only where one of the hours may change; false if
// there is none within a stretch of time.
func firstOpen(at time.Time, within time.Duration, hours []*Hours, ok func(time.Time) bool) (time.Time, bool) {
	for t := at; t.Sub(at) <= within; {
		if ok(t) {
			return t, true
		}
		next := t.Add(within + 1)
		for _, h := range hours {
			if n := h.next(t); n.Before(next) {
				next = n
			}
		}
		t = next
	}
	return time.Time{}, false
}

// WorkingDeadline returns the instant at which the team has worked for window since start: outside its hours and on its
// holidays time stands still. A team without hours always works.
func (r *Roster) WorkingDeadline(t *Team, start time.Time, window time.Duration) time.Time {
	if t.Hours == nil || window <= 0 {
		return start.Add(max(0, window))
	}
	h := t.Hours
	at, left, idle := start, window, start
	for {
		next := h.next(at)
		if h.open(at) && h.holiday(at) == "" {
			if at.Add(left).Compare(next) <= 0 {
				return at.Add(left)
			}
			left -= next.Sub(at)
			idle = next
		}
		if next.Sub(idle) > longestSearch {
			return next.Add(left) // hours that never come do not hold a deadline for ever
		}
		at = next
	}
}

// nextMidnight is when the date changes in a zone.
func nextMidnight(at time.Time, zone *time.Location) time.Time {
	h := Hours{Zone: zone}
	today := dateOf(at.In(zone))
	for t := at; ; {
		t = h.next(t)
		if dateOf(t.In(zone)) != today {
			return t
		}
	}
}

// someHours leaves out what is nil or double.
func someHours(hs ...*Hours) []*Hours {
	var out []*Hours
	for _, h := range hs {
		if h != nil && !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}
