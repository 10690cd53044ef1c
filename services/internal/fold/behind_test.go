package fold_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/fold/foldtest"
)

// behind is a log whose last message says that more is on its way.
type behind struct{ *foldtest.Log }

func (l behind) Read(ctx context.Context, after uint64, fn func(fold.Message)) error {
	return l.Log.Read(ctx, after, func(m fold.Message) {
		m.Pending = 1
		fn(m)
	})
}

// held are snapshots that are written when they may be.
type held struct {
	*foldtest.Snapshots
	goOn chan struct{}
}

func (s held) Save(ctx context.Context, shard string, h fold.Head, write func(io.Writer) error) error {
	<-s.goOn
	return s.Snapshots.Save(ctx, shard, h, write)
}

// causal is an outlet that sees whether a fact leaves before the message of the same cause.
type causal struct {
	*foldtest.Ledger
	t    *testing.T
	told int
}

func (o *causal) Once(ctx context.Context, records []fold.Record) error {
	for _, r := range records {
		if bytes.HasSuffix(r.Data, []byte("reached 15")) {
			o.told++
			if in := o.Inbox["O"]; len(in) == 0 || string(in[len(in)-1].Data) != string(r.Data) {
				o.t.Errorf("%q is a fact, and the other shard was not told", r.Data)
			}
		}
	}
	return o.Ledger.Once(ctx, records)
}

// TestMessagesLeaveBeforeFacts: what a fact leads to comes to another shard after what that shard was told with it.
func TestMessagesLeaveBeforeFacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l, store, out := foldtest.NewLog(1), fold.NewMemory(), &causal{Ledger: foldtest.NewLedger(), t: t}
		quiet := slog.New(slog.DiscardHandler)
		g := &fold.Group{Member: "m", Shards: []string{"3"}, Store: store, Logger: quiet, Open: func(id string) fold.Shard {
			return fold.Shard{
				ID: id, Log: l, Store: store, Outlet: out, Machine: foldtest.Machine{}, Snapshots: foldtest.NewSnapshots(), Expand: expand, Logger: quiet,
			}
		}}
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		fill(l, 15)
		<-time.After(5 * time.Second)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || out.told == 0 {
			t.Errorf("the group ended with %v; %d facts left", err, out.told)
		}
	})
}

// TestMoreIsOnItsWay: what is folded is committed within about a second though what follows does not come, and nobody spins
// meanwhile, also when a snapshot waits for that commit: simulated time would stand still.
func TestMoreIsOnItsWay(t *testing.T) {
	late := time.AfterFunc(time.Minute, func() { panic("simulated time stands still: somebody spins") })
	defer late.Stop()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l, store := foldtest.NewLog(1), fold.NewMemory()
		snapshots := held{foldtest.NewSnapshots(), make(chan struct{})}
		quiet := slog.New(slog.DiscardHandler)
		g := &fold.Group{Member: "m", Shards: []string{"3"}, Store: store, Logger: quiet, Open: func(id string) fold.Shard {
			return fold.Shard{
				ID: id, Log: behind{l}, Store: store, Outlet: foldtest.NewLedger(), Machine: foldtest.Machine{}, Snapshots: snapshots, Expand: expand, Logger: quiet,
			}
		}}
		g.SnapshotOften(100, 0)
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		committed := func(n int) {
			t.Helper()
			fill(l, n)
			<-time.After(2500 * time.Millisecond)
			head, err := store.Head(ctx, "3")
			must(t, err)
			info, err := l.Info(ctx)
			must(t, err)
			if head.Position.Sequence != info.Last {
				t.Errorf("committed up to %d of %d", head.Position.Sequence, info.Last)
			}
		}
		committed(200)
		committed(1) // a snapshot is due, and scans
		fill(l, 1)
		<-time.After(10 * time.Millisecond)
		close(snapshots.goOn) // the scan is through while something is folded and not committed
		committed(1)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the group ended with %v", err)
		}
	})
}
