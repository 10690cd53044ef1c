package stream

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/leadbaton/baton/services/internal/fold"
)

// SnapshotsBucket is the JetStream object store that holds the shards' snapshots: two for each shard, SHARD.a and SHARD.b,
// of which the older is replaced.
const SnapshotsBucket = "BATON_SNAPSHOTS"

// snapshotSlots are the names of a shard's snapshots. They are used again, so that a bucket never grows.
var snapshotSlots = [...]string{"a", "b"}

// Snapshots is a fold.Snapshots in a JetStream object store.
type Snapshots struct{ c *Conn }

var _ fold.Snapshots = (*Snapshots)(nil)

// Snapshots returns the shards' snapshots. EnsureStreams creates their bucket.
func (c *Conn) Snapshots() *Snapshots { return &Snapshots{c} }

// ensureSnapshots creates the bucket if it is missing.
func (c *Conn) ensureSnapshots(ctx context.Context) error {
	_, err := c.js.ObjectStore(ctx, SnapshotsBucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		_, err = c.js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{
			Bucket: SnapshotsBucket, Description: "What Baton's shards were: a store that has lost them starts from here",
			Storage: jetstream.FileStorage, Replicas: c.replicas(),
		})
		if errors.Is(err, jetstream.ErrBucketExists) {
			err = nil // another service was faster
		}
	}
	if err != nil {
		return fmt.Errorf("object store %s: %w", SnapshotsBucket, err)
	}
	return nil
}

// bucket creates the bucket anew if it was deleted under way: no shard waits for what will not come back.
func (s *Snapshots) bucket(ctx context.Context) (jetstream.ObjectStore, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	b, err := s.c.js.ObjectStore(ctx, SnapshotsBucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		if err = s.c.ensureSnapshots(ctx); err == nil {
			b, err = s.c.js.ObjectStore(ctx, SnapshotsBucket)
		}
	}
	return b, err
}

// kept is one snapshot that is there.
type kept struct {
	name string
	info *jetstream.ObjectInfo // nil = there is none of this name
}

// info is the client library's GetInfo, but of the stream's leader: another server of the cluster may be behind, and the
// chunks of what it knows gone. A good snapshot would be taken for a damaged one.
func (s *Snapshots) info(ctx context.Context, name string) (*jetstream.ObjectInfo, error) {
	return s.infoOn(ctx, metaOf(name))
}

func (s *Snapshots) infoOn(ctx context.Context, subject string) (*jetstream.ObjectInfo, error) {
	m, err := s.c.lastOn(ctx, "OBJ_"+SnapshotsBucket, subject)
	if errors.Is(err, nats.ErrMsgNotFound) {
		return nil, jetstream.ErrObjectNotFound
	}
	if err != nil {
		return nil, err
	}
	info := &jetstream.ObjectInfo{}
	if err := json.Unmarshal(m.Data, info); err != nil {
		return nil, fmt.Errorf("what %s says of an object cannot be read: %w", subject, err)
	}
	if info.Deleted {
		return nil, jetstream.ErrObjectNotFound
	}
	info.ModTime = m.Time
	return info, nil
}

// slots returns a shard's slots, newest first, empty ones last.
func (s *Snapshots) slots(ctx context.Context, shard string) ([]kept, error) {
	out := make([]kept, len(snapshotSlots))
	for i, slot := range snapshotSlots {
		out[i].name = shard + "." + slot
		info, err := s.info(ctx, out[i].name)
		switch {
		case errors.Is(err, jetstream.ErrObjectNotFound):
		case err != nil:
			return nil, err
		default:
			out[i].info = info
		}
	}
	slices.SortStableFunc(out, func(a, b kept) int {
		switch {
		case a.info == nil && b.info == nil:
			return 0
		case a.info == nil:
			return 1
		case b.info == nil:
			return -1
		}
		return b.info.ModTime.Compare(a.info.ModTime)
	})
	return out, nil
}

// What the object's metadata says of a snapshot, for operators (`nats object info`) and for List.
const (
	sequenceKey = "baton.sequence"
	versionKey  = "baton.fold-version"
)

