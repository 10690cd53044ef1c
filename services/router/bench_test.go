package router

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/embedded"
	"github.com/leadbaton/baton/services/internal/handoff"
	"github.com/leadbaton/baton/services/internal/stream"
)

// BenchmarkCatchUp folds HANDOFFS from its start, as a router does when it starts: five facts for each handoff.
func BenchmarkCatchUp(b *testing.B) {
	server, err := embedded.StartNATS(embedded.NATSOptions{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer server.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	conn, err := stream.Connect(ctx, stream.Options{InProcess: server.Server, Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	if err := conn.EnsureStreams(ctx); err != nil {
		b.Fatal(err)
	}
	facts, last := writeHandoffs(ctx, b, conn, 10_000)
	for b.Loop() {
		l := newLedger(conn, quiet)
		if err := l.catchUp(ctx); err != nil {
			b.Fatal(err)
		}
		if l.base != last {
			b.Fatalf("folded to %d, want %d", l.base, last)
		}
	}
	b.ReportMetric(float64(facts)*float64(b.N)/b.Elapsed().Seconds(), "facts/s")
}

// writeHandoffs writes n handoffs that were taken and sent back to marketing, and returns how many facts that are, and
// where HANDOFFS ends.
func writeHandoffs(ctx context.Context, b *testing.B, conn *stream.Conn, n int) (facts, last uint64) {
	s, now := handoff.New(), time.Now()
	var entries []stream.Entry
	var sequence, stored, written uint64
	write := func(facts []*handoffv1.Fact, err error) {
		if err != nil {
			b.Fatal(err)
		}
		written += uint64(len(facts))
		for _, m := range handoff.Pack(facts, maxBytes) {
			sequence++
			if _, err := s.Evolve(m, sequence, 0); err != nil {
				b.Fatal(err)
			}
			data, err := handoff.Encode(m)
			if err != nil {
				b.Fatal(err)
			}
			entries = append(entries, stream.Entry{Subject: subject.Handoffs(m[0].GetHandoffId()), Data: data})
		}
		if len(entries) > 900 {
			if stored, err = conn.Append(ctx, subject.HandoffsStream, stored, entries); err != nil {
				b.Fatal(err)
			}
			entries = nil
		}
	}
	write(s.DecideActivate(handoff.Activate{RequestID: "a", Document: testdata(b, "agreement.yaml")}, now))
	write(s.DecideApply(handoff.Apply{RequestID: "r", Document: testdata(b, "roster.yaml")}, now))
	for i := range n {
		email := fmt.Sprintf("lead-%d@acme.example", i)
		key := string(leadkey.FromEmail(email))
		at := timestamppb.New(now)
		write(s.DecideLead(handoff.Lead{Incarnation: 1, Sequence: uint64(i) + 1, Fact: &leadv1.Fact{
			Id: key + "-1", LeadKey: key, Agreement: "b2b", AgreementVersion: 1, At: at, ArrivedAt: at,
			Fact: &leadv1.Fact_LeadQualified{LeadQualified: &leadv1.LeadQualified{
				Path: "scored", WindowStartsAt: at, Episode: 1,
				Profile: &leadv1.Profile{Lead: map[string]string{"email": email, "name": "Dana Example", "title": "Director", "country": "DE"}},
			}},
		}}, now))
		for j, v := range []handoffv1.Verb{handoffv1.Verb_VERB_ACCEPT, handoffv1.Verb_VERB_NURTURE} {
			write(s.DecideAnswer(handoff.Answer{RequestID: fmt.Sprint(i, "-", j), LeadKey: key, Answer: &handoffv1.HandoffAnswered{Verb: v}}, now))
		}
		now = now.Add(time.Second)
	}
	if len(entries) > 0 {
		if _, err := conn.Append(ctx, subject.HandoffsStream, stored, entries); err != nil {
			b.Fatal(err)
		}
	}
	return written, sequence
}
