package lead

import (
	"encoding/json"
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

	engagementv1 "github.com/leadbaton/baton/api/gen/baton/engagement/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/services/internal/agreement"
)

var update = flag.Bool("update", false, "write what happens into the stories of testdata: go test ./internal/lead -run Stories -update")

// TestStories runs every story of testdata; its README.md says how they are written.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no stories in testdata", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { runStory(t, file) })
	}
}

type story struct {
	t      *testing.T
	w      *world
	files  map[string][]byte
	names  map[string]string // lead key -> how the story calls the lead
	n      int               // events published
	router uint64            // messages of the router
	facts  int               // facts and rejections shown so far
	reject int
}

func runStory(t *testing.T, file string) *story {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &story{t: t, w: newWorld(&watch{}), files: map[string][]byte{}, names: map[string]string{}}
	for _, f := range archive.Files {
		s.files[f.Name] = f.Data
	}
	s.activate("agreement.yaml", day(1, "00:00"))
	at := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "story" })
	if at < 0 {
		t.Fatal("there is no file called story")
	}
	var got strings.Builder
	for line := range strings.Lines(string(archive.Files[at].Data)) {
		switch {
		case strings.HasPrefix(line, "   "):
			continue // what happened when it was written
		case strings.TrimSpace(line) == "", strings.HasPrefix(line, "#"):
			got.WriteString(line)
			continue
		}
		got.WriteString(line)
		for _, out := range s.command(strings.TrimSpace(line)) {
			got.WriteString("        " + out + "\n")
		}
	}
	want := string(archive.Files[at].Data)
	switch {
	case want == got.String():
	case *update:
		archive.Files[at].Data = []byte(got.String())
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the story goes otherwise (go test ./internal/lead -run Stories -update writes it down):\n%s", got.String())
	}
	return s
}

// day is an instant of a story: day 1 is 2026-11-02, a Monday.
func day(n int, clock string) time.Time {
	at, err := time.Parse("15:04", clock)
	if err != nil {
		panic(err)
	}
	return time.Date(2026, 11, 1+n, at.Hour(), at.Minute(), 0, 0, time.UTC)
}

func instantOf(n, clock string) time.Time {
	d, err := strconv.Atoi(n)
	if err != nil {
		panic(err)
	}
	return day(d, clock)
}

func shown(t time.Time) string {
	first := day(1, "00:00")
	days := int(t.Sub(first).Hours()/24) + 1
	if t.Before(first) {
		return t.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("%d %s", days, t.UTC().Format("15:04"))
}

// command runs one line of a story and returns what happened.
func (s *story) command(line string) []string {
	words := split(line)
	at := instantOf(words[0], words[1])
	switch verb := words[2]; verb {
	case "show":
		return s.show(words[3], at)
	case "explain":
		return s.explain(words[3], at)
	case "agreement":
		s.activate(words[3], at)
	case "sales":
		key := s.key(words[3])
		s.router++
		s.w.move(s.t, key, s.router, words[4], slices.Contains(agreement.Outcomes, words[4]), at)
	case "raw":
		if err := s.w.publish(words[3], []byte(strings.Join(words[4:], " ")), at.UnixNano()); err != nil {
			s.t.Fatal(err)
		}
	case "merge":
		s.event(at, "_operator", words[5], "lead.merged", []string{"from=" + string(s.key(words[3]))})
	default:
		s.event(at, verb, words[3], words[4], words[5:])
	}
	if err := s.w.settle(); err != nil {
		s.t.Fatal(err)
	}
	return s.happened()
}

// split splits at spaces outside of quotes.
func split(line string) []string {
	quoted := false
	return strings.FieldsFunc(line, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	})
}

func (s *story) activate(file string, at time.Time) {
	a := parseAgreement(s.t, s.files[file])
	version := uint32(1)
	if g := s.w.log(leadkey.FromEmail("")); g != nil {
		if f := g.agreement(a.Name); f != nil {
			version = f.version + 1
		}
	}
	s.router++
	s.w.activateAs(s.t, a, version, 1000+s.router, at)
}

