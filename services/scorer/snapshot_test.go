package scorer_test

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/benchmark"
	"github.com/leadbaton/baton/services/internal/embedded"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/servertest"
	"github.com/leadbaton/baton/services/internal/stream"
)

// said keeps what a scorer logs.
type said struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if testing.Verbose() {
		_, _ = os.Stderr.Write(b)
	}
	return s.buf.Write(b)
}

func (s *said) times(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.buf.String(), text)
}

const fromSnapshot = "it goes on from a snapshot"

// dumps returns all shards.
func (b *bench) dumps() map[string]fold.Dump {
	b.t.Helper()
	out := map[string]fold.Dump{}
	for _, id := range subject.Shards {
		d, err := b.store.Dump(b.ctx, id)
		must(b.t, err)
		out[id] = d
	}
	return out
}

// worthOne is how many shards have had enough messages for a snapshot.
func worthOne(all map[string]fold.Dump) (n int) {
	for _, d := range all {
		if d.Position.Sequence >= 2000 {
			n++
		}
	}
	return n
}

// verifyBoth verifies from the start and from the snapshots, and returns how many messages each has folded.
func (b *bench) verifyBoth() (all, since uint64) {
	b.t.Helper()
	for _, from := range []bool{false, true} {
		r, err := b.shards.Verify(b.ctx, &shardv1.VerifyRequest{FromSnapshot: from})
		must(b.t, err)
		if len(r.GetDifferences()) > 0 {
			b.t.Errorf("from the snapshot %v: %q", from, r.GetDifferences())
		}
		if all = r.GetMessages(); !from {
			since = all
		}
	}
	return since, all
}

// TestAnEmptyStoreStartsFromSnapshots: the last scorer to stop takes them; with another store, as an embedded one is after
// each start, the shards are what they were, byte for byte, without folding again what is in them.
func TestAnEmptyStoreStartsFromSnapshots(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	ns, err := embedded.StartNATS(embedded.NATSOptions{Dir: t.TempDir()})
	must(t, err)
	defer ns.Stop()
	conn, err := stream.Connect(ctx, stream.Options{InProcess: ns, Logger: logger(), Name: "test"})
	must(t, err)
	defer conn.Close()
	must(t, conn.EnsureStreams(ctx))
	var log said
	w := &bench{t: t, ctx: ctx, conn: conn, log: slog.New(slog.NewTextHandler(&log, nil))}
	w.activate(benchmark.Agreement(), 1)
	publishMany(t, conn, 50_000)
	run := func() (stop func()) {
		w.store = fold.NewMemory()
		w.run()
		w.folded()
		return w.stop
	}
	stop := run()
	before := w.dumps()
	stop()
	stop = run()
	after := w.dumps()
	for id, d := range before {
		if a := after[id]; a.Position != d.Position || a.Version != d.Version || !maps.EqualFunc(a.Fields, d.Fields, bytes.Equal) {
			t.Errorf("shard %s stands at %v with %d records; before at %v with %d", id, a.Position, len(a.Fields), d.Position, len(d.Fields))
		}
	}
	if n := log.times(fromSnapshot); n != worthOne(before) || n == 0 {
		t.Errorf("%d shards started from a snapshot; %d have one", n, worthOne(before))
	}
	all, since := w.verifyBoth()
	if since > all/4 {
		t.Errorf("%d messages were folded from the snapshots, %d from the start", since, all)
	}
	stop()
	w.accepted()
}

// TestRedisIsEmptiedUnderTheScorer: its shards start from their snapshots, under way, and nothing is lost or counts twice.
func TestRedisIsEmptiedUnderTheScorer(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	ns, rs := servertest.NATS(t), servertest.Redis(t)
	conn, err := stream.Connect(ctx, stream.Options{URL: ns.URL(), Logger: logger(), Name: "test"})
	must(t, err)
	defer conn.Close()
	must(t, conn.EnsureStreams(ctx))
	store, err := fold.OpenRedis(fold.RedisOptions{URL: rs.RedisURL()})
	must(t, err)
	defer func() { _ = store.Close() }()
	var log said
	w := &bench{t: t, ctx: ctx, conn: conn, store: store, log: slog.New(slog.NewTextHandler(&log, nil))}
	w.activate(benchmark.Agreement(), 1)
	w.run()
	defer func() { w.stop() }()
	events := benchmark.NewEvents(100_000, time.Now().Add(-90*24*time.Hour))
	publishNext(t, conn, events, 50_000)
	w.folded()
	saved := func() (n int) {
		for _, id := range subject.Shards {
			list, err := conn.Snapshots().List(ctx, id)
			must(t, err)
			n += min(len(list), 1)
		}
		return n
	}
	w.until("some shards have snapshots", func() bool { return saved() >= 3 })
	publishNext(t, conn, events, 10_000)
	rdb := redis.NewClient(&redis.Options{Addr: strings.TrimPrefix(rs.RedisURL(), "redis://")})
	defer func() { _ = rdb.Close() }()
	must(t, rdb.FlushAll(ctx).Err())
	w.until("all shards are taken up anew", func() bool { return log.times(fromSnapshot) >= 3 })
	w.folded()
	w.verifyBoth()
	w.accepted()
}
