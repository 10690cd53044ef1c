package roster

import (
	"slices"
	"strings"
	"time"

	"github.com/leadbaton/baton/services/internal/document"
)

func (p *parser) reps(list document.Node) {
	items := list.List()
	if list.IsList() && len(items) == 0 {
		list.Errorf("needs at least one rep")
	}
	for _, item := range items {
		p.rep(item)
	}
}

func (p *parser) rep(item document.Node) {
	m := item.Map()
	rep := &Rep{Weight: 1000}
	id := m.Get("id", document.Required)
	rep.ID = id.ID()
	rep.Name = m.Text("name", document.Required)
	email := m.Get("email", document.Required)
	if rep.Email = email.Text(); rep.Email != "" && !address(rep.Email) {
		email.Errorf("is no e-mail address")
	}
	if n := m.Get("weight"); n.Present() {
		rep.Weight = n.Decimal(10, 1_000_000)
	}
	if n := m.Get("capacity"); n.Present() {
		c := n.Map()
		rep.Capacity = Capacity{Open: c.Int("open", 1, 1_000_000), PerDay: c.Int("perDay", 1, 1_000_000)}
		c.Done()
	}
	rep.Skills = m.Texts("skills", document.NotInForce)
	rep.Hours = p.hours(m.Get("hours"))
	p.away(rep, m.Get("away"))
	rep.Channels = p.uses(m.Get("channels", document.Required))
	rep.Left = m.Date("left", document.NotInForce)
	successor := m.Get("successor", document.NotInForce)
	rep.Successor = successor.ID()
	m.Done()
	if rep.ID == "" {
		return
	}
	if p.r.reps[rep.ID] != nil {
		id.Errorf("another rep has the id %q already", rep.ID)
		return
	}
	p.r.Reps = append(p.r.Reps, rep)
	p.r.reps[rep.ID] = rep
	p.later = append(p.later, func() {
		if rep.Successor != "" {
			p.other(rep, successor, rep.Successor)
		}
		switch {
		case len(rep.Teams) == 0:
			id.Warnf("is in no team, so it is given leads only by hand-over or as a cover")
		case len(rep.Teams) > 1 && rep.Hours == nil && !m.Has("hours"):
			id.Errorf("is in %d teams, so it must give hours of its own", len(rep.Teams))
		}
	})
}

// address says whether a text looks like user@host; whether it exists only a mail shows.
func address(s string) bool {
	user, host, ok := strings.Cut(s, "@")
	return ok && user != "" && host != "" && !strings.ContainsAny(s, " \t\n<>,;") && !strings.Contains(host, "@")
}

// other checks that an id names another rep.
func (p *parser) other(rep *Rep, n document.Node, id string) {
	switch {
	case id == rep.ID:
		n.Errorf("must be another rep than %q itself", id)
	case p.r.reps[id] == nil:
		n.Errorf("no rep has the id %q", id)
	}
}

func (p *parser) away(rep *Rep, list document.Node) {
	for _, item := range list.List() {
		m := item.Map()
		a := Absence{From: m.Date("from", document.Required)}
		to := m.Get("to", document.Required)
		a.To = to.Date()
		if !a.From.IsZero() && !a.To.IsZero() && a.To.Compare(a.From) < 0 {
			to.Errorf("is before from; both days are included")
		}
		cover := m.Get("cover")
		if a.Cover = cover.ID(); a.Cover != "" {
			p.later = append(p.later, func() { p.other(rep, cover, a.Cover) })
		}
		m.Done()
		if !a.From.IsZero() && !a.To.IsZero() {
			rep.Away = append(rep.Away, a)
		}
	}
}

// uses reads channels in the order in which they are tried.
func (p *parser) uses(list document.Node) []Use {
	var uses []Use
	items := list.List()
	if list.IsList() && len(items) == 0 {
		list.Errorf("needs at least one channel")
	}
	for _, item := range items {
		m := item.Map()
		use := m.Get("use", document.Required)
		name := use.ID()
		to := m.Get("to")
		u := Use{Channel: p.r.channels[name], To: to.Text()}
		m.Done()
		switch {
		case name == "":
			continue
		case u.Channel == nil:
			use.Errorf("no channel has the name %q; known: %s", name, strings.Join(p.channelNames(), ", "))
			continue
		case slices.ContainsFunc(uses, func(o Use) bool { return o.Channel == u.Channel }):
			use.Errorf("the channel %q is in this list already", name)
			continue
		case !to.Present() && u.Channel.Kind == KindSlack:
			m.Node().Errorf("the key \"to\" is missing: the member id at Slack, such as U0123")
		case !to.Present() && u.Channel.Kind == KindEmail:
			m.Node().Errorf("the key \"to\" is missing: the address to write to")
		case u.To != "" && u.Channel.Kind == KindEmail && !address(u.To):
			to.Errorf("is no e-mail address")
		case to.Present() && u.Channel.Kind == KindGRPC:
			to.Warnf("is not used: a grpc channel reaches whoever is subscribed as this rep")
		}
		uses = append(uses, u)
	}
	return uses
}

func (p *parser) channelNames() []string {
	names := make([]string, len(p.r.Channels))
	for i, c := range p.r.Channels {
		names[i] = c.Name
	}
	return names
}

func (p *parser) hours(node document.Node) *Hours {
	if !node.Present() {
		return nil
	}
	m := node.Map()
	h := &Hours{Zone: time.UTC}
	zone := m.Get("zone", document.Required)
	if name := zone.Text(); name != "" {
		loc, err := time.LoadLocation(name)
		if err != nil || name == "Local" {
			zone.Errorf("%q is not a time zone; write a name such as Europe/Berlin, America/New_York or UTC", name)
		} else {
			h.Zone = loc
		}
	}
	holidays := m.Get("holidays")
	if code := holidays.Text(); code != "" {
		if regions[code] == nil {
			holidays.Errorf("the holidays of %q are not known; known are %s", code, strings.Join(Regions(), ", "))
		}
		h.Holidays = code
	}
	shifts := m.Get("shifts", document.Required)
	items := shifts.List()
	if shifts.IsList() && len(items) == 0 {
		shifts.Errorf("needs at least one shift; leave hours out for always")
	}
	for _, item := range items {
		h.Shifts = append(h.Shifts, shift(item))
	}
	m.Done()
	return h
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} // by time.Weekday

func shift(item document.Node) Shift {
	m := item.Map()
	var s Shift
	for _, n := range m.Get("days", document.Required).ListOrOne() {
		for _, part := range strings.Split(n.Text(), ",") {
			if part = strings.TrimSpace(part); part != "" {
				days(&s.Days, n, part)
			}
		}
	}
	from, to := m.Get("from", document.Required), m.Get("to", document.Required)
	s.From, s.To = from.TimeOfDay(), to.TimeOfDay()
	m.Done()
	switch {
	case s.From == day:
		from.Errorf(`"24:00" is an end; a shift that begins then begins at "00:00" of the next day`)
	case s.From == s.To && from.Present() && from.Written() == to.Written():
		to.Errorf(`is when the shift begins; for the whole day write from "00:00" to "24:00"`)
	}
	return s
}

// days reads mon, or mon-fri, or sat-mon over the week's end.
func days(into *[7]bool, n document.Node, text string) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	from, to := slices.Index(weekdays, first), slices.Index(weekdays, last)
	if from < 0 || to < 0 {
		n.Errorf("%q are not days; write mon, tue, wed, thu, fri, sat, sun, or from one to another: mon-fri", text)
		return
	}
	for d := from; ; d = (d + 1) % 7 {
		into[d] = true
		if d == to {
			return
		}
	}
}
