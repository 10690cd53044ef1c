package fold

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Bounds of one owner. They bound memory and the work that a crash repeats; throughput does not depend on them.
const (
	maxInbox       = 8192     // messages read ahead of the fold
	maxInboxBytes  = 16 << 20 // of their data
	maxUncommitted = 4096     // messages folded and not yet committed
	foldChunk      = 512      // messages folded before the committer is looked at again
	maxOutbox      = 8192     // records waiting to leave before folding pauses
)

// Shard is all that one shard's owner works with.
type Shard struct {
	ID      string
	Log     Log
	Store   Store
	Outlet  Outlet
	Machine Machine
	// Snapshots are what a store that has lost the shard starts from; nil = none are kept.
	Snapshots Snapshots
	// Expand sends what a record guarded Expand stands for, in order, as Ordered records of one prefix.
	Expand func(ctx context.Context, r Record, send func([]Record) error) error
	Logger *slog.Logger
	// Metrics measure what every owner does, and Observer what its service wants to know; nil = nobody looks.
	Metrics  *Metrics
	Observer Observer
}

// owner folds one shard under one lease.
type owner struct {
	Shard
	lease Lease
	inbox inbox
	cache cache

	// Of the folding goroutine.
	folded    Position // last folded
	committed Position // last committed
	dirty     []*entry
	records   []Record
	values    arena
	newer     *VersionError // met in the log: only what comes before it is committed
	snapshots snapshotting

	outbox   queue
	progress progress
	position atomic.Uint64 // committed sequence, for those who look
	commits  atomic.Uint64 // how many the shard has had, this owner's last one that is known to be applied included
	begun    atomic.Bool   // the shard is fit to be folded
	// parting is until when a snapshot may be taken once folding has ended in order; nil = none is wanted.
	parting atomic.Pointer[time.Time]
	beside  sync.WaitGroup // of the snapshot under way
}

// run folds until ctx ends, the fence refuses, or the shard must stop. It returns ErrFenced, ErrWentBack, a *StopError,
// a *VersionError, or the context's error.
func (o *owner) run(ctx context.Context) error {
	head, err := o.head(ctx)
	if err != nil {
		return err
	}
	o.committed, o.folded = head.Position, head.Position
	o.position.Store(head.Position.Sequence)
	o.cache.complete = head.Position == Position{}
	if err := o.fetch(ctx, []string{""}); err != nil {
		return err
	}
	left, err := o.Store.Outbox(ctx, o.ID, o.held())
	if err != nil {
		return err
	}
	o.outbox.add(left, time.Time{})
	// Right before it is read: the store may have let this owner wait for long, and the log may have been restored meanwhile.
	if err := CheckPosition(ctx, o.Log, head.Position); err != nil {
		return err
	}
	if o.folded.Created == 0 {
		info, err := o.Log.Info(ctx)
		if err != nil {
			return err
		}
		o.folded.Created = info.Created
	}
	o.inbox.init()

	o.begun.Store(true)
	err = o.work(ctx)
	o.part(ctx, err)
	return err
}

// head returns where the shard stands. A shard without a position is restored from its newest snapshot.
func (o *owner) head(ctx context.Context) (Head, error) {
	head, err := o.Store.Head(ctx, o.ID)
	if err != nil {
		return Head{}, err
	}
	o.commits.Store(head.Commits)
	if head.Position == (Position{}) {
		if head, err = o.restore(ctx); err != nil {
			return Head{}, err
		}
	}
	if newer := checkVersion(o.Machine, head.Version); newer != nil {
		newer.After = head.Position.Sequence
		return Head{}, newer
	}
	o.lookForSnapshots(ctx, head)
	return head, nil
}

// work reads, folds, commits, and lets the outbox leave.
func (o *owner) work(ctx context.Context) error {
	defer o.beside.Wait()
	g, ctx := errgroup.WithContext(ctx)
	commits, done := make(chan *Commit), make(chan error, 1)
	g.Go(func() error { return o.read(ctx, o.folded) })
	g.Go(func() error { return o.leave(ctx) })
	g.Go(func() error { return o.commit(ctx, commits, done) })
	g.Go(func() error {
		defer o.inbox.close()
		return o.fold(ctx, commits, done)
	})
	return g.Wait()
}

