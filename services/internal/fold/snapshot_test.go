package fold_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/fold/foldtest"
)

func exampleShard() fold.Dump {
	d := fold.Dump{
		Head:   fold.Head{Position: fold.Position{Created: 7, Sequence: 900, Time: 1234}, Version: "test-1"},
		Fields: map[string][]byte{"": {1, 2, 3}, "empty": {}, "k/part": []byte(strings.Repeat("text ", 50))},
		Outbox: []fold.Record{{Incarnation: 7, Sequence: 899, Ordinal: 1, Guard: fold.Once, Stream: "S", Subject: "a.b", Data: []byte("fact")}},
	}
	for i := range 2500 { // some blocks
		d.Fields[fmt.Sprintf("key-%d", i)] = fmt.Appendf(nil, "value %d", i*i)
	}
	return d
}

func TestASnapshotIsWhatWasWritten(t *testing.T) {
	want := exampleShard()
	shard, got, err := fold.DecodeSnapshot(fold.EncodeSnapshot("a", want, nil))
	if err != nil || shard != "a" || !reflect.DeepEqual(got, want) {
		t.Fatalf("shard %q, %v; or its content differs", shard, err)
	}
}

// TestDamageIsNoticed: no changed byte and no cut goes unnoticed, on the disk or, should the compression's own checksums
// not see it, inside.
func TestDamageIsNoticed(t *testing.T) {
	small := exampleShard()
	for k := range small.Fields {
		if strings.HasPrefix(k, "key-") && len(k) > 5 {
			delete(small.Fields, k)
		}
	}
	whole := fold.EncodeSnapshot("a", small, nil)
	refused := func(what string, at int, b []byte) {
		t.Helper()
		if _, _, err := fold.DecodeSnapshot(b); !errors.Is(err, fold.ErrDamaged) {
			t.Fatalf("%s at %d: %v; want ErrDamaged", what, at, err)
		}
	}
	for i := range whole {
		b := append([]byte(nil), whole...)
		b[i] ^= 0x04
		refused("a changed byte", i, b)
		refused("a cut", i, whole[:i])
	}
	inner := 0
	fold.EncodeSnapshot("a", small, func(b []byte) []byte {
		inner = len(b)
		return b
	})
	for i := range inner {
		refused("a changed byte inside", i, fold.EncodeSnapshot("a", small, func(b []byte) []byte {
			b[i] ^= 0x04
			return b
		}))
		refused("a cut inside", i, fold.EncodeSnapshot("a", small, func(b []byte) []byte { return b[:i] }))
	}
	refused("more after the end", inner, fold.EncodeSnapshot("a", small, func(b []byte) []byte { return append(b, 0) }))
}

// TestLeftoversOfARestore: what an owner that died while it restored has left is not taken for states.
func TestLeftoversOfARestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.shards = []string{"0"}
		published := map[string][]string{}
		for i := range 50 {
			s := fmt.Sprintf("0%c", 'a'+i%5)
			w.logs["0"].Append("x", []byte(s))
			published["0"] = append(published["0"], s)
		}
		lease, ok, err := w.store.Acquire(context.Background(), "0", "dead", time.Second)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		c := &fold.Commit{Lease: lease, Number: 1, Nonce: "n", Records: []fold.Record{{Sequence: 1, Guard: fold.Once, Stream: "F", Subject: "ghost"}}}
		for i := range 2500 {
			c.Fields = append(c.Fields, fold.FieldValue{Name: fmt.Sprintf("ghost-%d", i), Value: []byte("half of something")})
		}
		c.Fields = append(c.Fields, fold.FieldValue{Name: "0a", Value: []byte{0, 0, 0, 0, 0, 0, 0, 9}})
		if err := w.store.Commit(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		m := w.join("a")
		time.Sleep(10 * time.Minute)
		w.check(published)
		d, err := w.store.Dump(context.Background(), "0")
		if err != nil || len(d.Fields) != 12 {
			t.Errorf("%d records, %v; want two of each counter and of the log", len(d.Fields), err)
		}
		m.cancel()
		<-m.done
	})
}

