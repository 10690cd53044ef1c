package roster_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"github.com/leadbaton/baton/services/internal/roster"
)

// Every hour of some weeks of the example roster, for every rep in every team. Columns are the hours of the day in the
// zone that the line names: # on duty, . off hours, h holiday, a away.
func TestEveryHourOfAWeek(t *testing.T) {
	archives(t, "testdata/week/*.txtar", func(t *testing.T, file string, ar *txtar.Archive) {
		r := example(t)
		if doc := section(ar, "roster.yaml"); doc != nil {
			r = parse(t, doc)
		}
		monday, err := time.Parse(time.DateOnly, strings.TrimSpace(string(section(ar, "week-of.txt"))))
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		for _, team := range r.Teams {
			for _, p := range team.Reps {
				fmt.Fprintf(&out, "%s in %s, %s\n", p.ID, team.ID, p.Zone())
				fmt.Fprintf(&out, "                0     6     12    18\n")
				for d := range 7 {
					year, month, day := monday.AddDate(0, 0, d).Date()
					at := time.Date(year, month, day, 0, 0, 0, 0, p.Zone())
					fmt.Fprintf(&out, "%s  %s\n", at.Format("Mon 2006-01-02"), hourMarks(r, p, team, at))
				}
			}
		}
		golden(t, file, ar, "want.txt", out.String())
	})
}

// hourMarks has one mark for each hour of the day that begins at midnight: 23 or 25 when the clock changes.
func hourMarks(r *roster.Roster, p *roster.Rep, team *roster.Team, midnight time.Time) string {
	var b strings.Builder
	for at := midnight; at.Day() == midnight.Day(); at = at.Add(time.Hour) {
		ok, why := r.OnDuty(p, team, at)
		switch {
		case ok:
			b.WriteByte('#')
		case why == roster.Away:
			b.WriteByte('a')
		case why == roster.Holiday:
			b.WriteByte('h')
		default:
			b.WriteByte('.')
		}
	}
	return b.String()
}

// The next time on duty is the first minute at which the rep is on duty, whatever the hours and the clock do.
func TestNextOnDutyIsTheFirstMinuteOnDuty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := parseRapid(t, rosterOf(t, "fair"))
		team := r.Teams[0]
		p := team.Reps[rapid.IntRange(0, len(team.Reps)-1).Draw(t, "rep")]
		at := aroundClockChanges(t)
		got, ok := r.NextOnDuty(p, team, at)
		const look = 3 * 24 * 60
		for m := range look {
			minute := at.Add(time.Duration(m) * time.Minute)
			if on, _ := r.OnDuty(p, team, minute); on {
				if !ok || !got.Equal(minute) {
					t.Fatalf("next on duty from %s is %s (%v), want %s", at, got, ok, minute)
				}
				return
			}
		}
		if ok && got.Before(at.Add(look*time.Minute)) {
			t.Fatalf("next on duty from %s is %s, but nobody is on duty then", at, got)
		}
	})
}

// The working deadline is where the minutes of the team's hours add up to the window.
func TestWorkingDeadlineCountsTheMinutesOfTheTeamsHours(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := parseRapid(t, rosterOf(t, "fair"))
		team := r.Teams[0]
		// A rep with the team's hours alone shows when the team works.
		p := &roster.Rep{ID: "x", Teams: []*roster.Team{team}}
		start := aroundClockChanges(t)
		window := time.Duration(rapid.IntRange(1, 600).Draw(t, "window")) * time.Minute
		got := r.WorkingDeadline(team, start, window)
		worked, at := time.Duration(0), start
		for worked < window {
			if at.Sub(start) > 7*24*time.Hour {
				return // hours so rare that counting minutes takes too long
			}
			if on, _ := r.OnDuty(p, team, at); on {
				worked += time.Minute
			}
			at = at.Add(time.Minute)
		}
		if !got.Equal(at) {
			t.Fatalf("the deadline of %s from %s is %s, want %s", window, start, got, at)
		}
	})
}

