package lead

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	engagementv1 "github.com/leadbaton/baton/api/gen/baton/engagement/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/services/internal/agreement"
	"github.com/leadbaton/baton/services/internal/fold"
)

func timeOf(i int) time.Duration { return time.Duration(i*7919%5000) * time.Minute }

// publishMerge publishes an operator's merge.
func (w *world) publishMerge(t testing.TB, into, from, id string) {
	body := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"_operator","type":"lead.merged","data":{"lead":{"email":%q},"from":%q}}`,
		id, into, leadkey.FromEmail(from))
	if _, err := w.publishEvent([]byte(body), arrivals); err != nil {
		t.Fatal(err)
	}
}

// TestMergesOfTwoLeadsIntoEachOther: the lower key stays a lead, whatever the order in which the shards fold.
func TestMergesOfTwoLeadsIntoEachOther(t *testing.T) {
	a := propertyAgreement(t, false)
	x, y := leadkey.FromEmail("x@acme.example"), leadkey.FromEmail("y@acme.example")
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(&watch{})
		w.enforce(a)
		for i, who := range []string{"x@acme.example", "y@acme.example"} {
			e := published{lead: map[string]any{"email": who}, id: fmt.Sprint(i), source: "web", kind: "page.viewed", at: now}
			if _, err := w.publishEvent(e.body(), arrivals); err != nil {
				t.Fatal(err)
			}
		}
		w.publishMerge(t, "x@acme.example", "y@acme.example", "m1")
		w.publishMerge(t, "y@acme.example", "x@acme.example", "m2")
		w.settleInAnyOrder(t, r)
		lx, ly := w.lead(x), w.lead(y)
		lead, alias := lx, ly
		if lx.Claimant() != "" {
			lead, alias = ly, lx
		}
		if lead.Claimant() != "" || alias.Claimant() != lead.Key() {
			r.Fatalf("x is part of %q, y of %q", lx.Claimant(), ly.Claimant())
		}
		if lead.awaits() {
			r.Fatal("a claim stays open")
		}
		if n := len(w.watch.rejections); n > 0 {
			r.Fatalf("%d rejections", n)
		}
		// What comes later reaches the lead.
		for i, who := range []string{"x@acme.example", "y@acme.example"} {
			e := published{lead: map[string]any{"email": who}, id: fmt.Sprint("later", i), source: "web", kind: "page.viewed", at: now}
			if _, err := w.publishEvent(e.body(), arrivals); err != nil {
				t.Fatal(err)
			}
		}
		w.settleInAnyOrder(t, r)
		pages := View(lead, w.log(leadkey.Key(lead.Key())), arrivals).GetStandings()[0]
		if got := Explain(lead, w.log(leadkey.Key(lead.Key())), arrivals)[0].GetContributions()[0].GetCount(); got != 4 {
			r.Fatalf("%d of 4 page views count: %v", got, pages)
		}
	})
}

// TestAMergeOfAMergeTellsWhereTheHandoffIs: whatever the order in which the shards fold, LEADS says of which lead it is now.
func TestAMergeOfAMergeTellsWhereTheHandoffIs(t *testing.T) {
	a := propertyAgreement(t, false)
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(&watch{})
		w.enforce(a)
		for i, who := range []string{"x@acme.example", "y@acme.example", "z@acme.example"} {
			e := published{lead: map[string]any{"email": who}, id: fmt.Sprint(i), source: "web", kind: "page.viewed", at: now}
			if i == 0 {
				e.kind = "form.submitted"
			}
			if _, err := w.publishEvent(e.body(), arrivals); err != nil {
				t.Fatal(err)
			}
		}
		w.settleInAnyOrder(t, r)
		w.publishMerge(t, "y@acme.example", "x@acme.example", "m1")
		w.publishMerge(t, "z@acme.example", "y@acme.example", "m2")
		w.settleInAnyOrder(t, r)
		at, into := "", map[string]string{}
		for _, f := range w.watch.facts {
			if f.GetLeadQualified() != nil {
				at = f.GetLeadKey()
			}
			if m := f.GetLeadMerged(); m != nil {
				into[f.GetLeadKey()] = m.GetInto()
			}
		}
		for into[at] != "" {
			at = into[at]
		}
		if z := string(leadkey.FromEmail("z@acme.example")); at != z {
			r.Fatalf("the handoff is at %q, and all are part of %q: %v", at, z, into)
		}
	})
}

// TestMergesInACircleEnd: an operator's mistake shows as rejections; nothing goes round for ever.
func TestMergesInACircleEnd(t *testing.T) {
	a := propertyAgreement(t, false)
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(&watch{})
		w.enforce(a)
		w.publishMerge(t, "x@acme.example", "y@acme.example", "m1")
		w.publishMerge(t, "y@acme.example", "z@acme.example", "m2")
		w.publishMerge(t, "z@acme.example", "x@acme.example", "m3")
		w.settleInAnyOrder(t, r)
		for i, who := range []string{"x@acme.example", "y@acme.example", "z@acme.example"} {
			e := published{lead: map[string]any{"email": who}, id: fmt.Sprint(i), source: "web", kind: "page.viewed", at: now}
			if _, err := w.publishEvent(e.body(), arrivals); err != nil {
				t.Fatal(err)
			}
		}
		w.settleInAnyOrder(t, r)
		leads := 0
		for _, who := range []string{"x@acme.example", "y@acme.example", "z@acme.example"} {
			if w.lead(leadkey.FromEmail(who)).Claimant() == "" {
				leads++
			}
		}
		for _, x := range w.watch.rejections {
			if leads > 0 || x.GetReason() != engagementv1.Rejection_REASON_MERGE_CYCLE {
				r.Fatalf("%d leads are left, and rejected: %v", leads, x)
			}
		}
	})
}

// settleInAnyOrder folds until nothing is left, with the shards in any order.
func (w *world) settleInAnyOrder(t testing.TB, r *rapid.T) {
	for len(w.pending) > 0 {
		i := rapid.IntRange(0, len(w.pending)-1).Draw(r, "shard")
		s := w.pending[i]
		w.pending = append(w.pending[:i], w.pending[i+1:]...)
		if err := w.step(s); err != nil {
			t.Fatal(err)
		}
	}
}

// TestIdentitiesInAnyOrderOfShards ties and merges at random: every event is counted by exactly one lead, no claim stays
// open, and nobody qualifies twice.
func TestIdentitiesInAnyOrderOfShards(t *testing.T) {
	a := propertyAgreement(t, false)
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(&watch{})
		w.enforce(a)
		n := rapid.IntRange(1, 30).Draw(r, "events")
		for i := range n {
			who := map[string]any{}
			if k := rapid.IntRange(0, 3).Draw(r, "address"); k > 0 {
				who["email"] = fmt.Sprintf("p%d@acme.example", k)
			}
			if k := rapid.IntRange(0, 2).Draw(r, "anonymous"); k > 0 || len(who) == 0 {
				who["anonymousId"] = fmt.Sprintf("a%d", k)
			}
			if rapid.IntRange(0, 3).Draw(r, "id") == 0 {
				who["ids"] = map[string]any{"crm": "7"}
			}
			e := published{lead: who, id: fmt.Sprint(i), source: "web", kind: "page.viewed", at: now.Add(time.Duration(i) * time.Minute)}
			if rapid.IntRange(0, 4).Draw(r, "demo") == 0 {
				e.kind = "form.submitted"
			}
			if _, err := w.publishEvent(e.body(), arrivals); err != nil {
				t.Fatal(err)
			}
			if rapid.IntRange(0, 9).Draw(r, "merge") == 0 {
				w.publishMerge(t, "p1@acme.example", "p2@acme.example", fmt.Sprint("m", i))
			}
			if rapid.Bool().Draw(r, "settle") {
				w.settleInAnyOrder(t, r)
			}
		}
		w.settleInAnyOrder(t, r)
		if len(w.watch.rejections) > 0 {
			r.Fatalf("rejected: %v", w.watch.rejections[0])
		}
		counted, opened := map[uint64]int{}, map[string]int{}
		for _, s := range w.shards {
			for _, st := range s.states {
				l, ok := st.(*Lead)
				if !ok || l.claimant != "" {
					continue
				}
				if l.awaits() {
					r.Fatal("a claim stays open")
				}
				for _, e := range l.ids.list {
					counted[e.hash]++
				}
			}
		}
		for i := range n {
			if counted[idHash("web", fmt.Sprint(i))] == 0 {
				r.Fatalf("event %d is counted by nobody", i)
			}
		}
		for _, f := range w.watch.facts {
			if q := f.GetLeadQualified(); q != nil {
				opened[f.GetLeadKey()]++
				if int(q.GetEpisode()) < opened[f.GetLeadKey()] || opened[f.GetLeadKey()] > 1 {
					r.Fatalf("%s qualified %d times without closing", f.GetLeadKey(), opened[f.GetLeadKey()])
				}
			}
		}
	})
}

// TestARepetitionStaysWithWhoeverGotTheEvent: an identity that two leads claim in turn passes each event on to one of them,
// however often and late it is published again.
func TestARepetitionStaysWithWhoeverGotTheEvent(t *testing.T) {
	w := newWorld(&watch{})
	w.enforce(propertyAgreement(t, false))
	n := 0
	publish := func(id string, lead map[string]any) {
		n++
		e := published{lead: lead, id: id, source: "web", kind: "page.viewed", at: now.Add(time.Duration(n) * time.Minute)}
		if _, err := w.publishEvent(e.body(), arrivals); err != nil {
			t.Fatal(err)
		}
		if err := w.settle(); err != nil {
			t.Fatal(err)
		}
	}
	device := map[string]any{"anonymousId": "shared"}
	x, y := "x@acme.example", "y@acme.example"
	publish("before", device)
	publish("tie-x", map[string]any{"email": x, "anonymousId": "shared"})
	publish("with-x", device)
	publish("tie-y", map[string]any{"email": y, "anonymousId": "shared"})
	publish("with-y", device)
	for _, again := range []string{"before", "with-x", "with-y"} {
		publish(again, device)
	}
	holds := func(who, id string) bool { return w.lead(leadkey.FromEmail(who)).ids.holds(idHash("web", id)) }
	for id, owner := range map[string]string{"before": x, "with-x": x, "with-y": y} {
		if holds(x, id) != (owner == x) || holds(y, id) != (owner == y) {
			t.Errorf("event %s counts for x: %t, for y: %t; want it for %s alone", id, holds(x, id), holds(y, id), owner)
		}
	}
}

// lose makes a shard's stream and states anew.
func (w *world) lose(a *agreement.Agreement, s *worldShard) {
	w.pending = slices.DeleteFunc(w.pending, func(p *worldShard) bool { return p == s })
	s.stream, s.folded = nil, 0
	w.forget(a, s)
}

// replay folds a shard's stream from its start. What it sent before it sends again, and it is left out as it would be there.
func (w *world) replay(a *agreement.Agreement, s *worldShard) {
	for range s.folded {
		w.pending = append(w.pending, s)
	}
	s.folded = 0
	w.forget(a, s)
}

func (w *world) forget(a *agreement.Agreement, s *worldShard) {
	clear(s.states)
	g, _ := s.state("").(*Log)
	g.enforce(a, 1)
}

// adoptNew is what replaying a stream that was created anew does: what it causes has origins above those of the lost one, and
// what it holds counts as history.
func (w *world) adoptNew(s *worldShard, incarnation int64, t testing.TB) {
	for i := range s.stream {
		s.stream[i].History = true
	}
	w.settleAs(s, incarnation, t)
}

// settleAs is settle while a shard's messages are of an incarnation of their own.
func (w *world) settleAs(s *worldShard, incarnation int64, t testing.TB) {
	t.Helper()
	for len(w.pending) > 0 {
		for i := s.folded; i < len(s.stream); i++ {
			s.stream[i].Incarnation = incarnation
		}
		next := w.pending[0]
		w.pending = w.pending[1:]
		if err := w.step(next); err != nil {
			t.Fatal(err)
		}
	}
}

// holders returns the leads of their own that have counted an event.
func (w *world) holders(id string) (keys []string) {
	for _, s := range w.shards {
		for _, st := range s.states {
			if l, ok := st.(*Lead); ok && l.claimant == "" && l.ids.holds(idHash("web", id)) {
				keys = append(keys, l.key)
			}
		}
	}
	return keys
}

// TestALostStreamIsToldItsAliasesHistoryAgain: a shard's stream is created anew and all is published again. Whether the shard
// is replayed alone or all are, and whichever first, its leads have what their aliases sent them, once, and hand nothing of it off.
func TestALostStreamIsToldItsAliasesHistoryAgain(t *testing.T) {
	a := propertyAgreement(t, false)
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(&watch{})
		w.enforce(a)
		x := leadkey.FromEmail("p@acme.example")
		lost := w.shard(x.Shard())
		n := rapid.IntRange(1, 20).Draw(r, "events")
		var bodies [][]byte
		publish := func(body []byte) {
			if _, err := w.publishEvent(body, arrivals); err != nil {
				t.Fatal(err)
			}
		}
		devices := []string{"a1", "a2"}
		for _, d := range devices {
			if leadkey.FromAnonymous(d).Shard() == x.Shard() {
				t.Fatalf("the device %s is in the shard that is lost", d)
			}
		}
		put := func(id string, who map[string]any) {
			who["company"] = "Acme"
			e := published{lead: who, id: id, source: "web", kind: "page.viewed", at: now.Add(timeOf(len(bodies)))}
			if rapid.IntRange(0, 4).Draw(r, "demo") == 0 {
				e.kind = "form.submitted"
			}
			bodies = append(bodies, e.body())
			publish(e.body())
			if rapid.Bool().Draw(r, "settle") {
				w.settleInAnyOrder(t, r)
			}
		}
		for i := range n {
			who := map[string]any{"anonymousId": rapid.SampledFrom(devices).Draw(r, "device")}
			switch rapid.IntRange(0, 4).Draw(r, "address") {
			case 0:
				who["email"] = "p@acme.example"
			case 1:
				who = map[string]any{"email": "p@acme.example"}
			}
			put(fmt.Sprint(i), who)
		}
		for i, d := range devices {
			put(fmt.Sprint(n+i), map[string]any{"email": "p@acme.example", "anonymousId": d})
		}
		w.settleInAnyOrder(t, r)
		at := arrivals.Add(time.Hour)
		was := Explain(w.lead(x), w.log(x), at)[0].GetScore()
		facts := len(w.watch.facts)
		for incarnation := range int64(rapid.IntRange(1, 2).Draw(r, "times")) {
			w.lose(a, lost)
			for _, b := range bodies {
				publish(b)
			}
			w.adoptNew(lost, worldIncarnation+1+incarnation, t)
			if rapid.Bool().Draw(r, "all") {
				for _, d := range devices {
					w.replay(a, w.shard(leadkey.FromAnonymous(d).Shard()))
					w.settleAs(lost, worldIncarnation+1+incarnation, t)
				}
			}
		}
		for i := range bodies {
			if got := w.holders(fmt.Sprint(i)); len(got) != 1 || got[0] != string(x) {
				r.Fatalf("event %d counts at %v, want at %s alone", i, got, x)
			}
		}
		if got := Explain(w.lead(x), w.log(x), at)[0].GetScore(); !proto.Equal(got, was) {
			r.Fatalf("the score is %v, was %v", got, was)
		}
		if w.lead(x).awaits() {
			r.Fatal("a claim stays open")
		}
		for _, f := range w.watch.facts[facts:] {
			if f.GetLeadQualified() != nil && f.GetLeadKey() == string(x) {
				r.Fatal("handed off by what was sent before")
			}
		}
	})
}

// TestALostStreamGetsItsShareOfASharedAlias: of an alias that leads claimed in turn, each gets again what it had.
func TestALostStreamGetsItsShareOfASharedAlias(t *testing.T) {
	a := propertyAgreement(t, false)
	device := map[string]any{"anonymousId": "shared"}
	x, y := "x@acme.example", "z@acme.example"
	if leadkey.FromEmail(x).Shard() == leadkey.FromEmail(y).Shard() {
		t.Fatal("both leads are in the shard that is lost")
	}
	tie := func(who string) map[string]any { return map[string]any{"email": who, "anonymousId": "shared"} }
	for _, last := range []string{x, y} {
		t.Run(last+" holds it", func(t *testing.T) {
			w := newWorld(&watch{})
			w.enforce(a)
			n, incarnation := 0, int64(worldIncarnation)
			lost := w.shard(leadkey.FromEmail(last).Shard())
			bodies := map[string][]byte{}
			publish := func(id string, lead map[string]any) {
				t.Helper()
				n++
				e := published{lead: lead, id: id, source: "web", kind: "page.viewed", at: now.Add(time.Duration(n) * time.Minute)}
				bodies[id] = e.body()
				if _, err := w.publishEvent(bodies[id], arrivals); err != nil {
					t.Fatal(err)
				}
				w.settleAs(lost, incarnation, t)
			}
			want := map[string]string{"before": x, "with-x": x, "with-y": y}
			publish("before", device)
			publish("tie-x", tie(x))
			publish("with-x", device)
			publish("tie-y", tie(y))
			publish("with-y", device)
			if last == x {
				publish("tie-x-again", tie(x))
				publish("with-x-again", device)
				want["with-x-again"] = x
			}
			again := func(id string) {
				t.Helper()
				if _, err := w.publishEvent(bodies[id], arrivals); err != nil {
					t.Fatal(err)
				}
				w.settleAs(lost, incarnation, t)
			}
			for id := range want {
				again(id) // a repetition is no part of what its newest claimant had
			}
			w.lose(a, lost)
			incarnation++
			if last == x {
				again("tie-x")
			} else {
				again("tie-y")
			}
			for id, owner := range want {
				if got := w.holders(id); len(got) != 1 || got[0] != string(leadkey.FromEmail(owner)) {
					t.Errorf("event %s counts at %v, want at %s alone", id, got, leadkey.FromEmail(owner))
				}
			}
		})
	}
}

// expansion returns the record of a claim that has a history to send, and the world in which it was made.
func expansion(t *testing.T) (*world, fold.Record) {
	w := newWorld(nil)
	w.enforce(propertyAgreement(t, false))
	for i := range 3 {
		e := published{lead: map[string]any{"anonymousId": "a-1"}, id: fmt.Sprint(i), source: "web", kind: "page.viewed", at: now}
		if _, err := w.publishEvent(e.body(), arrivals); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	alias := leadkey.FromAnonymous("a-1")
	s := w.shard(alias.Shard())
	claim := marshal(&shardv1.Inbound{
		Origin: &shardv1.Origin{Producer: "shard-3", Incarnation: 1, Sequence: 9}, LeadKey: string(alias),
		Body: &shardv1.Inbound_IdentityClaim{IdentityClaim: &shardv1.IdentityClaim{Claimant: string(leadkey.FromEmail("p@acme.example"))}},
	})
	msg := fold.Message{Subject: "baton.engagement._shard-3." + alias.Shard() + "." + alias.Bucket(), Data: claim, Incarnation: 1, Sequence: 4, Time: arrivals.UnixNano()}
	var rec fold.Record
	tx := fold.NewTx(s.state, func(r fold.Record) { r.Incarnation, r.Sequence, rec = 1, 4, r })
	if err := s.machine.Fold(tx, s.machine.Decode(msg)); err != nil {
		t.Fatal(err)
	}
	return w, rec
}

func TestAnExpansionIsTheHistoryThenDone(t *testing.T) {
	w, rec := expansion(t)
	e, err := ReadExpansion(rec)
	if err != nil {
		t.Fatal(err)
	}
	alias := leadkey.FromAnonymous("a-1")
	if want := "ENGAGEMENT_" + string(alias.Shard()[0]-32*boolToByte(alias.Shard()[0] >= 'a')); e.Stream != want || e.Before != 4 {
		t.Errorf("reads %s up to %d", e.Stream, e.Before)
	}
	last := fold.Origin{}
	n := 0
	for r, err := range e.Records(w.bucket(w.shard(alias.Shard()), string(alias))) {
		if err != nil {
			t.Fatal(err)
		}
		in := &shardv1.Inbound{}
		if err := proto.Unmarshal(r.Data, in); err != nil {
			t.Fatal(err)
		}
		at := fold.Origin{Incarnation: in.GetOrigin().GetIncarnation(), Sequence: in.GetOrigin().GetSequence(), Ordinal: in.GetOrigin().GetOrdinal()}
		if at != r.Origin() || n > 0 && !at.After(last) || r.Guard != fold.Ordered || r.Stream != rec.Stream || r.Prefix != rec.Prefix || r.Subject != rec.Subject {
			t.Errorf("record %d: %v after %v, %v", n, at, last, r)
		}
		if isEvent := in.GetForwardedEvent() != nil; isEvent != (n < 3) {
			t.Errorf("record %d is %T", n, in.GetBody())
		}
		last = at
		n++
	}
	if n != 4 {
		t.Errorf("%d records, want 3 events and Done", n)
	}
}

func boolToByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func TestAnExpansionPassesOnAnErrorOfReading(t *testing.T) {
	_, rec := expansion(t)
	e, err := ReadExpansion(rec)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	n := 0
	for _, err := range e.Records(func(yield func(fold.Message, error) bool) { yield(fold.Message{}, broken) }) {
		n++
		if !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	}
	if n != 1 {
		t.Errorf("%d records after an error", n)
	}
	rec.Guard = fold.Ordered
	if _, err := ReadExpansion(rec); err == nil {
		t.Error("a record that does not expand was read")
	}
}

// TestAMessageOfOursCountsOnce: what is not above its producer's last origin is ignored.
func TestAMessageOfOursCountsOnce(t *testing.T) {
	w := newWorld(nil)
	a := propertyAgreement(t, false)
	w.activate(t, a, 1)
	e := published{lead: person, id: "1", source: "web", kind: "form.submitted", at: now}
	key, err := w.publishEvent(e.body(), now)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		sequence uint64
		moved    string
		stage    string
	}{{2, "accepted", "sal"}, {3, "scored", "lead"}, {2, "accepted", "lead"}, {3, "accepted", "lead"}, {4, "accepted", "sal"}} {
		w.move(t, key, step.sequence, step.moved, false, now)
		if err := w.settle(); err != nil {
			t.Fatal(err)
		}
		if got := w.lead(key).standings[0].stage; got != step.stage {
			t.Errorf("after message %d the stage is %s, want %s", step.sequence, got, step.stage)
		}
	}
}

// TestTryFoldsUnderAnotherAgreement shows what a lead would be under a proposal.
func TestTryFoldsUnderAnotherAgreement(t *testing.T) {
	w := newWorld(nil)
	w.activate(t, propertyAgreement(t, false), 1)
	for i := range 4 {
		e := published{lead: person, id: fmt.Sprint(i), source: "web", kind: "call.held", at: now}
		if _, err := w.publishEvent(e.body(), now); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	key := leadkey.FromEmail("p@acme.example")
	proposed := *propertyAgreement(t, false)
	proposed.Rules = append([]agreement.Rule(nil), proposed.Rules...)
	for i := range proposed.Rules {
		if proposed.Rules[i].ID == "for-ever" {
			proposed.Rules[i].Points = 30 * agreement.Point
		}
	}
	proposed.Require = nil
	for i := range proposed.Paths {
		proposed.Paths[i].Require = nil
	}
	s, err := Try(&proposed, key, w.bucket(w.shard(key.Shard()), string(key)), arrivals)
	if err != nil {
		t.Fatal(err)
	}
	if got := Explain(s.Lead, s.Log, now)[0].GetScore().GetTotal(); got != 120 {
		t.Errorf("the score would be %v, want 120", got)
	}
	if len(s.Facts) != 1 || s.Facts[0].GetLeadQualified().GetPath() != "scored" {
		t.Errorf("facts: %v", s.Facts)
	}
	if got := Explain(w.lead(key), w.log(key), now)[0].GetScore().GetTotal(); got != 12 {
		t.Errorf("the score is %v, want 12", got)
	}
	if k := s.Entries[len(s.Entries)-1].GetKind(); k != leadv1.TimelineEntry_KIND_EVENT || s.Entries[len(s.Entries)-1].GetScores()["props"] != 120 {
		t.Errorf("the last entry is %v", s.Entries[len(s.Entries)-1])
	}
}

// FuzzLoad: damaged records are errors, never panics, and what can be read is written the same.
func FuzzLoad(f *testing.F) {
	w := newWorld(nil)
	w.enforce(propertyAgreement(f, true))
	for i := range 40 {
		e := published{lead: map[string]any{"email": "p@acme.example", "anonymousId": "a"}, id: fmt.Sprint(i), source: "web", kind: "form.submitted", at: now}
		if _, err := w.publishEvent(e.body(), now); err != nil {
			f.Fatal(err)
		}
		if err := w.settle(); err != nil {
			f.Fatal(err)
		}
		f.Add(encoded(w.lead(leadkey.FromEmail("p@acme.example")))[""])
	}
	f.Fuzz(func(t *testing.T, main []byte) {
		l, _, err := loadLead("k", main, vocabulary{})
		if err == nil {
			l.appendMain(nil)
		}
		if _, _, err := loadLog(main); err != nil {
			return
		}
	})
}

// TestWhatAnAliasHasOfAnAdoptedStreamHandsNothingOff: messages that count as history since their stream was adopted count as
// history for the lead that claims them too.
func TestWhatAnAliasHasOfAnAdoptedStreamHandsNothingOff(t *testing.T) {
	for _, claimed := range []string{"before", "after"} {
		t.Run("claimed "+claimed, func(t *testing.T) {
			w := newWorld(&watch{})
			w.enforce(propertyAgreement(t, false))
			alias := leadkey.FromAnonymous("a-1")
			publish := func(id, kind string, who map[string]any) {
				t.Helper()
				e := published{lead: who, id: id, source: "web", kind: kind, at: now}
				if _, err := w.publishEvent(e.body(), arrivals); err != nil {
					t.Fatal(err)
				}
			}
			tie := func() {
				t.Helper()
				publish("tie", "page.viewed", map[string]any{"email": "p@acme.example", "company": "Acme", "anonymousId": "a-1"})
				if err := w.settle(); err != nil {
					t.Fatal(err)
				}
			}
			if claimed == "before" {
				tie()
			}
			publish("old", "form.submitted", map[string]any{"anonymousId": "a-1"})
			s := w.shard(alias.Shard())
			s.stream[len(s.stream)-1].History = true
			if err := w.settle(); err != nil {
				t.Fatal(err)
			}
			if claimed == "after" {
				tie()
			}
			key := leadkey.FromEmail("p@acme.example")
			if n := w.lead(key).events; n != 2 {
				t.Errorf("%d events count, want 2", n)
			}
			for _, f := range w.watch.facts {
				if q := f.GetLeadQualified(); q != nil && q.GetAct().GetId() == "old" {
					t.Errorf("handed off by %s on an act that was history", q.GetPath())
				}
			}
		})
	}
}

// TestAnAliasThatWasTurnedDownBringsNoOldPoints: with `again.reset`, engagement from before the closing counts no more, also
// for the lead that claims the alias afterwards.
func TestAnAliasThatWasTurnedDownBringsNoOldPoints(t *testing.T) {
	w := newWorld(&watch{})
	a := propertyAgreement(t, false)
	w.activate(t, a, 1)
	bodies := map[string][]byte{}
	publish := func(id, kind string, who map[string]any, at time.Time) leadkey.Key {
		t.Helper()
		e := published{lead: who, id: id, source: "web", kind: kind, at: at}
		bodies[id] = e.body()
		key, err := w.publishEvent(bodies[id], at)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.settle(); err != nil {
			t.Fatal(err)
		}
		return key
	}
	crm := map[string]any{"ids": map[string]any{"crm": "7"}, "company": "Acme"}
	alone := map[string]any{"email": "p@acme.example"}
	both := map[string]any{"email": "p@acme.example", "company": "Acme", "ids": map[string]any{"crm": "7"}}
	day := func(n int) time.Time { return now.Add(time.Duration(n) * 24 * time.Hour) }
	alias := publish("1", "form.submitted", crm, day(0))
	publish("2", "call.held", alone, day(1)) // the lead's own, before the closing
	w.move(t, alias, 2, "rejected", true, day(2))
	publish("3", "call.held", crm, day(3))
	publish("4", "page.viewed", alone, day(4))
	key := publish("5", "page.viewed", both, day(5))
	qualified := 0
	for _, f := range w.watch.facts {
		if f.GetLeadQualified() != nil {
			qualified++
		}
	}
	if qualified != 1 {
		t.Errorf("qualified %d times, want once, before the closing", qualified)
	}
	check := func(when string) {
		t.Helper()
		counts := map[string]uint64{}
		for _, c := range Explain(w.lead(key), w.log(key), day(5))[0].GetContributions() {
			counts[c.GetRule()] = c.GetCount()
		}
		if counts["demo"] != 0 || counts["for-ever"] != 1 || counts["view"] != 2 {
			t.Errorf("what counts by rule %s: %v; want the call of the third day and both views", when, counts)
		}
	}
	check("when the alias was claimed")
	if s := w.lead(key).standings[0]; len(s.tail) != 0 {
		t.Errorf("%d credits are kept though nothing is open", len(s.tail))
	}
	if alias.Shard() == key.Shard() {
		t.Fatal("the alias is in the shard that is lost")
	}
	w.lose(a, w.shard(key.Shard()))
	for _, id := range []string{"2", "4", "5"} {
		if _, err := w.publishEvent(bodies[id], day(6)); err != nil {
			t.Fatal(err)
		}
	}
	w.adoptNew(w.shard(key.Shard()), worldIncarnation+1, t)
	check("when the lead's stream was lost")
}
