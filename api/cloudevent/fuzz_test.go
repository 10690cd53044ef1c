package cloudevent

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	cloudeventsv1 "github.com/leadbaton/baton/api/gen/io/cloudevents/v1"
)

// FuzzDecode proves that Decode never panics, reads what encoding/json and proto.Unmarshal read, and rejects for the same
// reason as the slow decoder. Longer than in the tests: go test ./cloudevent -fuzz FuzzDecode
func FuzzDecode(f *testing.F) {
	for _, c := range readCases(f) {
		f.Add(c.body())
	}
	for _, body := range protobufSeeds(f) {
		f.Add(body)
	}
	f.Add([]byte(`{"specversion":"1.0","id":"\ud83d\ude00\ud800x","source":"a","type":"t","time":"1969-12-31T23:59:59.5+01:30","data":{"lead":{"ids":{"b":1,"a":"x","b":"\u0032"},"x":1e9,"x":[]}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		given := bytes.Clone(body)
		var e Event
		got := say(&e, Decode(body, &e))
		if want := slowDecode(body); !reflect.DeepEqual(got, want) {
			t.Fatalf("Decode read\n%+v\nthe slow decoder\n%+v", got, want)
		}
		if !bytes.Equal(body, given) {
			t.Fatal("Decode changed the body")
		}
		if !sortedIDs(&e) {
			t.Fatalf("ids are not sorted by system: %v", e.IDs)
		}
		// What an Event held before does not matter.
		again := say(&e, Decode(body, &e))
		if !reflect.DeepEqual(again, got) {
			t.Fatalf("the second time, Decode read\n%+v\nnot\n%+v", again, got)
		}
	})
}

// protobufSeeds returns the cases as protobuf, with the data in each of its three places.
func protobufSeeds(tb testing.TB) (bodies [][]byte) {
	tb.Helper()
	str := func(s string) *cloudeventsv1.CloudEventAttributeValue {
		return &cloudeventsv1.CloudEventAttributeValue{Attr: &cloudeventsv1.CloudEventAttributeValue_CeString{CeString: s}}
	}
	for _, c := range readCases(tb) {
		var o struct {
			ID, Source, SpecVersion, Type, Time string
			Data                                json.RawMessage
		}
		if json.Unmarshal(c.body(), &o) != nil {
			continue
		}
		ce := &cloudeventsv1.CloudEvent{Id: o.ID, Source: o.Source, SpecVersion: o.SpecVersion, Type: o.Type,
			Attributes: map[string]*cloudeventsv1.CloudEventAttributeValue{
				"datacontenttype": str("application/json"),
				"history":         {Attr: &cloudeventsv1.CloudEventAttributeValue_CeBoolean{CeBoolean: true}},
				"other":           {Attr: &cloudeventsv1.CloudEventAttributeValue_CeInteger{CeInteger: 7}},
			}}
		if o.Time != "" {
			ce.Attributes["time"] = str(o.Time)
		}
		ce.Data = &cloudeventsv1.CloudEvent_BinaryData{BinaryData: o.Data}
		bodies = append(bodies, marshal(tb, ce))

		ce.Data = &cloudeventsv1.CloudEvent_TextData{TextData: string(o.Data)}
		ce.Attributes["time"] = &cloudeventsv1.CloudEventAttributeValue{
			Attr: &cloudeventsv1.CloudEventAttributeValue_CeTimestamp{CeTimestamp: &timestamppb.Timestamp{Seconds: 1763283600, Nanos: 5}}}
		bodies = append(bodies, marshal(tb, ce))

		var m map[string]any
		if json.Unmarshal(o.Data, &m) != nil {
			continue
		}
		s, err := structpb.NewStruct(m)
		if err != nil {
			continue
		}
		a, err := anypb.New(s)
		if err != nil {
			tb.Fatal(err)
		}
		ce.Data = &cloudeventsv1.CloudEvent_ProtoData{ProtoData: a}
		delete(ce.Attributes, "datacontenttype")
		bodies = append(bodies, marshal(tb, ce))
	}
	return bodies
}

func marshal(tb testing.TB, m proto.Message) []byte {
	tb.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// oneCase is one document of testdata/events.json.
type oneCase struct {
	Name string `json:"name"`
	// Event is the body; Text is it if it is no JSON.
	Event json.RawMessage `json:"event"`
	Text  string          `json:"text"`
	Want  *want           `json:"want"`
	// Rejected is the reason without its prefix, Detail a part of the sentence.
	Rejected string `json:"rejected"`
	Detail   string `json:"detail"`
}

// want is what the event says; what is left out is not compared.
type want struct {
	Subject     *string           `json:"subject"`
	Time        *int64            `json:"time"`
	History     *bool             `json:"history"`
	TraceParent *string           `json:"traceparent"`
	Email       *string           `json:"email"`
	IDs         []string          `json:"ids"`
	AnonymousID *string           `json:"anonymousId"`
	KeyOf       *string           `json:"keyOf"`
	Lead        []json.RawMessage `json:"lead"`
	Account     []json.RawMessage `json:"account"`
	Campaign    []json.RawMessage `json:"campaign"`
	Properties  []json.RawMessage `json:"properties"`
	MergeFrom   *string           `json:"mergeFrom"`
}

func (c *oneCase) body() []byte {
	if c.Text != "" {
		return []byte(c.Text)
	}
	return c.Event
}

func readCases(tb testing.TB) (cases []oneCase) {
	tb.Helper()
	b, err := os.ReadFile("testdata/events.json")
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		tb.Fatal(err)
	}
	return cases
}
