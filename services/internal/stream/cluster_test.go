package stream_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/leadbaton/baton/services/internal/fold"
)

// TestScansInACluster: a consumer may be at any server that keeps the stream. A scan of a stream that nobody writes to does
// not fail, wherever it is; and it reaches the stream's end also at a server that was away and has not got all of it yet.
func TestScansInACluster(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	nodes, c := onCluster(t, ctx)
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	log := c.Log("HANDOFFS")
	scan := func(after uint64) (at uint64, err error) {
		err = log.ScanAfter(ctx, after, []string{"baton.handoffs.>"}, func(m fold.Message) bool {
			at = m.Sequence
			return true
		})
		return at, err
	}
	_, err := c.Append(ctx, "HANDOFFS", 0, entries("baton.handoffs.a", 100))
	must(t, err)
	for n := range 400 {
		if at, err := scan(90); err != nil || at != 100 {
			t.Fatalf("scan %d of a stream of 100 messages ended at %d: %v", n, at, err)
		}
	}

	js, err := jetstream.New(c.NATS())
	must(t, err)
	s, err := js.Stream(ctx, "HANDOFFS")
	must(t, err)
	away := slices.IndexFunc([]string{"n0", "n1", "n2"}, func(name string) bool {
		return name != s.CachedInfo().Cluster.Leader && name != c.NATS().ConnectedServerName()
	})
	must(t, nodes[away].Pause())
	es := entries("baton.handoffs.a", 100)
	for i := range es {
		es[i].Data = make([]byte, 4<<10)
	}
	const last = 30_000
	for ctx.Err() == nil {
		info, err := log.Info(ctx)
		if err == nil && info.Last >= last {
			break
		}
		if err == nil {
			_, err = c.Append(ctx, "HANDOFFS", info.Last, es)
		}
		if err != nil {
			t.Logf("writing with one server away: %v", err)
			<-again.C
		}
	}
	must(t, nodes[away].Continue())
	for begun := time.Now(); time.Since(begun) < 3*time.Second; {
		if at, err := scan(last - 10); err == nil && at != last {
			t.Fatalf("%s after a server came back, a scan of a stream of %d messages ended at %d", time.Since(begun), last, at)
		}
	}
}
