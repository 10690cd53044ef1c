package scorer_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

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
	rs, err := embedded.StartRedis()
	must(t, err)
	defer rs.Stop()
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
