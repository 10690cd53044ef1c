package scorer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/natsbatch"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/embedded"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/servertest"
	"github.com/leadbaton/baton/services/internal/stream"
)

// BenchmarkBacklog scores a stored backlog of JSON events over 100,000 leads (Zipf) under 30 rules, with nats-server and
// redis-server as processes of their own, and on the embedded ones. One operation is the whole backlog:
//
//	go test -run '^$' -bench Backlog -benchtime 3x ./scorer    (BATON_BACKLOG=500000 for another size)
func BenchmarkBacklog(b *testing.B) {
	n := 200_000
	if s := os.Getenv("BATON_BACKLOG"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("processes", func(b *testing.B) {
		ns, rs := servertest.NATS(b), servertest.Redis(b)
		conn, err := stream.Connect(b.Context(), stream.Options{URL: ns.URL(), Logger: logger()})
		must(b, err)
		defer conn.Close()
		backlog(b, conn, n, func() (fold.Store, func()) {
			s, err := fold.OpenRedis(fold.RedisOptions{URL: rs.RedisURL()})
			must(b, err)
			for _, id := range subject.Shards {
				must(b, s.Reset(b.Context(), id, fold.Position{}, true))
			}
			return s, func() { _ = s.Close() }
		})
	})
	b.Run("embedded", func(b *testing.B) {
		ns, err := embedded.StartNATS(embedded.NATSOptions{Dir: b.TempDir()})
		must(b, err)
		defer ns.Stop()
		conn, err := stream.Connect(b.Context(), stream.Options{InProcess: ns, Logger: logger()})
		must(b, err)
		defer conn.Close()
		backlog(b, conn, n, func() (fold.Store, func()) {
			s, err := embedded.StartRedis()
			must(b, err)
			return s, s.Stop
		})
	})
}

func backlog(b *testing.B, conn *stream.Conn, n int, open func() (fold.Store, func())) {
	must(b, conn.EnsureStreams(b.Context()))
	w := &bench{t: b, ctx: b.Context(), conn: conn}
	w.activate(thirtyRules(), 1)
	publishMany(b, conn, n)
	var last [16]uint64
	for i, id := range subject.Shards {
		info, err := conn.Log(subject.EngagementStream(id)).Info(b.Context())
		must(b, err)
		last[i] = info.Last
	}
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		store, closeStore := open()
		ctx, cancel := context.WithCancel(b.Context())
		w := &bench{t: b, ctx: ctx, conn: conn, store: store}
		b.StartTimer()
		w.run()
		w.until("all is folded", func() bool {
			for i, id := range subject.Shards {
				h, err := store.Head(ctx, id)
				must(b, err)
				if h.Position.Sequence < last[i] {
					return false
				}
			}
			return true
		})
		b.StopTimer()
		w.stop()
		cancel()
		closeStore()
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "events/s")
}

// thirtyRules is the example's agreement with more rules of the same kinds.
func thirtyRules() []byte {
	var s strings.Builder
	s.WriteString(`apiVersion: baton/v1
kind: Agreement
name: b2b
fields:
  account.employees: {type: int, range: low}
engagement:
  halfLife: 14d
  groups:
    web: {limit: 60}
  rules:
`)
	for i, p := range []string{"/pricing", "/product", "/docs", "/blog", "/careers", "/compare", "/customers", "/security", "/partners", "/legal"} {
		fmt.Fprintf(&s, "    - {id: page-%d, on: page.viewed, when: 'event.path.startsWith(%q)', points: %d, group: web}\n", i, p, i+1)
	}
	for i, f := range []string{"demo", "contact", "trial", "newsletter", "webinar", "download"} {
		fmt.Fprintf(&s, "    - {id: form-%d, on: form.submitted, when: 'event.form == %q', points: %d}\n", i, f, 2*i+1)
	}
	for i := range 8 {
		fmt.Fprintf(&s, "    - {id: mail-%d, on: [email.opened, email.clicked], when: 'campaign.name == \"c%d\"', points: 1, cap: {points: 5, per: 7d}}\n", i, i)
	}
	s.WriteString("fit:\n  rules:\n")
	for i, c := range []string{
		`lead.title.matches("(?i)\\b(chief|vp|head|director)\\b")`, "account.employees >= 200", "lead.freeMail",
		`lead.country in ["DE", "AT", "CH"]`, `account.industry == "retail"`, `has(lead.phone)`,
	} {
		fmt.Fprintf(&s, "    - {id: fit-%d, when: '%s', points: %d}\n", i, c, 5*i)
	}
	s.WriteString("qualification:\n  require: [lead.email]\n  paths: [{id: scored, threshold: 100000}]\n")
	return []byte(s.String())
}

func publishMany(b *testing.B, conn *stream.Conn, n int) {
	rng := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rng, 1.1, 10, 99_999)
	p, err := natsbatch.NewPublisher(conn.NATS(), natsbatch.Options{})
	must(b, err)
	titles := []string{"Director of Sales", "Engineer", "VP Marketing", "Analyst", "Student"}
	paths := []string{"/pricing/enterprise", "/product/tour", "/docs/start", "/blog/2026/how-to-score-leads", "/careers/go"}
	types := []string{"page.viewed", "page.viewed", "page.viewed", "email.opened", "email.clicked", "form.submitted"}
	at := time.Now().Add(-90 * 24 * time.Hour)
	var pending []*natsbatch.Pending
	for i := range n {
		at = at.Add(time.Duration(rng.IntN(60)) * time.Second)
		person := int(zipf.Uint64())
		company := person % 3000
		email := fmt.Sprintf("person-%06d@company-%04d.example", person, company)
		body, _ := json.Marshal(map[string]any{
			"specversion": "1.0", "id": fmt.Sprintf("01JD%022d", i), "source": "web", "type": types[rng.IntN(len(types))], "time": at.UTC().Format(time.RFC3339Nano),
			"data": map[string]any{
				"lead":       map[string]any{"email": email, "title": titles[person%5], "country": "DE"},
				"account":    map[string]any{"domain": fmt.Sprintf("company-%04d.example", company), "employees": company},
				"campaign":   map[string]any{"name": fmt.Sprintf("c%d", rng.IntN(12)), "channel": "paid_search"},
				"properties": map[string]any{"path": paths[rng.IntN(5)], "form": "newsletter", "device": "desktop", "referrer": "https://search.example/q"},
			},
		})
		m := &nats.Msg{Subject: subject.ForEvent("web", leadkey.FromEmail(email)), Data: body, Header: nats.Header{"Content-Type": {"application/cloudevents+json"}}}
		sent, err := p.PublishAsync(b.Context(), m)
		must(b, err)
		pending = append(pending, sent)
		if len(pending) == 10_000 {
			wait(b, pending)
			pending = pending[:0]
		}
	}
	wait(b, pending)
	must(b, p.Close(b.Context()))
}

func wait(b *testing.B, pending []*natsbatch.Pending) {
	for _, p := range pending {
		if _, err := p.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
