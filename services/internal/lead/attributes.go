package lead

import (
	"cmp"
	"slices"

	"github.com/leadbaton/baton/api/cloudevent"
	"github.com/leadbaton/baton/services/internal/attribute"
	"github.com/leadbaton/baton/services/internal/condition"
	"github.com/leadbaton/baton/services/internal/event"
)

// refresh reads all attributes anew if the agreements in force are others than when they were read last.
func (l *Lead) refresh(g *Log) {
	if l.epoch == g.epoch+1 {
		return
	}
	for space := range l.attributes {
		for i := range l.attributes[space] {
			a := &l.attributes[space][i]
			value, _ := attribute.Normalise(g.fields[space][a.name].Declaration, a.raw)
			a.reads(value)
		}
	}
	l.derive()
	l.epoch = g.epoch + 1
}

// derive finds what follows from the attributes.
func (l *Lead) derive() {
	l.domain = condition.EmailDomain(l.lookup(ofLead, "email").String())
	l.freeMail = l.domain != "" && condition.FreeMail(l.domain)
}

// take takes in what an event says of the lead and its account.
func (l *Lead) take(g *Log, words vocabulary, ev *event.Event, t int64) {
	l.refresh(g)
	changed := false
	for i := range ev.Lead {
		f := &ev.Lead[i]
		if l.put(g, words, ofLead, f, ev, t) {
			changed = true
			if f.Name == "email" {
				l.derive()
			}
		}
	}
	for i := range ev.Account {
		if l.put(g, words, ofAccount, &ev.Account[i], ev, t) {
			changed = true
		}
	}
	for i := range ev.IDs {
		l.put(g, words, ofIDs, &ev.IDs[i], ev, t)
	}
	if changed {
		for _, s := range l.standings {
			s.fitEpoch = 0
		}
	}
}

// put takes one attribute in, and says whether its value is another one than before.
//
// A preferred source wins, then the greatest time of the event, then the later in the stream. An address of a lead that
// was merged into this one never replaces this lead's own.
func (l *Lead) put(g *Log, words vocabulary, space int, f *cloudevent.Member, ev *event.Event, t int64) bool {
	foreign := space == ofLead && f.Name == "email" && string(ev.Key) != l.key
	a := l.find(space, f.Name)
	if a != nil && a.says(f.Value) && a.source == ev.Source && a.foreign == foreign && (a.read == nil || a.read.Kind != attribute.None) {
		a.time = max(a.time, t)
		return false
	}
	declared := g.fields[space][f.Name]
	raw := event.ValueOf(f.Value)
	value, ok := attribute.Normalise(declared.Declaration, raw)
	switch {
	case !ok, len(raw.Str) > maxValue, len(f.Name) > maxName, a == nil && value.Kind != attribute.None && len(l.attributes[space]) >= maxAttributes:
		l.unreadable++
		return false
	case value.Kind == attribute.None:
		return false
	}
	if a == nil {
		a = l.insert(space, words.keep(f.Name), ev)
	} else if !declared.replaces(a, ev.Source, t, foreign) {
		return false
	}
	changed := a.value() != value
	a.raw = raw
	a.raw.Str = keep(raw.Str)
	if value.Str == a.raw.Str {
		value.Str = a.raw.Str
	} else {
		value.Str = keep(value.Str)
	}
	a.reads(value)
	if a.source != ev.Source {
		a.source = words.keep(ev.Source)
	}
	a.time, a.foreign = t, foreign
	return changed
}

// insert makes room for an attribute. The first makes it for as many as its event tells.
func (l *Lead) insert(space int, name string, ev *event.Event) *attr {
	list := l.attributes[space]
	if list == nil {
		list = make([]attr, 0, [spaces]int{ofLead: len(ev.Lead), ofAccount: len(ev.Account), ofIDs: len(ev.IDs)}[space])
	}
	at, _ := slices.BinarySearchFunc(list, name, func(a attr, n string) int { return cmp.Compare(a.name, n) })
	l.attributes[space] = slices.Insert(list, at, attr{name: name})
	return &l.attributes[space][at]
}

// says says whether v is what is known already, as it was published.
func (a *attr) says(v cloudevent.Value) bool {
	switch a.raw.Kind {
	case attribute.Text:
		return v.Kind == cloudevent.String && v.Text == a.raw.Str
	case attribute.Float:
		return v.Kind == cloudevent.Number && v.Text == a.raw.Str
	case attribute.Bool:
		return v.Kind == cloudevent.Bool && v.Text == a.raw.String()
	case attribute.Null:
		return v.Kind == cloudevent.Null
	default:
		return false
	}
}

// value is the attribute as the agreements in force declare it.
func (a *attr) value() attribute.Value {
	if a.read != nil {
		return *a.read
	}
	return a.raw
}

// reads takes note of what raw says, as the agreements in force declare it.
func (a *attr) reads(value attribute.Value) {
	if a.read = nil; value != a.raw {
		v := value // so that nothing is allocated for what is read as it is
		a.read = &v
	}
}

// replaces says whether what a source says of an instant takes the place of what is known.
func (f *field) replaces(a *attr, source string, t int64, foreign bool) bool {
	if a.foreign != foreign {
		return a.foreign
	}
	if now, new := f.rank(a.source), f.rank(source); now != new {
		return new < now
	}
	return t >= a.time
}

func (f *field) rank(source string) int {
	for i, s := range f.prefer {
		if s == source {
			return i
		}
	}
	return len(f.prefer)
}
