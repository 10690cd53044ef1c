package fold

import (
	"context"
	"slices"
	"sync"
	"time"
)

// inbox holds messages between the reader and the fold.
type inbox struct {
	mu     sync.Mutex
	space  *sync.Cond
	msgs   []Message
	bytes  int
	closed bool
	filled chan struct{}
}

func (b *inbox) init() {
	b.space = sync.NewCond(&b.mu)
	b.filled = make(chan struct{}, 1)
}

// put blocks while the inbox is full; false if it is closed.
func (b *inbox) put(m Message) bool {
	b.mu.Lock()
	for (len(b.msgs) >= maxInbox || b.bytes >= maxInboxBytes) && !b.closed {
		b.space.Wait()
	}
	if b.closed {
		b.mu.Unlock()
		return false
	}
	b.msgs = append(b.msgs, m)
	b.bytes += len(m.Data)
	first := len(b.msgs) == 1
	b.mu.Unlock()
	if first {
		signal(b.filled)
	}
	return true
}

// take returns up to n messages.
func (b *inbox) take(n int) []Message {
	if n <= 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	n = min(n, len(b.msgs))
	if n == 0 {
		return nil
	}
	out := b.msgs[:n:n]
	b.msgs = b.msgs[n:]
	for i := range out {
		b.bytes -= len(out[i].Data)
	}
	b.space.Broadcast()
	if len(b.msgs) > 0 {
		signal(b.filled)
	} else {
		b.msgs = nil
	}
	return out
}

// oldest is when the first message that waits arrived, in Unix nanoseconds; 0 = none waits.
func (b *inbox) oldest() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.msgs) == 0 {
		return 0
	}
	return b.msgs[0].Time
}

func (b *inbox) close() {
	b.mu.Lock()
	b.closed = true
	b.space.Broadcast()
	b.mu.Unlock()
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// queue is the outbox in memory: what has been committed and waits to leave, and what has left and waits to be deleted.
type queue struct {
	mu       sync.Mutex
	waiting  []Record
	since    []time.Time // when each was committed; zero = before this owner
	left     []string
	arrived  chan struct{}
	departed chan struct{}
}

func (q *queue) init() { q.arrived, q.departed = make(chan struct{}, 1), make(chan struct{}, 1) }

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// all returns what waits.
func (q *queue) all() []Record {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.waiting)
}

func (q *queue) add(rs []Record, at time.Time) {
	if len(rs) == 0 {
		return
	}
	q.mu.Lock()
	q.waiting = append(q.waiting, rs...)
	for range rs {
		q.since = append(q.since, at)
	}
	q.mu.Unlock()
	signal(q.arrived)
}

// next returns what waits, at most 1,000 records; they stay until leftNow.
func (q *queue) next(ctx context.Context) ([]Record, []time.Time, error) {
	for {
		q.mu.Lock()
		n := min(len(q.waiting), 1000)
		rs, since := q.waiting[:n:n], q.since[:n:n]
		q.mu.Unlock()
		if n > 0 {
			return rs, since, nil
		}
		select {
		case <-q.arrived:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

func (q *queue) leftNow(rs []Record) {
	q.mu.Lock()
	for i := range rs {
		q.left = append(q.left, rs[i].ID())
	}
	q.waiting, q.since = q.waiting[len(rs):], q.since[len(rs):]
	q.mu.Unlock()
	signal(q.departed)
}

func (q *queue) takeLeft() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.left
	q.left = nil
	return out
}
