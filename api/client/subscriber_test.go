package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"
)

// tape is a notifier whose changes are numbered; each stream plays from behind its token and ends as its script says.
type tape struct {
	subscriptionv1.UnimplementedSubscriptionServiceServer
	// ends are, stream by stream, after how many changes it ends and with what; after the last, streams stay open.
	ends []ending

	mu        sync.Mutex
	requests  []*subscriptionv1.SubscribeRequest
	at        []time.Time
	busy      int // how many confirmations are answered with Unavailable
	confirmed []*subscriptionv1.ConfirmRequest
}

// errSilent ends nothing: the stream stays open and says no more.
var errSilent = errors.New("silent")

type ending struct {
	after int
	err   error
}

func (s *tape) Subscribe(r *subscriptionv1.SubscribeRequest, out grpc.ServerStreamingServer[subscriptionv1.SubscribeResponse]) error {
	s.mu.Lock()
	s.requests, s.at = append(s.requests, r), append(s.at, time.Now())
	n := len(s.requests) - 1
	s.mu.Unlock()
	last, _ := strconv.Atoi(r.GetFromToken())
	end := ending{after: 1}
	if n < len(s.ends) {
		end = s.ends[n]
	}
	for range end.after {
		last++
		if err := out.Send(&subscriptionv1.SubscribeResponse{Token: strconv.Itoa(last), Kind: subscriptionv1.SubscribeResponse_KIND_OFFERED,
			Handoff: &handoffv1.Handoff{Id: fmt.Sprintf("h-%d", last)}}); err != nil {
			return err
		}
	}
	if n < len(s.ends) && !errors.Is(end.err, errSilent) {
		return end.err
	}
	<-out.Context().Done()
	return status.FromContextError(out.Context().Err()).Err()
}

func (s *tape) Confirm(_ context.Context, r *subscriptionv1.ConfirmRequest) (*subscriptionv1.ConfirmResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.confirmed = append(s.confirmed, r)
	if len(s.confirmed) <= s.busy {
		return nil, status.Error(codes.Unavailable, "the notifier is stopping: try again")
	}
	if r.GetHandoffId() == "" {
		return nil, status.Error(codes.InvalidArgument, "handoff_id is empty")
	}
	return &subscriptionv1.ConfirmResponse{Result: subscriptionv1.ConfirmResponse_RESULT_TAKEN}, nil
}

// play serves s to f in a bubble, where time is virtual.
func play(t *testing.T, s *tape, f func(t *testing.T, conn *grpc.ClientConn)) {
	synctest.Test(t, func(t *testing.T) {
		listener := bufconn.Listen(1 << 16)
		g := grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 20 * time.Second, PermitWithoutStream: true})) // as Baton's
		subscriptionv1.RegisterSubscriptionServiceServer(g, s)
		go func() { _ = g.Serve(listener) }()
		conn, err := Dial("passthrough:bufconn", grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return listener.DialContext(ctx)
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer g.Stop()
		defer conn.Close()
		f(t, conn)
	})
}

