package handoff_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/services/internal/handoff"
	"github.com/leadbaton/baton/services/internal/roster"
)

// Run `go test ./internal/handoff -update` to write what the tests see into testdata, then read the difference.
var update = flag.Bool("update", false, "write the golden files")

// Each file is a story: what happens when (timeline.txt), and what the router makes of it (want.txt). The agreement and
// the roster are those that Baton ships, unless the file has its own. Times are UTC. A line of timeline.txt:
//
//	day 2026-11-16
//	09:00 qualified NAME [path=hand-raise] [act=08:50] [country=DE ...]
//	09:00 receipt NAME CHANNEL [#ASSIGNMENT] [at=08:59]      09:00 failure NAME CHANNEL [permanent]
//	09:00 REP accept NAME [reason=R] [note=N] [to=REP] [until=17:00] [amount=100] [id=REQUEST] ("?" = no rep given)
//	09:00 withdrawn NAME      09:00 merged NAME into NAME     09:00 diverted NAME
//	09:00 roster FILE         09:00 clock    (what is due is decided before every line, too)
func TestTimeline(t *testing.T) {
	files, err := filepath.Glob("testdata/timeline/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no timelines: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			part := func(name string) string {
				for _, f := range ar.Files {
					if f.Name == name {
						return string(f.Data)
					}
				}
				return ""
			}
			agreement, doc := part("agreement.yaml"), part("roster.yaml")
			if agreement == "" {
				agreement = file(t, "agreement.yaml")
			}
			if doc == "" {
				doc = file(t, "roster.yaml")
			}
			if strings.TrimSpace(doc) == "none" {
				doc = ""
			}
			st := &story{world: newWorld(t, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), agreement, doc), names: map[string]string{}, part: part}
			for _, line := range strings.Split(part("timeline.txt"), "\n") {
				st.line(strings.TrimSpace(line))
			}
			st.checkRebuild()
			want := part("want.txt")
			if *update {
				i := slices.IndexFunc(ar.Files, func(f txtar.File) bool { return f.Name == "want.txt" })
				if i < 0 {
					ar.Files = append(ar.Files, txtar.File{Name: "want.txt"})
					i = len(ar.Files) - 1
				}
				ar.Files[i].Data = []byte(st.out.String())
				if err := os.WriteFile(name, txtar.Format(ar), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if got := st.out.String(); got != want {
				t.Errorf("%s: got\n%s\nwant\n%s\n(go test ./internal/handoff -update writes it)", name, got, want)
			}
		})
	}
}

// story plays a timeline.
type story struct {
	*world
	out   strings.Builder
	day   time.Time
	names map[string]string // handoff id -> whose it is, in the test's words
	part  func(string) string
	n     int
}

func (st *story) line(line string) {
	st.t.Helper()
	words := strings.Fields(line)
	switch {
	case line == "" || strings.HasPrefix(line, "#"):
		return
	case words[0] == "day":
		day, err := time.Parse(time.DateOnly, words[1])
		if err != nil {
			st.t.Fatalf("%v", err)
		}
		st.day = day
		fmt.Fprintf(&st.out, "day %s\n", words[1])
		return
	}
	st.now = st.clock(words[0])
	if due := st.timers(); len(due) > 0 {
		fmt.Fprintf(&st.out, "%s (due)\n", words[0])
		st.show(due)
	}
	if words[1] == "clock" {
		return
	}
	fmt.Fprintln(&st.out, line)
	told := len(st.told)
	facts, err := st.do(words[1:])
	if err != nil {
		fmt.Fprintf(&st.out, "    refused: %s\n", st.rename(err.Error()))
	} else if len(facts) == 0 {
		fmt.Fprintf(&st.out, "    nothing new\n")
	}
	st.show(facts)
	for _, m := range st.told[told:] {
		if moved := m.Inbound.GetHandoffMoved(); moved != nil {
			end := ""
			if moved.GetClosed() {
				end = ", and that is its end"
			}
			fmt.Fprintf(&st.out, "    the lead's shard is told: %s%s\n", moved.GetMoved(), end)
		}
	}
	if len(facts) > 0 {
		st.checkAgain()
	}
}

