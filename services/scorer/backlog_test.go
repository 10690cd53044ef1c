package scorer_test

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/leadbaton/baton/api/client"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/benchmark"
	"github.com/leadbaton/baton/services/internal/embedded"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/servertest"
	"github.com/leadbaton/baton/services/internal/stream"
)

// BenchmarkBacklog scores the backlog of `baton bench` with the scorer in this process, to be profiled: with nats-server and
// redis-server as processes of their own, and on the embedded ones. One operation is the whole backlog:
//
//	go test -run '^$' -bench Backlog -benchtime 3x ./scorer    (BATON_BACKLOG=500000 for another size)
func BenchmarkBacklog(b *testing.B) {
	n := backlogSize(b)
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
			return fold.NewMemory(), func() {}
		})
	})
}

// backlogSize is how many events a backlog has.
func backlogSize(b *testing.B) int {
	s := os.Getenv("BATON_BACKLOG")
	if s == "" {
		return 200_000
	}
	n, err := strconv.Atoi(s)
	must(b, err)
	return n
}

// BenchmarkStart is the start of `baton up` with a backlog that was folded before: its store is empty, and is filled from the
// snapshots that the last stop left, or, without them, by folding the backlog anew. One operation is one start, until all is
// folded:
//
//	BATON_BACKLOG=3000000 go test -run '^$' -bench Start -benchtime 1x -timeout 1h ./scorer
func BenchmarkStart(b *testing.B) {
	ns, err := embedded.StartNATS(embedded.NATSOptions{Dir: b.TempDir()})
	must(b, err)
	defer ns.Stop()
	conn, err := stream.Connect(b.Context(), stream.Options{InProcess: ns, Logger: logger()})
	must(b, err)
	defer conn.Close()
	must(b, conn.EnsureStreams(b.Context()))
	w := &bench{t: b, ctx: b.Context(), conn: conn}
	w.activate(benchmark.Agreement(), 1)
	publishMany(b, conn, backlogSize(b))
	start := func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			w.store = fold.NewMemory()
			b.StartTimer()
			w.run()
			w.folded()
			b.StopTimer()
			w.stop()
			w.accepted()
		}
	}
	b.Run("stream", func(b *testing.B) {
		forgetSnapshots(b, conn)
		start(b)
	})
	b.Run("snapshots", start)
}

// forgetSnapshots lets the next start fold the streams from their beginning.
func forgetSnapshots(b *testing.B, conn *stream.Conn) {
	for _, id := range subject.Shards {
		list, err := conn.Snapshots().List(b.Context(), id)
		must(b, err)
		for _, info := range list {
			must(b, conn.Snapshots().Forget(b.Context(), id, info.Name))
		}
	}
}

func backlog(b *testing.B, conn *stream.Conn, n int, open func() (fold.Store, func())) {
	must(b, conn.EnsureStreams(b.Context()))
	w := &bench{t: b, ctx: b.Context(), conn: conn}
	w.activate(benchmark.Agreement(), 1)
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
		forgetSnapshots(b, conn)
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
		w.accepted()
		cancel()
		closeStore()
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "events/s")
}

func publishMany(b testing.TB, conn *stream.Conn, n int) {
	publishNext(b, conn, benchmark.NewEvents(100_000, time.Now().Add(-90*24*time.Hour)), n)
}

// publishNext publishes the next n events of a backlog.
func publishNext(b testing.TB, conn *stream.Conn, events *benchmark.Events, n int) {
	p, err := client.NewPublisher(conn.NATS(), client.PublisherOptions{})
	must(b, err)
	var pending []*client.Pending
	for i := range n {
		pending = append(pending, p.PublishAsync(b.Context(), events.Next()))
		if len(pending) == 10_000 || i == n-1 {
			for _, sent := range pending {
				if r := sent.Wait(b.Context()); r.Outcome != client.Accepted {
					b.Fatal(r.Outcome, r.Err)
				}
			}
			pending = pending[:0]
		}
	}
	must(b, p.Close(b.Context()))
}
