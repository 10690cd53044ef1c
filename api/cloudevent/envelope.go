package cloudevent

import (
	"encoding/binary"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	engagementv1 "github.com/leadbaton/baton/api/gen/baton/engagement/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
)

// envelope is what both encodings are read into before anything is judged. Later values of the same name replace earlier
// ones, so that a fault in a value that does not count is no fault.
type envelope struct {
	specVersion, id, source, typ Value
	time, contentType            Value
	history, traceParent         Value
	data, base64                 Value
	parts                        parts
	// proto says that data came as a google.protobuf.Struct.
	proto bool
	// instant says that the time came as a timestamp.
	instant    bool
	sec, nanos int64
}

// read tells the encoding by the body's first byte that is not white space.
//
// A newline is both: white space of JSON, and the tag of the first field of a protobuf CloudEvent. Such a body is read as
// protobuf, and as JSON if it is not that.
func (v *envelope) read(body []byte, e *Event) error {
	json := looksJSON(body)
	switch {
	case len(body) == 0:
		return reject(malformed, "the event is empty")
	case json && body[0] != '\n':
		return v.readJSON(body, e)
	}
	err := v.readProtobuf(body, e)
	if err != nil && json {
		*v = envelope{}
		return v.readJSON(body, e)
	}
	return err
}

// looksJSON says whether the first byte that is not white space begins an object.
func looksJSON(body []byte) bool {
	i := 0
	for i < len(body) && (body[i] == ' ' || body[i] == '\t' || body[i] == '\n' || body[i] == '\r') {
		i++
	}
	return i < len(body) && body[i] == '{'
}

func (v *envelope) readJSON(body []byte, e *Event) error {
	if !utf8.Valid(body) {
		return reject(malformed, "the event is not valid UTF-8")
	}
	p := scanner{s: view(body)}
	if !v.readObject(&p, e) || !p.end() {
		return reject(malformed, "the event is not valid JSON at byte "+strconv.Itoa(p.i+1)+" (or is nested deeper than 64)")
	}
	return nil
}

func (v *envelope) readObject(p *scanner, e *Event) bool {
	if !p.take('{') {
		return false
	}
	if p.take('}') {
		return true
	}
	for {
		p.space()
		name, ok := p.str()
		if !ok || !p.take(':') {
			return false
		}
		switch to := v.slot(name); to {
		case nil:
			ok = p.skip(1)
		case &v.data:
			ok = v.readData(p, e)
		default:
			*to, ok = p.value(1)
		}
		if !ok {
			return false
		}
		if !p.take(',') {
			return p.take('}')
		}
	}
}

func (v *envelope) slot(name string) *Value {
	switch name {
	case "specversion":
		return &v.specVersion
	case "id":
		return &v.id
	case "source":
		return &v.source
	case "type":
		return &v.typ
	case "data":
		return &v.data
	case "data_base64":
		return &v.base64
	}
	return v.attribute(name)
}

// attribute returns where an optional or extension attribute goes; nil if it is of no use.
func (v *envelope) attribute(name string) *Value {
	switch name {
	case "time":
		return &v.time
	case "datacontenttype":
		return &v.contentType
	case "history":
		return &v.history
	case "traceparent":
		return &v.traceParent
	}
	return nil
}

// identify gives e what of the envelope is of its form, so that a rejection can say what was rejected.
func (v *envelope) identify(e *Event) {
	if v.id.Kind == String && len(v.id.Text) <= MaxID && printable(v.id.Text) {
		e.ID = v.id.Text
	}
	if v.typ.Kind == String && len(v.typ.Text) <= MaxType && printable(v.typ.Text) {
		e.Type = v.typ.Text
	}
}

// fill judges the envelope and gives e what it says.
func (v *envelope) fill(e *Event) error {
	v.identify(e)
	switch {
	case v.specVersion.Kind != String || v.specVersion.Text != "1.0":
		return reject(missing, `specversion must be "1.0"`)
	case e.ID == "":
		return reject(missing, "id must be a text of 1 to 256 bytes without control characters")
	case e.Type == "":
		return reject(missing, "type must be a text of 1 to 128 bytes without control characters")
	case v.source.Kind != String || v.source.Text != subject.Operator && subject.ValidSource(v.source.Text) != nil:
		return reject(missing, "source must be 1 to 32 of a-z, 0-9 and -")
	}
	e.Source = v.source.Text
	if err := v.fillOptional(e); err != nil {
		return err
	}
	if v.base64.Kind > Null {
		return reject(malformed, "data_base64 is not read: give data as a JSON object")
	}
	switch v.data.Kind {
	case Object:
		return v.parts.fill(e)
	case Absent, Null:
		return reject(noLead, "data.lead is missing: it says whom the event is about")
	}
	return reject(malformed, "data must be a JSON object")
}

func (v *envelope) fillOptional(e *Event) error {
	var ok bool
	switch {
	case v.instant:
		if e.Time, ok = unixNano(v.sec, v.nanos); !ok {
			return reject(missing, "time is not a time between the years 1678 and 2261")
		}
	case v.time.Kind == String:
		if e.Time, ok = parseTime(v.time.Text); !ok {
			return reject(missing, "time must be an RFC 3339 date and time with its zone, such as 2026-11-16T09:00:00Z")
		}
	case v.time.Kind > Null:
		return reject(missing, "time must be a text: an RFC 3339 date and time with its zone")
	}
	switch v.history.Kind {
	case Absent, Null:
	case Bool, String:
		if v.history.Text != "true" && v.history.Text != "false" {
			return reject(missing, "history must be true or false")
		}
		e.History = v.history.Text == "true"
	default:
		return reject(missing, "history must be true or false")
	}
	if v.contentType.Kind > Null && !v.jsonData() {
		return reject(missing, "datacontenttype must be application/json, or be left out")
	}
	if v.traceParent.Kind == String && len(v.traceParent.Text) <= MaxIdentity && printable(v.traceParent.Text) {
		e.TraceParent = v.traceParent.Text
	}
	return nil
}

