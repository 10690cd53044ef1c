package roster

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/services/internal/document"
)

// Show writes the roster for people: each team with what it takes, each rep with what it carries and whether it would be
// given a lead now. Loads are by rep; absent = nothing.
func Show(w io.Writer, r *Roster, now time.Time, loads map[string]Load) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, team := range r.Teams {
		when := team.WhenText
		if when == "" {
			when = "every lead that no team above takes"
		}
		fmt.Fprintf(t, "team %s\n", team.ID)
		fmt.Fprintf(t, "  takes\t%s\n", when)
		fmt.Fprintf(t, "  picks\t%s\n", pickText(team.Pick))
		fmt.Fprintf(t, "  hours\t%s\n", team.Hours)
		fmt.Fprintf(t, "  else\t%s\n", overflowText(team.Overflow))
		for _, p := range team.Reps {
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", p.ID, weightText(p), loadText(p, loads[p.ID]), r.dutyText(p, team, loads[p.ID], now))
		}
	}
	for _, p := range r.Reps {
		if len(p.Teams) == 0 {
			fmt.Fprintf(t, "without a team\n  %s\t%s\t%s\t\n", p.ID, weightText(p), loadText(p, loads[p.ID]))
		}
	}
	return t.Flush()
}

func (r *Roster) dutyText(p *Rep, team *Team, l Load, now time.Time) string {
	q := Request{Now: now, Loads: map[string]Load{p.ID: l}}
	why := r.against(p, team, &q)
	text := "available"
	if why != 0 {
		text = AgainstText(why)
	}
	if a := p.away(now); a != nil {
		text = "away until " + a.To.String()
		if a.Cover != "" {
			text += ", " + a.Cover + " covers"
		}
	}
	if why == OffHours || why == Away || why == Holiday {
		if next, ok := r.NextOnDuty(p, team, now); ok {
			text += ", back " + next.In(p.Zone()).Format("Mon 2 Jan 15:04 MST")
		}
	}
	return text
}

func weightText(p *Rep) string { return "weight " + document.FormatThousandths(p.Weight) }

func loadText(p *Rep, l Load) string {
	of := func(n, most int64) string {
		if most == 0 {
			return fmt.Sprint(n)
		}
		return fmt.Sprintf("%d of %d", n, most)
	}
	return of(l.Open, p.Capacity.Open) + " open, " + of(l.Today, p.Capacity.PerDay) + " today"
}

func pickText(p Pick) string {
	switch p {
	case PickRotate:
		return "in turn"
	case PickLeastBusy:
		return "the least busy"
	case PickFair:
	}
	return "fairly, by weight"
}

func overflowText(s string) string {
	switch s {
	case OverflowHold:
		return "wait until a rep is free"
	case OverflowAnyone:
		return "anyone of the team"
	}
	return "team " + s
}

// String is the hours as people write them; "always" for nil.
func (h *Hours) String() string {
	if h == nil {
		return "always"
	}
	parts := make([]string, 0, len(h.Shifts))
	for _, s := range h.Shifts {
		parts = append(parts, fmt.Sprintf("%s %02d:%02d-%02d:%02d", daysText(s.Days), s.From/60, s.From%60, s.To/60, s.To%60))
	}
	text := strings.Join(parts, ", ") + " " + h.Zone.String()
	if h.Holidays != "" {
		text += ", not on holidays of " + h.Holidays
	}
	return text
}

// daysText writes days of the week from Monday, stretches of three and more as mon-fri.
func daysText(days [7]bool) string {
	var parts []string
	for i := 0; i < 7; i++ {
		if !days[(i+1)%7] {
			continue
		}
		j := i
		for j+1 < 7 && days[(j+2)%7] {
			j++
		}
		switch first, last := weekdays[(i+1)%7], weekdays[(j+1)%7]; j - i {
		case 0:
			parts = append(parts, first)
		case 1:
			parts = append(parts, first, last)
		default:
			parts = append(parts, first+"-"+last)
		}
		i = j
	}
	return strings.Join(parts, ",")
}

// Try decides who takes a lead and writes it for people, with the reason against every other rep.
func Try(w io.Writer, r *Roster, q Request) (Decision, error) {
	d := r.Choose(q)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	switch {
	case d.Home == nil:
		fmt.Fprintf(t, "nobody: no team's when is true for this lead\n")
	case d.Rep == nil:
		fmt.Fprintf(t, "nobody now: %s; asked again by %s\n", HeldText(d.Held), d.Until.Format(time.RFC3339))
	default:
		fmt.Fprintf(t, "%s of team %s: %s\n", d.Rep.ID, d.Team.ID, d.Why())
	}
	for _, p := range d.PassedOver {
		fmt.Fprintf(t, "  not %s\tof team %s\t%s\n", p.GetRep(), p.GetTeam(), AgainstText(p.GetReason()))
	}
	return d, t.Flush()
}

// Why is the reason for the rep, in words.
func (d Decision) Why() string {
	if d.Reason == Cover && d.Covers != nil {
		return "covers for " + d.Covers.ID + ", whose turn it is"
	}
	if d.Reason == Overflow && d.Home != nil {
		return "nobody of team " + d.Home.ID + " is on duty with free capacity"
	}
	return ReasonText(d.Reason)
}

// ReasonText is a reason for a rep, in words.
func ReasonText(a handoffv1.AssignmentReason) string {
	switch a {
	case Rotation:
		return "next in turn"
	case FairShare:
		return "furthest below its share"
	case LeastBusy:
		return "the least busy"
	case Overflow:
		return "the team that was asked has nobody on duty with free capacity"
	case Anyone:
		return "nobody is on duty with free capacity, and the roster says anyone"
	case Cover:
		return "covers for a rep who is away"
	case handoffv1.AssignmentReason_ASSIGNMENT_REASON_HANDED_OVER:
		return "a rep handed it over"
	case handoffv1.AssignmentReason_ASSIGNMENT_REASON_UNSPECIFIED:
	}
	return "for no known reason"
}

// AgainstText is a reason against a rep, in words.
func AgainstText(a Against) string {
	switch a {
	case OffHours:
		return "off hours"
	case Away:
		return "away"
	case Holiday:
		return "public holiday"
	case OpenFull:
		return "has as many open handoffs as its capacity allows"
	case DayFull:
		return "was given as many handoffs today as its capacity allows"
	case NotPicked:
		return "another came first"
	case handoffv1.PassedOverReason_PASSED_OVER_REASON_GAVE_BACK: // of no rep yet: rerouting is to come
		return "gave this one back"
	case handoffv1.PassedOverReason_PASSED_OVER_REASON_UNSPECIFIED:
	}
	return "for no known reason"
}

// HeldText is a reason for waiting, in words.
func HeldText(h handoffv1.HandoffHeld_HeldReason) string {
	switch h {
	case NobodyFree:
		return "nobody is on duty with free capacity"
	case NoRoster:
		return "no roster is in force"
	case NoTeam:
		return "no team takes it"
	case handoffv1.HandoffHeld_HELD_REASON_UNSPECIFIED:
	}
	return "for no known reason"
}
