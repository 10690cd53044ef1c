package cloudevent

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	cloudeventsv1 "github.com/leadbaton/baton/api/gen/io/cloudevents/v1"
)

func TestAmendJSON(t *testing.T) {
	for _, c := range []struct{ given, want string }{
		{`{"id":"1"}`, `{"id":"1","source":"web","history":true}`},
		{" {\"id\":\"1\" } \n", ` {"id":"1" ,"source":"web","history":true}`},
		{`{}`, `{"source":"web","history":true}`},
		{`{"source":null}`, `{"source":null,"source":"web","history":true}`},
		// What the event says of its source stays, be it wrong.
		{`{"source":"mail"}`, `{"source":"mail","history":true}`},
		{`{"source":7}`, `{"source":7,"history":true}`},
		// A later value counts.
		{`{"history":false}`, `{"history":false,"source":"web","history":true}`},
		// What is no event stays as it is.
		{`{"id":"1"`, `{"id":"1"`},
		{`{"id":"1"}}`, `{"id":"1"}}`},
		{`[]`, `[]`},
		{``, ``},
	} {
		given := []byte(c.given)
		if got := string(Amend(given, "web", true)); got != c.want {
			t.Errorf("%s became %s, want %s", c.given, got, c.want)
		}
		if string(given) != c.given {
			t.Errorf("%s was changed in place", c.given)
		}
		if got := string(Amend(given, "", false)); got != c.given {
			t.Errorf("%s became %s, though nothing was to be added", c.given, got)
		}
	}
}

func TestAmendProtobuf(t *testing.T) {
	ce := &cloudeventsv1.CloudEvent{Id: "1", SpecVersion: "1.0", Type: "t",
		Attributes: map[string]*cloudeventsv1.CloudEventAttributeValue{"history": {Attr: &cloudeventsv1.CloudEventAttributeValue_CeBoolean{}}},
		Data:       &cloudeventsv1.CloudEvent_TextData{TextData: `{"lead":{"anonymousId":"a"}}`}}
	body := marshal(t, ce)
	var e Event
	if err := Decode(Amend(body, "web", true), &e); err != nil || e.Source != "web" || !e.History {
		t.Errorf("got %+v, %v", e, err)
	}
	ce.Source = "mail"
	if err := Decode(Amend(marshal(t, ce), "web", false), &e); err != nil || e.Source != "mail" || e.History {
		t.Errorf("got %+v, %v", e, err)
	}
	var back cloudeventsv1.CloudEvent
	if err := proto.Unmarshal(Amend(body, "web", true), &back); err != nil || back.GetSource() != "web" || !back.GetAttributes()["history"].GetCeBoolean() {
		t.Errorf("other readers see %v, %v", &back, err)
	}
	if broken := []byte{0x0a, 0x7f}; !bytes.Equal(Amend(broken, "web", true), broken) {
		t.Error("what is no event was changed")
	}
}

func TestContentType(t *testing.T) {
	for _, c := range readCases(t) {
		if c.Want != nil && ContentType(c.body()) != ContentTypeJSON {
			t.Errorf("%s: the content type is %s", c.Name, ContentType(c.body()))
		}
	}
	for _, body := range protobufSeeds(t) {
		if ContentType(body) != ContentTypeProtobuf {
			t.Errorf("%q has the content type %s", body, ContentType(body))
		}
	}
	// An id of 123 bytes makes protobuf begin like JSON after a newline.
	id := bytes.Repeat([]byte("x"), 123)
	body := marshal(t, &cloudeventsv1.CloudEvent{Id: string(id), Source: "web", SpecVersion: "1.0", Type: "t",
		Data: &cloudeventsv1.CloudEvent_TextData{TextData: `{"lead":{"anonymousId":"a"}}`}})
	var e Event
	if !looksJSON(body) || ContentType(body) != ContentTypeProtobuf || Decode(body, &e) != nil || e.ID != string(id) {
		t.Errorf("%q is read as %s: %+v", body, ContentType(body), e)
	}
}