func (st *story) clock(text string) time.Time {
	st.t.Helper()
	at, err := time.Parse("15:04", text)
	if err != nil {
		st.t.Fatalf("%v", err)
	}
	return st.day.Add(time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute)
}

func (st *story) do(words []string) ([]*handoffv1.Fact, error) {
	switch words[0] {
	case "qualified":
		return st.lead(st.qualified(words[1], words[2:]...))
	case "withdrawn":
		return st.lead(&leadv1.Fact{LeadKey: keyOf(words[1]), Fact: &leadv1.Fact_ConsentWithdrawn{ConsentWithdrawn: &leadv1.ConsentWithdrawn{}}})
	case "merged":
		return st.lead(&leadv1.Fact{LeadKey: keyOf(words[1]), Fact: &leadv1.Fact_LeadMerged{LeadMerged: &leadv1.LeadMerged{Into: keyOf(words[3])}}})
	case "diverted":
		return st.lead(&leadv1.Fact{LeadKey: keyOf(words[1]), Fact: &leadv1.Fact_LeadDiverted{LeadDiverted: &leadv1.LeadDiverted{}}})
	case "receipt", "failure":
		return st.delivery(words)
	case "roster":
		st.n++
		return st.apply(fmt.Sprintf("roster-%d", st.n), st.part(words[1]))
	}
	return st.say(words)
}

func (st *story) handoff(name string) string {
	if id := st.open(name); id != "" {
		return id
	}
	latest, _ := st.s.List(handoff.Filter{LeadKey: keyOf(name), Limit: 1}, st.now)
	if len(latest) > 0 {
		return latest[0].GetId()
	}
	return "h-" + name
}

func (st *story) delivery(words []string) ([]*handoffv1.Fact, error) {
	id := st.handoff(words[1])
	assignment := st.s.Handoff(id).GetAssignment()
	var at time.Time
	permanent := false
	for _, w := range words[3:] {
		switch {
		case strings.HasPrefix(w, "#"):
			n, err := strconv.ParseUint(w[1:], 10, 32)
			if err != nil {
				st.t.Fatalf("%v", err)
			}
			assignment = uint32(n)
		case strings.HasPrefix(w, "at="):
			at = st.clock(w[3:])
		case w == "permanent":
			permanent = true
		}
	}
	if words[0] == "failure" {
		return st.failure(handoff.Failure{HandoffID: id, Assignment: assignment, Channel: words[2], Permanent: permanent, Detail: "no", Attempts: 1})
	}
	return st.receipt(handoff.Receipt{HandoffID: id, Assignment: assignment, Channel: words[2], Receipt: "ok", DeliveredAt: at})
}

func (st *story) say(words []string) ([]*handoffv1.Fact, error) {
	st.t.Helper()
	verb, ok := handoff.ParseVerb(words[1])
	if !ok {
		st.t.Fatalf("no verb %q", words[1])
	}
	a := &handoffv1.HandoffAnswered{Verb: verb, Rep: words[0]}
	if a.Rep == "?" {
		a.Rep = ""
	}
	st.n++
	in := handoff.Answer{RequestID: fmt.Sprintf("answer-%d", st.n), Answer: a, HandoffID: st.handoff(words[2])}
	for _, w := range words[3:] {
		k, v, _ := strings.Cut(w, "=")
		switch k {
		case "reason":
			a.Reason = v
		case "note":
			a.Note = v
		case "to":
			a.To = v
		case "until":
			a.Until = timestamppb.New(st.clock(v))
		case "amount":
			n, err := strconv.ParseFloat(v, 64)
			if err != nil {
				st.t.Fatalf("%v", err)
			}
			a.Amount = &handoffv1.Money{Amount: n, Currency: "EUR"}
		case "id":
			in.RequestID = v
		case "by-lead":
			in.HandoffID, in.LeadKey = "", keyOf(words[2])
		}
	}
	return st.answer(in)
}

