package event

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/leadbaton/baton/api/cloudevent"
	engagementv1 "github.com/leadbaton/baton/api/gen/baton/engagement/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/attribute"
)

const body = `{"specversion":"1.0","id":"e-001","source":"web","type":"page.viewed","time":"2026-11-16T09:00:00Z","history":true,
  "traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
  "data":{"lead":{"email":" D@Acme.example","ids":{"marketo":4711,"crm":"x"},"anonymousId":"a-17","title":"Director","vip":true,"phone":null,"rank":1.50},
    "account":{"domain":"acme.example","employees":80},
    "campaign":{"name":"autumn"},
    "properties":{"path":"/pricing","cart":{"items":[1,2]},"seconds":12,"path2":"","gone":null}}}`

func fields(ms []cloudevent.Member) (all []Field) {
	for _, m := range ms {
		all = append(all, Field{m.Name, ValueOf(m.Value)})
	}
	return all
}

func text(s string) attribute.Value { return attribute.TextOf(s) }

func TestDecode(t *testing.T) {
	var ev Event
	if err := Decode([]byte(body), &ev); err != nil {
		t.Fatal(err)
	}
	if ev.ID != "e-001" || ev.Source != "web" || ev.Type != "page.viewed" || ev.Time != 1794819600000000000 || !ev.History ||
		ev.TraceParent != "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" {
		t.Errorf("the envelope is %+v", ev)
	}
	if ev.Email != "d@acme.example" || ev.AnonymousID != "a-17" || ev.Key != leadkey.FromEmail("d@acme.example") || ev.MergeFrom != "" {
		t.Errorf("the identities are %q, %q, %s", ev.Email, ev.AnonymousID, ev.Key)
	}
	null := attribute.Value{Kind: attribute.Null}
	for what, c := range map[string]struct{ got, want []Field }{
		"ids":      {fields(ev.IDs), []Field{{"crm", text("x")}, {"marketo", text("4711")}}},
		"lead":     {fields(ev.Lead), []Field{{"email", text("d@acme.example")}, {"title", text("Director")}, {"vip", attribute.BoolOf(true)}, {"phone", null}, {"rank", attribute.FloatOf("1.50")}}},
		"account":  {fields(ev.Account), []Field{{"domain", text("acme.example")}, {"employees", attribute.FloatOf("80")}}},
		"campaign": {ev.Campaign.Fields(), []Field{{"name", text("autumn")}}},
		"properties": {ev.Properties.Fields(), []Field{{"path", text("/pricing")}, {"cart", attribute.Value{Kind: attribute.JSON, Str: `{"items":[1,2]}`}},
			{"seconds", attribute.FloatOf("12")}, {"path2", text("")}, {"gone", null}}},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s is %+v, want %+v", what, c.got, c.want)
		}
	}
}

func TestObject(t *testing.T) {
	o := ObjectOf(`{"cart":{"items":[1,2],"sum":9.5},"a":1,"a":2}`)
	cart := ObjectOf(o.Lookup("cart").Str)
	if sum := cart.Lookup("sum"); sum.Num != 9.5 || sum.Str != "9.5" || cart.Lookup("items").Str != "[1,2]" {
		t.Errorf("inside is %+v", cart.Fields())
	}
	if a := o.Lookup("a"); a.Num != 2 || len(o.Fields()) != 2 {
		t.Errorf("of a name given twice, %v counts", a)
	}
	if o.Lookup("b").Kind != attribute.None || !strings.HasPrefix(o.Raw(), `{"cart"`) {
		t.Error("an unknown name is known")
	}
	var zero Object
	var none *Object
	list := ObjectOf(`[1]`)
	for _, o := range []*Object{&zero, none, &list} {
		if o.Lookup("a").Kind != attribute.None || len(o.Fields()) != 0 {
			t.Errorf("%+v knows something", o)
		}
	}
}

// TestEventIsUsedAgain decodes small after large and after a fault: nothing of the former is left.
func TestEventIsUsedAgain(t *testing.T) {
	var ev Event
	if err := Decode([]byte(body), &ev); err != nil {
		t.Fatal(err)
	}
	ev.Properties.Lookup("path")
	if err := Decode([]byte(`{"specversion":"1.0","id":"2","source":"web","type":"t","data":{"lead":{"anonymousId":"a"},"properties":{"x":1}}}`), &ev); err != nil {
		t.Fatal(err)
	}
	if ev.Email != "" || len(ev.IDs) != 0 || len(ev.Lead) != 0 || len(ev.Account) != 0 || ev.Campaign.Raw() != "" || ev.History || ev.Time != 0 ||
		ev.Properties.Lookup("path").Kind != attribute.None || ev.Properties.Lookup("x").Num != 1 || len(ev.Campaign.Fields()) != 0 {
		t.Errorf("something is left: %+v", ev)
	}
	err := Decode([]byte(`{"specversion":"1.0","id":"3","source":"web","type":"t","data":{"lead":{"title":"x"}}}`), &ev)
	var rejected *Error
	if !errors.As(err, &rejected) || rejected.Reason != engagementv1.Rejection_REASON_NO_LEAD {
		t.Errorf("got %v", err)
	}
	if ev.ID != "3" || ev.Type != "t" || ev.Key != "" || ev.AnonymousID != "" || len(ev.Lead) != 0 || ev.Properties.Raw() != "" {
		t.Errorf("after a fault: %+v", ev)
	}
}

