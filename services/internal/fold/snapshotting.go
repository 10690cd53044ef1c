package fold

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"sync"
	"time"
)

// When a snapshot is taken. A shard whose snapshot is this much behind is folded again in a fraction of a second, so it is
// not worth another one; and a process spends at most one part in paceShare of its time on snapshots, whatever their size.
const (
	snapshotMessages = 2000
	snapshotEvery    = time.Minute
	paceShare        = 25
	snapshotLook     = time.Second // how often an idle owner looks whether one is due
	// maxChanged bounds the memory for what changes while a snapshot is written.
	maxChanged = 256 << 20
)

// pace keeps the snapshots of one process apart: one at a time, which bounds memory, and rarely enough.
type pace struct {
	messages uint64        // that a shard must have folded since its last snapshot
	every    time.Duration // that must have passed since then
	turn     chan struct{} // holds one token
	mu       sync.Mutex
	next     time.Time
}

func newPace() *pace {
	p := &pace{messages: snapshotMessages, every: snapshotEvery, turn: make(chan struct{}, 1)}
	p.turn <- struct{}{}
	return p
}

// try takes the turn if it is free and due.
func (p *pace) try(now time.Time) bool {
	p.mu.Lock()
	due := !now.Before(p.next)
	p.mu.Unlock()
	if !due {
		return false
	}
	select {
	case <-p.turn:
		return true
	default:
		return false
	}
}

