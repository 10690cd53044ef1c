package simulation_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/leadbaton/baton/services/internal/fold"
)

// faulty is a scorer's way to the store.
type faulty struct {
	fold.Store
	p *process
}

var (
	errStore  = errors.New("simulated: the store did not answer")
	errPaused = errors.New("simulated: this process is paused")
	errDead   = errors.New("simulated: this process is dead")
)

// reach waits while the process is paused or the store stalls.
func (s *faulty) reach(ctx context.Context) error {
	if !s.p.gate.pass(s.p.dead) || !s.p.w.stall.pass(s.p.dead) {
		return errDead
	}
	return ctx.Err()
}

// call makes one call that may fail at a point.
func (s *faulty) call(ctx context.Context, p point) error {
	if err := s.reach(ctx); err != nil {
		return err
	}
	if s.p.w.chance.roll(p) {
		return errStore
	}
	return nil
}

func (s *faulty) Beat(ctx context.Context, member string, ttl time.Duration) ([]string, error) {
	if err := s.call(ctx, leaseFailed); err != nil {
		return nil, err
	}
	return s.Store.Beat(ctx, member, ttl)
}

func (s *faulty) Leave(ctx context.Context, member string) error {
	if err := s.call(ctx, leaseFailed); err != nil {
		return err
	}
	return s.Store.Leave(ctx, member)
}

func (s *faulty) Acquire(ctx context.Context, shard, member string, ttl time.Duration) (fold.Lease, bool, error) {
	if err := s.call(ctx, leaseFailed); err != nil {
		return fold.Lease{}, false, err
	}
	return s.p.w.fence.acquire(func() (fold.Lease, bool, error) { return s.Store.Acquire(ctx, shard, member, ttl) })
}

func (s *faulty) Renew(ctx context.Context, l fold.Lease, ttl time.Duration) (uint64, error) {
	if err := s.call(ctx, leaseFailed); err != nil {
		return 0, err
	}
	return s.Store.Renew(ctx, l, ttl)
}

func (s *faulty) Release(ctx context.Context, l fold.Lease) error {
	if err := s.call(ctx, leaseFailed); err != nil {
		return err
	}
	return s.Store.Release(ctx, l)
}

func (s *faulty) Head(ctx context.Context, shard string) (fold.Head, error) {
	if err := s.call(ctx, loadFailed); err != nil {
		return fold.Head{}, err
	}
	return s.Store.Head(ctx, shard)
}

func (s *faulty) Load(ctx context.Context, shard string, h fold.Held, fields []string) ([][]byte, error) {
	if err := s.call(ctx, loadFailed); err != nil {
		return nil, err
	}
	return s.Store.Load(ctx, shard, h, fields)
}

func (s *faulty) Outbox(ctx context.Context, shard string, h fold.Held) ([]fold.Record, error) {
	if err := s.call(ctx, outboxFailed); err != nil {
		return nil, err
	}
	return s.Store.Outbox(ctx, shard, h)
}

// Commit implements fold.Store.
func (s *faulty) Commit(ctx context.Context, c *fold.Commit) error {
	if err := s.reach(ctx); err != nil {
		return err
	}
	chance := s.p.w.chance
	switch {
	case chance.roll(commitRefused):
		return errStore
	case chance.roll(commitCrash):
		s.p.crash("before a commit")
		return errDead
	case chance.roll(commitLate):
		// It hangs on the way, and lands when nobody waits for it any more.
		late := cloneCommit(c)
		time.AfterFunc(chance.between(time.Second, 12*time.Second), func() { _ = s.commit(context.Background(), late) })
		return errStore
	}
	err := s.commit(ctx, c)
	switch {
	case chance.roll(committed):
		s.p.crash("after a commit")
		return errDead
	case chance.roll(commitLost):
		return errStore
	}
	return err
}

func (s *faulty) commit(ctx context.Context, c *fold.Commit) error {
	return s.p.w.fence.commit(s.p.w, c, func() error { return s.Store.Commit(ctx, c) })
}

func cloneCommit(c *fold.Commit) *fold.Commit {
	out := *c
	out.Fields = slices.Clone(c.Fields)
	for i := range out.Fields {
		out.Fields[i].Value = bytes.Clone(out.Fields[i].Value)
	}
	out.Deleted, out.Records, out.Left = slices.Clone(c.Deleted), slices.Clone(c.Records), slices.Clone(c.Left)
	return &out
}
