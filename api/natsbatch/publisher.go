package natsbatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/leadbaton/baton/api/subject"
)

// Errors of a Publisher that are not JetStream's. After any of them but ErrUnknown, the message is not stored.
var (
	// ErrClosed: the Publisher was closed before the message was taken.
	ErrClosed = errors.New("the publisher is closed")
	// ErrNotSent: the caller's context ended before the message was sent for the first time.
	ErrNotSent = errors.New("the message was not sent")
	// ErrNoStream: for some time no stream took messages on the subject.
	ErrNoStream = errors.New("no stream takes messages on this subject: is Baton running, and is this its NATS server?")
	// ErrForbidden: the NATS user may not publish on the subject.
	ErrForbidden = errors.New("the NATS user may not publish on this subject: give it the permission, or use its own source")
	// ErrUnknown: the message may be stored or not. Publishing it again under the same Nats-Msg-Id is safe.
	ErrUnknown = errors.New("it is not known whether the message was stored")
)

// Options of a Publisher. The zero value is right for engagement events.
type Options struct {
	// StreamOf names the stream that a subject belongs to; a batch never mixes streams. The default knows Baton's streams.
	// Messages for which it returns "" are never batched.
	StreamOf func(subject string) string
	// MaxPending is how many bytes may wait, over all streams, before publishing blocks. The default is 32 MiB.
	MaxPending int
	// Attempt bounds one attempt, after which its outcome is unknown and it is repeated. The default is 5 s.
	Attempt time.Duration
	// NoStream is how long a message is tried again while no stream takes it, as when the server restarts. The default
	// is 10 s.
	NoStream time.Duration
}

const (
	// fewSingles is up to how many waiting messages are published singly, all on their way at once: a server makes and
	// removes a store on disk for each batch, which takes it about 4 ms of its processor, as long as 20 single messages
	// that it syncs and 150 that it does not.
	fewSingles = 16
	// batchMessages and batchBytes bound a batch.
	batchMessages = 200
	batchBytes    = 4 << 20
	// overhead is what a waiting message counts beside its bytes.
	overhead = 1 << 10
)

// Publisher publishes what concurrent callers give it, in group commits: while a stream stores a batch, the next one gathers.
// Streams do not wait for each other. Messages of one stream are sent in the order in which they were taken, but for those
// that have to be tried again.
//
// What has an unknown outcome or fails for a time is tried again until the caller's context ends, under its own
// Nats-Msg-Id, so that the stream's window of duplicates keeps it single. A message without a Nats-Msg-Id is not tried again after an
// unknown outcome.
type Publisher struct {
	nc      *nats.Conn
	opts    Options
	ctx     context.Context // ends when the lanes must stop
	stop    context.CancelFunc
	replies *replies
	budget  budget
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool
	lanes  map[string]*lane
}

// NewPublisher returns a Publisher over nc, which stays the caller's. Close it.
func NewPublisher(nc *nats.Conn, opts Options) (*Publisher, error) {
	if opts.StreamOf == nil {
		opts.StreamOf = func(s string) string { name, _ := subject.StreamOf(s); return name }
	}
	if opts.MaxPending <= 0 {
		opts.MaxPending = 32 << 20
	}
	if opts.Attempt <= 0 {
		opts.Attempt = 5 * time.Second
	}
	if opts.NoStream <= 0 {
		opts.NoStream = 10 * time.Second
	}
	r, err := newReplies(nc)
	if err != nil {
		return nil, fmt.Errorf("subscribe for acknowledgements: %w", err)
	}
	p := &Publisher{nc: nc, opts: opts, replies: r, lanes: map[string]*lane{}}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.budget.free = opts.MaxPending
	return p, nil
}

// Pending is a message on its way.
type Pending struct {
	ctx  context.Context
	msg  *nats.Msg
	id   string // its Nats-Msg-Id
	cost int

	sent, unknown bool
	noStreamSince time.Time
	// same are the messages of the same batch with the same Nats-Msg-Id: they share its fate.
	same []*Pending

	done chan struct{}
	ack  Ack
	err  error
}

// Done is closed when the outcome is there.
func (m *Pending) Done() <-chan struct{} { return m.done }

