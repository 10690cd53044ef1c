// Package router is the service that passes the baton: it picks the rep for every qualified lead, tells it over gRPC
// within the window, follows it up, and takes the rep's answer back. It alone writes HANDOFFS.
//
// Any number of routers run; one of them leads and the others are hot: each folds HANDOFFS in memory. Who leads is chosen
// by an election, which may err; what keeps the stream right is that every write expects the last sequence that its
// decision was made on.
package router

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	agreementv1 "github.com/leadbaton/baton/api/gen/baton/agreement/v1"
	channelv1 "github.com/leadbaton/baton/api/gen/baton/channel/v1"
	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	rosterv1 "github.com/leadbaton/baton/api/gen/baton/roster/v1"

	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/handoff"
	"github.com/leadbaton/baton/services/internal/stream"
	"github.com/leadbaton/baton/services/internal/telemetry"
)

// Options say what a router works with.
type Options struct {
	// Stream is the connection to NATS. Its streams exist (stream.Conn.EnsureStreams). It is not closed.
	Stream *stream.Conn
	// Notifier tells the reps.
	Notifier channelv1.NotificationChannelServiceClient
	// Advertise is HOST:PORT where other routers reach this one's gRPC services; "" = they cannot forward to it.
	Advertise string
	// Member names this router in the election and in logs; "" = a random name.
	Member string
	// InitialAgreement and InitialRoster are documents that the leader puts in force when it starts, if they differ from
	// what is in force; nil = none.
	InitialAgreement, InitialRoster []byte
	// FoldVersion is the newest version of the scorers' fold that this program knows: the leader puts it in force in every
	// shard, once. 0 = leave what is in force.
	FoldVersion uint32
	// Dial connects to another router; nil = plain text over TCP.
	Dial   func(address string) (*grpc.ClientConn, error)
	Logger *slog.Logger
	// Signals are where it measures and traces; the zero value is nowhere.
	Signals telemetry.Signals
}

// election says who leads. It is stream.Election; a test has one in which everybody believes to lead.
type election interface {
	Run(context.Context) error
	Stand(yes bool)
	Leading() bool
	Leader() (stream.Leader, bool)
	Changed() <-chan struct{}
}

// store appends to HANDOFFS if its last sequence is the expected one, as stream.Conn.Append does. A test has one whose
// answers are lost.
type store func(ctx context.Context, expected uint64, entries []stream.Entry) (uint64, error)

// Router is one router.
type Router struct {
	o        Options
	log      *slog.Logger
	metrics  *metrics
	ledger   *ledger
	election election
	store    store
	term     atomic.Pointer[term] // while this router leads
	initial  []initial            // what to put in force that is not yet
	allowed  *stream.Permissions

	mu      sync.Mutex
	stopped error                       // why the router stands still for good
	halt    context.CancelFunc          // ends the work of Run
	ready   bool                        // HANDOFFS was folded to its end once
	hinders map[string]error            // what the leader cannot do now, and why
	leaders map[string]*grpc.ClientConn // by address
}

// New returns a router. It does no I/O. Its error says what is wrong with the initial documents.
func New(o Options) (*Router, error) {
	switch {
	case o.Stream == nil:
		return nil, errors.New("router: a connection to NATS is needed")
	case o.Notifier == nil:
		return nil, errors.New("router: a notifier is needed")
	}
	o.Member = cmp.Or(o.Member, "router-"+rand.Text())
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Dial == nil {
		o.Dial = func(address string) (*grpc.ClientConn, error) {
			return grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		}
	}
	r := &Router{o: o, log: o.Logger.With("member", o.Member), metrics: newMetrics(o.Signals), leaders: map[string]*grpc.ClientConn{}, hinders: map[string]error{}, halt: func() {}}
	var err error
	if r.initial, err = initialDocuments(o.InitialAgreement, o.InitialRoster); err != nil {
		return nil, err
	}
	r.allowed = o.Stream.Permissions(needs()...)
	r.initial = append(r.initial, initial{"fold version", func(s *handoff.State, now time.Time) ([]*handoffv1.Fact, error) {
		return s.DecideFoldVersion(o.FoldVersion, now), nil
	}})
	r.ledger = newLedger(o.Stream, r.log)
	r.store = func(ctx context.Context, expected uint64, entries []stream.Entry) (uint64, error) {
		return o.Stream.Append(ctx, subject.HandoffsStream, expected, entries)
	}
	r.election = o.Stream.Election(electionKey, stream.Leader{Member: o.Member, Address: o.Advertise})
	return r, nil
}

