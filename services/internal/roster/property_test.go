package roster_test

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/services/internal/document"
	"github.com/leadbaton/baton/services/internal/roster"
)

// rosterOf draws a roster: one to three teams of one to five reps, with hours, absences, covers, capacities and overflow.
func rosterOf(t *rapid.T, pick string) string {
	zones := []string{"Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"}
	hours := func(name string) string {
		var shifts []string
		for i := range rapid.IntRange(1, 2).Draw(t, name+" shifts") {
			from := rapid.IntRange(0, 47).Draw(t, fmt.Sprintf("%s from %d", name, i)) * 30
			to := (from + rapid.IntRange(1, 47).Draw(t, fmt.Sprintf("%s length %d", name, i))*30) % (24 * 60)
			days := rapid.SampledFrom([]string{"mon-fri", "mon-sun", "sat-mon", "tue", "fri-sun"}).Draw(t, name+" days")
			shifts = append(shifts, fmt.Sprintf(`{days: %s, from: "%02d:%02d", to: "%02d:%02d"}`, days, from/60, from%60, to/60, to%60))
		}
		holidays := ""
		if rapid.Bool().Draw(t, name+" holidays") {
			holidays = "holidays: " + rapid.SampledFrom([]string{"DE", "US", "DE-BY"}).Draw(t, name+" region") + ", "
		}
		return fmt.Sprintf("{zone: %s, %sshifts: [%s]}", rapid.SampledFrom(zones).Draw(t, name+" zone"), holidays, strings.Join(shifts, ", "))
	}
	var b strings.Builder
	b.WriteString("apiVersion: baton/v1\nkind: Roster\nchannels: {desk: {grpc: {}}}\nteams:\n")
	n := rapid.IntRange(1, 5).Draw(t, "reps")
	teams := rapid.IntRange(1, 3).Draw(t, "teams")
	for i := range teams {
		fmt.Fprintf(&b, "  - id: t%d\n", i)
		if i < teams-1 {
			fmt.Fprintf(&b, "    when: lead.team == %q\n", fmt.Sprint(i))
		}
		way := pick
		if way == "" {
			way = rapid.SampledFrom([]string{"fair", "rotate", "least-busy"}).Draw(t, "pick")
		}
		fmt.Fprintf(&b, "    pick: %s\n    hours: %s\n", way, hours(fmt.Sprintf("team %d", i)))
		var members []string
		for j := range n {
			if i == 0 || rapid.Bool().Draw(t, "member") || j == n-1 && len(members) == 0 {
				members = append(members, fmt.Sprintf("r%d", j))
			}
		}
		fmt.Fprintf(&b, "    reps: [%s]\n", strings.Join(members, ", "))
		overflow := rapid.SampledFrom([]string{"hold", "anyone", "next"}).Draw(t, "overflow")
		if overflow == "next" {
			overflow = "hold"
			if i < teams-1 {
				overflow = fmt.Sprintf("t%d", i+1)
			}
		}
		fmt.Fprintf(&b, "    overflow: %s\n", overflow)
	}
	b.WriteString("reps:\n")
	for j := range n {
		name := fmt.Sprintf("r%d", j)
		fmt.Fprintf(&b, "  - id: %s\n    name: %s\n    email: %s@example.com\n    channels: [{use: desk}]\n", name, name, name)
		fmt.Fprintf(&b, "    weight: %s\n    hours: %s\n", rapid.SampledFrom([]string{"1", "0.5", "2", "0.25", "3.3"}).Draw(t, name+" weight"), hours(name))
		if rapid.Bool().Draw(t, name+" capacity") {
			fmt.Fprintf(&b, "    capacity: {open: %d, perDay: %d}\n", rapid.IntRange(1, 4).Draw(t, name+" open"), rapid.IntRange(1, 3).Draw(t, name+" day"))
		}
		if rapid.Bool().Draw(t, name+" away") {
			cover := ""
			if n > 1 && rapid.Bool().Draw(t, name+" covered") {
				cover = fmt.Sprintf(", cover: r%d", (j+1)%n)
			}
			fmt.Fprintf(&b, "    away: [{from: 2026-10-24, to: 2026-10-%d%s}]\n", rapid.IntRange(24, 28).Draw(t, name+" until"), cover)
		}
	}
	return b.String()
}

