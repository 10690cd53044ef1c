package cloudevent

import (
	"strings"

	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
)

// readLead takes the identities out of e.Lead, and leaves everything else that is a scalar.
func (e *Event) readLead() error {
	var key Value
	kept := e.Lead[:0]
	for _, m := range e.Lead {
		var err error
		switch m.Name {
		case "email":
			m.Value, err = e.readEmail(m.Value)
		case "ids":
			err, m.Kind = e.readIDs(m.Value), Absent
		case "anonymousId":
			e.AnonymousID, err = identity(m.Value, "data.lead.anonymousId")
			m.Kind = Absent
		case "key":
			if e.Source == subject.Operator {
				key, m.Kind = m.Value, Absent
			}
		}
		if err != nil {
			return err
		}
		if m.Kind != Absent && m.Kind != Object && m.Kind != List {
			kept = append(kept, m)
		}
	}
	e.Lead = kept
	if key.Kind > Null {
		// An operator may name a lead by its key alone.
		k, err := leadkey.Parse(key.Text)
		if err != nil || key.Kind != String {
			return reject(noLead, "data.lead.key must be a lead key: 32 hex digits, a-f in lower case")
		}
		e.Key = k
		return nil
	}
	var b [leadkey.Size]byte
	switch {
	case e.Email != "":
		e.Key = leadkey.Key(leadkey.AppendEmail(b[:0], e.Email))
	case len(e.IDs) > 0:
		e.Key = leadkey.Key(leadkey.AppendID(b[:0], e.IDs[0].Name, e.IDs[0].Text))
	case e.AnonymousID != "":
		e.Key = leadkey.Key(leadkey.AppendAnonymous(b[:0], e.AnonymousID))
	default:
		return reject(noLead, "data.lead names nobody: give email, ids, or anonymousId")
	}
	return nil
}

// readEmail returns the attribute "email": normalised, Null if it is to be cleared, Absent if it says nothing.
func (e *Event) readEmail(v Value) (Value, error) {
	switch v.Kind {
	case Null:
		return v, nil
	case String:
		v.Text = leadkey.NormalEmail(v.Text)
		if v.Text == "" {
			return Value{}, nil
		}
		if strings.IndexByte(v.Text, '@') < 0 || len(v.Text) > MaxEmail || !printable(v.Text) {
			return Value{}, reject(noLead, "data.lead.email must be one e-mail address: with an @, at most 254 bytes, no control characters")
		}
		e.Email = v.Text
		return v, nil
	}
	return Value{}, reject(noLead, "data.lead.email must be a text")
}

func (e *Event) readIDs(v Value) error {
	if v.Kind == Null {
		return nil
	}
	if v.Kind != Object {
		return reject(noLead, "data.lead.ids must be an object that gives an id for each system's name")
	}
	e.IDs = Members(e.IDs, v.Text)
	kept := e.IDs[:0]
	for _, m := range e.IDs {
		id, err := identity(m.Value, "an id in data.lead.ids")
		if err == nil && (m.Name == "" || len(m.Name) > MaxSystem || strings.IndexByte(m.Name, ':') >= 0 || !printable(m.Name)) {
			err = reject(noLead, "the name of a system in data.lead.ids must be 1 to 64 bytes without colons and control characters")
		}
		if err == nil && id != "" && len(kept) == MaxIDs {
			err = reject(noLead, "data.lead.ids gives more than 32 ids")
		}
		if err != nil {
			return err
		}
		if id == "" {
			continue
		}
		// By system, in byte order; there are few.
		at := len(kept)
		kept = append(kept, Member{})
		for ; at > 0 && kept[at-1].Name > m.Name; at-- {
			kept[at] = kept[at-1]
		}
		kept[at] = Member{m.Name, Value{String, id}}
	}
	e.IDs = kept
	return nil
}

// identity reads an id: a text, or an integer as its digits. Null and "" are none.
func identity(v Value, what string) (string, error) {
	switch v.Kind {
	case Null:
		return "", nil
	case String:
	case Number:
		if strings.ContainsAny(v.Text, ".eE") {
			return "", reject(noLead, what+" must be a text or an integer")
		}
	default:
		return "", reject(noLead, what+" must be a text or an integer")
	}
	if len(v.Text) > MaxIdentity || !printable(v.Text) {
		return "", reject(noLead, what+" must be at most 256 bytes without control characters")
	}
	return v.Text, nil
}