// jsonData says whether the content type is that of JSON, with or without parameters.
func (v *envelope) jsonData() bool {
	if v.contentType.Kind != String {
		return false
	}
	t := v.contentType.Text
	if i := strings.IndexByte(t, ';'); i >= 0 {
		t = t[:i]
	}
	t = strings.Trim(t, " \t")
	return strings.EqualFold(t, "application/json") || v.proto && strings.EqualFold(t, "application/protobuf")
}

// parts are the members of data that are read. The members of those that are objects are in the Event: each is scanned
// once.
type parts struct {
	lead, account, campaign, properties, from Value
}

// valueWithMembers reads a value, and the members of an object into dst.
func (p *scanner) valueWithMembers(dst []Member, depth int) ([]Member, Value, bool) {
	p.space()
	if p.i >= len(p.s) || p.s[p.i] != '{' {
		v, ok := p.value(depth)
		return dst, v, ok
	}
	start := p.i
	ms, ok := p.members(dst, depth)
	return ms, Value{Object, p.s[start:p.i]}, ok
}

// readData reads the event's data at one level's depth.
func (v *envelope) readData(p *scanner, e *Event) (ok bool) {
	v.parts, e.Lead, e.Account = parts{}, e.Lead[:0], e.Account[:0]
	e.CampaignMembers, e.PropertyMembers = e.CampaignMembers[:0], e.PropertyMembers[:0]
	if p.space(); p.i >= len(p.s) || p.s[p.i] != '{' {
		v.data, ok = p.value(1)
		return ok
	}
	v.data = Value{Kind: Object}
	p.i++
	if p.take('}') {
		return true
	}
	for {
		p.space()
		name, ok := p.str()
		if !ok || !p.take(':') {
			return false
		}
		switch name {
		case "lead":
			e.Lead, v.parts.lead, ok = p.valueWithMembers(e.Lead[:0], 2)
		case "account":
			e.Account, v.parts.account, ok = p.valueWithMembers(e.Account[:0], 2)
		case "campaign":
			e.CampaignMembers, v.parts.campaign, ok = p.valueWithMembers(e.CampaignMembers[:0], 2)
		case "properties":
			e.PropertyMembers, v.parts.properties, ok = p.valueWithMembers(e.PropertyMembers[:0], 2)
		case "from":
			v.parts.from, ok = p.value(2)
		default:
			ok = p.skip(2)
		}
		if !ok {
			return false
		}
		if !p.take(',') {
			return p.take('}')
		}
	}
}

// fill judges the data and gives e what it says.
func (d *parts) fill(e *Event) error {
	campaign, properties := d.campaign, d.properties
	if d.account.Kind > Null && d.account.Kind != Object {
		return reject(malformed, "data.account must be an object")
	}
	if campaign.Kind > Null && campaign.Kind != Object {
		return reject(malformed, "data.campaign must be an object")
	}
	if properties.Kind > Null && properties.Kind != Object {
		return reject(malformed, "data.properties must be an object")
	}
	switch d.lead.Kind {
	case Object:
	case Absent, Null:
		return reject(noLead, "data.lead is missing: it says whom the event is about")
	default:
		return reject(malformed, "data.lead must be an object")
	}
	if err := e.readLead(); err != nil {
		return err
	}
	e.Account = scalars(e.Account)
	if campaign.Kind == Object {
		e.Campaign = campaign.Text
	}
	if properties.Kind == Object {
		e.Properties = properties.Text
	}
	if e.Type == TypeLeadMerged {
		return e.readMerge(d.from)
	}
	return nil
}

var errData = reject(malformed, "data is not valid JSON (or is nested deeper than 64)")

func (e *Event) readMerge(from Value) error {
	if e.Source != subject.Operator {
		return reject(source, "only an operator merges leads: use baton lead merge")
	}
	if from.Kind != String || !leadkey.Valid(from.Text) {
		return reject(missing, "data.from must be the lead key, 32 hex digits, of the lead that is merged")
	}
	e.MergeFrom = leadkey.Key(from.Text)
	if e.MergeFrom == e.Key {
		return reject(engagementv1.Rejection_REASON_MERGE_CYCLE, "data.from is the lead itself: a lead cannot be merged into itself")
	}
	return nil
}

// scalars drops the objects and lists.
func scalars(ms []Member) []Member {
	kept := ms[:0]
	for _, m := range ms {
		if m.Kind != Object && m.Kind != List {
			kept = append(kept, m)
		}
	}
	return kept
}

// printable says whether s has no control characters of ASCII.
func printable(s string) bool {
	const (
		ones = 0x0101010101010101
		high = 0x8080808080808080
	)
	i := 0
	for b := unsafe.Slice(unsafe.StringData(s), len(s)); i+8 <= len(b); i += 8 {
		// As in special; a borrow can only add hits to a true one.
		x := binary.LittleEndian.Uint64(b[i:])
		del := x ^ ones*0x7f
		if ((x-ones*0x20)&^x|(del-ones)&^del)&high != 0 {
			return false
		}
	}
	for ; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}