func parseRapid(t *rapid.T, doc string) *roster.Roster {
	r, fs := roster.Parse([]byte(doc))
	if r == nil {
		t.Fatalf("the drawn roster does not parse:\n%s\n%s", findings(fs), doc)
	}
	return r
}

// P5: nobody is given a lead beyond its capacity, off hours or away, unless the roster says anyone, and then the reason
// says so. P6: every other rep of the teams that were asked has a reason, and the same request gives the same decision.
func TestNobodyIsGivenWhatItCannotTake(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := parseRapid(t, rosterOf(t, ""))
		d := &desk{r: r, loads: map[string]roster.Load{}}
		at := aroundClockChanges(t)
		for i := range rapid.IntRange(1, 30).Draw(t, "leads") {
			at = at.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "later")) * time.Minute)
			q := roster.Request{Now: at, Loads: d.loads, Turns: &d.turns, Seed: uint64(i)}
			dec := r.Choose(q)
			check(t, r, q, dec)
			if again := r.Choose(q); !same(dec, again) {
				t.Fatalf("two decisions: %+v and %+v", dec, again)
			}
			d.take(dec, at)
		}
	})
}

func check(t *rapid.T, r *roster.Roster, q roster.Request, dec roster.Decision) {
	asked := 0
	seen := map[string]bool{}
	for _, p := range dec.PassedOver {
		if p.GetReason() == 0 {
			t.Fatalf("%s of %s is passed over for no reason", p.GetRep(), p.GetTeam())
		}
		if seen[p.GetTeam()+"/"+p.GetRep()] {
			t.Fatalf("%s of %s is passed over twice", p.GetRep(), p.GetTeam())
		}
		seen[p.GetTeam()+"/"+p.GetRep()] = true
	}
	for team := dec.Home; team != nil; team = r.Team(team.Overflow) {
		for _, p := range team.Reps {
			chosen := team == dec.Team && p == dec.Rep
			if chosen == seen[team.ID+"/"+p.ID] {
				t.Fatalf("%s of %s: chosen is %v and passed over is %v", p.ID, team.ID, chosen, seen[team.ID+"/"+p.ID])
			}
			asked++
		}
		if team == dec.Team {
			break
		}
	}
	if dec.Rep == nil {
		if !dec.Until.After(q.Now) {
			t.Fatalf("held until %s, which is not after %s", dec.Until, q.Now)
		}
		return
	}
	if dec.Reason == handoffv1.AssignmentReason_ASSIGNMENT_REASON_ANYONE {
		if dec.Team.Overflow != roster.OverflowAnyone {
			t.Fatalf("anyone of %s, whose overflow is %s", dec.Team.ID, dec.Team.Overflow)
		}
		return
	}
	if ok, why := r.OnDuty(dec.Rep, dec.Team, q.Now); !ok {
		t.Fatalf("%s is %s at %s", dec.Rep.ID, roster.AgainstText(why), q.Now)
	}
	c, l := dec.Rep.Capacity, q.Loads[dec.Rep.ID]
	if c.Open > 0 && l.Open >= c.Open || c.PerDay > 0 && l.Today >= c.PerDay {
		t.Fatalf("%s carries %+v of %+v already", dec.Rep.ID, l, c)
	}
}

func same(a, b roster.Decision) bool {
	return a.Rep == b.Rep && a.Team == b.Team && a.Reason == b.Reason && a.Covers == b.Covers && a.Held == b.Held &&
		a.Until.Equal(b.Until) && fmt.Sprint(a.PassedOver) == fmt.Sprint(b.PassedOver)
}

