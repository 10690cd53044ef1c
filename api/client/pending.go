package client

import "context"

// Pending is an event on its way.
type Pending struct{ f flight }

// PublishAsync takes one event in either encoding, to be stored until ctx ends. Events of one lead are stored in the order
// in which they were taken, and an event that ties an address to other identities after what those did before. It blocks
// while too much is waiting. The body must not be changed until the outcome is there.
func (p *Publisher) PublishAsync(ctx context.Context, body []byte) *Pending {
	return &Pending{p.begin(ctx, body)}
}

// Wait returns what became of the event; Failed when ctx ends before that is known.
func (p *Pending) Wait(ctx context.Context) Result { return p.f.wait(ctx) }