// List implements fold.Snapshots.
func (s *Snapshots) List(ctx context.Context, shard string) ([]fold.SnapshotInfo, error) {
	if _, err := s.bucket(ctx); err != nil {
		return nil, err
	}
	slots, err := s.slots(ctx, shard)
	if err != nil {
		return nil, err
	}
	var out []fold.SnapshotInfo
	for _, k := range slots {
		if k.info == nil {
			continue
		}
		n, _ := strconv.ParseUint(k.info.Metadata[sequenceKey], 10, 64)
		out = append(out, fold.SnapshotInfo{Name: k.name, Sequence: n, Size: k.info.Size})
	}
	return out, nil
}

const (
	// snapshotChunk is the size of one message of a snapshot: the fewer, the fewer syncs of the disk.
	snapshotChunk = 512 << 10
	// chunksUnderWay bounds what the server has not stored yet: it drops what it cannot buffer.
	chunksUnderWay = 8
)

func chunksOf(nuid string) string { return "$O." + SnapshotsBucket + ".C." + nuid }

func metaOf(name string) string {
	return "$O." + SnapshotsBucket + ".M." + base64.URLEncoding.EncodeToString([]byte(name))
}

// Save implements fold.Snapshots. It stores an object as the client library's Put does, but never more at a time than
// the server takes; nothing of the shard's other snapshot is touched.
func (s *Snapshots) Save(ctx context.Context, shard string, began fold.Head, write func(io.Writer) error) (err error) {
	if _, err := s.bucket(ctx); err != nil {
		return err
	}
	slots, err := s.slots(ctx, shard)
	if err != nil {
		return err
	}
	oldest := slots[len(slots)-1]
	w := &chunkWriter{ctx: ctx, c: s.c, subject: chunksOf(nuid.Next()), size: min(snapshotChunk, int(s.c.nc.MaxPayload())/2), sum: sha256.New()}
	defer func() {
		if err != nil {
			_ = w.drain()
			// Whoever waits for the shard waits for this.
			cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			s.purge(cleaning, w.subject)
		}
	}()
	if err := write(w); err != nil {
		return err
	}
	if err := w.close(); err != nil {
		return err
	}
	meta, err := json.Marshal(&jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{
			Name: oldest.name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: uint32(w.size)},
			Metadata: map[string]string{sequenceKey: strconv.FormatUint(began.Position.Sequence, 10), versionKey: began.Version},
		},
		Bucket: SnapshotsBucket, NUID: w.subject[strings.LastIndexByte(w.subject, '.')+1:],
		Size: w.total, Chunks: w.chunks, Digest: jetstream.GetObjectDigestValue(w.sum),
	})
	if err != nil {
		return err
	}
	m := &nats.Msg{Subject: metaOf(oldest.name), Data: meta, Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}}}
	asking, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	if _, err := s.c.js.PublishMsg(asking, m); err != nil {
		return err
	}
	if oldest.info != nil {
		s.purge(asking, chunksOf(oldest.info.NUID))
	}
	s.sweep(ctx)
	return nil
}

// purge deletes chunks that no object has, or will have. What is left is swept later.
func (s *Snapshots) purge(ctx context.Context, subject string) {
	if st, err := s.c.js.Stream(ctx, "OBJ_"+SnapshotsBucket); err == nil {
		_ = st.Purge(ctx, jetstream.WithPurgeSubject(subject))
	}
}

// chunkWriter stores what is written as messages on one subject.
type chunkWriter struct {
	ctx     context.Context
	c       *Conn
	subject string
	size    int
	chunk   []byte
	under   []jetstream.PubAckFuture
	sum     hash.Hash
	total   uint64
	chunks  uint32
}

