package scorer_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/embedded"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/stream"
)

// addressIn returns an address whose lead key begins with the given digits.
func addressIn(begins string) string {
	for i := 0; ; i++ {
		if a := fmt.Sprintf("p%d@acme.example", i); strings.HasPrefix(string(leadkey.FromEmail(a)), begins) {
			return a
		}
	}
}

// anonymousIn returns the n-th anonymous id whose lead key begins with the given digits.
func anonymousIn(begins string, n int) string {
	for i := 0; ; i++ {
		a := fmt.Sprint("cookie", i)
		if !strings.HasPrefix(string(leadkey.FromAnonymous(a)), begins) {
			continue
		}
		if n--; n < 0 {
			return a
		}
	}
}

// TestTheFirstBucket: what holds for all leads of a shard stands in bucket 000, among the events of its leads.
func TestTheFirstBucket(t *testing.T) {
	b := start(t)
	who := addressIn("3000")
	b.activateOne("3", example(t, "agreement.yaml"))
	b.publish(event("e1", "page.viewed", time.Now(), map[string]any{"email": who}, nil))
	b.folded()
	r, err := b.leads.Timeline(b.ctx, &leadv1.TimelineRequest{Lead: who})
	must(t, err)
	if n := len(r.GetEntries()); n == 0 {
		t.Error("the timeline is empty")
	}
}

// TestReplayOfAnOlderCopy: the stream comes back from its backup without its newest messages, and goes on from there.
// What new messages cause is not taken for what the lost messages of the same sequence caused.
func TestReplayOfAnOlderCopy(t *testing.T) {
	for _, mode := range []shardv1.AdoptRequest_Mode{shardv1.AdoptRequest_MODE_REPLAY, shardv1.AdoptRequest_MODE_KEEP} {
		t.Run(mode.String(), func(t *testing.T) { restoreAndAdopt(t, mode) })
	}
}

func restoreAndAdopt(t *testing.T, mode shardv1.AdoptRequest_Mode) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	rs := fold.NewMemory()
	dir := t.TempDir()
	run := func(do func(b *bench)) {
		t.Helper()
		ns, err := embedded.StartNATS(embedded.NATSOptions{Dir: dir})
		must(t, err)
		defer ns.Stop()
		conn, err := stream.Connect(ctx, stream.Options{InProcess: ns, Logger: logger(), Name: "test"})
		must(t, err)
		defer conn.Close()
		b := &bench{t: t, ctx: ctx, conn: conn, store: rs}
		b.run()
		defer func() { b.stop() }()
		do(b)
	}
	who, other := addressIn("3"), addressIn("31")
	demo := func(id, who, anon string) map[string]any {
		return event(id, "form.submitted", time.Now(), map[string]any{"email": who, "anonymousId": anon, "company": "Acme", "name": "A B"},
			map[string]any{"form": "demo"})
	}
	copyOf := filepath.Join(t.TempDir(), "copy")
	var of string
	run(func(b *bench) {
		b.activateOne("3", example(t, "agreement.yaml"))
		b.publish(event("e1", "page.viewed", time.Now(), map[string]any{"email": who}, nil))
		b.folded()
	})
	must(t, filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == subject.EngagementStream("3") {
			of = p
		}
		return err
	}))
	must(t, os.CopyFS(copyOf, os.DirFS(of)))
	run(func(b *bench) {
		for i := range 3 {
			b.publish(demo(fmt.Sprint("lost", i), who, anonymousIn("5", i)))
		}
		b.folded()
	})
	must(t, os.RemoveAll(of))
	must(t, os.CopyFS(of, os.DirFS(copyOf)))
	run(func(b *bench) {
		for i := range 2 {
			b.publish(demo(fmt.Sprint("new", i), other, anonymousIn("5", 10+i)))
		}
		b.until("the shard stands still", func() bool { return stopped(b) != "" })
		_, err := b.shards.Adopt(ctx, &shardv1.AdoptRequest{RequestId: "1", Shard: "3", Mode: mode})
		must(t, err)
		b.until("the shard goes on", func() bool {
			r, err := b.shards.List(ctx, &shardv1.ListRequest{})
			if err != nil {
				return false
			}
			for _, s := range r.GetShards() {
				if s.GetId() == "3" {
					return s.GetStopped() == "" && s.GetLag() == 0
				}
			}
			return false
		})
		b.folded()
		if s := stopped(b); s != "" {
			t.Errorf("the shard stands still again: %s", s)
		}
		r, err := b.leads.Get(ctx, &leadv1.GetRequest{Lead: other})
		must(t, err)
		if n := len(r.GetLead().GetAliases()); n != 2 {
			t.Errorf("%d of the new events' 2 claims were answered", n)
		}
		qualified := 0
		for _, f := range b.facts() {
			if f.GetLeadQualified() != nil && f.GetLeadKey() == string(leadkey.FromEmail(other)) {
				qualified++
			}
		}
		if qualified != 1 {
			t.Errorf("the lead of the new events was qualified %d times", qualified)
		}
	})
}

