package cloudevent

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	engagementv1 "github.com/leadbaton/baton/api/gen/baton/engagement/v1"
	"github.com/leadbaton/baton/api/subject"
)

// TestEvents runs the documents of testdata/events.json: what an event says, or why it is rejected.
func TestEvents(t *testing.T) {
	var e Event // one for all: what it held before does not matter
	for _, c := range readCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			err := Decode(c.body(), &e)
			if c.Want == nil {
				wantRejected(t, err, c.Rejected, c.Detail)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			c.Want.compare(t, &e)
		})
	}
}

func wantRejected(t *testing.T, err error, reason, detail string) {
	t.Helper()
	var rejected *Error
	if !errors.As(err, &rejected) {
		t.Fatalf("the event was taken; want a rejection for %s", reason)
	}
	if got := strings.TrimPrefix(rejected.Reason.String(), "REASON_"); got != reason || !strings.Contains(rejected.Detail, detail) {
		t.Fatalf("rejected for %s: %q; want %s: %q", got, rejected.Detail, reason, detail)
	}
}

func (w *want) compare(t *testing.T, e *Event) {
	t.Helper()
	same := func(what string, want, got any) {
		t.Helper()
		v := reflect.ValueOf(want)
		if !v.IsNil() && !reflect.DeepEqual(v.Elem().Interface(), got) {
			t.Errorf("%s is %v, want %v", what, got, v.Elem().Interface())
		}
	}
	same("time", w.Time, e.Time)
	same("history", w.History, e.History)
	same("traceparent", w.TraceParent, e.TraceParent)
	same("email", w.Email, e.Email)
	same("anonymousId", w.AnonymousID, e.AnonymousID)
	same("mergeFrom", w.MergeFrom, string(e.MergeFrom))
	if w.KeyOf != nil {
		sum := sha256.Sum256([]byte(*w.KeyOf))
		if want := hex.EncodeToString(sum[:])[:32]; string(e.Key) != want {
			t.Errorf("key is %s, want %s of %q", e.Key, want, *w.KeyOf)
		}
	}
	if w.IDs != nil {
		var ids []string
		for _, m := range e.IDs {
			ids = append(ids, m.Name+":"+m.Text)
		}
		if !reflect.DeepEqual(ids, w.IDs) {
			t.Errorf("ids are %q, want %q", ids, w.IDs)
		}
	}
	sameMembers(t, "lead", w.Lead, e.Lead)
	sameMembers(t, "account", w.Account, e.Account)
	sameMembers(t, "campaign", w.Campaign, e.CampaignMembers)
	sameMembers(t, "properties", w.Properties, e.PropertyMembers)
	sameMembers(t, "campaign as a text", w.Campaign, Members(nil, e.Campaign))
	sameMembers(t, "properties as a text", w.Properties, Members(nil, e.Properties))
}

// sameMembers compares with a list of [name, value] pairs.
func sameMembers(t *testing.T, what string, want []json.RawMessage, got []Member) {
	t.Helper()
	if want == nil {
		return
	}
	var names, gotNames []string
	values := map[string]any{}
	for _, pair := range want {
		var p []json.RawMessage
		var name string
		if json.Unmarshal(pair, &p) != nil || len(p) != 2 || json.Unmarshal(p[0], &name) != nil {
			t.Fatalf("%s: %s is no pair of name and value", what, pair)
		}
		names = append(names, name)
		values[name] = slowValue(p[1])
	}
	for _, m := range got {
		gotNames = append(gotNames, m.Name)
	}
	if !reflect.DeepEqual(names, gotNames) || !reflect.DeepEqual(values, sayAll(got)) {
		t.Errorf("%s is %v, want %s", what, got, want)
	}
}

// TestDecodeIsTheSlowDecoder runs the seeds of the fuzz test against encoding/json and proto.Unmarshal.
func TestDecodeIsTheSlowDecoder(t *testing.T) {
	for _, body := range protobufSeeds(t) {
		var e Event
		if got, want := say(&e, Decode(body, &e)), slowDecode(body); !reflect.DeepEqual(got, want) {
			t.Errorf("Decode read\n%+v\nthe slow decoder\n%+v", got, want)
		}
	}
}

// TestLimits checks both sides of every limit.
func TestLimits(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	list := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	ids := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"s%d":1,`, i)
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	event := func(id, typ, source, lead, properties string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":%q,"type":%q,"source":%q,"data":{"lead":%s,"properties":%s}}`, id, typ, source, lead, properties)
	}
	const anon = `{"anonymousId":"a"}`
	for _, c := range []struct {
		name    string
		body    func(n int) string
		most    int
		beyond  string
		details string
	}{
		{"id", func(n int) string { return event(x(n), "t", "web", anon, "{}") }, 256, "MISSING_ATTRIBUTE", "1 to 256 bytes"},
		{"type", func(n int) string { return event("1", x(n), "web", anon, "{}") }, 128, "MISSING_ATTRIBUTE", "1 to 128 bytes"},
		{"source", func(n int) string { return event("1", "t", x(n), anon, "{}") }, 32, "MISSING_ATTRIBUTE", "1 to 32"},
		{"email", func(n int) string { return event("1", "t", "web", `{"email":"`+x(n-2)+`@x"}`, "{}") }, 254, "NO_LEAD", "254 bytes"},
		{"system", func(n int) string { return event("1", "t", "web", `{"ids":{"`+x(n)+`":"1"}}`, "{}") }, 64, "NO_LEAD", "1 to 64 bytes"},
		{"system's id", func(n int) string { return event("1", "t", "web", `{"ids":{"x":"`+x(n)+`"}}`, "{}") }, 256, "NO_LEAD", "at most 256 bytes"},
		{"ids", func(n int) string { return event("1", "t", "web", `{"ids":{`+ids(n)+`}}`, "{}") }, 32, "NO_LEAD", "more than 32"},
		{"anonymousId", func(n int) string { return event("1", "t", "web", `{"anonymousId":"`+x(n)+`"}`, "{}") }, 256, "NO_LEAD", "at most 256 bytes"},
		{"nesting", func(n int) string { return event("1", "t", "web", anon, `{"x":`+list(n)+`}`) }, 61, "MALFORMED", "deeper than 64"},
		{"size", func(n int) string {
			b := event("1", "t", "web", anon, "{}")
			return b + strings.Repeat(" ", n-len(b))
		}, 65536, "TOO_LARGE", "64 KiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e Event
			if err := Decode([]byte(c.body(c.most)), &e); err != nil {
				t.Errorf("at %d: %v", c.most, err)
			}
			wantRejected(t, Decode([]byte(c.body(c.most+1)), &e), c.beyond, c.details)
		})
	}
}