// rename puts people's names for the ids of handoffs.
func (st *story) rename(text string) string {
	for id, name := range st.names {
		text = strings.ReplaceAll(text, id, name)
	}
	return text
}

func (st *story) show(facts []*handoffv1.Fact) {
	for _, f := range facts {
		if o := f.GetHandoffOpened(); o != nil {
			name := strings.TrimSuffix(o.GetQualified().GetLeadQualified().GetProfile().GetLead()["email"], "@example.com")
			st.names[f.GetHandoffId()] = fmt.Sprintf("%s/%d", name, o.GetNumber())
		}
		fmt.Fprintf(&st.out, "    %s\n", strings.TrimSpace(st.names[f.GetHandoffId()]+" "+st.fact(f)))
	}
}

func (st *story) at(t *timestamppb.Timestamp) string {
	if at := t.AsTime(); at.Format(time.DateOnly) != st.day.Format(time.DateOnly) {
		return at.Format("2006-01-02 15:04")
	}
	return t.AsTime().Format("15:04")
}

func (st *story) fact(f *handoffv1.Fact) string {
	switch e := f.GetFact().(type) {
	case *handoffv1.Fact_HandoffOpened:
		return fmt.Sprintf("opened for team %s, due %s", e.HandoffOpened.GetTeam(), st.at(e.HandoffOpened.GetDeadline()))
	case *handoffv1.Fact_HandoffJoined:
		return "joined by a further qualification"
	case *handoffv1.Fact_HandoffAssigned:
		a := e.HandoffAssigned
		text := fmt.Sprintf("#%d assigned to %s of %s: %s", a.GetAssignment(), a.GetRep(), a.GetTeam(), roster.ReasonText(a.GetReason()))
		if a.GetCovers() != "" {
			text += " (" + a.GetCovers() + ")"
		}
		return text + passed(a.GetPassedOver())
	case *handoffv1.Fact_HandoffHeld:
		return fmt.Sprintf("held until %s: %s%s", st.at(e.HandoffHeld.GetUntil()), roster.HeldText(e.HandoffHeld.GetReason()), passed(e.HandoffHeld.GetPassedOver()))
	case *handoffv1.Fact_HandoffDelivered:
		return fmt.Sprintf("#%d delivered on %s at %s", e.HandoffDelivered.GetAssignment(), e.HandoffDelivered.GetChannel(), st.at(e.HandoffDelivered.GetDeliveredAt()))
	case *handoffv1.Fact_DeliveryFailed:
		return fmt.Sprintf("#%d not delivered on %s, permanent: %v", e.DeliveryFailed.GetAssignment(), e.DeliveryFailed.GetChannel(), e.DeliveryFailed.GetPermanent())
	case *handoffv1.Fact_WindowMissed:
		return "missed its window, which ended at " + st.at(e.WindowMissed.GetDeadline())
	case *handoffv1.Fact_HandoffAnswered:
		return "answered: " + handoff.VerbName(e.HandoffAnswered.GetVerb())
	case *handoffv1.Fact_HandoffClosed:
		return strings.TrimSpace("closed: " + handoff.OutcomeName(e.HandoffClosed.GetOutcome()) + " " + e.HandoffClosed.GetReason())
	case *handoffv1.Fact_AgreementActivated:
		return fmt.Sprintf("agreement %s version %d in force", e.AgreementActivated.GetName(), e.AgreementActivated.GetVersion())
	case *handoffv1.Fact_RosterApplied:
		return fmt.Sprintf("roster version %d in force", e.RosterApplied.GetVersion())
	case *handoffv1.Fact_LeadRekeyed:
		return "the lead's handoffs have a new key"
	case *handoffv1.Fact_LeadNoted:
		return "noted"
	}
	return "?"
}

func passed(ps []*handoffv1.PassedOver) string {
	var b strings.Builder
	for _, p := range ps {
		fmt.Fprintf(&b, "\n        not %s of %s: %s", p.GetRep(), p.GetTeam(), roster.AgainstText(p.GetReason()))
	}
	return b.String()
}
