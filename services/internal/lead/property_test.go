package lead

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"sort"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/agreement"
	"github.com/leadbaton/baton/services/internal/fold"
)

// propertyAgreement has every kind of rule; the caps come last, so that a test can leave them out.
func propertyAgreement(t testing.TB, caps bool) *agreement.Agreement {
	limit := ""
	if caps {
		limit = ", cap: {points: 40, per: 3d}"
	}
	return parseAgreement(t, []byte(`apiVersion: baton/v1
kind: Agreement
name: props
owner: a@b.example
stages:
  - {id: lead, name: Lead, enters: scored, owner: marketing}
  - {id: mql, name: MQL, enters: qualified, owner: marketing}
  - {id: sal, name: SAL, enters: accepted, owner: sales}
fields:
  lead.title: {type: text, prefer: [crm, web]}
  account.employees: {type: int}
engagement:
  halfLife: 5d
  groups: {web: {limit: 70}}
  rules:
    - {id: view, on: page.viewed, points: 7, group: web`+limit+`}
    - {id: pricing, on: page.viewed, when: 'event.path == "/pricing"', points: 15.5, group: web}
    - {id: careers, on: page.viewed, when: 'event.path == "/careers"', points: -12, halfLife: 0, group: web}
    - {id: demo, on: form.submitted, points: 60, halfLife: 30d`+limit+`}
    - {id: fleeting, on: "chat.*", points: 9.001, halfLife: 90m}
    - {id: for-ever, on: call.held, points: 3, halfLife: 0}
fit:
  rules:
    - {id: boss, when: lead.title == "Director", points: 20}
    - {id: big, when: account.employees >= 100, points: 10}
qualification:
  require: [lead.company]
  paths:
    - {id: hand-raise, rule: demo, require: [lead.email]}
    - {id: scored, threshold: 60}
  again: {rejected: {after: 1d}, reset: true}
consent: {email.unsubscribed: [email], consent.withdrawn: [all]}
sla: {sales: {deliver: 1h}}
`))
}

// published is one engagement event of a property test.
type published struct {
	lead, account, properties map[string]any
	id, source, kind          string
	at                        time.Time
	history                   bool
}

func (p *published) body() []byte {
	e := map[string]any{
		"specversion": "1.0", "id": p.id, "source": p.source, "type": p.kind, "time": p.at.Format(time.RFC3339Nano),
		"data": map[string]any{"lead": p.lead, "account": p.account, "properties": p.properties},
	}
	if p.history {
		e["history"] = true
	}
	b, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return b
}

// drawEvents returns events of one person, each with its own time, in the order of their times.
func drawEvents(t *rapid.T, lead map[string]any, most int) []published {
	n := rapid.IntRange(1, most).Draw(t, "events")
	offsets := rapid.SliceOfNDistinct(rapid.IntRange(0, 60*24*60), n, n, rapid.ID).Draw(t, "minutes")
	sort.Ints(offsets)
	events := make([]published, 0, n)
	for i, minutes := range offsets {
		e := published{
			lead: maps.Clone(lead), id: fmt.Sprint("e", i), at: now.Add(time.Duration(minutes) * time.Minute),
			source: rapid.SampledFrom([]string{"web", "crm", "mail"}).Draw(t, "source"),
			kind: rapid.SampledFrom([]string{"page.viewed", "page.viewed", "form.submitted", "chat.opened", "chat.closed", "call.held",
				"lead.updated", "email.unsubscribed"}).Draw(t, "kind"),
			properties: map[string]any{"path": rapid.SampledFrom([]string{"/pricing", "/careers", "/"}).Draw(t, "path")},
			account:    map[string]any{},
		}
		switch rapid.IntRange(0, 5).Draw(t, "says") {
		case 0:
			e.lead["title"] = rapid.SampledFrom([]any{"Director", "Clerk", nil, ""}).Draw(t, "title")
		case 1:
			e.account["employees"] = rapid.SampledFrom([]any{5, 500, "201-500", "many", nil}).Draw(t, "employees")
		case 2:
			e.lead["company"] = "Acme"
		}
		events = append(events, e)
	}
	return events
}