// read fills the inbox. When reading fails it checks that the log is still the same, and goes on where it was.
func (o *owner) read(ctx context.Context, at Position) error {
	backoff := newBackoff()
	for {
		err := o.Log.Read(ctx, at.Sequence, func(m Message) {
			if o.inbox.put(m) {
				at.Sequence, at.Time = m.Sequence, m.Time
				o.progress.last.Store(m.Sequence)
				o.progress.pending.Store(m.Pending)
				backoff.reset()
			}
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		o.Logger.Warn("reading the shard's stream was interrupted", "shard", o.ID, "sequence", at.Sequence, "error", err)
		if err := backoff.wait(ctx); err != nil {
			return err
		}
		if err := o.retry(ctx, "checking the shard's stream", checking, func() error { return CheckPosition(ctx, o.Log, at) }); err != nil {
			return err
		}
	}
}

// fold is the one goroutine that touches states. An idle committer gets all that has gathered.
func (o *owner) fold(ctx context.Context, commits chan<- *Commit, done <-chan error) error {
	committing := false
	var pending *Commit
	uncommitted := 0 // folded since the commit under way was built
	// While more is stored and on its way, a commit takes as much as it may, so that a state that changes often is written
	// once; but what is folded does not wait for long.
	behind, overdue := false, false
	look := time.NewTicker(snapshotLook)
	defer look.Stop()
	for {
		room := 0
		if o.outbox.len() < maxOutbox && o.newer == nil {
			room = min(foldChunk, maxUncommitted-uncommitted)
		}
		msgs := o.inbox.take(room)
		if len(msgs) > 0 {
			if err := o.foldAll(ctx, msgs); err != nil {
				return err
			}
			uncommitted += len(msgs)
			behind = msgs[len(msgs)-1].Pending > 0
		}
		if !committing && (!behind || uncommitted >= maxUncommitted || room <= 0 || overdue || o.snapshots.wants()) {
			overdue = false
			o.snapshots.begin(ctx, o)
			if c := o.build(); c != nil {
				select {
				case commits <- c:
				case <-ctx.Done():
					return ctx.Err()
				}
				committing, pending, uncommitted = true, c, 0
				o.progress.begin()
			} else if o.newer != nil && o.outbox.len() == 0 {
				return o.newer // all that comes before it is committed, and has left
			}
		}
		var err error
		if len(msgs) > 0 {
			select {
			case err = <-done:
			default:
				continue
			}
		} else {
			wake := o.inbox.filled
			if room <= 0 {
				wake = nil
			}
			select {
			case err = <-done:
			case <-wake:
				continue
			case <-o.outbox.departed:
				continue
			case <-o.snapshots.wakes(committing):
				continue
			case saved := <-o.snapshots.ended:
				o.snapshots.over(saved)
				continue
			case <-look.C:
				overdue = true
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil {
			return err
		}
		committing = false
		o.committed = pending.To
		o.position.Store(pending.To.Sequence)
		o.commits.Store(pending.Number)
		if o.Observer != nil {
			o.Observer.Committed(pending.To.Sequence, o.progress.committing, time.Now())
		}
		o.progress.end()
		o.outbox.add(pending.Records, time.Now())
		o.snapshots.committed(o, pending)
		pending = nil
	}
}

// foldAll folds messages in order.
func (o *owner) foldAll(ctx context.Context, msgs []Message) error {
	inputs := make([]Input, len(msgs))
	var keys []string
	lookups := 0
	for i, m := range msgs {
		inputs[i] = o.Machine.Decode(m)
		for _, k := range inputs[i].Keys() {
			lookups++
			if o.cache.get(k) == nil {
				keys = append(keys, k)
			}
		}
	}
	o.Metrics.looked(lookups, len(keys))
	if len(keys) > 0 {
		if err := o.fetch(ctx, keys); err != nil {
			return err
		}
	}
	var at *Message
	tx := NewTx(o.touch, func(r Record) {
		r.Incarnation, r.Sequence = at.Incarnation, at.Sequence
		o.records = append(o.records, r)
	})
	for i := range inputs {
		at = &msgs[i]
		tx.Begin()
		if o.Observer != nil {
			o.Observer.Folding(inputs[i])
		}
		if err := o.Machine.Fold(tx, inputs[i]); errors.As(err, &o.newer) {
			o.newer.After = o.folded.Sequence
			break
		} else if err != nil {
			return &StopError{Reason: fmt.Sprintf("message %d cannot be folded: %v", at.Sequence, err)}
		}
		o.folded.Sequence, o.folded.Time = at.Sequence, at.Time
		o.progress.folded(at)
	}
	if o.Observer != nil {
		o.Observer.Folded()
	}
	o.cache.rotate(o.committed.Sequence)
	return nil
}

// touch returns a state for folding, and marks it for the next commit.
func (o *owner) touch(key string) State {
	e := o.cache.get(key)
	if e == nil {
		panic("fold: Machine.Fold asked for a key that Input.Keys did not name")
	}
	if !e.dirty {
		e.dirty = true
		o.dirty = append(o.dirty, e)
	}
	e.touched = o.folded.Sequence + 1
	return e.state
}

// fetch brings states into the cache.
func (o *owner) fetch(ctx context.Context, keys []string) error {
	var fields [][]byte
	if o.cache.complete {
		fields = make([][]byte, len(keys))
	} else {
		var err error
		if fields, err = o.load(ctx, keys); err != nil {
			return err
		}
	}
	o.Metrics.load(len(keys))
	var parts []string
	var of []State
	var names []string
	for i, key := range keys {
		if o.cache.get(key) != nil {
			continue // named twice
		}
		s, need, err := o.Machine.Load(key, fields[i])
		if err != nil {
			return &StopError{Reason: fmt.Sprintf("a stored state cannot be read: %v", err)}
		}
		for _, p := range need {
			parts, of, names = append(parts, Field(key, p)), append(of, s), append(names, p)
		}
		o.cache.put(&entry{key: key, state: s, touched: o.folded.Sequence + 1})
	}
	if len(parts) == 0 {
		return nil
	}
	values, err := o.load(ctx, parts)
	if err != nil {
		return err
	}
	for i := range parts {
		if err := of[i].LoadPart(names[i], values[i]); err != nil {
			return &StopError{Reason: fmt.Sprintf("a stored state cannot be read: %v", err)}
		}
	}
	return nil
}

// retry is retry for this shard, measured.
func (o *owner) retry(ctx context.Context, what, operation string, f func() error) error {
	failed := o.Metrics.failed(o.ID, operation)
	return retry(ctx, o.Logger, what, func() error {
		err := f()
		if err != nil && ctx.Err() == nil {
			failed()
		}
		return err
	})
}

// held is the shard as this owner knows it.
func (o *owner) held() Held { return Held{Token: o.lease.Token, Commits: o.commits.Load()} }

// load reads records of states until the store answers.
func (o *owner) load(ctx context.Context, fields []string) (values [][]byte, err error) {
	err = o.retry(ctx, "loading states", loading, func() error {
		values, err = o.Store.Load(ctx, o.ID, o.held(), fields)
		return err
	})
	return values, err
}

// build takes all that is to be committed; nil if there is nothing.
func (o *owner) build() *Commit {
	left := o.outbox.takeLeft()
	if o.folded == o.committed || o.folded.Sequence == 0 {
		if len(left) == 0 && !o.snapshots.wants() {
			return nil
		}
	}
	c := &Commit{
		Lease: o.lease, Version: o.version(), Number: o.commits.Load() + 1, To: o.folded, Nonce: rand.Text(),
		Records: o.records, Left: left, messages: len(o.progress.arrived),
	}
	// The values of the commit before are free: its outcome is known when the next one is built.
	o.values.reset()
	c.Fields = make([]FieldValue, 0, len(o.dirty)+len(o.dirty)/4)
	for _, e := range o.dirty {
		e.dirty = false
		e.state.Changes(func(part string, value []byte) {
			name := Field(e.key, part)
			if value == nil {
				c.Deleted = append(c.Deleted, name)
				return
			}
			c.Fields = append(c.Fields, FieldValue{name, o.values.keep(value)})
		})
	}
	o.dirty, o.records = o.dirty[:0], nil
	o.snapshots.built(c)
	return c
}

// version is the fold version in force.
func (o *owner) version() string { return o.Machine.InForce(o.cache.get("").state) }

// commit applies one commit at a time. An unknown outcome is repeated with the same nonce until it is known.
func (o *owner) commit(ctx context.Context, commits <-chan *Commit, done chan<- error) error {
	for {
		var c *Commit
		select {
		case c = <-commits:
		case <-ctx.Done():
			return ctx.Err()
		}
		begun := time.Now()
		if err := o.retry(ctx, "committing", committing, func() error { return o.Store.Commit(ctx, c) }); err != nil {
			o.Metrics.refused(o.ID, err)
			return err
		}
		o.Metrics.applied(o.ID, c.messages, time.Since(begun))
		done <- nil
	}
}

// leave lets the outbox's records leave, in order.
func (o *owner) leave(ctx context.Context) error {
	for {
		batch, since, err := o.outbox.next(ctx)
		if err != nil {
			return err
		}
		if err := o.retry(ctx, "publishing the outbox", publishing, func() error { return o.publish(ctx, batch) }); err != nil {
			return err
		}
		o.outbox.leftNow(batch)
		if o.Observer != nil {
			o.Observer.Left(batch, since)
		}
	}
}

// publish lets a batch leave. Records of one prefix keep their order, and those that leave Once go last: what a fact leads to
// comes to another shard after what that shard was told with it, as a handoff's end after the merge that brings the handoff.
func (o *owner) publish(ctx context.Context, batch []Record) error {
	var once []Record
	ordered := map[string][]Record{}
	var prefixes []string
	flush := func(prefix string) error {
		rs := ordered[prefix]
		delete(ordered, prefix)
		if len(rs) == 0 {
			return nil
		}
		return o.Outlet.Ordered(ctx, rs)
	}
	for _, r := range batch {
		switch r.Guard {
		case Once:
			once = append(once, r)
		case Ordered:
			if len(ordered[r.Prefix]) == 0 {
				prefixes = append(prefixes, r.Prefix)
			}
			ordered[r.Prefix] = append(ordered[r.Prefix], r)
		case Expand:
			if err := flush(r.Prefix); err != nil {
				return err
			}
			if err := o.Shard.Expand(ctx, r, func(rs []Record) error { return o.Outlet.Ordered(ctx, rs) }); err != nil {
				return err
			}
		default:
			return &StopError{Reason: fmt.Sprintf("an outbox record has the unknown guard %d", r.Guard)}
		}
	}
	for _, p := range prefixes {
		if err := flush(p); err != nil {
			return err
		}
	}
	if len(once) == 0 {
		return nil
	}
	return o.Outlet.Once(ctx, once)
}