// TestSnapshotsThatDoNotFit: one of another stream, of another shard, from before an adoption, or of a version that this
// program does not fold is passed over with its reason, and the shard is folded from its start.
func TestSnapshotsThatDoNotFit(t *testing.T) {
	for reason, change := range map[string]func(w *world){
		"created anew": func(w *world) {
			l := w.logs["0"]
			l.Recreate(99)
			appendTo(l, 60)
		},
		"restored from an older copy": func(w *world) { w.logs["0"].Truncate(10) },
		"it is one of shard 1":        func(w *world) { w.saved.Copy("1", "0") },
		"the shard was adopted since": func(w *world) { w.logs["0"].Adopt(5) },
		"newer than this program's":   func(w *world) { w.saved.Copy("2", "0") },
	} {
		t.Run(reason, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1)
				w.shards = []string{"0", "1", "2"}
				appendTo(w.logs["0"], 60)
				appendTo(w.logs["1"], 60)
				w.logs["2"].Append("x", []byte("!2"))
				appendTo(w.logs["2"], 60)
				m := w.joinAs("a", 2, nil)
				time.Sleep(time.Minute)
				m.cancel()
				<-m.done
				w.store.Flush()
				change(w)
				w.said()
				w.shards = []string{"0"}
				m = w.join("b")
				time.Sleep(time.Minute)
				if said := w.said(); !strings.Contains(said, reason) || w.happened("no snapshot can be used; the shard's stream is folded from its start") != 1 {
					t.Errorf("it said %s", said)
				}
				d, err := w.store.Dump(context.Background(), "0")
				if err != nil {
					t.Fatal(err)
				}
				want, err := fold.Rebuild(context.Background(), w.logs["0"], foldtest.Machine{}, fold.Dump{}, d.Position.Sequence)
				if info, _ := w.logs["0"].Info(context.Background()); err != nil || d.Position.Sequence != info.Last || !reflect.DeepEqual(want.Fields, d.Fields) {
					t.Errorf("folded to %d of %d, %v", d.Position.Sequence, info.Last, err)
				}
				m.cancel()
				<-m.done
			})
		})
	}
}

func appendTo(l *foldtest.Log, n int) {
	for i := range n {
		l.Append("x", fmt.Appendf(nil, "k%d", i%7))
	}
}

// TestTheLastMemberTakesASnapshot: and starts from it with an empty store, whatever it had taken before. One that is
// followed by another member while it writes takes none: its scan may have found states of two instants.
func TestTheLastMemberTakesASnapshot(t *testing.T) {
	for followed, says := range map[bool]string{
		false: "the store had nothing of a shard; it goes on from a snapshot", true: "no snapshot was taken at the end; the next start folds more",
	} {
		t.Run(fmt.Sprintf("followed %v", followed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1)
				w.shards = []string{"0"}
				l := w.logs["0"]
				more := func(n int) {
					for i := range n {
						l.Append("x", fmt.Appendf(nil, "k%d", i%60))
					}
				}
				more(200)
				a := w.join("a")
				time.Sleep(time.Minute) // until the first snapshot is there
				more(200)
				time.Sleep(time.Second)
				a.cancel()
				var b *member
				if followed {
					time.Sleep(fold.DefaultLeaseTTL)
					b = w.join("b")
					for range 20 {
						time.Sleep(100 * time.Millisecond)
						more(60)
					}
				}
				<-a.done
				list, err := w.saved.List(context.Background(), "0")
				if err != nil || len(list) == 0 || followed != (list[0].Sequence < 400) {
					t.Errorf("snapshots: %+v, %v", list, err)
				}
				if b == nil {
					w.store.Flush()
					b = w.join("b")
				}
				time.Sleep(time.Minute)
				if w.happened(says) != 1 {
					t.Errorf("it was not said that %s", says)
				}
				d, err := w.store.Dump(context.Background(), "0")
				if err != nil {
					t.Fatal(err)
				}
				w.rebuilt("0", d)
				b.cancel()
				<-b.done
			})
		})
	}
}