// arrivals is when property tests' events arrive: long after all of them happened, so that none is dated ahead.
var arrivals = now.Add(100 * 24 * time.Hour)

func foldAll(t testing.TB, a *agreement.Agreement, events []published) *world {
	w := newWorld(&watch{})
	w.enforce(a)
	for i := range events {
		if _, err := w.publishEvent(events[i].body(), arrivals); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	return w
}

var person = map[string]any{"email": "p@acme.example"}

// TestOrderOfArrivalDoesNotChangeAScore holds while no cap, id limit or future date is touched.
func TestOrderOfArrivalDoesNotChangeAScore(t *testing.T) {
	a := propertyAgreement(t, false)
	key := leadkey.FromEmail("p@acme.example")
	rapid.Check(t, func(r *rapid.T) {
		events := drawEvents(r, person, 30)
		shuffled := rapid.Permutation(events).Draw(r, "order")
		x, y := foldAll(t, a, events), foldAll(t, a, shuffled)
		at := arrivals.Add(time.Hour)
		ex, ey := Explain(x.lead(key), x.log(key), at), Explain(y.lead(key), y.log(key), at)
		if !proto.Equal(ex[0].GetScore(), ey[0].GetScore()) {
			r.Fatalf("in order: %v\nshuffled: %v", ex[0], ey[0])
		}
		vx, vy := View(x.lead(key), x.log(key), at), View(y.lead(key), y.log(key), at)
		if !proto.Equal(vx.GetProfile(), vy.GetProfile()) || vx.GetEvents() != vy.GetEvents() {
			r.Fatalf("in order: %v\nshuffled: %v", vx, vy)
		}
	})
}

func TestDuplicatesChangeNothing(t *testing.T) {
	a := propertyAgreement(t, true)
	rapid.Check(t, func(r *rapid.T) {
		events := drawEvents(r, person, 20)
		var twice []published
		for i := range events {
			twice = append(twice, events[i])
			for range rapid.IntRange(0, 2).Draw(r, "again") {
				twice = append(twice, events[rapid.IntRange(0, i).Draw(r, "which")])
			}
		}
		x, y := foldAll(t, a, events), foldAll(t, a, twice)
		if d := difference(stored(x), stored(y)); d != "" {
			r.Fatal(d)
		}
	})
}

// stored is what the states of a world are in a store.
func stored(w *world) map[string][]byte {
	m := map[string][]byte{}
	for _, s := range w.shards {
		s.commit(m)
	}
	return m
}

func (s *worldShard) commit(m map[string][]byte) {
	for key, st := range s.states {
		st.Changes(func(part string, v []byte) {
			field := s.machine.shard + ":" + fold.Field(key, part)
			if v == nil {
				delete(m, field)
			} else {
				m[field] = bytes.Clone(v)
			}
		})
	}
}

// restart forgets states, all of them if none is named, and loads them from the store.
func (s *worldShard) restart(t rapid.TB, m map[string][]byte, keys ...string) {
	if len(keys) == 0 {
		keys = slices.Collect(maps.Keys(s.states))
	}
	for _, key := range keys {
		main, ok := m[s.machine.shard+":"+key]
		if !ok {
			main = nil
		}
		st, parts, err := s.machine.Load(key, main)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			if err := st.LoadPart(p, m[s.machine.shard+":"+fold.Field(key, p)]); err != nil {
				t.Fatal(err)
			}
		}
		s.states[key] = st
	}
}

func difference(a, b map[string][]byte) string {
	for _, k := range slices.Sorted(maps.Keys(a)) {
		if !bytes.Equal(a[k], b[k]) {
			return fmt.Sprintf("%s differs:\n%x\n%x", k, a[k], b[k])
		}
	}
	if len(a) != len(b) {
		return fmt.Sprintf("%d records and %d", len(a), len(b))
	}
	return ""
}