// wait takes the turn as soon as it is free.
func (p *pace) wait(ctx context.Context) error {
	select {
	case <-p.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *pace) done(began time.Time) {
	now := time.Now()
	p.mu.Lock()
	p.next = now.Add(paceShare * now.Sub(began))
	p.mu.Unlock()
	p.turn <- struct{}{}
}

// snapshotting is what an owner knows of its shard's snapshots. It is of the folding goroutine, but for the channels.
type snapshotting struct {
	pace *pace
	last uint64    // sequence that the newest snapshot was begun at
	at   time.Time // when that was; zero = before this owner

	// Of the snapshot under way; nil if there is none. changed holds what commits have changed since the scan began; nil
	// values are deleted.
	changed map[string][]byte
	bytes   int
	scanned chan struct{} // closed when the scan is through: the next commit completes the snapshot
	closing bool          // the commit under way completes it
	tail    chan *snapshotTail
	ended   chan bool // gets whether it was saved
}

// snapshotTail is what comes after the scan: the shard is what the scan found, with what changed meanwhile, at head.
type snapshotTail struct {
	changed map[string][]byte
	records []Record
	head    Head
}

// begin begins a snapshot if one is due, right before a commit is built while none is under way.
func (s *snapshotting) begin(ctx context.Context, o *owner) {
	select {
	case saved := <-s.ended:
		s.over(saved)
	default:
	}
	now := time.Now()
	if o.Snapshots == nil || s.scanned != nil || o.committed.Sequence < s.last+s.pace.messages || now.Sub(s.at) < s.pace.every || !s.pace.try(now) {
		return
	}
	s.changed, s.bytes = map[string][]byte{}, 0
	s.scanned, s.tail, s.ended = make(chan struct{}), make(chan *snapshotTail, 1), make(chan bool, 1)
	scanned, tail, ended := s.scanned, s.tail, s.ended
	began := Head{Position: o.committed, Version: o.version()}
	s.last, s.at = began.Position.Sequence, now
	o.beside.Go(func() {
		defer s.pace.done(now)
		err := o.save(ctx, began, func(ctx context.Context) (*snapshotTail, error) {
			close(scanned)
			select {
			case t := <-tail:
				if t == nil {
					return nil, errTooMuchChanged
				}
				return t, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		if err != nil && ctx.Err() == nil {
			o.Logger.Warn("a snapshot could not be taken; the next one is tried later", "shard", o.ID, "error", err)
		}
		ended <- err == nil
	})
}

var errTooMuchChanged = errors.New("fold: too much changed while it was written")

// wants says whether a commit is wanted even if there is nothing to commit: one that proves that what was scanned was this
// owner's shard all along, and completes the snapshot.
func (s *snapshotting) wants() bool {
	if s.changed == nil {
		return false
	}
	select {
	case <-s.scanned:
		return true
	default:
		return false
	}
}

// wakes is when the folding goroutine has to look, if it has nothing else to do.
func (s *snapshotting) wakes(committing bool) <-chan struct{} {
	if committing || s.changed == nil {
		return nil
	}
	return s.scanned
}

// built takes note of a commit.
func (s *snapshotting) built(c *Commit) {
	if s.changed == nil {
		return
	}
	s.closing = s.wants()
	for _, f := range c.Fields {
		s.bytes += len(f.Name) + len(f.Value) - len(s.changed[f.Name])
		s.changed[f.Name] = slices.Clone(f.Value)
		if s.changed[f.Name] == nil {
			s.changed[f.Name] = []byte{}
		}
	}
	for _, name := range c.Deleted {
		s.bytes += len(name) - len(s.changed[name])
		s.changed[name] = nil
	}
	if s.bytes > maxChanged {
		s.changed, s.closing = nil, false
		s.tail <- nil
	}
}

// committed says that the commit under way was applied.
func (s *snapshotting) committed(o *owner, c *Commit) {
	if !s.closing {
		return
	}
	// What has left meanwhile need not be there: it is where it belongs.
	s.tail <- &snapshotTail{s.changed, o.outbox.all(), Head{Position: c.To, Version: c.Version}}
	s.changed, s.closing = nil, false
}

// over takes note of how a snapshot ended.
func (s *snapshotting) over(saved bool) {
	if !saved {
		s.last = 0
	}
	s.changed, s.scanned, s.tail, s.ended, s.closing = nil, nil, nil, nil, false
}

// save writes a snapshot: all records as a scan finds them, then what finish says.
func (o *owner) save(ctx context.Context, began Head, finish func(context.Context) (*snapshotTail, error)) error {
	log, err := o.Log.Info(ctx)
	if err != nil {
		return err
	}
	return o.Snapshots.Save(ctx, o.ID, began, func(w io.Writer) error {
		out := newSnapshotWriter(w, o.ID, log.Incarnation, began)
		err := o.Store.Scan(ctx, o.ID, o.held(), func(name string, value []byte) bool {
			out.field(name, value)
			return out.err == nil && ctx.Err() == nil
		})
		out.flush()
		if err = errors.Join(err, out.err, ctx.Err()); err != nil {
			return err
		}
		tail, err := finish(ctx)
		if err != nil {
			return err
		}
		for name, value := range tail.changed {
			if value == nil {
				out.deleted(name)
			} else {
				out.field(name, value)
			}
		}
		for i := range tail.records {
			out.record(&tail.records[i])
		}
		return out.end(tail.head)
	})
}

// lookForSnapshots learns how old the shard's newest snapshot is. Folding does not depend on it.
func (o *owner) lookForSnapshots(ctx context.Context, head Head) {
	if o.Snapshots == nil {
		return
	}
	list, err := o.Snapshots.List(ctx, o.ID)
	if err != nil && ctx.Err() == nil {
		o.Logger.Warn("the shard's snapshots cannot be looked at", "shard", o.ID, "error", err)
	}
	// One that is ahead is of another stream, or of states that the store has lost.
	if len(list) > 0 && list[0].Sequence <= head.Position.Sequence {
		o.snapshots.last = list[0].Sequence
	}
}

// part takes the last snapshot, once folding has ended in order.
func (o *owner) part(ctx context.Context, ended error) {
	deadline := o.parting.Load()
	if o.Snapshots == nil || deadline == nil || !errors.Is(ended, context.Canceled) {
		return
	}
	if o.snapshots.scanned != nil {
		o.snapshots.over(<-o.snapshots.ended)
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), *deadline)
	defer cancel()
	if err := o.saveLast(ctx); err != nil {
		o.Logger.Warn("no snapshot was taken at the end; the next start folds more", "shard", o.ID, "error", err)
	}
}

// saveLast takes a snapshot of a shard that nobody folds any more, if it is worth one. A commit that changes nothing proves
// at its end that it was this owner's shard all along.
func (o *owner) saveLast(ctx context.Context) error {
	head, err := o.Store.Head(ctx, o.ID)
	if err != nil || head.Position.Sequence < o.snapshots.last+o.snapshots.pace.messages {
		return err
	}
	if err := o.snapshots.pace.wait(ctx); err != nil {
		return err
	}
	defer o.snapshots.pace.done(time.Now())
	return o.save(ctx, head, func(ctx context.Context) (*snapshotTail, error) {
		records, err := o.Store.Outbox(ctx, o.ID, Held{Token: o.lease.Token, Commits: head.Commits})
		if err != nil {
			return nil, err
		}
		c := &Commit{Lease: o.lease, Version: head.Version, Number: head.Commits + 1, To: head.Position, Nonce: rand.Text()}
		return &snapshotTail{records: records, head: head}, o.Store.Commit(ctx, c)
	})
}
