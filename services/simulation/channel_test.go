package simulation_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	channelv1 "github.com/leadbaton/baton/api/gen/baton/channel/v1"
)

// What a channel does, and what happens on the way to it and back.
const (
	callLost       point = "channel: a call did not arrive"
	receiptLost    point = "channel: a receipt was lost"
	leaderCrashed  point = "router: the leader crashed while it waited for a receipt"
	channelDown    point = "channel: was down"
	channelRefused point = "channel: refused for good"
	channelHung    point = "channel: hung"
	channelSlow    point = "channel: was slow"
	channelTooSlow point = "channel: told the rep after the call's deadline"
	channelSilent  point = "channel: told the rep and gave no answer"
	channelTold    point = "channel: told the rep"
)

var channelOdds = map[point]float64{
	callLost: 0.05, receiptLost: 0.08, leaderCrashed: 0.01,
	channelDown: 0.15, channelRefused: 0.05, channelHung: 0.1, channelSlow: 0.1, channelTooSlow: 0.1, channelSilent: 0.1,
}

// mailbox stands between the router and its channels: it passes calls on to the notifier, and is itself a channel of kind
// email that behaves as bad as any.
type mailbox struct {
	channelv1.UnimplementedNotificationChannelServiceServer
	w        *world
	notifier channelv1.NotificationChannelServiceClient

	mu   sync.Mutex
	told map[string]*channelv1.DeliverRequest // by idempotency key: whom it told by itself
}

func (w *world) startChannel() {
	if w.mail == nil {
		w.mail = &mailbox{w: w, told: map[string]*channelv1.DeliverRequest{}}
	}
	w.begin("channel", "channel", func(ctx context.Context, p *process) error {
		conn, err := w.dial(p, "notifier")
		if err != nil {
			return err
		}
		defer conn.Close()
		w.mail.notifier = channelv1.NewNotificationChannelServiceClient(conn)
		p.serve(func(r grpc.ServiceRegistrar) { channelv1.RegisterNotificationChannelServiceServer(r, w.mail) })
		<-ctx.Done()
		return ctx.Err()
	})
}

// Deliver implements NotificationChannelService.
func (m *mailbox) Deliver(ctx context.Context, in *channelv1.DeliverRequest) (*channelv1.DeliverResponse, error) {
	h, c := in.GetHandoff(), m.w.chance
	m.w.trace.add(h.GetLeadKey(), "%s is called for %s", in.GetChannel(), in.GetIdempotencyKey())
	if want := fmt.Sprintf("%s/%d/%s", h.GetId(), h.GetAssignment(), in.GetChannel()); in.GetIdempotencyKey() != want {
		m.w.fail(h.GetLeadKey(), "P4: assignment %d of %s is delivered on %s under the key %s", h.GetAssignment(), h.GetId(), in.GetChannel(), in.GetIdempotencyKey())
	}
	if c.roll(callLost) {
		return nil, status.Error(codes.Unavailable, "simulated: the call did not arrive")
	}
	if c.roll(leaderCrashed) {
		for _, p := range m.w.all() {
			if p.leads() {
				p.crash("while it waits for a receipt")
			}
		}
	}
	var out *channelv1.DeliverResponse
	var err error
	if in.GetKind() == "grpc" {
		out, err = m.notifier.Deliver(ctx, in)
	} else {
		out, err = m.deliver(ctx, in)
	}
	if err == nil && c.roll(receiptLost) {
		return nil, status.Error(codes.Unavailable, "simulated: the receipt was lost")
	}
	return out, err
}

func (m *mailbox) deliver(ctx context.Context, in *channelv1.DeliverRequest) (*channelv1.DeliverResponse, error) {
	c := m.w.chance
	switch {
	case c.roll(channelDown):
		return nil, status.Error(codes.Unavailable, "simulated: the mail server is down")
	case c.roll(channelRefused):
		return nil, status.Error(codes.FailedPrecondition, "simulated: no such mailbox")
	case c.roll(channelHung):
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	case c.roll(channelTooSlow):
		<-ctx.Done()
	case c.roll(channelSlow):
		select {
		case <-time.After(4 * time.Second):
		case <-ctx.Done():
		}
	}
	m.mu.Lock()
	m.told[in.GetIdempotencyKey()] = in
	m.mu.Unlock()
	c.note(channelTold)
	if c.roll(channelSilent) {
		return nil, status.Error(codes.Unknown, "simulated: the connection broke before the answer")
	}
	return &channelv1.DeliverResponse{Receipt: "mailed " + in.GetIdempotencyKey(), DeliveredAt: timestamppb.Now(), By: "mail"}, nil
}

func (m *mailbox) hasTold(key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.told[key] != nil
}