// TestBatchesAndRestartsGiveTheSameBytes folds the same messages in one go, and with commits and restarts anywhere.
func TestBatchesAndRestartsGiveTheSameBytes(t *testing.T) {
	a := propertyAgreement(t, true)
	rapid.Check(t, func(r *rapid.T) {
		var events []published
		for i := range rapid.IntRange(1, 3).Draw(r, "people") {
			who := map[string]any{"email": fmt.Sprintf("p%d@acme.example", i)}
			if rapid.Bool().Draw(r, "anonymous") {
				who["anonymousId"] = "shared"
			}
			for _, e := range drawEvents(r, who, 25) {
				e.id = fmt.Sprint(i, e.id)
				if rapid.IntRange(0, 3).Draw(r, "unnamed") == 0 {
					e.lead = map[string]any{"anonymousId": "shared"}
				}
				e.history = rapid.IntRange(0, 5).Draw(r, "history") == 0
				events = append(events, e)
			}
		}
		events = rapid.Permutation(events).Draw(r, "order")
		moves := rapid.SliceOfN(rapid.IntRange(0, len(events)-1), 0, 3).Draw(r, "closed after")

		run := func(interrupt func(*worldShard, map[string][]byte)) (map[string][]byte, []fold.Record) {
			w, store := newWorld(nil), map[string][]byte{}
			w.activate(t, a, 1)
			moved := uint64(0)
			for i := range events {
				key, err := w.publishEvent(events[i].body(), arrivals)
				if err != nil {
					t.Fatal(err)
				}
				if slices.Contains(moves, i) {
					moved++
					w.move(t, key, moved, "rejected", true, arrivals.Add(-time.Duration(i)*24*time.Hour))
				}
				for len(w.pending) > 0 {
					s := w.pending[0]
					w.pending = w.pending[1:]
					if err := w.step(s); err != nil {
						t.Fatal(err)
					}
					interrupt(s, store)
				}
			}
			for _, s := range w.shards {
				s.commit(store)
			}
			return store, w.records
		}
		whole, facts := run(func(*worldShard, map[string][]byte) {})
		split, again := run(func(s *worldShard, store map[string][]byte) {
			switch rapid.IntRange(0, 3).Draw(r, "then") {
			case 0:
				s.commit(store)
			case 1:
				s.commit(store)
				s.restart(r, store)
			}
		})
		if d := difference(whole, split); d != "" {
			r.Fatal(d)
		}
		if len(facts) != len(again) {
			r.Fatalf("%d facts and %d", len(facts), len(again))
		}
		for i := range facts {
			if facts[i].Subject != again[i].Subject || !bytes.Equal(facts[i].Data, again[i].Data) {
				r.Fatalf("fact %d differs", i)
			}
		}
	})
}

// activate puts a version in force in every shard by its marker.
func (w *world) activate(t testing.TB, a *agreement.Agreement, version uint32) {
	w.activateAs(t, a, version, uint64(version), now)
}

// activateAs does so by the router's message of a sequence.
func (w *world) activateAs(t testing.TB, a *agreement.Agreement, version uint32, sequence uint64, at time.Time) {
	for _, shard := range subject.Shards {
		w.inbound(t, subject.InboundAll("router", shard), &shardv1.Inbound{
			Origin: &shardv1.Origin{Producer: "router", Incarnation: 1, Sequence: sequence},
			Body: &shardv1.Inbound_AgreementInForce{AgreementInForce: &shardv1.AgreementInForce{
				Name: a.Name, Version: version, Document: a.Document,
			}},
		}, at)
	}
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
}

// move tells a lead what sales did.
func (w *world) move(t testing.TB, key leadkey.Key, n uint64, moved string, closed bool, at time.Time) {
	w.inbound(t, subject.Inbound("router", key), &shardv1.Inbound{
		Origin: &shardv1.Origin{Producer: "router", Incarnation: 1, Sequence: 1000 + n}, LeadKey: string(key),
		Body: &shardv1.Inbound_HandoffMoved{HandoffMoved: &shardv1.HandoffMoved{
			HandoffId: "h1", Agreement: w.log(key).agreements[0].Name, Moved: moved, Closed: closed, At: stamp(at.UnixNano()),
		}},
	}, at)
}

