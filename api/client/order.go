package client

import (
	"context"
	"sync"

	"github.com/leadbaton/baton/api/cloudevent"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/natsbatch"
)

// order keeps an event that ties identities behind what the tied identities did before it. They are in different streams,
// which store side by side: without it a lead could be judged before its own past has arrived.
type order struct {
	mu sync.Mutex
	// onTheWay holds the newest event of each identity that another may be tied to, until it is stored.
	onTheWay map[leadkey.Key]*natsbatch.Pending
}

// sweepAt is how many identities are remembered before those that are stored are forgotten.
const sweepAt = 4096

// before waits until what an event refers to is stored. Only an address is tied to other identities.
func (o *order) before(ctx context.Context, e *cloudevent.Event) error {
	if e.Email == "" || len(e.IDs) == 0 && e.AnonymousID == "" {
		return nil
	}
	for i := range e.IDs {
		if err := o.stored(ctx, leadkey.FromID(e.IDs[i].Name, e.IDs[i].Value.Text)); err != nil {
			return err
		}
	}
	if e.AnonymousID == "" {
		return nil
	}
	return o.stored(ctx, leadkey.FromAnonymous(e.AnonymousID))
}

func (o *order) stored(ctx context.Context, key leadkey.Key) error {
	o.mu.Lock()
	p := o.onTheWay[key]
	o.mu.Unlock()
	if p == nil {
		return nil
	}
	select {
	case <-p.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sent takes note of an event on its way.
func (o *order) sent(e *cloudevent.Event, p *natsbatch.Pending) {
	if e.Email != "" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.onTheWay == nil {
		o.onTheWay = map[leadkey.Key]*natsbatch.Pending{}
	}
	if len(o.onTheWay) >= sweepAt {
		for k, q := range o.onTheWay {
			select {
			case <-q.Done():
				delete(o.onTheWay, k)
			default:
			}
		}
	}
	o.onTheWay[e.Key] = p
}
