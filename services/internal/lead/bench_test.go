package lead

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/agreement"
	"github.com/leadbaton/baton/services/internal/event"
	"github.com/leadbaton/baton/services/internal/fold"
)

// benchAgreement has 30 engagement rules like those of the example.
func benchAgreement(b testing.TB) *agreement.Agreement {
	var d strings.Builder
	d.WriteString("apiVersion: baton/v1\nkind: Agreement\nname: bench\nowner: a@b.example\n" +
		"stages:\n  - {id: lead, name: Lead, enters: scored, owner: marketing}\n  - {id: mql, name: MQL, enters: qualified, owner: marketing}\n" +
		"fields:\n  account.employees: {type: int, range: low}\n  lead.country: {type: country}\n" +
		"engagement:\n  halfLife: 14d\n  groups:\n    web: {limit: 60}\n    email: {limit: 20}\n  rules:\n")
	d.WriteString("    - {id: pricing-page, on: page.viewed, when: 'event.path.startsWith(\"/pricing\")', points: 15, group: web, cap: {points: 45, per: 7d}}\n")
	d.WriteString("    - {id: any-page, on: page.viewed, points: 1, group: web}\n")
	d.WriteString("    - {id: email-clicked, on: email.clicked, points: 5, group: email}\n")
	d.WriteString("    - {id: demo, on: form.submitted, when: event.form == \"demo\", points: 100, halfLife: 30d}\n")
	d.WriteString("    - {id: careers-page, on: page.viewed, when: 'event.path.startsWith(\"/careers\")', points: -20, halfLife: 0}\n")
	types := []string{"webinar.attended", "email.opened", "asset.downloaded", "trial.started", "call.held"}
	for i := range 25 {
		fmt.Fprintf(&d, "    - {id: rule-%d, on: %s, when: 'event.name == \"n%d\"', points: %d}\n", i, types[i%5], i, 1+i)
	}
	d.WriteString("fit:\n  rules:\n    - {id: decision-maker, when: 'lead.title.matches(\"(?i)\\\\b(chief|vp|head|director)\\\\b\")', points: 25}\n" +
		"    - {id: big-company, when: account.employees >= 200, points: 20}\n    - {id: free-mail, when: lead.freeMail, points: -15}\n" +
		"grades:\n  fit: {A: 40, B: 20, C: 0}\n  engagement: {1: 60, 2: 30, 3: 10}\n" +
		"qualification:\n  require: [lead.email, lead.company]\n  paths:\n" +
		"    - {id: hand-raise, rule: demo, require: [lead.email]}\n    - {id: scored, threshold: 80, minFit: 0, minEngagement: 30}\n" +
		"sla: {sales: {deliver: 1h}}\n")
	return parseAgreement(b, []byte(d.String()))
}

// benchMessages are typical events: most are page views without attributes, a tenth of which name the person.
func benchMessages(b testing.TB, leads, n int) []fold.Message {
	kinds := []struct{ kind, properties string }{
		{"page.viewed", `{"path":"/pricing/enterprise","referrer":"https://search.example/"}`},
		{"page.viewed", `{"path":"/blog/how-to","referrer":"https://search.example/"}`},
		{"email.clicked", `{"asset":"guide"}`},
		{"webinar.attended", `{"name":"n5","minutes":42}`},
		{"email.opened", `{"name":"n6"}`},
	}
	messages := make([]fold.Message, n)
	for i := range messages {
		k := kinds[i%len(kinds)]
		who := i * 7919 % leads
		at := now.Add(time.Duration(i) * time.Millisecond)
		attributes := ""
		if i%10 == 0 {
			attributes = `,"company":"Acme","title":"Director of Sales","country":"Germany"`
		}
		body := fmt.Sprintf(`{"specversion":"1.0","id":"e-%d","source":"web","type":%q,"time":%q,"data":{"lead":{"email":"p%d@acme.example"%s},"account":{"domain":"acme.example","employees":"201-500"},"campaign":{"name":"autumn","channel":"paid_search"},"properties":%s}}`,
			i, k.kind, at.Format(time.RFC3339Nano), who, attributes, k.properties)
		// All in one shard's order, whatever their keys: the bench is of the fold, not of the sharding.
		messages[i] = benchMessage(b, body, i, at)
	}
	return messages
}

// backlogAgreement is that of the scorer's BenchmarkBacklog.
func backlogAgreement(b testing.TB) *agreement.Agreement {
	var d strings.Builder
	d.WriteString("apiVersion: baton/v1\nkind: Agreement\nname: b2b\nfields:\n  account.employees: {type: int, range: low}\n" +
		"engagement:\n  halfLife: 14d\n  groups:\n    web: {limit: 60}\n  rules:\n")
	for i, p := range []string{"/pricing", "/product", "/docs", "/blog", "/careers", "/compare", "/customers", "/security", "/partners", "/legal"} {
		fmt.Fprintf(&d, "    - {id: page-%d, on: page.viewed, when: 'event.path.startsWith(%q)', points: %d, group: web}\n", i, p, i+1)
	}
	for i, f := range []string{"demo", "contact", "trial", "newsletter", "webinar", "download"} {
		fmt.Fprintf(&d, "    - {id: form-%d, on: form.submitted, when: 'event.form == %q', points: %d}\n", i, f, 2*i+1)
	}
	for i := range 8 {
		fmt.Fprintf(&d, "    - {id: mail-%d, on: [email.opened, email.clicked], when: 'campaign.name == \"c%d\"', points: 1, cap: {points: 5, per: 7d}}\n", i, i)
	}
	d.WriteString("fit:\n  rules:\n")
	for i, c := range []string{
		`lead.title.matches("(?i)\\b(chief|vp|head|director)\\b")`, "account.employees >= 200", "lead.freeMail",
		`lead.country in ["DE", "AT", "CH"]`, `account.industry == "retail"`, `has(lead.phone)`,
	} {
		fmt.Fprintf(&d, "    - {id: fit-%d, when: '%s', points: %d}\n", i, c, 5*i)
	}
	d.WriteString("qualification:\n  require: [lead.email]\n  paths: [{id: scored, threshold: 100000}]\n")
	return parseAgreement(b, []byte(d.String()))
}

