package fold

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Group is one member of the group that shares all shards. It owns its even share, and takes over the shards of a member
// that is gone within one LeaseTTL.
type Group struct {
	// Member is this process's name in the group; empty = a random one. Two living members never share a name.
	Member string
	// Shards are all shards, in the same order for every member.
	Shards []string
	Store  Store
	// Open returns what one shard's owner works with; called for every acquisition, so that nothing outlives a lease.
	Open func(shard string) Shard
	// LeaseTTL is how long a lease lives without renewal; 0 = 4 s.
	LeaseTTL time.Duration
	// Able says whether this member can fold at all, as when it reaches the logs; nil = always. A member that cannot for
	// one LeaseTTL leaves its shards to the others until it can.
	Able   func() bool
	Logger *slog.Logger
	// Metrics measure what the group does; nil = nobody looks. Its owners' are those of their Shard.
	Metrics *Metrics

	// Of Run's goroutine.
	unable time.Time // since when it is not able; zero = it is
	name   string    // that the group knows it by
	alone  bool      // no other member lives
	pace   *pace

	mu      sync.Mutex
	held    map[string]*holding
	stopped map[string]stop
	share   int                      // how many shards are this member's; -1 = not known yet
	newer   map[string]*VersionError // of shards that only a newer program may fold
	beat    time.Time                // of the last time that the store took note of this member
	wake    chan struct{}
}

// DefaultLeaseTTL is short, since the fence and not the lease keeps two owners apart.
const DefaultLeaseTTL = 4 * time.Second

// stoppedRetry is how often a stopped shard is looked at again.
const stoppedRetry = 2 * time.Second

// newerRetry is how often a shard is looked at again that only a newer program may fold.
const newerRetry = 15 * time.Second

// failedRetry is how long a shard rests whose owner could not start.
const failedRetry = 250 * time.Millisecond

// partingTime is how long the last member may take for snapshots when it leaves.
const partingTime = 10 * time.Second

type holding struct {
	lease  Lease
	owner  *owner
	cancel context.CancelFunc
	done   chan struct{}
}

type stop struct {
	reason   string
	until    time.Time
	operator bool // only an operator can make it go on
}

// ShardStatus is how one shard stands with this member.
type ShardStatus struct {
	Held     bool
	Sequence uint64 // committed
	Outbox   int    // records that wait to leave
	Stopped  string // why it stands still
}

// Status returns how the shards stand with this member.
func (g *Group) Status() map[string]ShardStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := map[string]ShardStatus{}
	for id, h := range g.held {
		out[id] = ShardStatus{Held: true, Sequence: h.owner.position.Load(), Outbox: h.owner.outbox.len()}
	}
	for id, s := range g.stopped {
		// While its owner looks at it again, the reason still holds. It is not known any more once the shard is no longer
		// this member's to look at.
		if h := g.held[id]; h == nil && time.Since(s.until) < g.LeaseTTL || h != nil && !h.owner.begun.Load() {
			out[id] = ShardStatus{Stopped: s.reason}
		}
	}
	return out
}

// Healthy returns nil while the store takes note of this member, and it folds whatever is in force. A shard that stands
// still for another reason is none against it: the others are served, and the operator is answered.
func (g *Group) Healthy() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.beat) > g.LeaseTTL {
		return errors.New("the store cannot be reached")
	}
	for _, id := range g.Shards {
		if err := g.newer[id]; err != nil {
			return err
		}
	}
	return nil
}

// Settled says whether this member has its share of the shards. Those that stand still count:
// no waiting brings them back.
func (g *Group) Settled() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.held)
	for id, s := range g.stopped {
		if s.operator && g.held[id] == nil {
			n++
		}
	}
	return g.share >= 0 && n >= g.share
}

// Run takes part until ctx ends, then gives its shards back.
func (g *Group) Run(ctx context.Context) error {
	if g.Member == "" {
		g.Member = "m-" + rand.Text()[:12]
	}
	g.mu.Lock()
	if g.LeaseTTL == 0 {
		g.LeaseTTL = DefaultLeaseTTL
	}
	g.share = -1
	g.held, g.stopped, g.newer, g.wake = map[string]*holding{}, map[string]stop{}, map[string]*VersionError{}, make(chan struct{}, 1)
	g.name = g.Member
	if g.pace == nil {
		g.pace = newPace()
	}
	g.mu.Unlock()
	defer g.leave(ctx)
	defer g.Metrics.observe(g)()
	tick := time.NewTicker(g.LeaseTTL / 4)
	defer tick.Stop()
	for {
		g.turn(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-g.wake:
		}
	}
}

