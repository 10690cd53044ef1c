package screen

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
)

// name is what a lead is called: its address, else an id, else its key.
func name(profile *leadv1.Profile, key string) string {
	if s := profile.GetLead()["email"]; s != "" {
		return s
	}
	for _, system := range slices.Sorted(maps.Keys(profile.GetIds())) {
		return system + ":" + profile.GetIds()[system]
	}
	return key
}

// person is who a lead is: name, title, company, country, as far as they are known.
func person(profile *leadv1.Profile) string {
	l, a := profile.GetLead(), profile.GetAccount()
	company := l["company"]
	if company == "" {
		company = a["name"]
	}
	if company == "" {
		company = a["domain"]
	}
	return join(l["name"], l["title"], company, l["country"])
}

// held is why a lead is not passed to sales, in words.
func held(s *leadv1.Standing) string {
	by := s.GetHeldBy()
	switch s.GetHeld() {
	case leadv1.Held_HELD_NO_PATH:
		return "no path holds"
	case leadv1.Held_HELD_INCOMPLETE:
		return "missing " + by
	case leadv1.Held_HELD_DIVERTED:
		return "diverted: " + by
	case leadv1.Held_HELD_TURNED_AWAY:
		return "turned away: " + by
	case leadv1.Held_HELD_CONSENT:
		return "consent withdrawn"
	case leadv1.Held_HELD_OPEN:
		return "with sales"
	case leadv1.Held_HELD_AGAIN:
		return "waits to qualify again"
	case leadv1.Held_HELD_CLAIM:
		return "its history is on its way"
	case leadv1.Held_HELD_HISTORY:
		return "loaded as history"
	case leadv1.Held_HELD_UNSPECIFIED:
	}
	return ""
}

// Leads writes a list of leads.
func (p *Page) Leads(r *leadv1.ListResponse) {
	if len(r.GetLeads()) == 0 {
		p.line("no lead matches")
		return
	}
	t := p.table("", 1)
	t.head("LEAD", "SCORE", "GRADE", "STAGE", "STATE", "LAST EVENT", "WHO", "AGREEMENT")
	for _, l := range r.GetLeads() {
		if len(l.GetStandings()) == 0 {
			t.row(name(l.GetProfile(), l.GetKey()), "", "", "", "", p.Ago(l.GetClock()), person(l.GetProfile()))
		}
		for _, s := range l.GetStandings() {
			t.row(name(l.GetProfile(), l.GetKey()), whole(s.GetScore().GetTotal()), s.GetScore().GetGrade(), s.GetStage(), held(s),
				p.Ago(l.GetClock()), person(l.GetProfile()), s.GetAgreement())
		}
	}
	t.flush()
	if n := uint64(len(r.GetLeads())); r.GetTotal() > n {
		p.line("%s", p.dress(dim, Grouped(n)+" of "+Count(r.GetTotal(), "lead", "leads")+"; more with --limit"))
	}
}

// Lead writes what is known of a lead.
func (p *Page) Lead(l *leadv1.Lead) {
	p.who(l)
	for _, s := range l.GetStandings() {
		p.gap()
		p.standing(s)
	}
	if len(l.GetStandings()) == 0 {
		p.gap()
		p.line("no agreement applies to it")
	}
	p.gap()
	t := p.table("  ")
	for _, part := range []struct {
		prefix string
		known  map[string]string
	}{{"lead.", l.GetProfile().GetLead()}, {"account.", l.GetProfile().GetAccount()}, {"id of ", l.GetProfile().GetIds()}} {
		for _, k := range slices.Sorted(maps.Keys(part.known)) {
			t.row(part.prefix+k, part.known[k])
		}
	}
	if len(t.rows) > 0 {
		p.Title("Known")
		t.flush()
	}
	if len(l.GetAliases()) > 0 {
		p.line("  also known as %s", Clean(strings.Join(l.GetAliases(), ", ")))
	}
	if n := l.GetTooOldToTell(); n > 0 {
		p.Warn("  %s not counted: too old to tell from a repetition", Count(n, "event", "events"))
	}
	if n := l.GetUnreadable(); n > 0 {
		p.Warn("  %s could not be read as the declared type", Count(n, "value", "values"))
	}
}

// who heads a page about a lead.
func (p *Page) who(l *leadv1.Lead) {
	head := p.dress(bold, Clean(name(l.GetProfile(), l.GetKey())))
	if s := person(l.GetProfile()); s != "" {
		head += "  " + Clean(s)
	}
	p.line("%s", head)
	about := []string{"key " + l.GetKey(), Count(l.GetEvents(), "event", "events")}
	if l.GetClock() != nil {
		about = append(about, "last "+p.Ago(l.GetClock()))
	}
	if l.GetAt() != nil {
		about = append(about, "as of "+stamp(l.GetAt()))
	}
	p.line("%s", p.dress(dim, Clean(strings.Join(about, ", "))))
}

func (p *Page) standing(s *leadv1.Standing) {
	p.Title("Under " + s.GetAgreement() + " v" + strconv.FormatUint(uint64(s.GetAgreementVersion()), 10))
	t := p.table("  ")
	t.row("score", scoreText(s.GetScore()))
	t.row("stage", s.GetStage())
	if s.GetEpisodes() > 0 {
		text := "by path " + s.GetPath()
		if s.GetEpisodes() > 1 {
			text = Count(uint64(s.GetEpisodes()), "time", "times") + ", the newest by path " + s.GetPath()
		}
		if s.GetOutcome() != "" && !s.GetOpen() {
			text += ", ended: " + s.GetOutcome()
		}
		t.row("passed", text)
	}
	state := held(s)
	if s.GetAgainAt() != nil {
		state += ", from " + p.instant(s.GetAgainAt())
	}
	t.row("state", state)
	if len(s.GetNoConsent()) > 0 {
		t.row("not by", cell{strings.Join(s.GetNoConsent(), ", "), bad})
	}
	t.flush()
}

func scoreText(s *leadv1.Score) string {
	text := whole(s.GetTotal())
	if s.GetGrade() != "" {
		text += ", grade " + s.GetGrade()
	}
	return text + " (engagement " + Number(s.GetEngagement()) + ", fit " + Number(s.GetFit()) + ")"
}
