package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"
)

// maxAnswer is the greatest answer that is taken, in bytes: a list of 10,000 handoffs is some megabytes.
const maxAnswer = 64 << 20

// connectBackoff paces the attempts to connect again.
var connectBackoff = backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second}

// Dial returns a connection to Baton's gRPC at address (host:port), which reconnects by itself. Without more options it is
// not encrypted.
func Dial(address string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(address, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		// Without this a sales tool that was cut off for long would look for Baton only every two minutes.
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: connectBackoff, MinConnectTimeout: 5 * time.Second}),
		// A connection that died without a word is found within 40 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
	}, opts...)...)
}

// Filter says whose handoffs to be told of: a rep's, a team's, or with neither every rep's.
type Filter struct {
	Rep, Team string
	// FromToken goes on after the message with this token; empty begins with all open handoffs.
	FromToken string
}

// Handler takes one change. When it returns nil the change counts as taken: after a reconnect the subscription goes on
// behind it. An error ends the subscription.
type Handler func(ctx context.Context, change *subscriptionv1.SubscribeResponse) error

// Bounds of the pause before the next connect or attempt.
const (
	leastPause = 100 * time.Millisecond
	mostPause  = 5 * time.Second
)

// mostSilence is how long a stream may send nothing. The notifier says every 15 s that it is alive; what stands between may
// keep a connection open whose other end is gone.
const mostSilence = time.Minute

// Subscribe calls h for every change, one after the other, until ctx ends or an error that does not pass: h's own, or one
// that says that the request is wrong or forbidden. Whatever else happens, it connects again and goes on after the last
// change that h took.
//
// A change comes at least once: recognise an offer by its handoff and assignment. To go on after a restart of the program,
// keep the token of the last change taken and give it as Filter.FromToken.
func Subscribe(ctx context.Context, conn grpc.ClientConnInterface, f Filter, h Handler) error {
	c := subscriptionv1.NewSubscriptionServiceClient(conn)
	pause := leastPause
	for {
		moved, err := follow(ctx, c, &f, h)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("subscribe: %w", context.Cause(ctx))
		case !passes(err):
			return fmt.Errorf("subscribe: %w", err)
		case moved:
			pause = leastPause
		}
		rest(ctx, pause)
		pause = min(2*pause, mostPause)
	}
}

// rest waits for about a pause, or until ctx ends: not all subscribers come back at the same moment after a restart of the
// server.
func rest(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause/2 + rand.N(pause/2))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// handlerError is an error of the caller's own.
type handlerError struct{ error }

func (e handlerError) Unwrap() error { return e.error }

// follow takes changes from one stream until it ends, and moves f's token; moved says that there was a change.
func follow(ctx context.Context, c subscriptionv1.SubscriptionServiceClient, f *Filter, h Handler) (moved bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Subscribe(ctx, &subscriptionv1.SubscribeRequest{Rep: f.Rep, Team: f.Team, FromToken: f.FromToken})
	if err != nil {
		return false, err
	}
	silence := time.AfterFunc(mostSilence, cancel)
	defer silence.Stop()
	for {
		change, err := stream.Recv()
		if err != nil {
			return moved, err
		}
		silence.Stop() // the handler may take its time
		if err := h(ctx, change); err != nil {
			return moved, handlerError{err}
		}
		moved = true
		if change.GetToken() != "" {
			f.FromToken = change.GetToken()
		}
		silence.Reset(mostSilence)
	}
}

// passes says whether a stream that ended with err may be opened again.
func passes(err error) bool {
	if errors.As(err, &handlerError{}) {
		return false
	}
	if errors.Is(err, io.EOF) {
		return true
	}
	return !slices.Contains(lasting, status.Code(err))
}

// lasting are the codes of errors that the same request has again.
var lasting = []codes.Code{
	codes.InvalidArgument, codes.NotFound, codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented, codes.FailedPrecondition, codes.OutOfRange,
}

// Confirm gives the receipt for an offer: the rep was told. by says who confirms. An offer is not shown again on the same
// stream, so Confirm tries again by itself, until ctx ends or for 10 s if ctx has no deadline, unless the error is one that
// does not pass. It may be repeated.
func Confirm(ctx context.Context, conn grpc.ClientConnInterface, handoffID string, assignment uint32, by string) (subscriptionv1.ConfirmResponse_Result, error) {
	if _, has := ctx.Deadline(); !has {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
	}
	c := subscriptionv1.NewSubscriptionServiceClient(conn)
	for pause := leastPause; ; pause = min(2*pause, mostPause) {
		r, err := c.Confirm(ctx, &subscriptionv1.ConfirmRequest{HandoffId: handoffID, Assignment: assignment, By: by}, grpc.WaitForReady(true))
		if err == nil {
			return r.GetResult(), nil
		}
		if ctx.Err() == nil && passes(err) {
			rest(ctx, pause)
		}
		if ctx.Err() != nil || !passes(err) {
			return subscriptionv1.ConfirmResponse_RESULT_UNSPECIFIED, fmt.Errorf("confirm: %w", err)
		}
	}
}