// identities reads who an event is about: address, SYSTEM:ID or anon:ID, several joined by +.
func identities(who string) map[string]any {
	lead := map[string]any{}
	for _, id := range strings.Split(who, "+") {
		switch system, value, named := strings.Cut(id, ":"); {
		case strings.Contains(id, "@"):
			lead["email"] = id
		case named && system == "anon":
			lead["anonymousId"] = value
		case named:
			lead["ids"] = map[string]any{system: value}
		}
	}
	return lead
}

func (s *story) key(who string) leadkey.Key {
	var key leadkey.Key
	switch system, value, named := strings.Cut(who, ":"); {
	case !named:
		key = leadkey.FromEmail(who)
	case system == "anon":
		key = leadkey.FromAnonymous(value)
	default:
		key = leadkey.FromID(system, value)
	}
	s.names[string(key)] = who
	return key
}

func (s *story) event(at time.Time, source, who, kind string, words []string) {
	s.n++
	for _, id := range strings.Split(who, "+") {
		s.key(id)
	}
	data := map[string]map[string]any{"lead": identities(who), "account": {}, "campaign": {}, "properties": {}}
	e := map[string]any{
		"specversion": "1.0", "id": fmt.Sprint("e", s.n), "source": source, "type": kind, "time": at.Format(time.RFC3339),
	}
	body := map[string]any{}
	times := 1
	for _, w := range words {
		name, text, _ := strings.Cut(w, "=")
		var value any
		if json.Unmarshal([]byte(text), &value) != nil {
			value = text
		}
		switch name {
		case "id":
			e["id"] = text
		case "history":
			e["history"] = true
		case "times":
			times, _ = strconv.Atoi(text)
		case "dated":
			if text == "never" {
				delete(e, "time")
				continue
			}
			n, clock, _ := strings.Cut(text, "/")
			e["time"] = instantOf(n, clock).Format(time.RFC3339)
		case "from":
			body["from"] = text
		default:
			group, attribute, ok := strings.Cut(name, ".")
			if !ok {
				group, attribute = "properties", name
			}
			data[group][attribute] = value
		}
	}
	for k, v := range data {
		body[k] = v
	}
	e["data"] = body
	id := e["id"]
	for i := range times {
		if times > 1 {
			e["id"] = fmt.Sprint(id, "-", i+1)
		}
		b, err := json.Marshal(e)
		if err == nil {
			_, err = s.w.publishEvent(b, at)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *story) name(key string) string {
	if n := s.names[key]; n != "" {
		return n
	}
	return "somebody"
}

// happened returns the facts and rejections since it was asked last.
func (s *story) happened() (lines []string) {
	for _, f := range s.w.watch.facts[s.facts:] {
		lines = append(lines, s.fact(f))
	}
	for _, r := range s.w.watch.rejections[s.reject:] {
		reason := strings.TrimPrefix(engagementv1.Rejection_Reason_name[int32(r.GetReason())], "REASON_")
		lines = append(lines, fmt.Sprintf("rejected %s: %s", reason, r.GetDetail()))
	}
	s.facts, s.reject = len(s.w.watch.facts), len(s.w.watch.rejections)
	return lines
}

func (s *story) fact(f *leadv1.Fact) string {
	who := s.name(f.GetLeadKey())
	switch x := f.GetFact().(type) {
	case *leadv1.Fact_LeadQualified:
		q := x.LeadQualified
		cause := strings.TrimPrefix(leadv1.Cause_name[int32(q.GetCause())], "CAUSE_")
		line := fmt.Sprintf("LeadQualified %s by %s of %s v%d, score %s %s, episode %d, stage %s; %s, act %s, window from %s", who, q.GetPath(),
			f.GetAgreement(), f.GetAgreementVersion(), decimal(thousandths(q.GetScore().GetTotal())), q.GetScore().GetGrade(), q.GetEpisode(),
			q.GetStage(), cause, q.GetAct().GetId(), shown(q.GetWindowStartsAt().AsTime()))
		if q.GetLateArrival() {
			line += ", late arrival"
		}
		if q.GetUrgent() {
			line += ", urgent"
		}
		if len(q.GetNoConsent()) > 0 {
			line += ", no consent to " + strings.Join(q.GetNoConsent(), ", ")
		}
		return line
	case *leadv1.Fact_LeadDiverted:
		return fmt.Sprintf("LeadDiverted %s: %s, to %q, path %s", who, x.LeadDiverted.GetDivert(), x.LeadDiverted.GetTo(), x.LeadDiverted.GetPath())
	case *leadv1.Fact_LeadTurnedAway:
		return fmt.Sprintf("LeadTurnedAway %s: %s, path %s", who, x.LeadTurnedAway.GetDisqualifier(), x.LeadTurnedAway.GetPath())
	case *leadv1.Fact_ConsentWithdrawn:
		return fmt.Sprintf("ConsentWithdrawn %s: %s", who, x.ConsentWithdrawn.GetEventType())
	case *leadv1.Fact_LeadMerged:
		return fmt.Sprintf("LeadMerged %s into %s", who, s.name(x.LeadMerged.GetInto()))
	}
	return "an unknown fact"
}

// show is what is known of a lead.
func (s *story) show(who string, at time.Time) (lines []string) {
	key := s.key(who)
	l := s.w.lead(key)
	if c := l.Claimant(); c != "" {
		return []string{"part of " + s.name(c)}
	}
	v := View(l, s.w.log(key), at)
	line := fmt.Sprintf("%d events", v.GetEvents())
	if v.GetTooOldToTell() > 0 {
		line += fmt.Sprintf(", %d too old to tell", v.GetTooOldToTell())
	}
	if v.GetUnreadable() > 0 {
		line += fmt.Sprintf(", %d unreadable", v.GetUnreadable())
	}
	for space, m := range []map[string]string{v.GetProfile().GetLead(), v.GetProfile().GetAccount(), v.GetProfile().GetIds()} {
		for _, k := range sortedKeys(m) {
			if spacePrefix[space]+k != "lead.email" {
				line += ", " + spacePrefix[space] + k + "=" + m[k]
			}
		}
	}
	for _, a := range v.GetAliases() {
		line += ", also " + s.name(a)
	}
	lines = append(lines, line)
	for _, st := range v.GetStandings() {
		line := fmt.Sprintf("%s v%d: score %s = engagement %s + fit %s %s, stage %q, held %s", st.GetAgreement(), st.GetAgreementVersion(),
			decimal(thousandths(st.GetScore().GetTotal())), decimal(thousandths(st.GetScore().GetEngagement())),
			decimal(thousandths(st.GetScore().GetFit())), st.GetScore().GetGrade(), st.GetStage(),
			strings.TrimPrefix(leadv1.Held_name[int32(st.GetHeld())], "HELD_"))
		if st.GetHeldBy() != "" {
			line += " by " + st.GetHeldBy()
		}
		if st.GetEpisodes() > 0 {
			line += fmt.Sprintf(", %d episodes", st.GetEpisodes())
		}
		if st.GetOutcome() != "" {
			line += ", closed " + st.GetOutcome()
		}
		if st.GetAgainAt() != nil {
			line += ", again at " + shown(st.GetAgainAt().AsTime())
		}
		if len(st.GetNoConsent()) > 0 {
			line += ", no consent to " + strings.Join(st.GetNoConsent(), ", ")
		}
		lines = append(lines, line)
	}
	return lines
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// explain is where a lead's scores come from.
func (s *story) explain(who string, at time.Time) (lines []string) {
	key := s.key(who)
	for _, e := range Explain(s.w.lead(key), s.w.log(key), at) {
		lines = append(lines, fmt.Sprintf("%s: %s", e.GetAgreement(), decimal(thousandths(e.GetScore().GetTotal()))))
		for _, c := range e.GetContributions() {
			line := fmt.Sprintf("%8s  %s %s", decimal(thousandths(c.GetPoints())),
				strings.ToLower(strings.TrimPrefix(leadv1.Contribution_Kind_name[int32(c.GetKind())], "KIND_")), c.GetRule())
			if c.GetCount() > 0 {
				line += fmt.Sprintf(", %s unfaded, %d times", decimal(thousandths(c.GetUnfaded())), c.GetCount())
			}
			lines = append(lines, line)
		}
		for _, p := range e.GetPaths() {
			line := "path " + p.GetPath()
			if p.GetHolds() {
				line += " holds"
			}
			if len(p.GetWants()) > 0 {
				line += ", wants " + strings.Join(p.GetWants(), "; ")
			}
			lines = append(lines, line)
		}
	}
	return lines
}
