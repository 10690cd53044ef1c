package fold_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/fold/foldtest"
)

// unsteady is a store of which something happens to the commits that leave a shard without a position.
type unsteady struct {
	*fold.Memory
	restoring func(c *fold.Commit) error
}

func (u *unsteady) Commit(ctx context.Context, c *fold.Commit) error {
	if c.To == (fold.Position{}) {
		return u.restoring(c)
	}
	return u.Memory.Commit(ctx, c)
}

// TestARestoreIsOneChain: while a shard has no position, only the number of its commits tells that the store went back in
// time, or that a commit comes late whose answer was lost.
func TestARestoreIsOneChain(t *testing.T) {
	ctx := context.Background()
	for name, kind := range map[string]struct {
		snapshot bool
		fault    func(t *testing.T, m *fold.Memory) func(c *fold.Commit) error
	}{
		"a commit comes late": {true, func(t *testing.T, m *fold.Memory) func(c *fold.Commit) error {
			var late *fold.Commit
			done := false
			t.Cleanup(func() {
				if !done {
					t.Error("no commit came late")
				}
			})
			return func(c *fold.Commit) error {
				if late == nil && len(c.Deleted) > 0 {
					late = c
					return errors.New("no answer")
				}
				err := m.Commit(ctx, c)
				if len(c.Fields) > 0 && late != nil && !done {
					done = true
					_ = m.Commit(ctx, late)
				}
				return err
			}
		}},
		"the store goes back while it is filled": {true, back(func(c *fold.Commit) bool { return len(c.Fields) > 0 })},
		"the store goes back to leftovers":       {false, back(func(c *fold.Commit) bool { return len(c.Deleted) > 0 })},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1)
				l := w.logs["0"]
				appendTo(l, 60)
				member := func(name string, store fold.Store) func() {
					g := &fold.Group{Member: name, Shards: []string{"0"}, Store: store, Logger: w.logger, Open: func(id string) fold.Shard {
						return fold.Shard{
							ID: id, Log: l, Store: store, Outlet: prefixed{w.ledger, id}, Machine: foldtest.Machine{}, Logger: w.logger,
							Expand: expand, Snapshots: w.saved,
						}
					}}
					if kind.snapshot {
						g.SnapshotOften(20, 5*time.Second)
					}
					ctx, cancel := context.WithCancel(ctx)
					done := make(chan struct{})
					go func() {
						defer close(done)
						_ = g.Run(ctx)
					}()
					return func() { cancel(); <-done }
				}
				if kind.snapshot {
					stop := member("a", w.store)
					time.Sleep(time.Minute)
					stop()
				}
				w.store.Flush()
				lease, ok, err := w.store.Acquire(ctx, "0", "dead", time.Second)
				if err != nil || !ok {
					t.Fatal(ok, err)
				}
				leftovers := []fold.FieldValue{{Name: "k1", Value: make([]byte, 8)}, {Name: "ghost", Value: make([]byte, 8)}}
				if err := w.store.Commit(ctx, &fold.Commit{Lease: lease, Number: 1, Nonce: "n", Fields: leftovers}); err != nil {
					t.Fatal(err)
				}
				stop := member("b", &unsteady{w.store, kind.fault(t, w.store)})
				time.Sleep(time.Minute)
				appendTo(l, 60)
				time.Sleep(time.Minute)
				stop()
				d, err := w.store.Dump(ctx, "0")
				if err != nil || d.Position.Sequence != 120 {
					t.Fatalf("folded to %d, %v", d.Position.Sequence, err)
				}
				want, err := fold.Rebuild(ctx, l, foldtest.Machine{}, fold.Dump{}, 120)
				if err != nil || !reflect.DeepEqual(want.Fields, d.Fields) {
					t.Errorf("the store holds %v, %v; want %v", d.Fields, err, want.Fields)
				}
			})
		})
	}
}

// back is a store that loses the first commit of a kind after it was acknowledged.
func back(which func(*fold.Commit) bool) func(*testing.T, *fold.Memory) func(*fold.Commit) error {
	return func(t *testing.T, m *fold.Memory) func(c *fold.Commit) error {
		done := false
		t.Cleanup(func() {
			if !done {
				t.Error("the store never went back")
			}
		})
		return func(c *fold.Commit) error {
			if done || !which(c) {
				return m.Commit(context.Background(), c)
			}
			done = true
			undo := m.Save()
			defer undo()
			return m.Commit(context.Background(), c)
		}
	}
}
