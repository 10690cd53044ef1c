package router

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/services/internal/handoff"
	"github.com/leadbaton/baton/services/internal/stream"
)

// forwardedKey marks a call that a standby has passed on. It is passed on once only, so that two routers that each believe
// the other leads do not play ball with it.
const forwardedKey = "baton-router-forwarded-by"

// maxForwarded is the largest answer that is passed back, in bytes: the longest list has 10,000 handoffs.
const maxForwarded = 256 << 20

// leaderWithin is how long a call waits for somebody to lead, or for who leads to be known, before it is refused.
const leaderWithin = 2 * time.Second

// serve answers a call here if this router leads, else passes it on to the one that does.
func serve[Request, Response proto.Message](ctx context.Context, r *Router, method string, in Request, fresh func() Response,
	here func(context.Context, *term) (Response, error),
) (Response, error) {
	var none Response
	out, err := serveOnce(ctx, r, method, in, fresh, here)
	for deadline := time.Now().Add(leaderWithin); again(err) && time.Now().Before(deadline); {
		if !sleep(ctx, 50*time.Millisecond) {
			break
		}
		out, err = serveOnce(ctx, r, method, in, fresh, here)
	}
	if err != nil {
		if stopped := r.stoppedBy(); stopped != nil && again(err) {
			err = stopped
		}
		return none, statusOf(err)
	}
	return out, nil
}

// again says whether the same call may succeed soon: the lead is changing hands. A request that was stored all the same
// has the same result when it is put again.
func again(err error) bool { return errors.Is(err, errNoLeader) || errors.Is(err, errTermEnded) }

func serveOnce[Request, Response proto.Message](ctx context.Context, r *Router, method string, in Request, fresh func() Response,
	here func(context.Context, *term) (Response, error),
) (Response, error) {
	var none Response
	if t := r.term.Load(); t != nil && r.election.Leading() {
		return here(ctx, t)
	}
	leader, ok := r.election.Leader()
	if md, _ := metadata.FromIncomingContext(ctx); !ok || r.election.Leading() || leader.Address == "" || len(md.Get(forwardedKey)) > 0 {
		return none, errNoLeader
	}
	conn, err := r.leaderConn(leader)
	if err != nil {
		return none, errNoLeader
	}
	out := fresh()
	err = conn.Invoke(r.forwarding(ctx), method, in, out, grpc.MaxCallRecvMsgSize(maxForwarded))
	// Canceled, but not by the caller: the connection was closed here, since somebody else leads now.
	if c := status.Code(err); c == codes.Unavailable || c == codes.Canceled && ctx.Err() == nil {
		return none, fmt.Errorf("%w: the leader does not answer", errNoLeader)
	}
	return out, err
}

// forwarding is the context of a call that is passed on.
func (r *Router) forwarding(ctx context.Context) context.Context {
	md, _ := metadata.FromIncomingContext(ctx)
	if tp := md.Get("traceparent"); len(tp) > 0 {
		ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", tp[0])
	}
	return metadata.AppendToOutgoingContext(ctx, forwardedKey, r.o.Member)
}

// traceparentOf is the trace context of a call, for the facts that it leads to.
func traceparentOf(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	if tp := md.Get("traceparent"); len(tp) > 0 && len(tp[0]) <= maxTraceparent {
		return tp[0]
	}
	return ""
}

// maxTraceparent is longer than any trace context of W3C's version 00 is.
const maxTraceparent = 128

// leaderConn returns the connection to the leader. Those to former leaders are closed.
func (r *Router) leaderConn(l stream.Leader) (*grpc.ClientConn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.leaders[l.Address]; c != nil {
		return c, nil
	}
	c, err := r.o.Dial(l.Address)
	if err != nil {
		return nil, err
	}
	for address, old := range r.leaders {
		_ = old.Close()
		delete(r.leaders, address)
	}
	r.leaders[l.Address] = c
	return c, nil
}

func (r *Router) closeLeaders() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for address, c := range r.leaders {
		_ = c.Close()
		delete(r.leaders, address)
	}
}

// look calls fn with the state as it is now, all of it stored.
func (t *term) look(ctx context.Context, fn func(*ledger)) error {
	l := t.r.ledger
	if err := l.acquire(ctx); err != nil {
		return err
	}
	defer l.release()
	if t.ctx.Err() != nil {
		return errTermEnded // the state may be in the making
	}
	fn(l)
	return nil
}

// put puts a request to the decide loop and waits until its facts are stored. reply sees the state as it is then.
func (t *term) put(ctx context.Context, decide func(*handoff.State, time.Time) ([]*handoffv1.Fact, error),
	reply func(s *handoff.State, changed bool),
) error {
	q := &request{decide: decide, reply: reply, done: make(chan error, 1)}
	select {
	case t.requests <- q:
	case <-t.done:
		return errTermEnded
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-q.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-t.done:
	}
	select {
	case err := <-q.done:
		return err
	default:
		return errTermEnded
	}
}