// aroundClockChanges draws a whole minute within some days of a change of the clock.
func aroundClockChanges(t *rapid.T) time.Time {
	base := rapid.SampledFrom([]time.Time{
		time.Date(2026, 10, 24, 0, 0, 0, 0, time.UTC), time.Date(2027, 3, 27, 0, 0, 0, 0, time.UTC),
		time.Date(2026, 10, 31, 0, 0, 0, 0, time.UTC), time.Date(2027, 3, 13, 0, 0, 0, 0, time.UTC),
		time.Date(2026, 10, 3, 0, 0, 0, 0, time.UTC), time.Date(2026, 12, 22, 0, 0, 0, 0, time.UTC),
	}).Draw(t, "around")
	return base.Add(time.Duration(rapid.IntRange(0, 3*24*60).Draw(t, "minute")) * time.Minute)
}

func TestClockChanges(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	r := parse(t, []byte(`
apiVersion: baton/v1
kind: Roster
channels: {desk: {grpc: {}}}
teams:
  - id: night
    reps: [owl]
    hours: {zone: Europe/Berlin, shifts: [{days: mon-sun, from: "22:00", to: "06:00"}]}
reps:
  - {id: owl, name: Owl, email: owl@example.com, channels: [{use: desk}]}
`))
	night := r.Team("night")
	for _, c := range []struct{ name, start, window, want string }{
		{"a night of winter has 8 hours", "2026-11-16T22:00:00+01:00", "8h", "2026-11-17T06:00:00+01:00"},
		{"the night when the clock is put forward has 7", "2027-03-27T22:00:00+01:00", "7h", "2027-03-28T06:00:00+02:00"},
		{"so the 8th hour is worked in the next night", "2027-03-27T22:00:00+01:00", "8h", "2027-03-28T23:00:00+02:00"},
		{"the night when it is put back has 9", "2026-10-24T22:00:00+02:00", "9h", "2026-10-25T06:00:00+01:00"},
		{"time stands still by day", "2026-11-17T12:00:00+01:00", "30m", "2026-11-17T22:30:00+01:00"},
		{"no time is no time, even by day", "2026-11-17T12:00:00+01:00", "0s", "2026-11-17T12:00:00+01:00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			start, err1 := time.Parse(time.RFC3339, c.start)
			window, err2 := time.ParseDuration(c.window)
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			if got := r.WorkingDeadline(night, start, window).In(berlin).Format(time.RFC3339); got != c.want {
				t.Errorf("the deadline is %s, want %s", got, c.want)
			}
		})
	}
}

func TestHolidays(t *testing.T) {
	doc := `
apiVersion: baton/v1
kind: Roster
channels: {desk: {grpc: {}}}
teams:
  - id: all
    reps: [x]
    hours: {zone: UTC, holidays: %s, shifts: [{days: mon-sun, from: "00:00", to: "24:00"}]}
reps:
  - {id: x, name: X, email: x@example.com, channels: [{use: desk}]}
`
	for _, c := range []struct {
		code, day string
		want      bool
	}{
		{"DE", "2026-10-03", true},     // Tag der Deutschen Einheit
		{"DE", "2026-11-01", false},    // Allerheiligen is none of the whole country
		{"DE-BY", "2026-11-01", true},  // but of Bavaria
		{"DE-BE", "2026-03-08", true},  // Frauentag in Berlin
		{"US", "2026-07-04", true},     // a Saturday
		{"US", "2026-07-03", true},     // so it is observed on Friday
		{"US", "2027-12-31", true},     // New Year's Day of 2028 is a Saturday
		{"US", "2026-11-26", true},     // Thanksgiving
		{"GB", "2026-12-28", true},     // Boxing Day, a Saturday
		{"FR", "2026-07-14", true},     //
		{"JP", "2026-02-11", true},     //
		{"AU-VIC", "2026-11-03", true}, // Melbourne Cup
		{"DE", "2026-11-16", false},    //
	} {
		r := parse(t, fmt.Appendf(nil, doc, c.code))
		at, err := time.Parse(time.DateOnly, c.day)
		if err != nil {
			t.Fatal(err)
		}
		ok, why := r.OnDuty(r.Rep("x"), r.Team("all"), at.Add(12*time.Hour))
		if got := !ok && why == roster.Holiday; got != c.want {
			t.Errorf("%s is a holiday of %s: %v, want %v", c.day, c.code, got, c.want)
		}
	}
	for _, code := range roster.Regions() {
		parse(t, fmt.Appendf(nil, doc, code))
	}
}
