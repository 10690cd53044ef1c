package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/leadbaton/baton/api/client"
	agreementv1 "github.com/leadbaton/baton/api/gen/baton/agreement/v1"
	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	rosterv1 "github.com/leadbaton/baton/api/gen/baton/roster/v1"
	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"
)

// clientFlags say where Baton is.
type clientFlags struct {
	GRPC string `name:"grpc" env:"BATON_GRPC" default:"${grpc}" placeholder:"ADDR" help:"Where Baton's gRPC is: HOST:PORT."`
}

const (
	// callTimeout bounds a call that answers from what is at hand.
	callTimeout = 30 * time.Second
	// longTimeout bounds one that reads a whole log.
	longTimeout = time.Hour
	// maxAnswer is the greatest answer that is taken: a list of 10,000 leads is some megabytes.
	maxAnswer = 256 << 20
)

func (c clientFlags) dial(opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	conn, err := client.Dial(c.GRPC, append(opts, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))...)
	if err != nil {
		return nil, usagef("--grpc %s is not HOST:PORT: %w", c.GRPC, err)
	}
	return conn, nil
}

// call makes one call.
func (c clientFlags) call(s *system, f func(ctx context.Context, conn *grpc.ClientConn) error) error {
	return c.callFor(s, callTimeout, f)
}

func (c clientFlags) callFor(s *system, timeout time.Duration, f func(ctx context.Context, conn *grpc.ClientConn) error) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	if err := c.reach(ctx, conn); err != nil {
		return err
	}
	return c.explain(f(ctx, conn))
}

// reach waits for the connection, and says what to do when there is nothing to connect to.
func (c clientFlags) reach(ctx context.Context, conn *grpc.ClientConn) error {
	conn.Connect()
	for {
		state := conn.GetState()
		switch state {
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure, connectivity.Shutdown:
			return c.unreachable()
		case connectivity.Idle:
			conn.Connect()
		case connectivity.Connecting:
		}
		if !conn.WaitForStateChange(ctx, state) {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return c.unreachable()
			}
			return ctx.Err()
		}
	}
}

func (c clientFlags) unreachable() error {
	return fmt.Errorf("no Baton answers at %s: start it (baton up), or say where it is with --grpc or BATON_GRPC", c.GRPC)
}

// explain turns the error of a call into a sentence. It is the one place that knows gRPC's codes.
func (c clientFlags) explain(err error) error {
	if err == nil {
		return nil
	}
	// Not status.FromError: for an error that wraps one it takes the whole chain for the message, codes and all.
	var answer interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &answer) {
		return err
	}
	st := answer.GRPCStatus()
	switch st.Code() {
	case codes.Unavailable:
		if strings.HasPrefix(st.Message(), "connection error") || strings.HasPrefix(st.Message(), "error reading from server") {
			return fmt.Errorf("the connection to Baton at %s was lost: is it still running? Whether the request had an effect is not known; it is safe to repeat it with the same --request-id", c.GRPC)
		}
		if strings.Contains(st.Message(), "try again") {
			return errors.New(st.Message())
		}
		return fmt.Errorf("%s; try again in a moment", st.Message())
	case codes.DeadlineExceeded:
		return fmt.Errorf("no answer from Baton at %s in time: try again, and look at its log", c.GRPC)
	case codes.Canceled:
		return context.Canceled
	case codes.Unimplemented:
		if who := servedBy(st.Message()); who != "" {
			return fmt.Errorf("what answers at %s does not offer this: ask a %s (--grpc)", c.GRPC, who)
		}
		return fmt.Errorf("what answers at %s does not offer this: that service is not part of it, or it is another version of Baton (%s)", c.GRPC, st.Message())
	default:
		return errors.New(st.Message())
	}
}

// servedBy says which process offers the service that is named unknown; "" if the message names none of Baton's.
func servedBy(message string) string {
	_, service, _ := strings.Cut(message, "unknown service ")
	switch service {
	case leadv1.LeadService_ServiceDesc.ServiceName, shardv1.ShardService_ServiceDesc.ServiceName:
		return "scorer"
	case agreementv1.AgreementService_ServiceDesc.ServiceName, rosterv1.RosterService_ServiceDesc.ServiceName, handoffv1.HandoffService_ServiceDesc.ServiceName:
		return "router"
	case subscriptionv1.SubscriptionService_ServiceDesc.ServiceName:
		return "notifier"
	}
	return ""
}
