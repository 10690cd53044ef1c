package natsbatch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// lane publishes the messages of one stream: one group at a time, while the next gathers.
type lane struct {
	p    *Publisher
	wake chan struct{}
	// single says that the stream takes no batches. Only run uses it.
	single bool

	mu     sync.Mutex
	queue  []*Pending
	closed bool
}

func (l *lane) put(m *Pending) {
	l.mu.Lock()
	l.queue = append(l.queue, m)
	l.mu.Unlock()
	l.signal()
}

func (l *lane) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.signal()
}

func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *lane) run() {
	for {
		group, more := l.next()
		if len(group) > 0 {
			l.publish(group)
			continue
		}
		if !more {
			return
		}
		<-l.wake
	}
}

// next takes what waits, up to a batch; more is false if nothing waits and nothing will come.
func (l *lane) next() (group []*Pending, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, size := 0, 0
	for n < len(l.queue) && n < batchMessages && (n == 0 || size+l.queue[n].cost <= batchBytes) {
		size += l.queue[n].cost
		n++
	}
	group = append(group, l.queue[:n]...)
	if n == len(l.queue) {
		l.queue = nil
	} else {
		l.queue = l.queue[n:]
	}
	return group, n > 0 || !l.closed
}

// publish gives every message of the group its outcome.
func (l *lane) publish(group []*Pending) {
	group = l.distinct(group)
	if len(group) > fewSingles && !l.single {
		done := false
		if group, done = l.batch(group); done {
			return
		}
	}
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		if group = l.singles(group); len(group) == 0 {
			return
		}
		pause := time.NewTimer(wait)
		select {
		case <-pause.C:
		case <-l.p.ctx.Done():
		}
		pause.Stop()
	}
}

// distinct drops messages whose context has ended, and repeats of a Nats-Msg-Id, which would make JetStream refuse the batch.
func (l *lane) distinct(group []*Pending) []*Pending {
	kept := group[:0]
	first := make(map[string]*Pending, len(group))
	for _, m := range group {
		if err := m.ctx.Err(); err != nil {
			l.giveUp(m, context.Cause(m.ctx))
			continue
		}
		if m.id != "" {
			if f := first[m.id]; f != nil {
				f.same = append(f.same, m)
				continue
			}
			first[m.id] = m
		}
		kept = append(kept, m)
	}
	return kept
}

// batch tries the group as one batch. What it returns is to be published singly: all of it if the batch was refused, so
// that each message gets its own reason; what may be repeated if the outcome is unknown.
func (l *lane) batch(group []*Pending) (rest []*Pending, done bool) {
	msgs := make([]*nats.Msg, len(group))
	for i, m := range group {
		msgs[i], m.sent = m.msg, true
	}
	ctx, cancel := context.WithTimeout(l.p.ctx, 2*l.p.opts.Attempt)
	defer cancel()
	ack, err := Publish(ctx, l.p.nc, msgs)
	var refused *Error
	switch {
	case err == nil:
		for i, m := range group {
			l.p.finish(m, Ack{Stream: ack.Stream, Sequence: ack.Sequence - uint64(len(group)-1-i)}, nil)
		}
		return nil, true
	case errors.As(err, &refused):
		l.single = refused.Code == codeBatchDisabled
		for _, m := range group {
			m.sent = false
		}
	case errors.Is(err, nats.ErrNoResponders):
		for _, m := range group {
			m.sent = false
		}
	default:
		return l.unknown(group, err), false
	}
	return group, false
}

// unknown returns what may be tried again after an unknown outcome.
func (l *lane) unknown(group []*Pending, err error) (again []*Pending) {
	for _, m := range group {
		m.unknown = true
		if m.id == "" {
			l.p.finish(m, Ack{}, fmt.Errorf("%w: %w", ErrUnknown, err))
			continue
		}
		again = append(again, m)
	}
	return again
}

