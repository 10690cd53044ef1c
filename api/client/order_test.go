package client

import (
	"fmt"
	"testing"
	"time"

	"github.com/leadbaton/baton/api/leadkey"
)

// TestATieIsStoredAfterWhatItTies: the visits of an anonymous id and the form that names her are in different streams.
func TestATieIsStoredAfterWhatItTies(t *testing.T) {
	nc, js, _ := startNATS(t)
	p := publisher(t, nc, PublisherOptions{Source: "web"})
	const people = 100
	var bodies [][]byte
	for i := range people {
		for _, body := range []string{
			`{"specversion":"1.0","id":"visit-%d","type":"t","data":{"lead":{"anonymousId":"a%[1]d"}}}`,
			`{"specversion":"1.0","id":"click-%d","type":"t","data":{"lead":{"ids":{"crm":"%[1]d"}}}}`,
			`{"specversion":"1.0","id":"form-%d","type":"t","data":{"lead":{"email":"p%[1]d@acme.example","anonymousId":"a%[1]d","ids":{"crm":"%[1]d"}}}}`,
		} {
			bodies = append(bodies, fmt.Appendf(nil, body, i))
		}
	}
	results := p.PublishMany(t.Context(), bodies)
	at := func(r Result) time.Time {
		t.Helper()
		if r.Outcome != Accepted {
			t.Fatalf("%s: %v (%v)", r.ID, r.Outcome, r.Err)
		}
		s, err := js.Stream(t.Context(), r.Stream)
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.GetMsg(t.Context(), r.Sequence)
		if err != nil {
			t.Fatal(err)
		}
		return m.Time
	}
	for i := range people {
		visit, click, form := results[3*i], results[3*i+1], results[3*i+2]
		if at(form).Before(at(visit)) || at(form).Before(at(click)) {
			t.Errorf("person %d: the form is stored before what it ties", i)
		}
	}
	if leadkey.FromAnonymous("a0").Shard() == leadkey.FromEmail("p0@acme.example").Shard() {
		t.Fatal("this test wants different streams")
	}
}

func TestIdentitiesThatAreStoredAreForgotten(t *testing.T) {
	nc, _, _ := startNATS(t)
	p := publisher(t, nc, PublisherOptions{Source: "web"})
	bodies := make([][]byte, 2*sweepAt)
	for i := range bodies {
		bodies[i] = fmt.Appendf(nil, `{"specversion":"1.0","id":"%d","type":"t","data":{"lead":{"anonymousId":"a%[1]d"}}}`, i)
	}
	for from := 0; from < len(bodies); from += 512 {
		p.PublishMany(t.Context(), bodies[from:from+512])
	}
	if n := len(p.order.onTheWay); n > sweepAt {
		t.Errorf("%d identities are remembered", n)
	}
}
