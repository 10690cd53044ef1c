package stream_test

import (
	"context"
	"testing"
	"time"

	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/servertest"
	"github.com/leadbaton/baton/services/internal/stream"
)

// TestNobodyWaitsForEver: who asks the server without a deadline of his own is told, in time, that no answer came. An answer
// that is lost with a connection never comes: without a bound, a shard would stand still and nobody would know why.
func TestNobodyWaitsForEver(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := servertest.NATS(t)
	c := connectTo(t, ctx, stream.Options{URL: p.URL(), Logger: quiet, Name: "test"})
	defer c.Close()
	shard := subject.EngagementStream("a")
	record := fold.Record{
		Guard: fold.Ordered, Stream: shard, Subject: subject.InboundAll("shard-b", "a"), Prefix: subject.ProducerPrefix("shard-b", "a"), Data: []byte("x"),
	}
	asks := map[string]func() error{
		"when a message was stored": func() error { _, err := c.Log(shard).TimeAt(ctx, 1); return err },
		"what the stream is":        func() error { _, err := c.Log(shard).Info(ctx); return err },
		"what a producer said last": func() error { return c.Outlet(nil).Ordered(ctx, []fold.Record{record}) },
		"who attends":               func() error { _, err := c.Attended(ctx, "somebody"); return err },
		"to read":                   func() error { return c.Log(shard).Read(ctx, 0, func(fold.Message) {}) },
	}
	must(t, p.Pause())
	defer func() { must(t, p.Continue()) }()
	answers := make(chan string)
	for what, ask := range asks {
		go func() {
			_ = ask()
			answers <- what
		}()
	}
	late := time.After(30 * time.Second)
	for range len(asks) {
		select {
		case what := <-answers:
			delete(asks, what)
		case <-late:
			for what := range asks {
				t.Errorf("asked %s: no end", what)
			}
			cancel()
			for range len(asks) {
				<-answers
			}
			return
		}
	}
}
