package stream

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
)

// Broadcast sends data to all who listen on a subject now: at most once, stored nowhere. While NATS is out of reach it
// is an error.
func (c *Conn) Broadcast(subject string, data []byte) error { return c.nc.Publish(subject, data) }

// Listen calls fn for each broadcast on a subject, one at a time and in each sender's order, until stop is called: fn
// runs no more when stop has returned. fn must not call stop. What is sent while the connection is down is not heard.
func (c *Conn) Listen(subject string, fn func(data []byte)) (stop func(), err error) {
	sub, err := c.nc.Subscribe(subject, func(m *nats.Msg) { fn(m.Data) })
	if err != nil {
		return nil, err
	}
	closed := make(chan struct{})
	sub.SetClosedHandler(func(string) { close(closed) })
	return func() {
		if sub.Unsubscribe() == nil { // else the connection is closed
			<-closed
		}
	}, nil
}

// Attend makes this process one that Attended finds under a subject, until stop is called.
func (c *Conn) Attend(subject string) (stop func(), err error) {
	sub, err := c.nc.Subscribe(subject, func(m *nats.Msg) { _ = m.Respond(nil) })
	if err != nil {
		return nil, err
	}
	return func() { _ = sub.Unsubscribe() }, nil
}

// Attended says whether any process attends a subject. The server itself knows that none does, so the answer comes at
// once either way; an error means that it is not known.
func (c *Conn) Attended(ctx context.Context, subject string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	_, err := c.nc.RequestWithContext(ctx, subject, nil)
	if errors.Is(err, nats.ErrNoResponders) {
		return false, nil
	}
	return err == nil, err
}