func stopped(b *bench) string {
	r, err := b.shards.List(b.ctx, &shardv1.ListRequest{})
	if err != nil {
		return ""
	}
	for _, s := range r.GetShards() {
		if s.GetId() == "3" {
			return s.GetStopped()
		}
	}
	return ""
}

// lateSnapshot is a store of a shard whose snapshot is completed while the shard is adopted.
type lateSnapshot struct {
	fold.Store
	save func()
}

func (s *lateSnapshot) Reset(ctx context.Context, shard string, to fold.Position, wipe bool) error {
	s.save()
	return s.Store.Reset(ctx, shard, to, wipe)
}

// TestReplayIgnoresALateSnapshot: a shard that is replayed is folded from its stream's start, also if one of its snapshots was
// being stored when the others were deleted.
func TestReplayIgnoresALateSnapshot(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	ns, err := embedded.StartNATS(embedded.NATSOptions{Dir: t.TempDir()})
	must(t, err)
	defer ns.Stop()
	conn, err := stream.Connect(ctx, stream.Options{InProcess: ns, Logger: logger(), Name: "test"})
	must(t, err)
	defer conn.Close()
	must(t, conn.EnsureStreams(ctx))
	var log said
	late := &lateSnapshot{Store: fold.NewMemory()}
	b := &bench{t: t, ctx: ctx, conn: conn, store: late, log: slog.New(slog.NewTextHandler(&log, nil))}
	b.run()
	who := addressIn("3")
	for i := range 2000 {
		b.publish(event(fmt.Sprint("e", i), "page.viewed", time.Now(), map[string]any{"email": who}, nil))
	}
	b.folded()
	b.stop() // takes the snapshot
	list, err := conn.Snapshots().List(ctx, "3")
	must(t, err)
	if len(list) != 1 {
		t.Fatalf("%d snapshots", len(list))
	}
	r, err := conn.Snapshots().Open(ctx, "3", list[0].Name)
	must(t, err)
	body, err := io.ReadAll(r)
	must(t, err)
	must(t, r.Close())
	head, err := late.Head(ctx, "3")
	must(t, err)
	late.save = func() {
		must(t, conn.Snapshots().Save(ctx, "3", head, func(w io.Writer) error {
			_, err := io.Copy(w, bytes.NewReader(body))
			return err
		}))
	}
	b.run()
	defer func() { b.stop() }()
	b.folded()
	_, err = b.shards.Adopt(ctx, &shardv1.AdoptRequest{RequestId: "1", Shard: "3", Mode: shardv1.AdoptRequest_MODE_REPLAY})
	must(t, err)
	b.folded()
	if n := log.times(fromSnapshot); n != 0 {
		t.Errorf("%d shards went on from a snapshot that is from before the adoption", n)
	}
	b.verify()
}
