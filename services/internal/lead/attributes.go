package lead

import (
	"cmp"
	"slices"

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
			a.value, _ = attribute.Normalise(g.fields[space][a.name].Declaration, a.raw)
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
func (l *Lead) take(g *Log, ev *event.Event, t int64) {
	l.refresh(g)
	changed := false
	for i := range ev.Lead {
		f := &ev.Lead[i]
		if l.put(g, ofLead, f, ev, t) {
			changed = true
			if f.Name == "email" {
				l.derive()
			}
		}
	}
	for i := range ev.Account {
		if l.put(g, ofAccount, &ev.Account[i], ev, t) {
			changed = true
		}
	}
	for i := range ev.IDs {
		l.put(g, ofIDs, &ev.IDs[i], ev, t)
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
func (l *Lead) put(g *Log, space int, f *event.Field, ev *event.Event, t int64) bool {
	foreign := space == ofLead && f.Name == "email" && string(ev.Key) != l.key
	a := l.find(space, f.Name)
	if a != nil && a.raw == f.Value && a.source == ev.Source && a.foreign == foreign && a.value.Kind != attribute.None {
		a.time = max(a.time, t)
		return false
	}
	declared := g.fields[space][f.Name]
	value, ok := attribute.Normalise(declared.Declaration, f.Value)
	switch {
	case !ok, len(f.Value.Str) > maxValue, len(f.Name) > maxName, a == nil && value.Kind != attribute.None && len(l.attributes[space]) >= maxAttributes:
		l.unreadable++
		return false
	case value.Kind == attribute.None:
		return false
	}
	if a == nil {
		at, _ := slices.BinarySearchFunc(l.attributes[space], f.Name, func(a attr, n string) int { return cmp.Compare(a.name, n) })
		l.attributes[space] = slices.Insert(l.attributes[space], at, attr{name: keep(f.Name)})
		a = &l.attributes[space][at]
	} else if !declared.replaces(a, ev.Source, t, foreign) {
		return false
	}
	changed := a.value != value
	a.raw = f.Value
	a.raw.Str = keep(f.Value.Str)
	a.value = value
	switch {
	case value.Kind == attribute.Text && value.Str == a.raw.Str:
		a.value.Str = a.raw.Str
	case value.Str != "":
		a.value.Str = keep(value.Str)
	}
	if a.source != ev.Source {
		a.source = keep(ev.Source)
	}
	a.time, a.foreign = t, foreign
	return changed
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
