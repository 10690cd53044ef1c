package scorer_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/embedded"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/stream"
	"github.com/leadbaton/baton/services/scorer"
)

// gatedStore commits nothing while its gate is closed, as a store that is slow.
type gatedStore struct {
	fold.Store
	open chan struct{}
}

func (s *gatedStore) Commit(ctx context.Context, c *fold.Commit) error {
	select {
	case <-s.open:
		return s.Store.Commit(ctx, c)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A scorer with a backlog is ready when it has caught up; falling behind later does not take it out of service.
func TestReadyOnceCaughtUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ns, err := embedded.StartNATS(embedded.NATSOptions{Dir: t.TempDir()})
	must(t, err)
	defer ns.Stop()
	rs := fold.NewMemory()
	conn, err := stream.Connect(ctx, stream.Options{InProcess: ns, Logger: logger(), Name: "test"})
	must(t, err)
	defer conn.Close()
	must(t, conn.EnsureStreams(ctx))
	const backlog = 6000
	fill := func(after uint64) {
		t.Helper()
		for n := after; n < after+backlog; {
			entries := make([]stream.Entry, 1000)
			for i := range entries {
				entries[i] = stream.Entry{Subject: "baton.engagement.web.5.000", Data: []byte("not an event")}
			}
			last, err := conn.Append(ctx, subject.EngagementStream("5"), n, entries)
			must(t, err)
			n = last
		}
	}
	fill(0)

	store := &gatedStore{Store: rs, open: make(chan struct{})}
	// An hour later, so that what waits has waited for long.
	now := func() time.Time { return time.Now().Add(time.Hour) }
	s, err := scorer.New(scorer.Options{Stream: conn, Store: store, Logger: logger(), Now: now})
	must(t, err)
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(running) }()
	defer func() {
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the scorer ended with %v", err)
		}
	}()
	b := &bench{t: t, ctx: ctx}
	b.until("it says that it is catching up", func() bool {
		err := s.Ready()
		return err != nil && strings.Contains(err.Error(), "it is catching up after its start: 6000 messages wait in 1 of its shards")
	})
	close(store.open)
	b.until("it is ready", func() bool { return s.Ready() == nil })
	head, err := rs.Head(ctx, "5")
	must(t, err)
	if head.Position.Sequence < backlog-5000 {
		t.Errorf("it was ready at message %d of %d", head.Position.Sequence, backlog)
	}
	fill(backlog)
	for range 100 {
		must(t, s.Ready())
	}
}

// What a scorer says of the shards is what `baton status` shows.
func TestShardsAreListedWithWhatWaits(t *testing.T) {
	b := start(t)
	b.activate(example(t, "agreement.yaml"), 1)
	b.publish(event("e-1", "page.viewed", time.Now(), map[string]any{"email": "d@acme.example"}, map[string]any{"path": "/"}))
	b.folded()
	r, err := b.shards.List(b.ctx, &shardv1.ListRequest{})
	must(t, err)
	owner := r.GetShards()[0].GetOwner()
	for i, s := range r.GetShards() {
		if s.GetId() != subject.Shards[i] || s.GetOwner() == "" || s.GetOwner() != owner || s.GetStopped() != "" || s.GetLag() != 0 || s.GetOutbox() != 0 ||
			s.GetOldestWaitingAt() != nil || s.GetSequence() == 0 || s.GetLast() != s.GetSequence() || s.GetBytes() == 0 ||
			len(s.GetAgreements()) != 1 || s.GetAgreements()[0].GetName() != "b2b" || s.GetAgreements()[0].GetVersion() != 1 {
			t.Errorf("shard %d of a system at rest: %v", i, s)
		}
	}
	// Nobody folds: what comes waits, and is seen to wait since it came.
	b.stop()
	before := time.Now()
	b.publish(event("e-2", "page.viewed", time.Now(), map[string]any{"email": "d@acme.example"}, map[string]any{"path": "/"}))
	b.publish(event("e-3", "page.viewed", time.Now(), map[string]any{"email": "d@acme.example"}, map[string]any{"path": "/"}))
	idle, err := scorer.New(scorer.Options{Stream: b.conn, Store: b.store, Logger: logger()})
	must(t, err)
	sh := listOf(t, b.ctx, idle)[subject.ShardNumber(leadkey.FromEmail("d@acme.example").Shard())]
	if at := sh.GetOldestWaitingAt().AsTime(); sh.GetLag() != 2 || sh.GetLast() != sh.GetSequence()+2 || at.Before(before.Add(-time.Second)) || at.After(time.Now()) {
		t.Errorf("the shard that waits: %v", sh)
	}
	b.run() // start's clean-up stops it
}

// listOf asks a scorer that does not run.
func listOf(t *testing.T, ctx context.Context, s *scorer.Scorer) []*shardv1.Shard {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	g := grpc.NewServer()
	s.Register(g)
	go func() { _ = g.Serve(l) }()
	defer g.Stop()
	cc, err := grpc.NewClient("passthrough:///idle", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	must(t, err)
	defer func() { _ = cc.Close() }()
	r, err := shardv1.NewShardServiceClient(cc).List(ctx, &shardv1.ListRequest{})
	must(t, err)
	return r.GetShards()
}