// turn renews what is held, and moves towards this member's share.
func (g *Group) turn(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, g.LeaseTTL)
	defer cancel()
	if g.rests() {
		g.giveBack(ctx, g.holdings())
		if err := g.Store.Leave(ctx, g.name); err != nil && ctx.Err() == nil {
			g.Logger.Warn("the group cannot be reached", "error", err)
		}
		return
	}
	g.rename(ctx)
	for _, h := range g.holdings() {
		known := h.owner.commits.Load()
		stored, err := g.Store.Renew(ctx, h.lease, g.LeaseTTL)
		switch {
		case errors.Is(err, ErrFenced):
			g.Logger.Warn("a shard's lease was lost", "shard", h.lease.Shard, "member", g.Member)
			g.Metrics.refusal(h.lease.Shard, byLease)
			g.drop(h)
		case err == nil && stored < known:
			// An idle shard would not find out by committing.
			g.Logger.Warn("the store went back in time", "shard", h.lease.Shard, "commits", known, "stored", stored)
			g.Metrics.refusal(h.lease.Shard, byTravel)
			g.drop(h)
		case err != nil && ctx.Err() == nil:
			// The owner goes on: without the store it cannot commit anything, and with it the fence decides.
			g.Logger.Warn("a shard's lease could not be renewed", "shard", h.lease.Shard, "error", err)
		}
	}
	members, err := g.Store.Beat(ctx, g.name, g.LeaseTTL)
	if err != nil {
		if ctx.Err() == nil {
			g.Logger.Warn("the group cannot be reached", "error", err)
		}
		return
	}
	g.mu.Lock()
	g.beat = time.Now()
	g.mu.Unlock()
	g.alone = len(members) == 1
	if !slices.Contains(members, g.name) {
		return
	}
	me, n, share := 0, len(g.Shards), 0
	if members = sharing(members); slices.Contains(members, g.name) {
		me = slices.Index(members, g.name)
		share = n / len(members)
		if me < n%len(members) {
			share++
		}
	}
	g.mu.Lock()
	g.share = share
	g.mu.Unlock()
	held := g.holdings()
	if len(held) > share {
		g.giveBack(ctx, held[share:])
		held = held[:share]
	}
	// Members begin at different places, so that they rarely ask for the same shard.
	for i := range n {
		if len(held) >= share {
			return
		}
		id := g.Shards[(me*n/len(members)+i)%n]
		if g.busy(id) {
			continue
		}
		lease, ok, err := g.Store.Acquire(ctx, id, g.Member, g.LeaseTTL)
		if err != nil {
			if ctx.Err() == nil {
				g.Logger.Warn("a shard could not be acquired", "shard", id, "error", err)
			}
			return
		}
		if ok {
			held = append(held, g.start(lease))
		}
	}
}

// holdings returns what is held, in the order of Shards.
func (g *Group) holdings() []*holding {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []*holding
	for _, id := range g.Shards {
		if h := g.held[id]; h != nil {
			out = append(out, h)
		}
	}
	return out
}

// busy says whether a shard is held here, or stands still and was looked at a moment ago.
func (g *Group) busy(id string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	s, stopped := g.stopped[id]
	return g.held[id] != nil || stopped && time.Now().Before(s.until)
}

func (g *Group) start(l Lease) *holding {
	ctx, cancel := context.WithCancel(context.Background())
	h := &holding{lease: l, owner: &owner{Shard: g.Open(l.Shard), lease: l}, cancel: cancel, done: make(chan struct{})}
	h.owner.outbox.init()
	h.owner.snapshots.pace = g.pace
	g.mu.Lock()
	g.held[l.Shard] = h
	g.mu.Unlock()
	g.Metrics.changed(l.Shard, tookUp)
	go func() {
		defer close(h.done)
		defer cancel()
		err := h.owner.run(ctx)
		g.ended(h, err)
	}()
	return h
}

// ended takes note of why an owner ended.
func (g *Group) ended(h *holding, err error) {
	id := h.lease.Shard
	g.mu.Lock()
	if g.held[id] == h {
		delete(g.held, id)
	}
	var stopErr *StopError
	var newer *VersionError
	fenced := errors.Is(err, ErrFenced) || errors.Is(err, ErrWentBack)
	switch {
	case errors.As(err, &stopErr):
		g.stopped[id] = stop{stopErr.Reason, time.Now().Add(stoppedRetry), true}
	case errors.As(err, &newer):
		g.stopped[id], g.newer[id] = stop{newer.Error(), time.Now().Add(newerRetry), true}, newer
	case fenced, errors.Is(err, context.Canceled):
		delete(g.stopped, id)
	default:
		g.stopped[id] = stop{err.Error(), time.Now().Add(failedRetry), false}
	}
	g.mu.Unlock()
	g.Metrics.changed(id, gaveUp)
	switch {
	case stopErr != nil:
		g.Logger.Error("a shard stands still", "shard", id, "reason", stopErr.Reason)
	case newer != nil:
		g.Logger.Error("a shard is left to newer programs", "shard", id, "member", g.Member, "reason", newer)
		signal(g.wake)
	case errors.Is(err, context.Canceled):
	case fenced:
		g.Logger.Warn("a shard is taken up anew", "shard", id, "member", g.Member, "reason", err)
		signal(g.wake)
	default:
		g.Logger.Warn("a shard could not be taken up; it is tried again", "shard", id, "error", err)
	}
}

// drop ends an owner whose lease is lost.
func (g *Group) drop(h *holding) {
	h.cancel()
	<-h.done
}

// giveBack ends owners, all at once since each may wait for its last call, and frees their shards.
func (g *Group) giveBack(ctx context.Context, held []*holding) {
	for _, h := range held {
		h.cancel()
	}
	for _, h := range held {
		g.drop(h)
		if err := g.Store.Release(ctx, h.lease); err != nil && ctx.Err() == nil {
			g.Logger.Warn("a shard could not be given back; its lease will run out", "shard", h.lease.Shard, "error", err)
		}
	}
}

// rests says whether this member has not been able to fold for so long that others had better.
func (g *Group) rests() bool {
	if g.Able == nil || g.Able() {
		g.unable = time.Time{}
		return false
	}
	if g.unable.IsZero() {
		g.unable = time.Now()
	}
	return time.Since(g.unable) >= g.LeaseTTL
}

func (g *Group) leave(ctx context.Context) {
	held := g.holdings()
	if g.alone { // nobody waits for the shards, and the store may go with this process
		deadline := time.Now().Add(partingTime)
		for _, h := range held {
			h.owner.parting.Store(&deadline)
		}
	}
	for _, h := range held {
		h.cancel()
	}
	for _, h := range held {
		g.drop(h)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	g.giveBack(ctx, held)
	if err := g.Store.Leave(ctx, g.name); err != nil {
		g.Logger.Warn("the group could not be told that this member leaves", "error", err)
	}
}
