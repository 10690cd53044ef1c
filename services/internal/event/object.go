package event

import (
	"github.com/leadbaton/baton/api/cloudevent"
	"github.com/leadbaton/baton/services/internal/attribute"
)

// Object is a JSON object that is parsed when it is first asked for, if its event did not do that. *Object is an attribute.Object; it is not safe for
// concurrent use. The zero Object knows nothing.
type Object struct {
	raw     string
	members []cloudevent.Member
	parsed  bool
}

var _ attribute.Object = (*Object)(nil)

// ObjectOf returns the Object of a valid JSON object's text; of anything else, an Object that knows nothing.
func ObjectOf(raw string) Object { return Object{raw: raw} }

// Raw returns the JSON text; "" if there is none.
func (o *Object) Raw() string { return o.raw }

// Lookup implements attribute.Object. Objects and lists inside are JSON values; ObjectOf reads into them.
func (o *Object) Lookup(name string) attribute.Value {
	if o == nil || o.raw == "" {
		return attribute.Value{}
	}
	for i := range o.parse() {
		if o.members[i].Name == name {
			return ValueOf(o.members[i].Value)
		}
	}
	return attribute.Value{}
}

// Fields returns all values in document order.
func (o *Object) Fields() []Field {
	if o == nil || o.raw == "" {
		return nil
	}
	var all []Field
	for _, m := range o.parse() {
		all = append(all, Field{m.Name, ValueOf(m.Value)})
	}
	return all
}

func (o *Object) parse() []cloudevent.Member {
	if !o.parsed {
		o.members, o.parsed = cloudevent.Members(o.members[:0], o.raw), true
	}
	return o.members
}