// backlogMessages are events of many people, some of whom do much more than others.
func backlogMessages(b testing.TB, leads, n int) []fold.Message {
	rng := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rng, 1.1, 10, uint64(leads-1))
	titles := []string{"Director of Sales", "Engineer", "VP Marketing", "Analyst", "Student"}
	paths := []string{"/pricing/enterprise", "/product/tour", "/docs/start", "/blog/2026/how-to-score-leads", "/careers/go"}
	types := []string{"page.viewed", "page.viewed", "page.viewed", "email.opened", "email.clicked", "form.submitted"}
	at := now
	messages := make([]fold.Message, n)
	for i := range messages {
		at = at.Add(time.Duration(rng.IntN(60)) * time.Second)
		person := int(zipf.Uint64())
		company := person % 3000
		body := fmt.Sprintf(`{"data":{"account":{"domain":"company-%04d.example","employees":%d},"campaign":{"channel":"paid_search","name":"c%d"},`+
			`"lead":{"country":"DE","email":"person-%06d@company-%04d.example","title":%q},`+
			`"properties":{"device":"desktop","form":"newsletter","path":%q,"referrer":"https://search.example/q"}},`+
			`"id":"01JD%022d","source":"web","specversion":"1.0","time":%q,"type":%q}`,
			company, company, rng.IntN(12), person, company, titles[person%5], paths[rng.IntN(5)],
			i, at.Format(time.RFC3339Nano), types[rng.IntN(len(types))])
		messages[i] = benchMessage(b, body, i, at)
	}
	return messages
}

func benchMessage(b testing.TB, body string, i int, at time.Time) fold.Message {
	var ev event.Event
	if err := event.Decode([]byte(body), &ev); err != nil {
		b.Fatal(err)
	}
	return fold.Message{Subject: subject.ForEvent("web", ev.Key), Data: []byte(body), Incarnation: 1, Sequence: uint64(i + 1), Time: at.UnixNano()}
}

// BenchmarkFold is one event: decoding its JSON, counting it under 30 rules, and judging it; every 1,000 events the
// states that changed are encoded, as for a commit.
func BenchmarkFold(b *testing.B) {
	benchmarkFold(b, benchMessages(b, 2000, 40_000), benchAgreement(b))
}

// BenchmarkFoldBacklog is the same with the rules and the events of the scorer's BenchmarkBacklog: every event names the
// person and says something of person and company, a page view meets ten conditions, and there are many more leads than
// a processor's cache holds.
func BenchmarkFoldBacklog(b *testing.B) {
	benchmarkFold(b, backlogMessages(b, 100_000, 100_000), backlogAgreement(b))
}

func benchmarkFold(b *testing.B, messages []fold.Message, a *agreement.Agreement) {
	b.ReportAllocs()
	b.ResetTimer()
	var w *world
	dirty := make(map[string]fold.State, 1000)
	written := 0
	var spent time.Duration
	start := processorTime(b)
	for i := range b.N {
		if i%len(messages) == 0 {
			b.StopTimer()
			spent += processorTime(b) - start
			w = newWorld(nil)
			w.enforce(a)
			clear(dirty)
			start = processorTime(b)
			b.StartTimer()
		}
		msg := messages[i%len(messages)]
		p, _ := subject.ParseEngagement(msg.Subject)
		s := w.shard(p.Shard)
		tx := fold.NewTx(s.state, func(fold.Record) {})
		in := s.machine.Decode(msg)
		dirty[in.Keys()[0]] = s.state(in.Keys()[0])
		if err := s.machine.Fold(tx, in); err != nil {
			b.Fatal(err)
		}
		if i%1000 == 999 {
			for _, st := range dirty {
				st.Changes(func(_ string, v []byte) { written += len(v) })
			}
			clear(dirty)
		}
	}
	spent += processorTime(b) - start
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "cpu-ns/event")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(written)/float64(b.N), "written-B/event")
}

// processorTime is what the process has used of its processors, the garbage collector's share included: on a machine that
// other work shares, it says more than the clock.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkDecode(b *testing.B) {
	messages := benchMessages(b, 2000, 10_000)
	b.ReportAllocs()
	for i := range b.N {
		msg := messages[i%len(messages)]
		p, _ := subject.ParseEngagement(msg.Subject)
		in, ok := New(p.Shard).Decode(msg).(*input)
		if !ok || in.rejected != nil {
			b.Fatal("rejected")
		}
		in.release()
	}
}