func (w *world) inbound(t testing.TB, subj string, body *shardv1.Inbound, at time.Time) {
	if err := w.publish(subj, marshal(body), at.UnixNano()); err != nil {
		t.Fatal(err)
	}
}

// TestContributionsAddUp is promise P7.
func TestContributionsAddUp(t *testing.T) {
	a := propertyAgreement(t, true)
	key := leadkey.FromEmail("p@acme.example")
	rapid.Check(t, func(r *rapid.T) {
		w := foldAll(t, a, drawEvents(r, person, 40))
		at := now.Add(time.Duration(rapid.IntRange(0, 400*24).Draw(r, "hours")) * time.Hour)
		e := Explain(w.lead(key), w.log(key), at)[0]
		sum := int64(0)
		for _, c := range e.GetContributions() {
			sum += thousandths(c.GetPoints())
		}
		if total := thousandths(e.GetScore().GetTotal()); sum != total {
			r.Fatalf("the lines add up to %d thousandths, the score is %d:\n%v", sum, total, e)
		}
		if got := thousandths(e.GetScore().GetEngagement()) + thousandths(e.GetScore().GetFit()); got != thousandths(e.GetScore().GetTotal()) {
			r.Fatalf("engagement and fit add up to %d thousandths: %v", got, e.GetScore())
		}
	})
}

func thousandths(points float64) int64 {
	if points < 0 {
		return -int64(-points*1000 + 0.5)
	}
	return int64(points*1000 + 0.5)
}

// TestScoresAreThoseOfAnIndependentModel compares with the law of the design, written down once more with math/big.
func TestScoresAreThoseOfAnIndependentModel(t *testing.T) {
	a := propertyAgreement(t, true)
	key := leadkey.FromEmail("p@acme.example")
	rapid.Check(t, func(r *rapid.T) {
		events := rapid.Permutation(drawEvents(r, person, 30)).Draw(r, "order")
		w := foldAll(t, a, events)
		at := arrivals.Add(time.Duration(rapid.IntRange(0, 100*24).Draw(r, "hours")) * time.Hour)
		want, _ := model(a, events, at).Float64()
		got := Explain(w.lead(key), w.log(key), at)[0].GetScore().GetEngagement()
		if d := got - want; d > 0.01 || d < -0.01 {
			r.Fatalf("engagement is %v, the model says %v", got, want)
		}
	})
}

func model(a *agreement.Agreement, events []published, at time.Time) *big.Float {
	type stretch struct {
		rule  int
		index int64
	}
	granted := map[stretch]int64{}
	perRule := make([]*big.Float, len(a.Rules))
	for i := range events {
		e := &events[i]
		for n := range a.Rules {
			rule := &a.Rules[n]
			if !slices.ContainsFunc(rule.On, func(on string) bool { return on == e.kind || on == "chat.*" && e.kind[:5] == "chat." }) ||
				rule.ID == "pricing" && e.properties["path"] != "/pricing" || rule.ID == "careers" && e.properties["path"] != "/careers" {
				continue
			}
			p := int64(rule.Points)
			if rule.Cap != nil {
				at := stretch{n, new(big.Int).Div(big.NewInt(e.at.UnixNano()), big.NewInt(int64(rule.Cap.Per))).Int64()}
				p = min(p, int64(rule.Cap.Points)-granted[at])
				granted[at] += p
			}
			worth := new(big.Float).SetPrec(160).SetInt64(p)
			if rule.HalfLife > 0 {
				worth.Mul(worth, power(big.NewInt(-int64(at.Sub(e.at))), big.NewInt(int64(rule.HalfLife))))
			}
			if perRule[n] == nil {
				perRule[n] = new(big.Float).SetPrec(160)
			}
			perRule[n].Add(perRule[n], worth)
		}
	}
	total := new(big.Float).SetPrec(160)
	groups := make([]*big.Float, len(a.Groups))
	for n, sum := range perRule {
		if sum == nil {
			continue
		}
		if g := a.Rules[n].Group; g >= 0 && sum.Sign() > 0 {
			if groups[g] == nil {
				groups[g] = new(big.Float).SetPrec(160)
			}
			groups[g].Add(groups[g], sum)
		} else {
			total.Add(total, sum)
		}
	}
	for g, sum := range groups {
		if sum == nil {
			continue
		}
		if limit := new(big.Float).SetInt64(int64(a.Groups[g].Limit)); sum.Cmp(limit) > 0 {
			sum = limit
		}
		total.Add(total, sum)
	}
	return total.Quo(total, big.NewFloat(1000))
}