func TestCheck(t *testing.T) {
	var ev Event
	if err := Decode([]byte(body), &ev); err != nil {
		t.Fatal(err)
	}
	on, _ := subject.ParseEngagement(subject.ForEvent("web", ev.Key))
	if err := Check(&ev, on); err != nil {
		t.Error(err)
	}
	for reason, s := range map[engagementv1.Rejection_Reason]subject.Engagement{
		engagementv1.Rejection_REASON_WRONG_SOURCE: {Source: "mail", Shard: on.Shard, Bucket: on.Bucket},
		engagementv1.Rejection_REASON_WRONG_KEY:    {Source: "web", Shard: on.Shard, Bucket: "fff"},
	} {
		var rejected *Error
		if err := Check(&ev, s); !errors.As(err, &rejected) || rejected.Reason != reason {
			t.Errorf("%v: %v", reason, err)
		}
	}
}

// documents are those of api/cloudevent: what an event says, or why it is rejected.
func documents(tb testing.TB) (bodies [][]byte) {
	tb.Helper()
	b, err := os.ReadFile("../../../api/cloudevent/testdata/events.json")
	if err != nil {
		tb.Fatal(err)
	}
	var cases []struct {
		Event json.RawMessage
		Text  string
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		tb.Fatal(err)
	}
	for _, c := range cases {
		if c.Event == nil {
			c.Event = []byte(c.Text)
		}
		bodies = append(bodies, c.Event)
	}
	return bodies
}

// FuzzDecode proves that the domain's values are those of api/cloudevent, whose own fuzz test proves these to be those of
// encoding/json: go test ./internal/event -fuzz FuzzDecode
func FuzzDecode(f *testing.F) {
	for _, b := range documents(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var ev Event
		var want cloudevent.Event
		err, wantErr := Decode(body, &ev), cloudevent.Decode(body, &want)
		if !reflect.DeepEqual(err, wantErr) {
			t.Fatalf("Decode says %v, not %v", err, wantErr)
		}
		if ev.ID != want.ID || ev.Source != want.Source || ev.Type != want.Type || ev.Time != want.Time || ev.History != want.History ||
			ev.Email != want.Email || ev.AnonymousID != want.AnonymousID || ev.Key != want.Key || ev.MergeFrom != string(want.MergeFrom) {
			t.Fatalf("Decode read %+v, not %+v", ev, want)
		}
		same(t, fields(ev.IDs), want.IDs)
		same(t, fields(ev.Lead), want.Lead)
		same(t, fields(ev.Account), want.Account)
		same(t, ev.Campaign.Fields(), cloudevent.Members(nil, want.Campaign))
		same(t, ev.Properties.Fields(), cloudevent.Members(nil, want.Properties))
	})
}

func same(t *testing.T, got []Field, want []cloudevent.Member) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d values, want %d", len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		ok := g.Name == w.Name
		switch w.Kind {
		case cloudevent.String:
			ok = ok && g.Value == attribute.TextOf(w.Text)
		case cloudevent.Number:
			// Too large for a number that can be computed with: it says nothing.
			ok = ok && (g.Value.Kind == attribute.None || g.Value.Kind == attribute.Float && g.Value.Str == w.Text)
		case cloudevent.Bool:
			ok = ok && g.Value == attribute.BoolOf(w.Text == "true")
		case cloudevent.Null:
			ok = ok && g.Value == attribute.Value{Kind: attribute.Null}
		default:
			ok = ok && g.Value == attribute.Value{Kind: attribute.JSON, Str: w.Text} && json.Valid([]byte(w.Text))
		}
		if !ok {
			t.Fatalf("%+v became %+v", w, g)
		}
	}
}

func TestAllocations(t *testing.T) {
	var ev Event
	b := []byte(strings.ReplaceAll(body, "D@A", "d@a"))
	if n := testing.AllocsPerRun(100, func() {
		_ = Decode(b, &ev)
		ev.Properties.Lookup("path")
	}); n != 1 {
		t.Errorf("Decode allocates %v times, want once for the key", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	in := []byte(strings.ReplaceAll(body, "D@A", "d@a"))
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	var ev Event
	for b.Loop() {
		if err := Decode(in, &ev); err != nil {
			b.Fatal(err)
		}
		ev.Properties.Lookup("path")
	}
}