// TestManyMembers checks that names given twice are found among many, and in time that does not explode.
func TestManyMembers(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"last":0`)
	for i := range 3000 {
		fmt.Fprintf(&b, `,"n%d":%d`, i, i)
	}
	for i := range 3000 {
		fmt.Fprintf(&b, `,"n%d":%d`, i, -i)
	}
	b.WriteString(`,"last":1}`)
	ms := Members([]Member{{Name: "last"}}, b.String())
	if len(ms) != 3002 || ms[0].Kind != Absent || ms[1].Text != "1" || ms[3001].Text != "-2999" {
		t.Fatalf("got %d members, %v first, %v last", len(ms), ms[:2], ms[len(ms)-1])
	}
}

func TestInvalidUTF8(t *testing.T) {
	var e Event
	wantRejected(t, Decode([]byte("{\"id\":\"\xff\"}"), &e), "MALFORMED", "UTF-8")
}

func TestRejectedEventSaysWhichItIs(t *testing.T) {
	var e Event
	err := Decode([]byte(`{"specversion":"1.0","id":"e-1","source":"web","type":"page.viewed","data":{}}`), &e)
	if err == nil || e.ID != "e-1" || e.Type != "page.viewed" {
		t.Fatalf("rejected %q of type %q with %v", e.ID, e.Type, err)
	}
}

func TestCheck(t *testing.T) {
	var e Event
	if err := Decode([]byte(`{"specversion":"1.0","id":"e-1","source":"web","type":"t","data":{"lead":{"email":"d@acme.example"}}}`), &e); err != nil {
		t.Fatal(err)
	}
	on := func(source, shard, bucket string) error {
		return e.Check(subject.Engagement{Source: source, Shard: shard, Bucket: bucket})
	}
	if err := on("web", e.Key.Shard(), e.Key.Bucket()); err != nil {
		t.Error(err)
	}
	if s, ok := subject.ParseEngagement(e.Subject()); !ok || e.Check(s) != nil {
		t.Errorf("the event may not arrive on its own subject %s", e.Subject())
	}
	wantRejected(t, on("mail", e.Key.Shard(), e.Key.Bucket()), "WRONG_SOURCE", "source token")
	wantRejected(t, on("web", "x", e.Key.Bucket()), "WRONG_KEY", "shard and bucket")
	wantRejected(t, on("web", e.Key.Shard(), "000"), "WRONG_KEY", "shard and bucket")

	if err := e.CheckPublisher(); err != nil {
		t.Error(err)
	}
	e.Source = subject.Operator
	wantRejected(t, e.CheckPublisher(), "WRONG_SOURCE", "Baton's own")
}

// TestMessageID pins the ids: a publisher in any language computes the same.
func TestMessageID(t *testing.T) {
	// printf 'web\ne-001' | sha256sum | cut -c-32
	if got, want := MessageID("web", "e-001"), "fae7102a0cb09e9c5491f073b1766c6e"; got != want {
		t.Errorf("MessageID is %s, want %s", got, want)
	}
}

// TestReasonsHaveSentences checks that every reason that Decode gives is one of the contract's.
func TestReasonsHaveSentences(t *testing.T) {
	for _, c := range readCases(t) {
		if c.Want != nil {
			continue
		}
		if _, ok := engagementv1.Rejection_Reason_value["REASON_"+c.Rejected]; !ok {
			t.Errorf("%s: there is no reason %s", c.Name, c.Rejected)
		}
	}
}

// typical is an event of about 500 bytes.
const typical = `{"specversion":"1.0","id":"01JD8Z6Q2N7K4T5V9W3X1Y0A2B","source":"web","type":"page.viewed","time":"2026-11-16T09:00:00.123Z",` +
	`"data":{"lead":{"email":"d@acme.example","company":"Acme","title":"Director of Sales","country":"Germany","anonymousId":"a-17"},` +
	`"account":{"domain":"acme.example","employees":"201-500","industry":"field service"},"campaign":{"name":"autumn","channel":"paid_search"},` +
	`"properties":{"path":"/pricing/enterprise","referrer":"https://www.example.com/blog/how-to","device":"desktop"}}}`

// TestAllocations holds Decode to one allocation, the key, for an event without escapes.
func TestAllocations(t *testing.T) {
	var e Event
	body := []byte(typical)
	if n := testing.AllocsPerRun(100, func() { _ = Decode(body, &e) }); n > 1 {
		t.Errorf("Decode of a typical event allocates %v times, want 1", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	seeds := protobufSeeds(b)
	for _, c := range []struct {
		name string
		body []byte
	}{{"json", []byte(typical)}, {"protobuf", seeds[0]}, {"struct", seeds[2]}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.body)))
			var e Event
			for b.Loop() {
				if err := Decode(c.body, &e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