// electionKey names the election in which routers choose the one that leads.
const electionKey = "router"

// Register registers HandoffService, AgreementService and RosterService.
func (r *Router) Register(s grpc.ServiceRegistrar) {
	handoffv1.RegisterHandoffServiceServer(s, &handoffService{r: r})
	agreementv1.RegisterAgreementServiceServer(s, &agreementService{r: r})
	rosterv1.RegisterRosterServiceServer(s, &rosterService{r: r})
}

// Ready is nil when this router can do its work: as the leader, or as a standby that has folded HANDOFFS to its end.
func (r *Router) Ready() error {
	r.mu.Lock()
	stopped, ready := r.stopped, r.ready
	var hindered error
	for what, err := range r.hinders {
		hindered = fmt.Errorf("%s: %w", what, err)
	}
	r.mu.Unlock()
	switch {
	case stopped != nil:
		return fmt.Errorf("the router stands still: %w", stopped)
	case !r.o.Stream.Connected():
		return errors.New("NATS is not connected")
	case r.allowed.Err() != nil:
		return r.allowed.Err()
	case !ready:
		return errors.New("HANDOFFS is being read")
	case hindered != nil:
		return hindered
	case r.election.Leading() && r.term.Load() == nil:
		return errors.New("the router is taking over")
	}
	if _, ok := r.election.Leader(); !ok {
		return errNoLeader
	}
	return nil
}

// errNoLeader is what Ready and the services say while nobody leads.
var errNoLeader = errors.New("no router leads at the moment; try again")

// Leading says whether this router leads now and decides.
func (r *Router) Leading() bool { return r.election.Leading() && r.term.Load() != nil }

// retry is how long the router waits before it tries again what failed; where it fails on and on, up to longestRetry.
const (
	retry        = 250 * time.Millisecond
	longestRetry = 5 * time.Second
)

// Run works until ctx ends, and returns ctx.Err(). A router that must not go on (a stream was restored or created anew,
// or holds what cannot be read) stands still instead, says so in its log and by Ready, and leaves the lead to others.
func (r *Router) Run(ctx context.Context) error {
	defer r.closeLeaders()
	defer r.metrics.observe()()
	// The election outlives the work, so that the place is given back only when nothing is decided any more.
	electing, endElection := context.WithCancel(context.WithoutCancel(ctx))
	var elections sync.WaitGroup
	elections.Go(func() { _ = r.election.Run(electing) })
	elections.Go(func() { r.allowed.Run(electing) })
	defer elections.Wait()
	defer endElection()

	work, halt := context.WithCancel(ctx)
	defer halt()
	r.mu.Lock()
	r.halt = halt
	r.mu.Unlock()
	r.work(work)
	<-ctx.Done()
	return ctx.Err()
}

// work reads HANDOFFS, and leads whenever this router is elected.
func (r *Router) work(ctx context.Context) {
	for !r.catchUp(ctx) {
		if !sleep(ctx, retry) {
			return
		}
	}
	r.mu.Lock()
	r.ready = true
	r.mu.Unlock()
	r.election.Stand(true)
	defer r.election.Stand(false)
	var following sync.WaitGroup
	following.Go(func() { r.follow(ctx) })
	following.Go(func() { r.prune(ctx) })
	defer following.Wait()
	for ctx.Err() == nil {
		changed := r.election.Changed()
		if !r.election.Leading() {
			select {
			case <-ctx.Done():
			case <-changed:
			}
			continue
		}
		if err := r.lead(ctx); ctx.Err() == nil && r.election.Leading() {
			r.log.Warn("the router begins to lead anew", "error", err)
			sleep(ctx, retry)
		}
	}
}

// stop makes the router stand still for good.
func (r *Router) stop(err error) {
	r.mu.Lock()
	first := r.stopped == nil
	if first {
		r.stopped = err
	}
	halt := r.halt
	r.mu.Unlock()
	if first {
		r.log.Error("the router stands still: put right what this says, and start it again", "error", err)
	}
	halt()
}

// What the leader may be kept from. It goes on trying, and Ready says so meanwhile.
const (
	readingLeads    = "LEADS cannot be read"
	writingHandoffs = "HANDOFFS cannot be written"
)

// hinder notes why something cannot be done now; nil = it can.
func (r *Router) hinder(what string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		delete(r.hinders, what)
	} else {
		r.hinders[what] = err
	}
}

func (r *Router) stoppedBy() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stopped
}

// sleep waits; false if ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
