package cloudevent

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	engagementv1 "github.com/leadbaton/baton/api/gen/baton/engagement/v1"
	cloudeventsv1 "github.com/leadbaton/baton/api/gen/io/cloudevents/v1"
	"github.com/leadbaton/baton/api/leadkey"
)

// slowEvent is what an event says, read by encoding/json and proto.Unmarshal: the yardstick of Decode.
type slowEvent struct {
	reason                       engagementv1.Rejection_Reason
	id, source, typ, traceParent string
	time                         int64
	history                      bool
	email, anonymousID           string
	key                          leadkey.Key
	ids                          map[string]string
	lead, account                map[string]any
	campaign, properties         map[string]any
	mergeFrom                    string
}

// object is the members of an object, each as its raw text.
type object map[string]json.RawMessage

func slowDecode(body []byte) slowEvent {
	if len(body) > MaxSize {
		return slowEvent{reason: tooLarge}
	}
	attrs, ok := slowEnvelope(body)
	if !ok {
		return slowEvent{reason: malformed}
	}
	return slowJudge(attrs)
}

// slowEnvelope returns the attributes of either encoding by their names in JSON.
func slowEnvelope(body []byte) (object, bool) {
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	isJSON := len(trimmed) > 0 && trimmed[0] == '{'
	if isJSON && body[0] != '\n' {
		return slowObject(body, maxDepth)
	}
	o, ok := slowProto(body)
	if !ok && isJSON {
		return slowObject(body, maxDepth)
	}
	return o, ok
}

func slowObject(text []byte, depth int) (object, bool) {
	var o object
	if !utf8.Valid(text) || json.Unmarshal(text, &o) != nil || nesting(text) > depth {
		return nil, false
	}
	return o, true
}

// nesting returns how deep objects and lists are nested in valid JSON.
func nesting(text []byte) (deepest int) {
	depth, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && (c == '{' || c == '['):
			depth++
			deepest = max(deepest, depth)
		case !inString && (c == '}' || c == ']'):
			depth--
		}
	}
	return deepest
}

func slowProto(body []byte) (object, bool) {
	var ce cloudeventsv1.CloudEvent
	if len(body) == 0 || proto.Unmarshal(body, &ce) != nil {
		return nil, false
	}
	quote := func(s string) json.RawMessage { b, _ := json.Marshal(s); return b }
	o := object{"id": quote(ce.GetId()), "source": quote(ce.GetSource()), "specversion": quote(ce.GetSpecVersion()), "type": quote(ce.GetType())}
	for name, v := range ce.GetAttributes() {
		if name != "time" && name != "datacontenttype" && name != "history" && name != "traceparent" {
			continue
		}
		switch a := v.GetAttr().(type) {
		case *cloudeventsv1.CloudEventAttributeValue_CeBoolean:
			o[name], _ = json.Marshal(a.CeBoolean)
		case *cloudeventsv1.CloudEventAttributeValue_CeInteger:
			o[name], _ = json.Marshal(a.CeInteger)
		case *cloudeventsv1.CloudEventAttributeValue_CeString:
			o[name] = quote(a.CeString)
		case *cloudeventsv1.CloudEventAttributeValue_CeUri:
			o[name] = quote(a.CeUri)
		case *cloudeventsv1.CloudEventAttributeValue_CeUriRef:
			o[name] = quote(a.CeUriRef)
		case *cloudeventsv1.CloudEventAttributeValue_CeBytes:
			o[name] = json.RawMessage(`[]`)
		case *cloudeventsv1.CloudEventAttributeValue_CeTimestamp:
			if name == "time" {
				t := a.CeTimestamp
				if !t.IsValid() {
					o[name] = quote("no time")
				} else {
					o[name] = quote(t.AsTime().Format(time.RFC3339Nano))
				}
			}
		}
	}
	var data []byte
	switch d := ce.GetData().(type) {
	case *cloudeventsv1.CloudEvent_BinaryData:
		data = d.BinaryData
	case *cloudeventsv1.CloudEvent_TextData:
		data = []byte(d.TextData)
	case *cloudeventsv1.CloudEvent_ProtoData:
		url := d.ProtoData.GetTypeUrl()
		var s structpb.Struct
		if url[strings.LastIndex(url, "/")+1:] != "google.protobuf.Struct" || proto.Unmarshal(d.ProtoData.GetValue(), &s) != nil {
			return nil, false
		}
		data, _ = json.Marshal(s.AsMap())
		if t, ok := o["datacontenttype"]; ok {
			var text string
			_ = json.Unmarshal(t, &text)
			mime, _, _ := strings.Cut(text, ";")
			if strings.EqualFold(strings.Trim(mime, " \t"), "application/protobuf") {
				delete(o, "datacontenttype")
			}
		}
	default:
		return o, true
	}
	if !utf8.Valid(data) || !json.Valid(data) || nesting(data) > maxDepth-1 {
		return nil, false
	}
	o["data"] = bytes.Trim(data, " \t\r\n")
	return o, true
}

