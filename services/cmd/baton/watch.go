package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/leadbaton/baton/api/client"
	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"
	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
)

type watchCommand struct {
	Rep     string `xor:"whose" placeholder:"REP" help:"Only what this rep is given."`
	Team    string `xor:"whose" placeholder:"TEAM" help:"Only what this team is given."`
	From    string `placeholder:"TOKEN" help:"Go on after the change with this token."`
	Confirm bool   `help:"Give the receipt for each offer: the rep was told."`
	outputFlag
	clientFlags
}

// Run shows handoffs as they come, until it is stopped.
func (c *watchCommand) Run(s *system) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	reaching, cancel := context.WithTimeout(s.ctx, callTimeout)
	defer cancel()
	if err := c.reach(reaching, conn); err != nil {
		return err
	}
	w := &watching{c: c, s: s, conn: conn, told: map[offer]bool{}, token: c.From}
	go w.connection(s.ctx)
	err = client.Subscribe(s.ctx, conn, client.Filter{Rep: c.Rep, Team: c.Team, FromToken: c.From}, w.take)
	if w.token != c.From && c.Output != "json" {
		fmt.Fprintf(s.errors, "to go on from here: --from %s\n", w.token)
	}
	if errors.Is(err, context.Canceled) && s.ctx.Err() != nil {
		return nil // Ctrl-C is how one stops to watch
	}
	return c.explain(err)
}

// watching is one run of watch.
type watching struct {
	c     *watchCommand
	s     *system
	conn  *grpc.ClientConn
	told  map[offer]bool // offers that were shown; true = and need no receipt
	token string
	shown int
	live  bool
}

// offer is what an offer is recognised by when it comes again.
type offer struct {
	handoff    string
	assignment uint32
}

// take takes one change.
func (w *watching) take(ctx context.Context, r *subscriptionv1.SubscribeResponse) error {
	if err := w.show(ctx, r); err != nil {
		return err
	}
	if r.GetToken() != "" {
		w.token = r.GetToken()
	}
	return nil
}

func (w *watching) show(ctx context.Context, r *subscriptionv1.SubscribeResponse) error {
	h := r.GetHandoff()
	switch r.GetKind() {
	case subscriptionv1.SubscribeResponse_KIND_OFFERED:
		o := offer{h.GetId(), h.GetAssignment()}
		confirmed, again := w.told[o]
		if !again {
			w.shown++
			w.told[o] = !w.c.Confirm
			if err := w.write(r); err != nil {
				return err
			}
		}
		if w.c.Confirm && !confirmed {
			w.confirm(ctx, r, o)
		}
		return nil
	case subscriptionv1.SubscribeResponse_KIND_ALIVE:
		return nil
	case subscriptionv1.SubscribeResponse_KIND_LIVE:
		if w.live {
			return nil // a reconnect
		}
		w.live = true
	case subscriptionv1.SubscribeResponse_KIND_GONE:
		if h.GetState() == handoffv1.State_STATE_CLOSED { // it is never offered again
			for n := range h.GetAssignment() + 1 {
				delete(w.told, offer{h.GetId(), n})
			}
		}
	case subscriptionv1.SubscribeResponse_KIND_UNSPECIFIED, subscriptionv1.SubscribeResponse_KIND_CHANGED:
	}
	return w.write(r)
}

func (w *watching) write(r *subscriptionv1.SubscribeResponse) error {
	if w.c.Output == "json" {
		return writeJSONLine(w.s.out, r)
	}
	p := w.s.page()
	switch r.GetKind() {
	case subscriptionv1.SubscribeResponse_KIND_OFFERED:
		p.Offer(r.GetHandoff())
	case subscriptionv1.SubscribeResponse_KIND_LIVE:
		p.Live(w.shown)
	case subscriptionv1.SubscribeResponse_KIND_CHANGED, subscriptionv1.SubscribeResponse_KIND_GONE,
		subscriptionv1.SubscribeResponse_KIND_UNSPECIFIED, subscriptionv1.SubscribeResponse_KIND_ALIVE:
		p.Change(r)
	}
	return p.Err()
}

// confirmPause is how long it is waited before a receipt is given again that could not be given.
const confirmPause = time.Second

// confirm gives the receipt, again and again while that fails for a time: the offer does not come again by itself.
func (w *watching) confirm(ctx context.Context, r *subscriptionv1.SubscribeResponse, o offer) {
	by := w.c.Rep
	if by == "" {
		by = "baton watch"
	}
	for first := true; ; first = false {
		at := timestamppb.New(w.s.now())
		result, err := client.Confirm(ctx, w.conn, o.handoff, o.assignment, by)
		if err == nil {
			w.told[o] = true
			if w.c.Output != "json" {
				w.s.page().Confirmed(r.GetHandoff(), result, at)
			}
			return
		}
		if ctx.Err() != nil {
			return
		}
		again := status.Code(err) == codes.Unavailable || status.Code(err) == codes.DeadlineExceeded
		if first || !again {
			w.s.errorPage().Warn("no receipt for %s: %s", screen.Clean(o.handoff), screen.Clean(err.Error()))
		}
		if !again {
			return
		}
		timer := time.NewTimer(confirmPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// connection says when the connection is lost and when it is back.
func (w *watching) connection(ctx context.Context) {
	lost := false
	for state := w.conn.GetState(); ; state = w.conn.GetState() {
		switch state {
		case connectivity.Ready:
			if lost {
				w.s.errorPage().Warn("connected again")
			}
			lost = false
		case connectivity.TransientFailure, connectivity.Idle:
			if !lost {
				w.s.errorPage().Warn("the connection to Baton at %s was lost; connecting again until it is back", w.c.GRPC)
			}
			lost = true
		case connectivity.Connecting, connectivity.Shutdown:
		}
		if state == connectivity.Shutdown || !w.conn.WaitForStateChange(ctx, state) {
			return
		}
	}
}
