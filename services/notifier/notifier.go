// Package notifier tells reps of their handoffs. Sales tools subscribe and see what is open, then each change; the
// router's calls come back with a receipt when one of them has confirmed.
package notifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	channelv1 "github.com/leadbaton/baton/api/gen/baton/channel/v1"
	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"

	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/stream"
	"github.com/leadbaton/baton/services/internal/telemetry"
)

// Options say what a notifier works with.
type Options struct {
	// Stream is the connection to NATS; it is not closed by the notifier.
	Stream *stream.Conn
	// Logger is slog.Default() if nil.
	Logger *slog.Logger
	// Signals are where it measures and traces; the zero value is nowhere.
	Signals telemetry.Signals
}

// Notifier serves NotificationChannelService and SubscriptionService. It keeps nothing on disk: everything is read from
// HANDOFFS, or made good by the router's next attempt.
type Notifier struct {
	channelv1.UnimplementedNotificationChannelServiceServer
	subscriptionv1.UnimplementedSubscriptionServiceServer

	conn     *stream.Conn
	handoffs *stream.Log
	log      *slog.Logger
	metrics  *metrics
	presence *presence
	allowed  *stream.Permissions
	stopped  chan struct{} // closed when Run has ended

	mu            sync.Mutex
	ran           bool
	p             *projection
	fault         error // why HANDOFFS cannot be read now
	ready         bool  // p has everything that was in HANDOFFS at the start
	seen          uint64
	moved         chan struct{} // closed when any of these change; nil if nobody waits
	subscriptions map[audience]map[*subscription]struct{}
	confirmations *memory[assignment, confirmation]
	ahead         *memory[string, *handoffv1.Handoff]
	waiting       map[string]*wait // by handoff
}

