package fold

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"
)

// unusableError says why a snapshot is passed over.
type unusableError struct {
	reason  string
	damaged bool
}

func (e *unusableError) Error() string { return e.reason }

func unusable(format string, args ...any) error {
	return &unusableError{reason: fmt.Sprintf(format, args...)}
}

// readSnapshot reads one snapshot of a shard and calls part for each of its blocks, in order. It returns where the shard
// stood. Only then are the blocks known to be what was written. An *unusableError says that the shard cannot go on from it.
func (s *Shard) readSnapshot(ctx context.Context, info SnapshotInfo, part func(snapshotPart) error) (Head, error) {
	body, err := s.Snapshots.Open(ctx, s.ID, info.Name)
	if err != nil {
		return Head{}, s.ifDamaged(err)
	}
	defer func() { _ = body.Close() }()
	r, p, err := newSnapshotReader(body)
	if err == nil {
		err = s.fits(ctx, r)
	}
	for err == nil {
		if err = part(p); err == nil {
			p, err = r.next()
		}
	}
	if !errors.Is(err, io.EOF) {
		return Head{}, s.ifDamaged(err)
	}
	return r.head, s.foldable(ctx, r.head)
}

func (s *Shard) ifDamaged(err error) error {
	if errors.Is(err, ErrDamaged) {
		return &unusableError{reason: err.Error(), damaged: true}
	}
	return err
}

// fits says whether a snapshot is one of this shard and of the log as it is now.
func (s *Shard) fits(ctx context.Context, r *snapshotReader) error {
	if err := checkVersion(s.Machine, r.began.Version); err != nil {
		return unusable("%v", err)
	}
	if r.shard != s.ID {
		return unusable("it is one of shard %s", r.shard)
	}
	info, err := s.Log.Info(ctx)
	if err != nil {
		return err
	}
	if info.Created == r.began.Position.Created && info.Incarnation != r.incarnation {
		return unusable("the shard was adopted since")
	}
	return s.foldable(ctx, r.began)
}

// foldable says whether this program can go on from a place.
func (s *Shard) foldable(ctx context.Context, h Head) error {
	if err := checkVersion(s.Machine, h.Version); err != nil {
		return unusable("%v", err)
	}
	differs, err := compare(ctx, s.Log, h.Position)
	if err == nil && differs != "" {
		return unusable("%s", differs)
	}
	return err
}

// snapshotTries is how often a snapshot is read that cannot be read, before it is passed over.
const snapshotTries = 3

// restore fills the store's shard, which has no position, from its newest snapshot that can be used. It returns the zero
// Head if there is none: then the log is folded from its start. Whenever it ends early, the shard still has no position.
func (o *owner) restore(ctx context.Context) (Head, error) {
	if err := o.wipe(ctx); err != nil || o.Snapshots == nil {
		return Head{}, err
	}
	began := time.Now()
	list, err := o.Snapshots.List(ctx, o.ID)
	if err != nil {
		return Head{}, fmt.Errorf("looking for snapshots: %w", err)
	}
	for _, info := range list {
		head, err := o.restoreFrom(ctx, info)
		switch bad := (*unusableError)(nil); {
		case err == nil:
			o.Logger.Info("the store had nothing of a shard; it goes on from a snapshot", "shard", o.ID, "snapshot", info.Name,
				"sequence", head.Position.Sequence, "bytes", info.Size, "took", time.Since(began).String())
			return head, nil
		case !errors.As(err, &bad):
			return Head{}, err
		default:
			o.Logger.Warn("a snapshot cannot be used; the one before it is tried", "shard", o.ID, "snapshot", info.Name, "reason", bad.reason)
			if bad.damaged {
				if err := o.Snapshots.Forget(ctx, o.ID, info.Name); err != nil {
					return Head{}, fmt.Errorf("deleting a damaged snapshot: %w", err)
				}
			}
			if err := o.wipe(ctx); err != nil {
				return Head{}, err
			}
		}
	}
	if len(list) > 0 {
		o.Logger.Warn("no snapshot can be used; the shard's stream is folded from its start", "shard", o.ID)
	}
	return Head{}, nil
}

