package lead

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/api/leadkey"
)

// TestAFactIsSmallEnoughToLeave: what NATS does not take (1 MiB) would keep its shard from going on for ever.
func TestAFactIsSmallEnoughToLeave(t *testing.T) {
	w := newWorld(nil)
	w.enforce(propertyAgreement(t, false))
	publish := func(id, kind string, who, account map[string]any) {
		t.Helper()
		e := published{lead: who, account: account, id: id, source: "web", kind: kind, at: now}
		if _, err := w.publishEvent(e.body(), now); err != nil {
			t.Fatal(err)
		}
		if err := w.settle(); err != nil {
			t.Fatal(err)
		}
	}
	long := strings.Repeat("x", maxValue)
	n := 0
	attributes := func(most int, value string) map[string]any {
		m := map[string]any{}
		for range most {
			m[fmt.Sprint("a", n)] = value
			n++
		}
		return m
	}
	for i := range maxAttributes / 12 {
		who := attributes(12, long)
		who["email"], who["company"] = "p@acme.example", "Acme"
		publish(fmt.Sprint("lead", i), "lead.updated", who, nil)
		publish(fmt.Sprint("account", i), "lead.updated", map[string]any{"email": "p@acme.example"}, attributes(12, long))
	}
	publish("name", "lead.updated", map[string]any{"email": "p@acme.example", strings.Repeat("n", maxName+1): "v"}, nil)
	if n := w.lead(leadkey.FromEmail("p@acme.example")).unreadable; n == 0 {
		t.Error("a name of any length is kept")
	}
	publish("act", "form.submitted", map[string]any{"email": "p@acme.example", "title": "Director"}, nil)
	if len(w.records) != 1 {
		t.Fatalf("%d facts, want one", len(w.records))
	}
	if size := len(w.records[0].Data); size > 640<<10 {
		t.Errorf("the fact has %d bytes", size)
	}
	f := &leadv1.Fact{}
	if err := proto.Unmarshal(w.records[0].Data, f); err != nil {
		t.Fatal(err)
	}
	p := f.GetLeadQualified().GetProfile()
	if p.GetLead()["email"] != "p@acme.example" || p.GetLead()["company"] != "Acme" || p.GetLead()["title"] != "Director" || p.GetLead()["a0"] != long {
		t.Errorf("of %d attributes, some short ones or all long ones are not told", len(p.GetLead()))
	}
}