// Wait returns the outcome, or ErrUnknown when ctx ends before. See Publish for the errors.
func (m *Pending) Wait(ctx context.Context) (Ack, error) {
	select {
	case <-m.done:
		return m.ack, m.err
	default:
	}
	select {
	case <-m.done:
		return m.ack, m.err
	case <-ctx.Done():
		return Ack{}, fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx))
	}
}

// Publish stores one message and returns when it is stored, or when it is not.
//
// The error is an *Error if JetStream refused, or wraps one of this package's errors. Only after ErrUnknown may the message
// be stored. The message must not be changed until its outcome is there.
func (p *Publisher) Publish(ctx context.Context, msg *nats.Msg) (Ack, error) {
	m, err := p.PublishAsync(ctx, msg)
	if err != nil {
		return Ack{}, err
	}
	return m.Wait(ctx)
}

// PublishAsync takes a message, to be stored until ctx ends. It blocks while too much is waiting; its error means that the
// message was not taken.
func (p *Publisher) PublishAsync(ctx context.Context, msg *nats.Msg) (*Pending, error) {
	m := &Pending{ctx: ctx, msg: msg, id: msg.Header.Get(nats.MsgIdHdr), cost: len(msg.Data) + overhead, done: make(chan struct{})}
	// A message larger than all that may wait goes alone.
	m.cost = min(m.cost, p.opts.MaxPending)
	if err := p.budget.take(ctx, p.ctx, m.cost); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.budget.give(m.cost)
		return nil, ErrClosed
	}
	name := p.opts.StreamOf(msg.Subject)
	l := p.lanes[name]
	if l == nil {
		l = &lane{p: p, single: name == "", wake: make(chan struct{}, 1)}
		p.lanes[name] = l
		p.running.Go(l.run)
	}
	l.put(m)
	return m, nil
}

// Close takes no more messages, and returns when all that were taken have their outcome. When ctx ends first, those that
// are left end with ErrUnknown or ErrNotSent, and Close returns the context's error.
func (p *Publisher) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	for _, l := range p.lanes {
		l.close()
	}
	p.mu.Unlock()
	drained := make(chan struct{})
	go func() {
		p.running.Wait()
		close(drained)
	}()
	var err error
	select {
	case <-drained:
	case <-ctx.Done():
		err = fmt.Errorf("close the publisher: %w", context.Cause(ctx))
	}
	p.stop()
	<-drained
	p.replies.close()
	return err
}

// finish gives m and those that share its fate their outcome.
func (p *Publisher) finish(m *Pending, ack Ack, err error) {
	ack.Retried = err == nil && m.unknown
	m.ack, m.err = ack, err
	p.budget.give(m.cost)
	close(m.done)
	for _, s := range m.same {
		if err == nil {
			ack.Duplicate = true
		}
		s.ack, s.err = ack, err
		p.budget.give(s.cost)
		close(s.done)
	}
}

// budget bounds the bytes that wait. It is fair: who came first is served first.
type budget struct {
	mu      sync.Mutex
	free    int
	waiting []*claim
}

type claim struct {
	n     int
	taken chan struct{}
}

func (b *budget) take(ctx, closed context.Context, n int) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrNotSent, context.Cause(ctx))
	}
	b.mu.Lock()
	if len(b.waiting) == 0 && b.free >= n {
		b.free -= n
		b.mu.Unlock()
		return nil
	}
	c := &claim{n, make(chan struct{})}
	b.waiting = append(b.waiting, c)
	b.mu.Unlock()
	var err error
	select {
	case <-c.taken:
		return nil
	case <-ctx.Done():
		err = fmt.Errorf("%w: %w", ErrNotSent, context.Cause(ctx))
	case <-closed.Done():
		err = ErrClosed
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-c.taken: // just now
		b.free += n
	default:
		for i, w := range b.waiting {
			if w == c {
				b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
				break
			}
		}
	}
	b.serve()
	return err
}

func (b *budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += n
	b.serve()
}

func (b *budget) serve() {
	for len(b.waiting) > 0 && b.waiting[0].n <= b.free {
		b.free -= b.waiting[0].n
		close(b.waiting[0].taken)
		b.waiting = b.waiting[1:]
	}
}
