package fold_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leadbaton/baton/services/internal/fold"
)

// TestAStopIsForgottenWhenAnotherMemberGoesOn: a member that left a stopped shard to another does not say for ever that it
// stands still.
func TestAStopIsForgottenWhenAnotherMemberGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.shards = []string{"0"}
		l := w.logs["0"]
		fill(l, 5)
		b := w.join("b")
		time.Sleep(time.Second)
		b.cancel()
		<-b.done
		l.Truncate(3)
		b = w.join("b")
		time.Sleep(3 * fold.DefaultLeaseTTL)
		if s := b.group.Status()["0"].Stopped; !strings.Contains(s, "older copy") {
			t.Fatalf("Stopped = %q", s)
		}
		a := w.join("a") // before b in order, so the only shard is its share
		time.Sleep(3 * fold.DefaultLeaseTTL)
		fill(l, 2) // as they were
		time.Sleep(3 * fold.DefaultLeaseTTL)
		owns(t, a, 1)
		if s := b.group.Status()["0"].Stopped; s != "" {
			t.Errorf("b says of a's shard: %s", s)
		}
		for _, m := range []*member{a, b} {
			m.cancel()
			<-m.done
		}
	})
}

// TestAMemberThatCannotFoldLeavesItsShards: one that reaches the store but not the logs does not keep the others from them.
func TestAMemberThatCannotFoldLeavesItsShards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		a := w.join("a")
		var cut atomic.Bool
		b := w.joinAble("b", func() bool { return !cut.Load() })
		time.Sleep(2 * fold.DefaultLeaseTTL)
		owns(t, a, 2)
		owns(t, b, 2)
		cut.Store(true)
		time.Sleep(fold.DefaultLeaseTTL / 2)
		owns(t, b, 2) // a short interruption moves nothing
		time.Sleep(2 * fold.DefaultLeaseTTL)
		owns(t, a, 4)
		owns(t, b, 0)
		cut.Store(false)
		time.Sleep(2 * fold.DefaultLeaseTTL)
		owns(t, a, 2)
		owns(t, b, 2)
		for _, m := range []*member{a, b} {
			m.cancel()
			<-m.done
		}
	})
}

// TestAStoreThatLostOnlyADeletion: a store may go back to where only records are there again that have left. The shard's
// position is the same then, and without new messages nothing but the number of commits tells its owner.
func TestAStoreThatLostOnlyADeletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.shards = []string{"0"}
		var goBack func()
		w.ledger.Fault = func() string { // asked when the record is committed, and before it leaves
			if goBack == nil {
				goBack = w.store.Save()
			}
			return ""
		}
		fill(w.logs["0"], 3)
		m := w.join("a")
		defer func() {
			m.cancel()
			<-m.done
		}()
		stands := func(outbox int) {
			t.Helper()
			d, err := w.store.Dump(t.Context(), "0")
			if err != nil || d.Position.Sequence != 3 || len(d.Outbox) != outbox || len(w.ledger.Facts()) != 1 {
				t.Fatalf("folded to %d, %d records in the outbox, facts %v, %v; want 3, %d, one", d.Position.Sequence, len(d.Outbox), w.ledger.Facts(), err, outbox)
			}
		}
		time.Sleep(fold.DefaultLeaseTTL / 2)
		stands(0)
		goBack()
		stands(1)
		time.Sleep(2 * fold.DefaultLeaseTTL)
		stands(0)
	})
}
