// Package event reads engagement events: CloudEvents 1.0 in JSON or protobuf, without reflection.
//
// The reading and judging itself is api/cloudevent, so that publishers check exactly what the scorer checks; this package
// gives its values the domain's kinds.
package event

import (
	"github.com/leadbaton/baton/api/cloudevent"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/attribute"
)

// Event is one engagement event. Its strings are views into the body that it was decoded from:
// whoever keeps one clones it. Key and strings that were escaped in the body are the Event's own.
type Event struct {
	ID     string
	Source string
	Type   string
	// Time is when it happened, in Unix nanoseconds; 0 if the event does not say.
	Time int64
	// History says that the event was loaded as history: it scores, but hands nothing off.
	History bool
	// TraceParent is the CloudEvents distributed-tracing extension, if any.
	TraceParent string

	// The lead's identities, as published. Key is the key of the first of them.
	Email       string
	IDs         []cloudevent.Member // sorted by system; values are Strings
	AnonymousID string
	Key         leadkey.Key

	// Attributes besides the identities, in document order, as published: ValueOf reads them. Lead includes "email"
	// (normalised) if given. Only scalars: objects and lists are left out.
	Lead    []cloudevent.Member
	Account []cloudevent.Member

	Campaign   Object
	Properties Object
	// MergeFrom is data.from of a `lead.merged` event: a lead key.
	MergeFrom string

	read cloudevent.Event
}

// Field is one named value.
type Field struct {
	Name  string
	Value attribute.Value
}

// Error says why an event is rejected: a reason of the closed set, and a sentence without personal data.
type Error = cloudevent.Error

// Decode reads body into ev, whatever ev held before; the room of its slices is used again, so ev is not to be decoded into
// while its fields are in use. Every error is an *Error; ev then has the ID and Type that could be read.
func Decode(body []byte, ev *Event) error {
	r := &ev.read
	err := cloudevent.Decode(body, r)
	ev.ID, ev.Source, ev.Type = r.ID, r.Source, r.Type
	ev.Time, ev.History, ev.TraceParent = r.Time, r.History, r.TraceParent
	ev.Email, ev.AnonymousID, ev.Key, ev.MergeFrom = r.Email, r.AnonymousID, r.Key, string(r.MergeFrom)
	ev.IDs, ev.Lead, ev.Account = r.IDs, r.Lead, r.Account
	ev.Campaign = Object{raw: r.Campaign, members: r.CampaignMembers, parsed: true}
	ev.Properties = Object{raw: r.Properties, members: r.PropertyMembers, parsed: true}
	return err
}

// Check says whether the event may arrive on the subject: its source and its lead key are the subject's.
// Its error is an *Error.
func Check(ev *Event, s subject.Engagement) error {
	e := cloudevent.Event{Source: ev.Source, Key: ev.Key}
	return e.Check(s)
}

// ValueOf returns a published value with the domain's kind.
func ValueOf(v cloudevent.Value) attribute.Value {
	switch v.Kind {
	case cloudevent.String:
		return attribute.TextOf(v.Text)
	case cloudevent.Number:
		return attribute.FloatOf(v.Text)
	case cloudevent.Bool:
		return attribute.BoolOf(v.Text == "true")
	case cloudevent.Null:
		return attribute.Value{Kind: attribute.Null}
	case cloudevent.Object, cloudevent.List:
		return attribute.Value{Kind: attribute.JSON, Str: v.Text}
	default:
		return attribute.Value{}
	}
}
