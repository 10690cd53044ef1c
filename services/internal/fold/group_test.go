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