func (w *chunkWriter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		k := min(len(b), w.size-len(w.chunk))
		w.chunk, b = append(w.chunk, b[:k]...), b[k:]
		if len(w.chunk) == w.size {
			if err := w.send(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (w *chunkWriter) send() error {
	if len(w.chunk) == 0 {
		return nil
	}
	for len(w.under) >= chunksUnderWay {
		if err := w.await(); err != nil {
			return err
		}
	}
	// The client never sends one again by itself: others would be stored before it.
	f, err := w.c.js.PublishMsgAsync(&nats.Msg{Subject: w.subject, Data: w.chunk}, jetstream.WithRetryAttempts(0))
	if err != nil {
		return err
	}
	w.under = append(w.under, f)
	w.sum.Write(w.chunk)
	w.total += uint64(len(w.chunk))
	w.chunks++
	w.chunk = make([]byte, 0, w.size)
	return nil
}

// await waits until the oldest chunk under way is stored.
func (w *chunkWriter) await() error {
	f := w.under[0]
	w.under = w.under[1:]
	wait := time.NewTimer(answerWait)
	defer wait.Stop()
	select {
	case <-f.Ok():
		return nil
	case err := <-f.Err():
		return err
	case <-wait.C:
		return fmt.Errorf("stream: the server has not answered for %s", answerWait)
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

func (w *chunkWriter) close() error {
	if err := w.send(); err != nil {
		return err
	}
	return w.drain()
}

func (w *chunkWriter) drain() error {
	for len(w.under) > 0 {
		if err := w.await(); err != nil {
			return err
		}
	}
	return nil
}

// sweepAfter is how old chunks must be that no object has: by then whoever was storing them has given up.
const sweepAfter = time.Hour

// sweep deletes what processes that died while they saved have left. What a server says that is behind would not do: chunks
// of snapshots that it does not know of yet would go.
func (s *Snapshots) sweep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	st, err := s.c.js.Stream(ctx, "OBJ_"+SnapshotsBucket)
	if err != nil {
		return
	}
	info, err := st.Info(ctx, jetstream.WithSubjectFilter("$O."+SnapshotsBucket+".>"))
	if err != nil {
		return
	}
	var chunks []string
	used := map[string]bool{}
	for subject := range info.State.Subjects {
		if strings.HasPrefix(subject, chunksOf("")) {
			chunks = append(chunks, subject)
			continue
		}
		o, err := s.infoOn(ctx, subject)
		switch {
		case err == nil:
			used[chunksOf(o.NUID)] = true
		case !errors.Is(err, jetstream.ErrObjectNotFound):
			return
		}
	}
	for _, subject := range chunks {
		if used[subject] {
			continue
		}
		if m, err := s.c.lastOn(ctx, "OBJ_"+SnapshotsBucket, subject); err == nil && time.Since(m.Time) > sweepAfter {
			_ = st.Purge(ctx, jetstream.WithPurgeSubject(subject))
		}
	}
}

// Open implements fold.Snapshots.
func (s *Snapshots) Open(ctx context.Context, _, name string) (io.ReadCloser, error) {
	if _, err := s.bucket(ctx); err != nil {
		return nil, err
	}
	info, err := s.info(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, fmt.Errorf("%w: it is gone", fold.ErrDamaged)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		sum := sha256.New()
		err := s.c.Log("OBJ_"+SnapshotsBucket).Scan(ctx, []string{chunksOf(info.NUID)}, func(m fold.Message) bool {
			sum.Write(m.Data)
			_, err := w.Write(m.Data)
			return err == nil
		})
		if err == nil && jetstream.GetObjectDigestValue(sum) != info.Digest {
			err = s.mismatch(ctx, info)
		}
		_ = w.CloseWithError(err) // nil is io.EOF
	}()
	return &objectReader{r, cancel, ended}, nil
}

// mismatch says why what was read of an object is not it: it is damaged, or was replaced under its reader.
func (s *Snapshots) mismatch(ctx context.Context, read *jetstream.ObjectInfo) error {
	now, err := s.info(ctx, read.Name)
	switch {
	case err != nil && !errors.Is(err, jetstream.ErrObjectNotFound):
		return err
	case err == nil && now.NUID == read.NUID:
		return fmt.Errorf("%w: its digest is not that of the object", fold.ErrDamaged)
	}
	return errors.New("stream: the snapshot was replaced while it was read")
}

// objectReader reads an object. What it holds of it at a time is what the server sends ahead.
type objectReader struct {
	*io.PipeReader
	cancel context.CancelFunc
	ended  chan struct{}
}

// Close implements io.Closer.
func (r *objectReader) Close() error {
	err := r.PipeReader.Close()
	r.cancel()
	<-r.ended
	return err
}

// Forget implements fold.Snapshots.
func (s *Snapshots) Forget(ctx context.Context, _, name string) error {
	b, err := s.bucket(ctx)
	if err != nil {
		return err
	}
	if err := b.Delete(ctx, name); err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
		return err
	}
	return nil
}

// KeepsSnapshots are the needs of whoever saves and reads snapshots.
func KeepsSnapshots() []Need {
	return append(Reads("OBJ_"+SnapshotsBucket), Stores(chunksOf("probe"), "$O."+SnapshotsBucket+".>"))
}