func TestSubscribeGoesOnBehindWhatWasTaken(t *testing.T) {
	s := &tape{ends: []ending{
		{2, status.Error(codes.Unavailable, "restarting")},
		{0, status.Error(codes.Unavailable, "restarting")},
		{3, nil}, // a stream that ends in peace, as before a stop
		{0, status.Error(codes.Internal, "broken")},
	}}
	play(t, s, func(t *testing.T, conn *grpc.ClientConn) {
		ctx, cancel := context.WithCancel(t.Context())
		var taken []string
		err := Subscribe(ctx, conn, Filter{Rep: "ann", Team: "emea", FromToken: "10"}, func(_ context.Context, c *subscriptionv1.SubscribeResponse) error {
			if taken = append(taken, c.GetHandoff().GetId()); len(taken) == 6 {
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
		if want := []string{"h-11", "h-12", "h-13", "h-14", "h-15", "h-16"}; !slices.Equal(taken, want) {
			t.Errorf("taken are %v, want %v", taken, want)
		}
		var from []string
		for _, r := range s.requests {
			if r.GetRep() != "ann" || r.GetTeam() != "emea" {
				t.Errorf("asked for %v", r)
			}
			from = append(from, r.GetFromToken())
		}
		if want := []string{"10", "12", "12", "15", "15"}; !slices.Equal(from, want) {
			t.Errorf("it went on from %v, want %v", from, want)
		}
	})
}

func TestSubscribeWaitsLongerAndLonger(t *testing.T) {
	s := &tape{}
	for range 12 {
		s.ends = append(s.ends, ending{0, status.Error(codes.Unavailable, "down")})
	}
	s.ends = append(s.ends, ending{1, nil}) // one change: the pause begins anew
	play(t, s, func(t *testing.T, conn *grpc.ClientConn) {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		_ = Subscribe(ctx, conn, Filter{}, func(context.Context, *subscriptionv1.SubscribeResponse) error {
			if n++; n == 2 {
				cancel()
			}
			return nil
		})
		most := leastPause
		for i := 1; i < len(s.at); i++ {
			if i == len(s.at)-1 {
				most = leastPause
			}
			if gap := s.at[i].Sub(s.at[i-1]); gap < most/2 || gap > most {
				t.Errorf("pause %d is %v, want %v to %v", i, gap, most/2, most)
			}
			most = min(2*most, mostPause)
		}
		if len(s.at) != 14 {
			t.Errorf("%d streams, want 14", len(s.at))
		}
	})
}

func TestSubscribeEndsWithWhatDoesNotPass(t *testing.T) {
	mine := errors.New("the CRM is down")
	for name, c := range map[string]struct {
		end  ending
		h    error
		want func(error) bool
	}{
		"a wrong token":         {ending{0, status.Error(codes.InvalidArgument, "no such token")}, nil, func(err error) bool { return status.Code(errors.Unwrap(err)) == codes.InvalidArgument }},
		"a forbidden rep":       {ending{0, status.Error(codes.PermissionDenied, "not yours")}, nil, func(err error) bool { return status.Code(errors.Unwrap(err)) == codes.PermissionDenied }},
		"the handler's own":     {ending{1, nil}, mine, func(err error) bool { return errors.Is(err, mine) }},
		"the handler's as grpc": {ending{1, nil}, status.Error(codes.Unavailable, "x"), func(err error) bool { return err != nil }},
	} {
		t.Run(name, func(t *testing.T) {
			s := &tape{ends: []ending{c.end}}
			play(t, s, func(t *testing.T, conn *grpc.ClientConn) {
				err := Subscribe(t.Context(), conn, Filter{}, func(context.Context, *subscriptionv1.SubscribeResponse) error { return c.h })
				if !c.want(err) || len(s.requests) != 1 {
					t.Errorf("after %d streams it ended with %v", len(s.requests), err)
				}
			})
		})
	}
}

func TestConfirm(t *testing.T) {
	s := &tape{}
	play(t, s, func(t *testing.T, conn *grpc.ClientConn) {
		r, err := Confirm(t.Context(), conn, "h-1", 2, "ann")
		if err != nil || r != subscriptionv1.ConfirmResponse_RESULT_TAKEN {
			t.Errorf("got %v, %v", r, err)
		}
		if c := s.confirmed[0]; c.GetHandoffId() != "h-1" || c.GetAssignment() != 2 || c.GetBy() != "ann" {
			t.Errorf("confirmed is %v", c)
		}
		if _, err := Confirm(t.Context(), conn, "", 2, "ann"); status.Code(errors.Unwrap(err)) != codes.InvalidArgument {
			t.Errorf("got %v", err)
		}
	})
}

func TestSubscribeLeavesASilentStream(t *testing.T) {
	s := &tape{ends: []ending{{2, errSilent}}}
	play(t, s, func(t *testing.T, conn *grpc.ClientConn) {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		_ = Subscribe(ctx, conn, Filter{}, func(context.Context, *subscriptionv1.SubscribeResponse) error {
			time.Sleep(2 * mostSilence) // the bubble's: the handler may take as long as it likes
			if n++; n == 3 {
				cancel()
			}
			return nil
		})
		if len(s.requests) != 2 || s.requests[1].GetFromToken() != "2" {
			t.Fatalf("it asked for %v", s.requests)
		}
		if gap := s.at[1].Sub(s.at[0]) - 4*mostSilence; gap < mostSilence || gap > mostSilence+mostPause {
			t.Errorf("it left the silent stream after %v", gap)
		}
	})
}

func TestConfirmTriesAgain(t *testing.T) {
	s := &tape{busy: 4}
	play(t, s, func(t *testing.T, conn *grpc.ClientConn) {
		r, err := Confirm(t.Context(), conn, "h-1", 2, "ann")
		if err != nil || r != subscriptionv1.ConfirmResponse_RESULT_TAKEN || len(s.confirmed) != 5 {
			t.Errorf("after %d attempts: %v, %v", len(s.confirmed), r, err)
		}
		s.busy = 1 << 30
		start := time.Now()
		if _, err := Confirm(t.Context(), conn, "h-1", 2, "ann"); status.Code(errors.Unwrap(err)) != codes.Unavailable || time.Since(start) != 10*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// TestConfirmWithoutANotifier ends after its 10 s.
func TestConfirmWithoutANotifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, err := Dial("passthrough:nobody", grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			return nil, errors.New("nobody listens")
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		start := time.Now()
		if _, err := Confirm(t.Context(), conn, "h-1", 1, "ann"); status.Code(errors.Unwrap(err)) != codes.DeadlineExceeded || time.Since(start) != 10*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}