// TestMergesEndInTheSameLead merges an alias before, between or after its events.
func TestMergesEndInTheSameLead(t *testing.T) {
	a := propertyAgreement(t, false)
	key := leadkey.FromEmail("p@acme.example")
	rapid.Check(t, func(r *rapid.T) {
		events := drawEvents(r, person, 20)
		for i := range events {
			if rapid.Bool().Draw(r, "of the alias") {
				events[i].lead = map[string]any{"anonymousId": "a-1"}
			}
		}
		tie := published{lead: map[string]any{"email": "p@acme.example", "anonymousId": "a-1"}, id: "tie", source: "web", kind: "lead.updated", at: now.Add(-time.Hour)}
		var views []*leadv1.Lead
		for _, at := range []int{0, rapid.IntRange(0, len(events)).Draw(r, "between"), len(events)} {
			w := foldAll(t, a, slices.Insert(slices.Clone(events), at, tie))
			v := View(w.lead(key), w.log(key), arrivals)
			v.Standings = nil
			for _, e := range Explain(w.lead(key), w.log(key), arrivals) {
				v.Standings = append(v.Standings, &leadv1.Standing{Score: e.GetScore()})
			}
			views = append(views, v)
		}
		for _, v := range views[1:] {
			if !proto.Equal(views[0], v) {
				r.Fatalf("merged first: %v\nmerged later: %v", views[0], v)
			}
		}
		if int(views[0].GetEvents()) != len(events)+1 {
			r.Fatalf("%d events counted, want %d", views[0].GetEvents(), len(events)+1)
		}
	})
}

// TestReplayIsTheFold folds one lead of a bucket again, and gets the shard's state of it.
func TestReplayIsTheFold(t *testing.T) {
	a := propertyAgreement(t, true)
	key := leadkey.FromEmail("p@acme.example")
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(nil)
		w.activate(t, a, 1)
		events := drawEvents(r, map[string]any{"email": "p@acme.example", "anonymousId": "a-1"}, 20)
		for i := range events {
			if rapid.Bool().Draw(r, "of the alias") {
				events[i].lead = map[string]any{"anonymousId": "a-1"}
			}
			if _, err := w.publishEvent(events[i].body(), arrivals.Add(time.Duration(i)*time.Second)); err != nil {
				t.Fatal(err)
			}
			if err := w.settle(); err != nil {
				t.Fatal(err)
			}
		}
		var messages []fold.Message
		for _, msg := range w.shard(key.Shard()).stream {
			if p, _ := subject.ParseEngagement(msg.Subject); p.Holds(key) || p.Bucket == "000" {
				messages = append(messages, msg)
			}
		}
		story, err := Replay(key, func(yield func(fold.Message, error) bool) {
			for _, m := range messages {
				if !yield(m, nil) {
					return
				}
			}
		}, arrivals.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		got, want := map[string][]byte{}, map[string][]byte{}
		put := func(m map[string][]byte) func(string, []byte) {
			return func(part string, v []byte) { m[part] = bytes.Clone(v) }
		}
		story.Lead.Changes(put(got))
		w.lead(key).Changes(put(want))
		if d := difference(want, got); d != "" {
			r.Fatal(d)
		}
		counted := 0
		for _, e := range story.Entries {
			if e.GetKind() == leadv1.TimelineEntry_KIND_EVENT {
				counted++
			}
		}
		if uint64(counted) != w.lead(key).events {
			r.Fatalf("%d entries of events, %d events", counted, w.lead(key).events)
		}
	})
}
