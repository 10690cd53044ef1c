package simulation_test

import (
	"errors"
	"maps"
	"sync"

	"github.com/leadbaton/baton/services/internal/fold"
)

// What the fence says.
const (
	fenceApplied  point = "fence: applied"
	fenceRepeated point = "fence: a repeated nonce"
	fenceToken    point = "fence: a refused token"
	fenceNumber   point = "fence: a refused number"
)

// fence watches over the store's fence from outside: what was acquired, and what was applied last. Its lock is held over the
// calls that it judges, so that it sees them in their order.
type fence struct {
	mu     sync.Mutex
	tokens map[string]string // of the lease that a shard has
	nonces map[string]string // of the commit that a shard applied last
}

func newFence() *fence { return &fence{tokens: map[string]string{}, nonces: map[string]string{}} }

// commit makes a commit, and says whether the fence is right.
func (f *fence) commit(w *world, c *fold.Commit, apply func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	shard := c.Lease.Shard
	repeated := f.nonces[shard] == c.Nonce
	err := apply()
	says := "applied"
	switch {
	case err == nil && repeated:
		says = "repeated"
		w.chance.note(fenceRepeated)
	case err == nil:
		w.chance.note(fenceApplied)
		f.nonces[shard] = c.Nonce
		if f.tokens[shard] != c.Lease.Token {
			w.fail(shard, "fence: %s commits to shard %s under a lease that it has no more", c.Lease.Owner, shard)
		}
	case errors.Is(err, fold.ErrFenced):
		says = err.Error()
		w.chance.note(fenceToken)
	case errors.Is(err, fold.ErrWentBack):
		says = err.Error()
		w.chance.note(fenceNumber)
	default:
		says = err.Error()
	}
	if repeated && (errors.Is(err, fold.ErrFenced) || errors.Is(err, fold.ErrWentBack)) {
		w.fail(shard, "fence: a commit to shard %s is refused that was applied: %v", shard, err)
	}
	w.trace.add(shard, "%s makes commit %d, to %d, %d records, %d left: %s", c.Lease.Owner, c.Number, c.To.Sequence, len(c.Records), len(c.Left), says)
	return err
}

func (f *fence) acquire(acquire func() (fold.Lease, bool, error)) (fold.Lease, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l, ok, err := acquire()
	if ok && err == nil {
		f.tokens[l.Shard] = l.Token
	}
	return l, ok, err
}

// save returns a function that takes the store and the fence back to what they are now.
func (f *fence) save(store keep) (restore func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	back, tokens, nonces := store.Save(), maps.Clone(f.tokens), maps.Clone(f.nonces)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		back()
		f.tokens, f.nonces = maps.Clone(tokens), maps.Clone(nonces)
	}
}

func (f *fence) flush(store keep) {
	f.mu.Lock()
	defer f.mu.Unlock()
	store.Flush()
	clear(f.tokens)
	clear(f.nonces)
}
