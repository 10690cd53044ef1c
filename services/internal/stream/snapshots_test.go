package stream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/leadbaton/baton/services/internal/embedded"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/servertest"
	"github.com/leadbaton/baton/services/internal/stream"
)

func connectTo(t *testing.T, ctx context.Context, o stream.Options) *stream.Conn {
	t.Helper()
	c, err := stream.Connect(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.EnsureStreams(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

// noise does not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = r.Read(b)
	return b
}

func readSnapshot(ctx context.Context, s *stream.Snapshots, shard, name string) ([]byte, error) {
	r, err := s.Open(ctx, shard, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	return io.ReadAll(r)
}

func save(t *testing.T, ctx context.Context, s *stream.Snapshots, shard string, sequence uint64, body []byte) {
	t.Helper()
	err := s.Save(ctx, shard, fold.Head{Position: fold.Position{Created: 1, Sequence: sequence}, Version: "v"}, func(w io.Writer) error {
		_, err := w.Write(body)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func sequences(t *testing.T, ctx context.Context, s *stream.Snapshots, shard string) (out []uint64, names []string) {
	t.Helper()
	list, err := s.List(ctx, shard)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		out, names = append(out, i.Sequence), append(names, i.Name)
	}
	return out, names
}

func testSnapshots(t *testing.T, on func(*testing.T) server) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := connectTo(t, ctx, on(t).options())
	defer c.Close()
	s := c.Snapshots()
	if n, _ := sequences(t, ctx, s, "3"); len(n) != 0 {
		t.Fatalf("there are snapshots: %v", n)
	}
	bodies := map[uint64][]byte{100: noise(3 << 20), 200: noise(100), 300: noise(1<<20 + 7)}
	for _, n := range []uint64{100, 200, 300} {
		save(t, ctx, s, "3", n, bodies[n])
	}
	save(t, ctx, s, "4", 7, []byte("another shard's"))
	got, names := sequences(t, ctx, s, "3")
	if !slices.Equal(got, []uint64{300, 200}) {
		t.Fatalf("snapshots begun at %v; want the two newest, newest first", got)
	}
	for i, n := range got {
		if b, err := readSnapshot(ctx, s, "3", names[i]); err != nil || !bytes.Equal(b, bodies[n]) {
			t.Errorf("%d bytes, %v; want the %d that were written", len(b), err, len(bodies[n]))
		}
	}
	// One that fails under way leaves what was there, and nothing else.
	before := chunks(t, ctx, c)
	failed := errors.New("the owner was fenced")
	err := s.Save(ctx, "3", fold.Head{}, func(w io.Writer) error {
		_, err := w.Write(noise(2 << 20))
		return errors.Join(err, failed)
	})
	if !errors.Is(err, failed) {
		t.Errorf("Save = %v", err)
	}
	if got, _ := sequences(t, ctx, s, "3"); !slices.Equal(got, []uint64{300, 200}) {
		t.Errorf("snapshots begun at %v", got)
	}
	if after := chunks(t, ctx, c); after != before {
		t.Errorf("%d messages are left; there were %d", after, before)
	}
	// The usual tools read it.
	js, err := jetstream.New(c.NATS())
	if err != nil {
		t.Fatal(err)
	}
	b, err := js.ObjectStore(ctx, stream.SnapshotsBucket)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := b.GetBytes(ctx, names[0]); err != nil || !bytes.Equal(v, bodies[300]) {
		t.Errorf("the object store's own reader got %d bytes, %v", len(v), err)
	}
	// A reader that has enough ends at once.
	r, err := s.Open(ctx, "3", names[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	replacedUnderItsReader(t, ctx, s)
	if err := s.Forget(ctx, "3", names[0]); err != nil {
		t.Fatal(err)
	}
	if got, _ := sequences(t, ctx, s, "3"); !slices.Equal(got, []uint64{200}) {
		t.Errorf("snapshots begun at %v", got)
	}
	if _, err := readSnapshot(ctx, s, "3", names[0]); !errors.Is(err, fold.ErrDamaged) {
		t.Errorf("reading what is gone: %v", err)
	}
	save(t, ctx, s, "3", 400, bodies[100])
	if got, _ := sequences(t, ctx, s, "3"); !slices.Equal(got, []uint64{400, 200}) {
		t.Errorf("snapshots begun at %v; the good one was replaced", got)
	}
}

// chunks is how many messages the bucket has.
// replacedUnderItsReader: a reader whose snapshot is replaced is not told that it is damaged, or it would delete the new one.
func replacedUnderItsReader(t *testing.T, ctx context.Context, s *stream.Snapshots) {
	t.Helper()
	save(t, ctx, s, "9", 1, noise(24<<20)) // more than is sent ahead
	_, names := sequences(t, ctx, s, "9")
	r, err := s.Open(ctx, "9", names[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	save(t, ctx, s, "9", 2, noise(100))
	save(t, ctx, s, "9", 3, noise(100))
	if _, err := io.Copy(io.Discard, r); err == nil || errors.Is(err, fold.ErrDamaged) {
		t.Errorf("the reader was told %v; want that the snapshot was replaced", err)
	}
	if got, _ := sequences(t, ctx, s, "9"); !slices.Equal(got, []uint64{3, 2}) {
		t.Errorf("snapshots begun at %v", got)
	}
}

func chunks(t *testing.T, ctx context.Context, c *stream.Conn) uint64 {
	t.Helper()
	js, err := jetstream.New(c.NATS())
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(ctx, "OBJ_"+stream.SnapshotsBucket)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func TestSnapshotsEmbedded(t *testing.T) { testSnapshots(t, onEmbedded) }
func TestSnapshotsProcess(t *testing.T)  { testSnapshots(t, onProcess) }

// TestADamagedObjectIsNoticed changes bytes of a snapshot on the disk, one place at a time.
func TestADamagedObjectIsNoticed(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	run := func(do func(s *stream.Snapshots)) {
		t.Helper()
		ns, err := embedded.StartNATS(embedded.NATSOptions{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Stop()
		c := connectTo(t, ctx, stream.Options{InProcess: ns, Logger: quiet, Name: "test"})
		defer c.Close()
		do(c.Snapshots())
	}
	body := noise(1 << 20)
	var name string
	run(func(s *stream.Snapshots) {
		save(t, ctx, s, "3", 1, body)
		_, names := sequences(t, ctx, s, "3")
		name = names[0]
	})
	blocks, err := filepath.Glob(filepath.Join(dir, "nats", "jetstream", "*", "streams", "OBJ_"+stream.SnapshotsBucket, "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatalf("where is the bucket's data? %v, %v", blocks, err)
	}
	slices.Sort(blocks)
	for _, at := range []int64{1000, 600 << 10} {
		f, err := os.OpenFile(blocks[0], os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		was := make([]byte, 4)
		if _, err := f.ReadAt(was, at); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{^was[0], ^was[1], ^was[2], ^was[3]}, at); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		run(func(s *stream.Snapshots) {
			if got, err := readSnapshot(ctx, s, "3", name); err == nil || bytes.Equal(got, body) {
				t.Errorf("changed at %d: %d bytes, %v", at, len(got), err)
			} else if !errors.Is(err, fold.ErrDamaged) && !strings.Contains(err.Error(), "gap") {
				t.Errorf("changed at %d: %v; want ErrDamaged", at, err)
			}
		})
	}
}

// TestTheBucketIsDeleted under way: then there are no snapshots, for which no shard waits, and the next one makes it anew.
func TestTheBucketIsDeleted(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ns, err := embedded.StartNATS(embedded.NATSOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Stop()
	c := connectTo(t, ctx, stream.Options{InProcess: ns, Name: "test"})
	defer c.Close()
	s := c.Snapshots()
	save(t, ctx, s, "3", 5, noise(1000))
	js, err := jetstream.New(c.NATS())
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteObjectStore(ctx, stream.SnapshotsBucket); err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(ctx, "3"); err != nil || len(list) != 0 {
		t.Fatalf("List = %v, %v", list, err)
	}
	if err := js.DeleteObjectStore(ctx, stream.SnapshotsBucket); err != nil {
		t.Fatal(err)
	}
	save(t, ctx, s, "3", 6, noise(1000))
	if list, err := s.List(ctx, "3"); err != nil || len(list) != 1 {
		t.Fatalf("List = %v, %v", list, err)
	}
}

// TestChunksKeepTheirOrder: while no server answers for the bucket, as between two leaders of it, a later chunk must not be
// stored before an earlier one that is sent again.
func TestChunksKeepTheirOrder(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ns, err := embedded.StartNATS(embedded.NATSOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Stop()
	c := connectTo(t, ctx, stream.Options{InProcess: ns, Name: "test"})
	defer c.Close()
	js, err := jetstream.New(c.NATS())
	if err != nil {
		t.Fatal(err)
	}
	s := c.Snapshots()
	err = s.Save(ctx, "3", fold.Head{Position: fold.Position{Created: 1, Sequence: 5}, Version: "v"}, func(w io.Writer) error {
		if err := js.DeleteObjectStore(ctx, stream.SnapshotsBucket); err != nil {
			return err
		}
		if _, err := w.Write(noise(600 << 10)); err != nil { // its first chunk is sent, and nobody is there
			return err
		}
		if _, err := js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: stream.SnapshotsBucket}); err != nil {
			return err
		}
		_, err := w.Write(noise(600 << 10))
		return err
	})
	if err != nil {
		return // nothing was saved, and whoever saves knows it
	}
	list, err := s.List(ctx, "3")
	if err != nil || len(list) != 1 {
		t.Fatalf("List = %v, %v", list, err)
	}
	if _, err := readSnapshot(ctx, s, "3", list[0].Name); err != nil {
		t.Errorf("what was saved without an error: %v", err)
	}
}

// TestSnapshotsAreAskedForOfTheLeader: any server of a cluster answers a direct get. What one says that is behind is of a
// snapshot whose chunks are gone, so that the good one in its place would pass for damaged, and be deleted.
func TestSnapshotsAreAskedForOfTheLeader(t *testing.T) {
	p := servertest.NATS(t, users(map[string][]string{"scorer": {
		"publish $JS.API.INFO", "publish $JS.API.STREAM.>", "publish $JS.API.CONSUMER.>", "publish $O." + stream.SnapshotsBucket + ".>", "subscribe _INBOX.>",
	}}))
	mustConnect(t, p, "operator")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s := mustConnect(t, p, "scorer").Snapshots() // who may get nothing directly
	begun := time.Now()
	for n := range uint64(3) {
		save(t, ctx, s, "3", n+1, noise(1000))
	}
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("saving took %s: it waited for an answer that does not come", took)
	}
	list, err := s.List(ctx, "3")
	if err != nil || len(list) != 2 || list[0].Sequence != 3 {
		t.Fatalf("List = %v, %v", list, err)
	}
	if body, err := readSnapshot(ctx, s, "3", list[0].Name); err != nil || !bytes.Equal(body, noise(1000)) {
		t.Errorf("read %d bytes: %v", len(body), err)
	}
}