// slowText returns the text of a member; has is false if it is absent or null, ok if it is something else than a text.
func (o object) slowText(name string) (s string, has, ok bool) {
	raw, there := o[name]
	if !there || string(raw) == "null" {
		return "", false, true
	}
	return s, true, json.Unmarshal(raw, &s) == nil
}

// grammar is that of RFC 3339; time.Parse is laxer.
var grammar = regexp.MustCompile(`^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= unicode.MaxASCII && unicode.IsControl(r) })
}

func (o object) member(name string) (m object, has, ok bool) {
	raw, there := o[name]
	if !there || string(raw) == "null" {
		return nil, false, true
	}
	if raw[0] != '{' {
		return nil, true, false
	}
	return m, true, json.Unmarshal(raw, &m) == nil
}

func slowJudge(o object) (e slowEvent) {
	fail := func(r engagementv1.Rejection_Reason) slowEvent { return slowEvent{reason: r} }
	var ok, has bool
	if v, _, ok := o.slowText("specversion"); !ok || v != "1.0" {
		return fail(missing)
	}
	if e.id, _, ok = o.slowText("id"); !ok || e.id == "" || len(e.id) > 256 || !visible(e.id) {
		return fail(missing)
	}
	if e.typ, _, ok = o.slowText("type"); !ok || e.typ == "" || len(e.typ) > 128 || !visible(e.typ) {
		return fail(missing)
	}
	if e.source, _, ok = o.slowText("source"); !ok || e.source == "" || len(e.source) > 32 ||
		e.source != "_operator" && strings.Trim(e.source, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fail(missing)
	}
	when, has, ok := o.slowText("time")
	if !ok {
		return fail(missing)
	}
	if has {
		t, err := time.Parse(time.RFC3339Nano, strings.ToUpper(when))
		if err != nil || !grammar.MatchString(when) || t.Unix() >= 9223372036 || t.Unix() < -9223372036 {
			return fail(missing)
		}
		e.time = t.UnixNano()
	}
	switch raw := string(o["history"]); raw {
	case "", "null", "true", "false":
		e.history = raw == "true"
	default:
		s, _, ok := o.slowText("history")
		if !ok || s != "true" && s != "false" {
			return fail(missing)
		}
		e.history = s == "true"
	}
	ct, has, ok := o.slowText("datacontenttype")
	mime, _, _ := strings.Cut(ct, ";")
	if !ok || has && !strings.EqualFold(strings.Trim(mime, " \t"), "application/json") {
		return fail(missing)
	}
	if tp, _, ok := o.slowText("traceparent"); ok && len(tp) <= 256 && visible(tp) {
		e.traceParent = tp
	}
	if b, there := o["data_base64"]; there && string(b) != "null" {
		return fail(malformed)
	}
	data, has, ok := o.member("data")
	if !ok {
		return fail(malformed)
	}
	if !has {
		return fail(noLead)
	}
	return e.slowData(data)
}

func (e slowEvent) slowData(data object) slowEvent {
	fail := func(r engagementv1.Rejection_Reason) slowEvent { return slowEvent{reason: r} }
	account, _, ok1 := data.member("account")
	campaign, _, ok2 := data.member("campaign")
	properties, _, ok3 := data.member("properties")
	if !ok1 || !ok2 || !ok3 {
		return fail(malformed)
	}
	lead, has, ok := data.member("lead")
	if !ok {
		return fail(malformed)
	}
	if !has || !e.slowLead(lead) {
		return fail(noLead)
	}
	e.account, e.campaign, e.properties = slowValues(account, true), slowValues(campaign, false), slowValues(properties, false)
	if e.typ == "lead.merged" {
		if e.source != "_operator" {
			return fail(source)
		}
		from, _, ok := data.slowText("from")
		if !ok || !leadkey.Valid(from) {
			return fail(missing)
		}
		if e.mergeFrom = from; from == string(e.key) {
			return fail(engagementv1.Rejection_REASON_MERGE_CYCLE)
		}
	}
	return e
}

func (e *slowEvent) slowLead(lead object) bool {
	email, _, ok := lead.slowText("email")
	if !ok {
		return false
	}
	email = strings.Trim(email, " \t\n\v\f\r")
	email = strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, email)
	if email != "" && (!strings.Contains(email, "@") || len(email) > 254 || !visible(email)) {
		return false
	}
	e.email = email
	ids, _, ok := lead.member("ids")
	if !ok {
		return false
	}
	e.ids = map[string]string{}
	for system := range ids {
		id, ok := ids.slowIdentity(system)
		if !ok || system == "" || len(system) > 64 || strings.Contains(system, ":") || !visible(system) {
			return false
		}
		if id != "" {
			e.ids[system] = id
		}
	}
	if e.anonymousID, ok = lead.slowIdentity("anonymousId"); !ok || len(e.ids) > 32 {
		return false
	}
	e.lead = slowValues(lead, true)
	delete(e.lead, "ids")
	delete(e.lead, "anonymousId")
	if _, has := e.lead["email"]; has && string(lead["email"]) != "null" {
		delete(e.lead, "email")
		if email != "" {
			e.lead["email"] = email
		}
	}
	if k, has, ok := lead.slowText("key"); e.source == "_operator" && (has || !ok) {
		delete(e.lead, "key")
		e.key = leadkey.Key(k)
		return leadkey.Valid(k)
	}
	if e.source == "_operator" {
		delete(e.lead, "key")
	}
	e.key, ok = leadkey.Of(e.email, e.ids, e.anonymousID)
	return ok
}

func (o object) slowIdentity(name string) (string, bool) {
	raw, there := o[name]
	if !there || string(raw) == "null" {
		return "", true
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return "", false
	}
	id := ""
	switch v := v.(type) {
	case string:
		id = v
	case json.Number:
		if id = v.String(); strings.ContainsAny(id, ".eE") {
			return "", false
		}
	default:
		return "", false
	}
	return id, len(id) <= 256 && visible(id)
}

// slowValues reads the values of an object; with scalars, without its objects and lists.
func slowValues(o object, scalars bool) map[string]any {
	m := map[string]any{}
	for name, raw := range o {
		if scalars && (raw[0] == '{' || raw[0] == '[') {
			continue
		}
		m[name] = slowValue(raw)
	}
	return m
}

// slowValue reads one value: numbers are json.Number, objects and lists their compact text.
func slowValue(raw json.RawMessage) any {
	if raw[0] == '{' || raw[0] == '[' {
		var b bytes.Buffer
		_ = json.Compact(&b, raw)
		return json.RawMessage(b.Bytes())
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	_ = d.Decode(&v)
	return v
}

// say returns e in the form of the yardstick.
func say(e *Event, err error) slowEvent {
	if err != nil {
		var e *Error
		_ = errors.As(err, &e)
		return slowEvent{reason: e.Reason}
	}
	s := slowEvent{
		id: e.ID, source: e.Source, typ: e.Type, traceParent: e.TraceParent, time: e.Time, history: e.History,
		email: e.Email, anonymousID: e.AnonymousID, key: e.Key, ids: map[string]string{}, mergeFrom: string(e.MergeFrom),
		lead: sayAll(e.Lead), account: sayAll(e.Account),
		campaign: sayAll(e.CampaignMembers), properties: sayAll(e.PropertyMembers),
	}
	for _, m := range e.IDs {
		s.ids[m.Name] = m.Text
	}
	return s
}

func sayAll(ms []Member) map[string]any {
	m := map[string]any{}
	for _, v := range ms {
		switch v.Kind {
		case String:
			m[v.Name] = v.Text
		case Number:
			m[v.Name] = json.Number(v.Text)
		case Bool:
			m[v.Name] = v.Text == "true"
		case Null:
			m[v.Name] = nil
		default:
			m[v.Name] = slowValue(json.RawMessage(v.Text))
		}
	}
	return m
}

func sortedIDs(e *Event) bool {
	return slices.IsSortedFunc(e.IDs, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
}
