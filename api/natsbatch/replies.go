package natsbatch

import (
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
)

// replies sends messages in order and brings each its reply, over one subscription.
type replies struct {
	nc     *nats.Conn
	sub    *nats.Subscription
	prefix string

	mu      sync.Mutex
	last    uint64
	waiting map[string]chan *nats.Msg
}

func newReplies(nc *nats.Conn) (*replies, error) {
	r := &replies{nc: nc, prefix: nc.NewInbox() + ".", waiting: map[string]chan *nats.Msg{}}
	sub, err := nc.Subscribe(r.prefix+"*", r.deliver)
	if err != nil {
		return nil, err
	}
	// However many replies come at once, none is dropped: those on their way are bounded by the Publisher.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, err
	}
	r.sub = sub
	return r, nil
}

// send publishes a copy of m; its reply comes once, unless it is forgotten.
func (r *replies) send(m *nats.Msg) (token string, reply <-chan *nats.Msg, err error) {
	c := make(chan *nats.Msg, 1)
	r.mu.Lock()
	r.last++
	token = strconv.FormatUint(r.last, 36)
	r.waiting[token] = c
	r.mu.Unlock()
	if err := r.nc.PublishMsg(&nats.Msg{Subject: m.Subject, Reply: r.prefix + token, Header: m.Header, Data: m.Data}); err != nil {
		r.forget(token)
		return "", nil, err
	}
	return token, c, nil
}

func (r *replies) forget(token string) {
	r.mu.Lock()
	delete(r.waiting, token)
	r.mu.Unlock()
}

func (r *replies) deliver(m *nats.Msg) {
	token := m.Subject[len(r.prefix):]
	r.mu.Lock()
	c := r.waiting[token]
	delete(r.waiting, token)
	r.mu.Unlock()
	if c != nil {
		c <- m
	}
}

// close ends the subscription; it fails only on a closed connection, which has ended it.
func (r *replies) close() { _ = r.sub.Unsubscribe() }