// singles tries every message once, all on their way at the same time, and returns those to try again.
func (l *lane) singles(group []*Pending) (again []*Pending) {
	type attempt struct {
		m     *Pending
		token string
		reply <-chan *nats.Msg
	}
	sent := make([]attempt, 0, len(group))
	for _, m := range group {
		if m.ctx.Err() != nil {
			l.giveUp(m, context.Cause(m.ctx))
			continue
		}
		if l.p.ctx.Err() != nil {
			l.giveUp(m, ErrClosed)
			continue
		}
		token, reply, err := l.p.replies.send(m.msg)
		switch {
		case err == nil:
			m.sent = true
			sent = append(sent, attempt{m, token, reply})
		case errors.Is(err, nats.ErrReconnectBufExceeded):
			// Not connected for now: not sent.
			again = append(again, m)
		default:
			// Among others: closed connection, bad subject, larger than the server takes.
			l.giveUpUnsent(m, err)
		}
	}
	timeout := time.NewTimer(l.p.opts.Attempt)
	defer timeout.Stop()
	expired := make(chan struct{})
	for _, a := range sent {
		select {
		case r := <-a.reply:
			if !l.settle(a.m, r) {
				again = append(again, a.m)
			}
			continue
		case <-timeout.C:
			close(expired)
		case <-expired:
		case <-l.p.ctx.Done():
		}
		l.p.replies.forget(a.token)
		if forbidden(l.p.nc, a.m.msg.Subject) {
			l.p.finish(a.m, Ack{}, fmt.Errorf("%w: %s", ErrForbidden, a.m.msg.Subject))
			continue
		}
		again = append(again, l.unknown([]*Pending{a.m}, nats.ErrTimeout)...)
	}
	return again
}

// giveUp ends m, whose context or the Publisher's has ended. Those that shared its fate go on by themselves.
func (l *lane) giveUp(m *Pending, cause error) {
	fate := ErrNotSent
	if m.sent {
		fate = ErrUnknown
	}
	if same := m.same; len(same) > 0 {
		heir := same[0]
		heir.same, heir.sent, heir.unknown, m.same = same[1:], m.sent, m.unknown, nil
		l.put(heir)
	}
	l.p.finish(m, Ack{}, fmt.Errorf("%w: %w", fate, cause))
}

func (l *lane) giveUpUnsent(m *Pending, err error) {
	if m.sent {
		l.p.finish(m, Ack{}, fmt.Errorf("%w: %w", ErrUnknown, err))
		return
	}
	l.p.finish(m, Ack{}, fmt.Errorf("%w: %w", ErrNotSent, err))
}

// settle gives m the outcome in r; false if m is to be tried again.
func (l *lane) settle(m *Pending, r *nats.Msg) bool {
	ack, err := readAck(r)
	var refused *Error
	switch {
	case err == nil:
		l.p.finish(m, ack, nil)
	case errors.As(err, &refused):
		if refused.Temporary() {
			m.sent = m.unknown
			return false
		}
		l.p.finish(m, Ack{}, err)
	case errors.Is(err, nats.ErrNoResponders):
		now := time.Now()
		m.sent = m.unknown
		if m.noStreamSince.IsZero() {
			m.noStreamSince = now
		}
		if now.Sub(m.noStreamSince) < l.p.opts.NoStream {
			return false
		}
		fate := ErrNoStream
		if m.unknown {
			fate = fmt.Errorf("%w: %w", ErrUnknown, ErrNoStream)
		}
		l.p.finish(m, Ack{}, fmt.Errorf("%w: %s", fate, m.msg.Subject))
	default:
		return len(l.unknown([]*Pending{m}, err)) == 0
	}
	return true
}

// forbidden says whether the server's latest complaint is that the connection may not publish on the subject: JetStream
// gives no reply then, only time passes.
func forbidden(nc *nats.Conn, subject string) bool {
	err := nc.LastError()
	return errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `"`+subject+`"`)
}