// always is a roster of reps who are always there, by their weights.
func always(pick string, weights []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: baton/v1\nkind: Roster\nchannels: {desk: {grpc: {}}}\nteams:\n  - {id: t, pick: %s, reps: [", pick)
	for i := range weights {
		fmt.Fprintf(&b, "r%d, ", i)
	}
	b.WriteString("]}\nreps:\n")
	for i, w := range weights {
		fmt.Fprintf(&b, "  - {id: r%d, name: R, email: r@example.com, weight: %s, channels: [{use: desk}]}\n", i, w)
	}
	return b.String()
}

// After any number of handoffs each rep who is always there is within one handoff of its share.
func TestFairKeepsEveryoneWithinOneOfItsShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.SampledFrom([]string{"1", "0.5", "2", "0.25", "3.3", "7", "0.01", "0.333"}), 1, 12).Draw(t, "weights")
		r := parseRapid(t, always("fair", weights))
		var total int64
		for _, p := range r.Reps {
			total += p.Weight
		}
		d := &desk{r: r, loads: map[string]roster.Load{}}
		given := map[string]int64{}
		seed := rapid.Uint64().Draw(t, "seed")
		for n := int64(1); n <= 200; n++ {
			dec := r.Choose(roster.Request{Now: time.Unix(0, 0), Turns: &d.turns, Seed: seed + uint64(n)})
			d.take(dec, time.Unix(0, 0))
			given[dec.Rep.ID]++
			for _, p := range r.Reps {
				share := float64(n) * float64(p.Weight) / float64(total)
				if off := float64(given[p.ID]) - share; math.Abs(off) > 1.001 {
					t.Fatalf("after %d handoffs %s has %d, its share is %.2f", n, p.ID, given[p.ID], share)
				}
			}
		}
	})
}

// rotate gives everyone the same number, one apart at most.
func TestRotateGoesRound(t *testing.T) {
	r := parse(t, []byte(always("rotate", []string{"1", "2", "0.5"})))
	d := &desk{r: r, loads: map[string]roster.Load{}}
	var order []string
	for range 7 {
		dec := r.Choose(roster.Request{Now: time.Unix(0, 0), Turns: &d.turns})
		d.take(dec, time.Unix(0, 0))
		order = append(order, dec.Rep.ID)
	}
	if got, want := strings.Join(order, " "), "r0 r1 r2 r0 r1 r2 r0"; got != want {
		t.Errorf("the order is %s, want %s", got, want)
	}
}

// Turns change by facts alone: whoever folds the same facts picks alike.
func TestTurnsOfARebuildAreTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := parseRapid(t, rosterOf(t, ""))
		d := &desk{r: r, loads: map[string]roster.Load{}}
		var rebuilt roster.Turns
		at := aroundClockChanges(t)
		for i := range 20 {
			at = at.Add(time.Duration(rapid.IntRange(0, 200).Draw(t, "later")) * time.Minute)
			dec := r.Choose(roster.Request{Now: at, Loads: d.loads, Turns: &d.turns, Seed: uint64(i)})
			d.take(dec, at)
			if dec.Rep == nil {
				rebuilt.Held(r, &handoffv1.HandoffHeld{PassedOver: dec.PassedOver}, at.UnixNano())
			} else {
				rebuilt.Assigned(r, assigned(dec), at.UnixNano())
			}
			if !d.turns.Equal(&rebuilt) {
				t.Fatalf("after %d decisions the turns differ", i+1)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte(always("fair", []string{"1"})))
	f.Add([]byte("kind: Roster"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		r, fs := roster.Parse(doc)
		if (r == nil) != document.Invalid(fs) {
			t.Fatalf("roster %v with findings %s", r, findings(fs))
		}
		if r == nil {
			return
		}
		// What parses can be asked.
		at := time.Date(2026, 11, 16, 9, 0, 0, 0, time.UTC)
		dec := r.Choose(roster.Request{Now: at})
		if dec.Rep == nil && !dec.Until.After(at) {
			t.Fatalf("held until %s", dec.Until)
		}
	})
}
