package foldtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/leadbaton/baton/services/internal/fold"
)

// Snapshots is a fold.Snapshots in memory. It keeps the two newest of each shard.
type Snapshots struct {
	mu   sync.Mutex
	next int
	kept map[string][]snapshot // newest first
	// Fault, if set, is asked at each write and read of some bytes; an error ends it there.
	Fault func() error
}

type snapshot struct {
	fold.SnapshotInfo
	body []byte
}

var _ fold.Snapshots = (*Snapshots)(nil)

// NewSnapshots returns an empty Snapshots.
func NewSnapshots() *Snapshots { return &Snapshots{kept: map[string][]snapshot{}} }

func (s *Snapshots) fault() error {
	if s.Fault == nil {
		return nil
	}
	return s.Fault()
}

// List implements fold.Snapshots.
func (s *Snapshots) List(_ context.Context, shard string) ([]fold.SnapshotInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []fold.SnapshotInfo
	for _, k := range s.kept[shard] {
		out = append(out, k.SnapshotInfo)
	}
	return out, nil
}

type faultyWriter struct {
	bytes.Buffer
	s *Snapshots
}

func (w *faultyWriter) Write(b []byte) (int, error) {
	if err := w.s.fault(); err != nil {
		return 0, err
	}
	return w.Buffer.Write(b)
}

// Save implements fold.Snapshots.
func (s *Snapshots) Save(_ context.Context, shard string, began fold.Head, write func(io.Writer) error) error {
	w := &faultyWriter{s: s}
	if err := write(w); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	info := fold.SnapshotInfo{Name: fmt.Sprintf("%s.%d", shard, s.next), Sequence: began.Position.Sequence, Size: uint64(w.Len())}
	all := slices.Insert(s.kept[shard], 0, snapshot{info, w.Bytes()})
	s.kept[shard] = all[:min(len(all), 2)]
	return nil
}

type faultyReader struct {
	io.Reader
	s *Snapshots
}

func (r *faultyReader) Read(b []byte) (int, error) {
	if err := r.s.fault(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}

// Open implements fold.Snapshots.
func (s *Snapshots) Open(_ context.Context, shard, name string) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kept[shard] {
		if k.Name == name {
			return io.NopCloser(&faultyReader{bytes.NewReader(k.body), s}), nil
		}
	}
	return nil, fmt.Errorf("%w: it is gone", fold.ErrDamaged)
}

// Forget implements fold.Snapshots.
func (s *Snapshots) Forget(_ context.Context, shard, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[shard] = slices.DeleteFunc(s.kept[shard], func(k snapshot) bool { return k.Name == name })
	return nil
}

// Damage changes one byte of a shard's newest snapshot: that at a place, counted round.
func (s *Snapshots) Damage(shard string, at int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept[shard]) == 0 {
		return false
	}
	k := &s.kept[shard][0]
	k.body = bytes.Clone(k.body)
	k.body[at%len(k.body)] ^= 0x10
	return true
}

// Copy gives the snapshots of one shard to another.
func (s *Snapshots) Copy(from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[to] = slices.Clone(s.kept[from])
}
