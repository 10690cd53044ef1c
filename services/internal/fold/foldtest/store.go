// Package foldtest is the suites that every store and every log passes, and a small machine to drive them with.
package foldtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/leadbaton/baton/services/internal/fold"
)

// Store runs the suite of a fold.Store. Each call of open returns an empty store.
func Store(t *testing.T, open func(t *testing.T) fold.Store) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	const ttl = time.Minute
	acquire := func(t *testing.T, s fold.Store, shard, member string) fold.Lease {
		t.Helper()
		l, ok, err := s.Acquire(ctx, shard, member, ttl)
		if err != nil || !ok {
			t.Fatalf("Acquire(%s, %s) = %v, %v", shard, member, ok, err)
		}
		return l
	}
	pos := func(n uint64) fold.Position { return fold.Position{Created: 7, Sequence: n, Time: int64(100 * n)} }

	t.Run("a commit applies whole", func(t *testing.T) {
		s := open(t)
		l := acquire(t, s, "3", "a")
		rec := fold.Record{Incarnation: 7, Sequence: 1, Ordinal: 2, Guard: fold.Ordered, Stream: "S", Subject: "x.y", Prefix: "x.*", Data: []byte("d"), Traceparent: "tp"}
		must(t, s.Commit(ctx, &fold.Commit{
			Lease: l, Version: "v1", Number: 1, To: pos(1), Nonce: "n1",
			Fields: []fold.FieldValue{{Name: "k", Value: []byte("one")}, {Name: "k/p", Value: []byte{0, 1, 255}}}, Records: []fold.Record{rec},
		}))
		must(t, s.Commit(ctx, &fold.Commit{
			Lease: l, Version: "v1", Number: 2, To: pos(2), Nonce: "n2",
			Fields: []fold.FieldValue{{Name: "j", Value: []byte("two")}}, Deleted: []string{"k/p"},
		}))
		got, err := s.Load(ctx, "3", fold.Held{Commits: 2}, []string{"k", "k/p", "j", "none"})
		must(t, err)
		if string(got[0]) != "one" || got[1] != nil || string(got[2]) != "two" || got[3] != nil {
			t.Errorf("Load = %q", got)
		}
		seen := map[string]string{}
		must(t, s.Scan(ctx, "3", fold.Held{}, func(f string, v []byte) bool {
			seen[f] = string(v)
			return true
		}))
		if len(seen) != 2 || seen["k"] != "one" || seen["j"] != "two" {
			t.Errorf("Scan = %q", seen)
		}
		h, err := s.Head(ctx, "3")
		must(t, err)
		if h.Position != pos(2) || h.Version != "v1" || h.Commits != 2 || h.Outbox != 1 {
			t.Errorf("Head = %+v", h)
		}
		box, err := s.Outbox(ctx, "3", fold.Held{Commits: 2})
		must(t, err)
		if len(box) != 1 || fmt.Sprintf("%+v", box[0]) != fmt.Sprintf("%+v", rec) {
			t.Errorf("Outbox = %+v, want %+v", box, rec)
		}
		must(t, s.Commit(ctx, &fold.Commit{Lease: l, Version: "v1", Number: 3, To: pos(2), Nonce: "n3", Left: []string{rec.ID()}}))
		_, err = s.Load(ctx, "3", fold.Held{Commits: 3}, []string{"k"})
		must(t, err)
		// What answers may be a server that was the master, and is behind.
		_, err = s.Load(ctx, "3", fold.Held{Commits: 4}, []string{"k"})
		refused(t, err, fold.ErrWentBack)
		_, err = s.Outbox(ctx, "3", fold.Held{Commits: 4})
		refused(t, err, fold.ErrWentBack)
		d, err := s.Dump(ctx, "3")
		must(t, err)
		if len(d.Outbox) != 0 || len(d.Fields) != 2 || d.Position != pos(2) || d.Commits != 3 {
			t.Errorf("Dump = %+v", d)
		}
	})

	t.Run("the fence", func(t *testing.T) {
		s := open(t)
		l := acquire(t, s, "0", "a")
		c1 := fold.Commit{Lease: l, Number: 1, To: pos(1), Nonce: "n1", Fields: []fold.FieldValue{{Name: "k", Value: []byte("1")}}}
		must(t, s.Commit(ctx, &c1))
		must(t, s.Commit(ctx, &c1)) // the answer was lost: the same nonce is success
		wrong := c1
		wrong.Nonce = "other"
		refused(t, s.Commit(ctx, &wrong), fold.ErrWentBack)
		gap := fold.Commit{Lease: l, Number: 3, To: pos(2), Nonce: "n5", Fields: []fold.FieldValue{{Name: "k", Value: []byte("6")}}}
		refused(t, s.Commit(ctx, &gap), fold.ErrWentBack)
		stranger := fold.Commit{Lease: fold.Lease{Shard: "0", Owner: "a", Token: "guessed"}, Number: 2, To: pos(2), Nonce: "n2", Fields: []fold.FieldValue{{Name: "k", Value: []byte("2")}}}
		refused(t, s.Commit(ctx, &stranger), fold.ErrFenced)
		// The same member acquires again: its own earlier lease is fenced too.
		l2 := acquire(t, s, "0", "a")
		old := fold.Commit{Lease: l, Number: 2, To: pos(2), Nonce: "n3"}
		refused(t, s.Commit(ctx, &old), fold.ErrFenced)
		_, err := s.Renew(ctx, l, ttl)
		refused(t, err, fold.ErrFenced)
		n, err := s.Renew(ctx, l2, ttl)
		must(t, err)
		if n != 1 {
			t.Errorf("Renew returned %d commits", n)
		}
		got, err := s.Load(ctx, "0", fold.Held{Commits: 1}, []string{"k"})
		must(t, err)
		if string(got[0]) != "1" {
			t.Errorf("a refused commit changed k to %q", got[0])
		}
		must(t, s.Commit(ctx, &fold.Commit{Lease: l2, Number: 2, To: pos(2), Nonce: "n4"}))
		must(t, s.Commit(ctx, &fold.Commit{Lease: l2, Number: 3, To: pos(3), Nonce: "n6"}))
	})

	t.Run("commits that leave the position as it is", func(t *testing.T) {
		s := open(t)
		l := acquire(t, s, "5", "a")
		counts := func(want uint64) {
			t.Helper()
			h, err := s.Head(ctx, "5")
			must(t, err)
			n, err := s.Renew(ctx, l, ttl)
			must(t, err)
			if h.Commits != want || n != want || h.Position != (fold.Position{}) {
				t.Errorf("Head = %+v and Renew = %d, want %d commits and no position", h, n, want)
			}
		}
		counts(0)
		rec := fold.Record{Sequence: 1, Guard: fold.Once, Stream: "S", Subject: "x"}
		first := fold.Commit{Lease: l, Number: 1, Nonce: "n1", Records: []fold.Record{rec}}
		must(t, s.Commit(ctx, &first))
		left := fold.Commit{Lease: l, Number: 2, Nonce: "n2", Left: []string{rec.ID()}}
		must(t, s.Commit(ctx, &left))
		must(t, s.Commit(ctx, &left))
		counts(2)
		refused(t, s.Commit(ctx, &first), fold.ErrWentBack) // it comes late
		refused(t, s.Commit(ctx, &fold.Commit{Lease: l, Number: 4, Nonce: "n4"}), fold.ErrWentBack)
		counts(2)
		box, err := s.Outbox(ctx, "5", fold.Held{Commits: 2})
		must(t, err)
		if len(box) != 0 {
			t.Errorf("Outbox = %+v", box)
		}
		for i := uint64(3); i <= 12; i++ { // to two digits
			must(t, s.Commit(ctx, &fold.Commit{Lease: l, Number: i, Nonce: fmt.Sprint("n", i)}))
			counts(i)
		}
		_, err = s.Load(ctx, "5", fold.Held{Commits: 12}, []string{"k"})
		must(t, err)
		must(t, s.Release(ctx, l))
		l = acquire(t, s, "5", "b")
		counts(12)
	})

	t.Run("what is held", func(t *testing.T) {
		s := open(t)
		l := acquire(t, s, "4", "a")
		rec := fold.Record{Incarnation: 7, Sequence: 1, Guard: fold.Once, Stream: "S", Subject: "x"}
		must(t, s.Commit(ctx, &fold.Commit{Lease: l, Number: 1, To: pos(1), Nonce: "n1", Records: []fold.Record{rec}, Fields: []fold.FieldValue{{Name: "k", Value: []byte("1")}}}))
		read := func(h fold.Held) (err error) {
			_, err1 := s.Load(ctx, "4", h, []string{"k"})
			_, err2 := s.Outbox(ctx, "4", h)
			err3 := s.Scan(ctx, "4", h, func(string, []byte) bool { return true })
			if fmt.Sprint(err1) != fmt.Sprint(err2) || fmt.Sprint(err2) != fmt.Sprint(err3) {
				t.Errorf("%+v: Load says %v, Outbox %v, Scan %v", h, err1, err2, err3)
			}
			return err1
		}
		for _, h := range []fold.Held{{}, {Commits: 1}, {Token: l.Token}, {Token: l.Token, Commits: 1}} {
			must(t, read(h))
		}
		refused(t, read(fold.Held{Token: l.Token, Commits: 2}), fold.ErrWentBack)
		// Another owner is ahead: what it has must not be folded on by this one, should the store go back to when it was its own.
		l2 := acquire(t, s, "4", "a")
		must(t, s.Commit(ctx, &fold.Commit{Lease: l2, Number: 2, To: pos(2), Nonce: "n2"}))
		refused(t, read(fold.Held{Token: l.Token, Commits: 1}), fold.ErrFenced)
		must(t, read(fold.Held{Token: l2.Token, Commits: 1}))
	})

	t.Run("leases", func(t *testing.T) {
		s := open(t)
		l := acquire(t, s, "1", "a")
		if _, ok, err := s.Acquire(ctx, "1", "b", ttl); err != nil || ok {
			t.Fatalf("b got a's shard: %v, %v", ok, err)
		}
		_, err := s.Renew(ctx, l, ttl)
		must(t, err)
		owners, err := s.Owners(ctx, []string{"0", "1", "2"})
		must(t, err)
		if len(owners) != 1 || owners["1"] != "a" {
			t.Errorf("Owners = %v", owners)
		}
		must(t, s.Release(ctx, fold.Lease{Shard: "1", Owner: "b", Token: "other"})) // nothing happens
		if _, ok, _ := s.Acquire(ctx, "1", "b", ttl); ok {
			t.Fatal("a stranger's Release freed the shard")
		}
		must(t, s.Release(ctx, l))
		l = acquire(t, s, "1", "b")
		refused(t, s.Commit(ctx, &fold.Commit{Lease: fold.Lease{Shard: "1", Owner: "a"}, Number: 1, To: pos(1), Nonce: "n"}), fold.ErrFenced)
		_, err = s.Renew(ctx, l, 30*time.Millisecond)
		must(t, err)
		eventually(t, func() bool {
			_, ok, err := s.Acquire(ctx, "1", "c", ttl)
			return err == nil && ok
		})
		_, err = s.Renew(ctx, l, ttl)
		refused(t, err, fold.ErrFenced)
	})

	t.Run("members", func(t *testing.T) {
		s := open(t)
		_, err := s.Beat(ctx, "b", ttl)
		must(t, err)
		got, err := s.Beat(ctx, "a", ttl)
		must(t, err)
		if strings.Join(got, " ") != "a b" {
			t.Errorf("members = %v", got)
		}
		must(t, s.Leave(ctx, "b"))
		_, err = s.Beat(ctx, "c", time.Millisecond)
		must(t, err)
		eventually(t, func() bool {
			got, err := s.Beat(ctx, "a", ttl)
			return err == nil && strings.Join(got, " ") == "a"
		})
	})

	t.Run("a large commit", func(t *testing.T) {
		s := open(t)
		l := acquire(t, s, "f", "a")
		c := &fold.Commit{Lease: l, Number: 1, To: pos(1), Nonce: "n1"}
		var names []string
		for i := range 9001 {
			names = append(names, fmt.Sprintf("key-%d", i))
			c.Fields = append(c.Fields, fold.FieldValue{Name: names[i], Value: []byte(names[i])})
		}
		for i := range 5003 {
			c.Records = append(c.Records, fold.Record{Sequence: uint64(i), Guard: fold.Once, Stream: "S", Subject: fmt.Sprintf("s.%d", i)})
		}
		must(t, s.Commit(ctx, c))
		d, err := s.Dump(ctx, "f")
		must(t, err)
		if len(d.Fields) != 9001 || len(d.Outbox) != 5003 {
			t.Fatalf("%d fields, %d records", len(d.Fields), len(d.Outbox))
		}
		for i, r := range d.Outbox {
			if r.Sequence != uint64(i) {
				t.Fatalf("record %d has sequence %d: the outbox is out of order", i, r.Sequence)
			}
		}
		c2 := &fold.Commit{Lease: l, Number: 2, To: pos(2), Nonce: "n2", Deleted: names}
		for i := range c.Records {
			c2.Left = append(c2.Left, c.Records[i].ID())
		}
		must(t, s.Commit(ctx, c2))
		d, err = s.Dump(ctx, "f")
		must(t, err)
		if len(d.Fields) != 0 || len(d.Outbox) != 0 {
			t.Fatalf("%d fields, %d records left", len(d.Fields), len(d.Outbox))
		}
	})

	t.Run("reset", func(t *testing.T) {
		s := open(t)
		l := acquire(t, s, "2", "a")
		must(t, s.Commit(ctx, &fold.Commit{Lease: l, Version: "v", Number: 1, To: pos(4), Nonce: "n", Fields: []fold.FieldValue{{Name: "k", Value: []byte("v")}}}))
		must(t, s.Reset(ctx, "2", pos(3), false))
		refused(t, s.Commit(ctx, &fold.Commit{Lease: l, Number: 2, To: pos(5), Nonce: "m"}), fold.ErrFenced)
		d, err := s.Dump(ctx, "2")
		must(t, err)
		if d.Position != pos(3) || string(d.Fields["k"]) != "v" {
			t.Errorf("kept: %+v", d)
		}
		must(t, s.Reset(ctx, "2", fold.Position{}, true))
		d, err = s.Dump(ctx, "2")
		must(t, err)
		if d.Position != (fold.Position{}) || len(d.Fields) != 0 || d.Version != "" || d.Commits != 1 {
			t.Errorf("wiped: %+v", d)
		}
		l = acquire(t, s, "2", "b")
		must(t, s.Commit(ctx, &fold.Commit{Lease: l, Number: 2, To: pos(1), Nonce: "o"}))
	})

	t.Run("shards do not touch each other", func(t *testing.T) {
		s := open(t)
		for _, id := range []string{"0", "9", "f"} {
			l := acquire(t, s, id, "a")
			must(t, s.Commit(ctx, &fold.Commit{Lease: l, Number: 1, To: pos(1), Nonce: "n", Fields: []fold.FieldValue{{Name: "k", Value: []byte(id)}}}))
		}
		for _, id := range []string{"0", "9", "f"} {
			got, err := s.Load(ctx, id, fold.Held{}, []string{"k"})
			must(t, err)
			if string(got[0]) != id {
				t.Errorf("shard %s holds %q", id, got[0])
			}
		}
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func refused(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

// eventually waits for a condition that the store's own clock brings about.
func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatal("it did not happen within 10 s")
		}
	}
}
