package fold_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leadbaton/baton/services/internal/fold"
)

// publish appends messages to shards at random.
func (w *world) publish(published map[string][]string, n int) {
	for range n {
		id := w.shards[w.intN(len(w.shards))]
		s := text(w, id)
		w.logs[id].Append("x", []byte(s))
		published[id] = append(published[id], s)
	}
}

func (w *world) mark(published map[string][]string, id string) {
	w.logs[id].Append("x", []byte("!2"))
	published[id] = append(published[id], "!2")
}

// TestAVersionTakesForce puts version 2 in force in one shard after the other while events flow, under faults and with
// members of both versions. Each shard changes at its marker's place, whoever folds it.
func TestAVersionTakesForce(t *testing.T) {
	left := 0
	for seed := range uint64(25) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, seed)
			w.faults = true
			members := []*member{w.joinAs("a", 1, nil), w.joinAs("b", 2, nil), w.joinAs("c", 1, nil)}
			defer func() {
				if t.Failed() {
					t.Logf("seed %d; happened: %v", seed, w.happens)
				}
			}()
			published := map[string][]string{}
			for step := range 40 {
				w.publish(published, w.intN(30))
				if at := step - 10; at >= 0 && at%5 == 0 && at/5 < len(w.shards) {
					w.mark(published, w.shards[at/5])
				}
				switch w.intN(12) {
				case 0:
					i := w.intN(len(members))
					members[i].cancel()
					<-members[i].done
					members[i] = w.joinAs(fmt.Sprintf("m%d", w.intN(1<<30)), 1+w.intN(2), nil)
				case 1:
					w.store.Flush()
				}
				time.Sleep(time.Duration(w.intN(1500)) * time.Millisecond)
			}
			w.mu.Lock()
			w.faults = false
			w.mu.Unlock()
			members = append(members, w.joinAs("new", 2, nil))
			time.Sleep(2 * time.Minute)
			w.check(published)
			left += w.happened("a shard is left to newer programs")
			for _, m := range members {
				m.cancel()
				<-m.done
			}
		})
	}
	if left == 0 {
		t.Error("no member ever met a version that it does not fold, so this test proves less than it says")
	}
}

// TestAnOlderMemberLeavesItsShards: a member that meets a newer version commits nothing past it, says so, leaves all its
// shards to those who fold it, and while there are none goes on with those that it folds.
func TestAnOlderMemberLeavesItsShards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		published := map[string][]string{}
		a, b := w.join("a"), w.join("b")
		w.publish(published, 100)
		time.Sleep(time.Minute)
		before := len(published["2"])
		w.mark(published, "2")
		w.publish(published, 100)
		time.Sleep(time.Minute)
		for _, id := range w.shards {
			want := len(published[id])
			if id == "2" {
				want = before
			}
			if h, err := w.store.Head(context.Background(), id); err != nil || int(h.Position.Sequence) != want || h.Version != "test-1" {
				t.Errorf("shard %s stands at %+v, %v; want %d", id, h, err, want)
			}
			if box, err := w.store.Outbox(context.Background(), id, fold.Held{}); err != nil || len(box) != 0 {
				t.Errorf("shard %s: %d records have not left, %v", id, len(box), err)
			}
		}
		said := 0
		for _, m := range []*member{a, b} {
			if err := m.group.Healthy(); err != nil {
				said++
				if !strings.Contains(err.Error(), "fold version test-2 is newer than this program's test-1") {
					t.Errorf("Healthy = %v", err)
				}
			}
		}
		if said == 0 {
			t.Error("both members say that all is well")
		}
		c := w.joinAs("c", 2, nil)
		time.Sleep(time.Minute)
		for _, m := range []*member{a, b} {
			held := 0
			for _, s := range m.group.Status() {
				if s.Held {
					held++
				}
			}
			if m.group.Healthy() != nil && held > 0 {
				t.Errorf("%s has met a newer version, and holds %d shards", m.group.Member, held)
			}
		}
		w.check(published)
		if h, err := w.store.Head(context.Background(), "2"); err != nil || h.Version != "test-2" {
			t.Errorf("shard 2 stands at %+v, %v", h, err)
		}
		for _, id := range []string{"0", "1", "3"} {
			w.mark(published, id)
		}
		w.publish(published, 100)
		time.Sleep(time.Minute)
		owns(t, a, 0)
		owns(t, b, 0)
		owns(t, c, 4)
		w.check(published)
		// What the newer program has committed is not touched by the older one, not even when it is alone.
		c.cancel()
		<-c.done
		w.publish(published, 10)
		time.Sleep(time.Minute)
		for _, m := range []*member{a, b} {
			owns(t, m, 0)
			if err := m.group.Healthy(); err == nil {
				t.Errorf("%s says that all is well", m.group.Member)
			}
			m.cancel()
			<-m.done
		}
		for _, id := range w.shards {
			if h, _ := w.store.Head(context.Background(), id); h.Version != "test-2" {
				t.Errorf("shard %s: %+v", id, h)
			}
		}
	})
}

// TestAMemberComesBackAfterAdoption: once the marker that it does not fold is gone, as after a restore, a member is whole again.
func TestAMemberComesBackAfterAdoption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.shards = []string{"0"}
		l := w.logs["0"]
		fill(l, 5)
		l.Append("x", []byte("!2"))
		m := w.join("a")
		time.Sleep(70 * time.Second)
		if s := m.group.Status()["0"]; m.group.Healthy() == nil || s.Held {
			t.Errorf("the member goes on: %v, %+v", m.group.Healthy(), s)
		}
		l.Truncate(5)
		fill(l, 5)
		time.Sleep(70 * time.Second)
		owns(t, m, 1)
		if err := m.group.Healthy(); err != nil {
			t.Error(err)
		}
		m.cancel()
		<-m.done
	})
}