// restoreFrom writes one snapshot into the store. The last call alone sets the position.
func (o *owner) restoreFrom(ctx context.Context, info SnapshotInfo) (Head, error) {
	backoff := newBackoff()
	for try := 1; ; try++ {
		head, err := o.readSnapshot(ctx, info, func(p snapshotPart) error {
			return o.put(ctx, &Commit{Fields: p.fields, Deleted: p.deleted, Records: p.records})
		})
		switch bad := (*unusableError)(nil); {
		case err == nil:
			return head, o.put(ctx, &Commit{To: head.Position, Version: head.Version})
		case ctx.Err() != nil:
			return Head{}, ctx.Err()
		case errors.As(err, &bad), errors.Is(err, ErrFenced), errors.Is(err, ErrWentBack):
			return Head{}, err
		case try == snapshotTries:
			return Head{}, unusable("it cannot be read: %v", err)
		}
		o.Logger.Warn("reading a snapshot failed; it is tried again", "shard", o.ID, "snapshot", info.Name, "error", err)
		if err := backoff.wait(ctx); err != nil {
			return Head{}, err
		}
		if err := o.wipe(ctx); err != nil {
			return Head{}, err
		}
	}
}

// put commits to the shard while it has no position.
func (o *owner) put(ctx context.Context, c *Commit) error {
	c.Lease, c.Number, c.Nonce = o.lease, o.commits.Load()+1, rand.Text()
	err := retry(ctx, o.Logger, "restoring a shard", func() error { return o.Store.Commit(ctx, c) })
	if err == nil {
		o.commits.Store(c.Number)
	}
	return err
}

// wipe forgets what a restore that was cut short has left in a shard that has no position.
func (o *owner) wipe(ctx context.Context) error {
	var names []string
	flush := func() error {
		if len(names) == 0 {
			return nil
		}
		err := o.put(ctx, &Commit{Deleted: names})
		names = nil
		return err
	}
	err := retry(ctx, o.Logger, "looking for leftovers", func() error {
		names = nil
		var failed error
		err := o.Store.Scan(ctx, o.ID, o.held(), func(name string, _ []byte) bool {
			if names = append(names, name); len(names) == blockEntries {
				failed = flush()
			}
			return failed == nil
		})
		return errors.Join(err, failed)
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return err
	}
	return retry(ctx, o.Logger, "looking for leftovers", func() error {
		records, err := o.Store.Outbox(ctx, o.ID, o.held())
		if err != nil || len(records) == 0 {
			return err
		}
		var left []string
		for i := range records {
			left = append(left, records[i].ID())
		}
		return o.put(ctx, &Commit{Left: left})
	})
}

// LoadSnapshot reads a shard's newest snapshot that can be used and is not ahead of a sequence into memory; false if there
// is none.
func LoadSnapshot(ctx context.Context, s Shard, upTo uint64) (Dump, bool, error) {
	list, err := s.Snapshots.List(ctx, s.ID)
	if err != nil {
		return Dump{}, false, err
	}
	for _, info := range list {
		if info.Sequence > upTo {
			continue
		}
		d := Dump{Fields: map[string][]byte{}}
		head, err := s.readSnapshot(ctx, info, func(p snapshotPart) error {
			for _, f := range p.fields {
				d.Fields[f.Name] = f.Value
			}
			for _, name := range p.deleted {
				delete(d.Fields, name)
			}
			d.Outbox = append(d.Outbox, p.records...)
			return nil
		})
		switch bad := (*unusableError)(nil); {
		case errors.As(err, &bad):
			continue
		case err != nil:
			return Dump{}, false, err
		case head.Position.Sequence > upTo:
			continue
		}
		d.Head = head
		return d, true, nil
	}
	return Dump{}, false, nil
}