// New returns a notifier. It does nothing before Run.
func New(o Options) (*Notifier, error) {
	if o.Stream == nil {
		return nil, errors.New("notifier: a connection to NATS is needed")
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return &Notifier{
		conn: o.Stream, handoffs: o.Stream.Log(subject.HandoffsStream), log: o.Logger,
		metrics:  newMetrics(o.Signals),
		presence: &presence{conn: o.Stream, here: map[audience]*attendance{}}, allowed: o.Stream.Permissions(needs()...),
		stopped: make(chan struct{}),
		p:       newProjection(), fault: errors.New("HANDOFFS has not been read yet"),
		subscriptions: map[audience]map[*subscription]struct{}{},
		confirmations: newMemory[assignment, confirmation](keptConfirmations, confirmationAge),
		ahead:         newMemory[string, *handoffv1.Handoff](keptAhead, aheadAge),
		waiting:       map[string]*wait{},
	}, nil
}

// Register adds the services to a server.
func (n *Notifier) Register(r grpc.ServiceRegistrar) {
	channelv1.RegisterNotificationChannelServiceServer(r, n)
	subscriptionv1.RegisterSubscriptionServiceServer(r, n)
}

// Ready says why the notifier cannot do its work now; nil if it can.
func (n *Notifier) Ready() error {
	if !n.conn.Connected() {
		return errors.New("notifier: NATS is out of reach")
	}
	if err := n.allowed.Err(); err != nil {
		return fmt.Errorf("notifier: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.fault != nil:
		return fmt.Errorf("notifier: %w", n.fault)
	case !n.ready:
		return errors.New("notifier: HANDOFFS is still being read")
	}
	return nil
}

// Pauses between attempts to read HANDOFFS.
const (
	shortestPause = 250 * time.Millisecond
	longestPause  = 15 * time.Second
)

// stopping is why streams end when the notifier does.
const stopping = "the notifier is stopping"

// Run follows HANDOFFS until ctx ends, and returns its error. Then all streams and calls end. It can be called once.
func (n *Notifier) Run(ctx context.Context) error {
	n.mu.Lock()
	again := n.ran
	n.ran = true
	n.mu.Unlock()
	if again {
		return errors.New("notifier: Run was called before")
	}
	defer n.stop()
	defer n.metrics.observe(n)()
	stop, err := n.listen()
	if err != nil {
		return fmt.Errorf("notifier: %w", err)
	}
	defer stop()
	looking, endLooking := context.WithCancel(ctx)
	var looked sync.WaitGroup
	looked.Go(func() { n.allowed.Run(looking) })
	defer looked.Wait()
	defer endLooking()
	pause := shortestPause
	for {
		caughtUp, err := n.follow(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if caughtUp {
			pause = shortestPause
		}
		level := slog.LevelWarn
		if errors.Is(err, errBroken) {
			level = slog.LevelError
		}
		n.log.Log(ctx, level, "reading HANDOFFS was interrupted; it goes on in a moment", "error", err, "pause", pause)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
	}
}

// errBroken says that HANDOFFS holds what cannot be folded. It is tried again from the start all the same: a notifier that
// ends would come back to the same facts.
var errBroken = errors.New("HANDOFFS cannot be folded")

// follow reads HANDOFFS from where the projection is, until reading fails. It says whether it had read all there was.
func (n *Notifier) follow(ctx context.Context) (caughtUp bool, err error) {
	defer func() {
		if err != nil && !caughtUp {
			n.blame(err)
		}
	}()
	n.mu.Lock()
	at := n.p.at
	n.mu.Unlock()
	err = fold.CheckPosition(ctx, n.handoffs, at)
	var other *fold.StopError
	if errors.As(err, &other) {
		n.log.Error("HANDOFFS is another stream than before: it was restored or created anew; it is read again from its start, and subscribers begin anew")
		n.begin("HANDOFFS was restored or created anew")
		at = fold.Position{}
	} else if err != nil {
		return false, err
	}
	info, err := n.handoffs.Info(ctx)
	if err != nil {
		return false, err
	}
	if at == (fold.Position{}) {
		n.mu.Lock()
		n.p.at.Created = info.Created
		n.mu.Unlock()
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var broken error
	apply := func(m fold.Message) bool {
		if broken == nil {
			broken = n.apply(m)
		}
		return broken == nil
	}
	defer func() {
		if broken != nil {
			n.begin("HANDOFFS cannot be followed for now")
			caughtUp, err = false, fmt.Errorf("%w: %w", errBroken, broken)
		}
	}()
	if err := n.handoffs.ScanAfter(ctx, at.Sequence, []string{subject.AllHandoffs}, apply); err != nil || broken != nil {
		return false, err
	}
	n.mu.Lock()
	at = n.p.at
	n.ready, n.fault = true, nil
	n.seen = max(n.seen, info.Last)
	n.move()
	n.mu.Unlock()
	return true, n.handoffs.Read(ctx, at.Sequence, func(m fold.Message) {
		if !apply(m) {
			cancel()
		}
	})
}

// apply folds one message and tells whom it concerns.
func (n *Notifier) apply(m fold.Message) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	changes, err := n.p.apply(m)
	if err != nil {
		return err
	}
	n.seen = max(n.seen, m.Sequence)
	for _, c := range changes {
		e := c.entry
		if a, ok := n.ahead.get(e.id, time.Now()); ok && !e.behind(a.GetAssignment()) {
			n.ahead.forget(e.id)
		}
		if e.ended || e.receipt != nil {
			n.confirmations.forget(assignment{e.id, e.assignment})
		}
		n.changed(c)
		n.wakeDelivery(e.id)
	}
	n.move()
	return nil
}

// begin drops what was read, and ends all streams with a reason.
func (n *Notifier) begin(reason string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.p, n.seen, n.ready = newProjection(), 0, false
	n.ahead = newMemory[string, *handoffv1.Handoff](keptAhead, aheadAge)
	n.endAll(reason)
}

func (n *Notifier) endAll(reason string) {
	for _, all := range n.subscriptions {
		for s := range all {
			s.end(reason)
		}
	}
}

func (n *Notifier) blame(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fault = err
}

// stop ends all streams and calls.
func (n *Notifier) stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.stopped)
	n.fault = errors.New("it is stopping")
	n.endAll(stopping)
}

// move lets those look again that wait for the projection.
func (n *Notifier) move() {
	if n.moved != nil {
		close(n.moved)
		n.moved = nil
	}
}

// How long calls wait for the projection.
const (
	readyWait   = 10 * time.Second
	catchUpWait = 2 * time.Second
)

// await waits until a condition of the projection holds; false if it does not in time.
func (n *Notifier) await(ctx context.Context, atMost time.Duration, holds func() bool) bool {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	for {
		n.mu.Lock()
		if holds() {
			n.mu.Unlock()
			return true
		}
		if n.moved == nil {
			n.moved = make(chan struct{})
		}
		moved := n.moved
		n.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		case <-timer.C:
			return false
		case <-n.stopped:
			return false
		}
	}
}

// awaitReady waits until what was in HANDOFFS at the start has been read.
func (n *Notifier) awaitReady(ctx context.Context) error {
	ok := n.await(ctx, readyWait, func() bool { return n.ready })
	select {
	case <-n.stopped:
		return tryAgain.errorf("%s: try again", stopping)
	default:
	}
	if !ok {
		return tryAgain.errorf("the notifier has not read HANDOFFS yet: try again")
	}
	return nil
}

// catchUp waits until all that is in HANDOFFS now has been read. It waits in vain, for a moment, if the end of HANDOFFS was
// erased; then all there is has been read too.
func (n *Notifier) catchUp(ctx context.Context) error {
	info, err := n.handoffs.Info(ctx)
	if err != nil {
		return tryAgain.errorf("HANDOFFS cannot be read now: try again")
	}
	n.await(ctx, catchUpWait, func() bool { return n.seen >= info.Last })
	return nil
}
