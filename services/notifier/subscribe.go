package notifier

import (
	"errors"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"

	"github.com/leadbaton/baton/services/internal/fold"
)

const (
	// aliveEvery is how long a stream is silent at most.
	aliveEvery = 15 * time.Second
	// stalledAfter is how long a subscriber may take nothing while something is being sent.
	stalledAfter = time.Minute
	stalledCheck = 5 * time.Second
	// TokenTrailer is the trailer with the token of the last message that was sent.
	TokenTrailer = "baton-token"
)

// Subscribe sends the handoffs of a rep, a team or every rep for as long as the subscriber takes them.
func (n *Notifier) Subscribe(req *subscriptionv1.SubscribeRequest, out grpc.ServerStreamingServer[subscriptionv1.SubscribeResponse]) error {
	to := audience{rep: req.GetRep(), team: req.GetTeam()}
	if to.rep != "" && to.team != "" {
		return wrong.errorf("rep and team are both set: name one of them, or neither for every rep")
	}
	if len(to.rep) > maxName || len(to.team) > maxName {
		return unknown.errorf("no roster has a rep or a team whose id is longer than %d bytes", maxName)
	}
	var from *fold.Position
	if t := req.GetFromToken(); t != "" {
		p, err := decodeToken(t)
		if err != nil {
			return wrong.errorf("from_token is no token: send the token of the last message that was taken, or none")
		}
		from = &p
	}
	if err := n.awaitReady(out.Context()); err != nil {
		return err
	}
	if from != nil {
		// What is not a place of this stream begins anew.
		err := fold.CheckPosition(out.Context(), n.handoffs, *from)
		var stop *fold.StopError
		switch {
		case errors.As(err, &stop) || *from == (fold.Position{}):
			from = nil
		case err != nil:
			return tryAgain.errorf("the token cannot be checked, since NATS is out of reach: subscribe again with the same token")
		}
	}
	if err := n.presence.enter(to); err != nil {
		return tryAgain.errorf("NATS is out of reach: subscribe again")
	}
	defer n.presence.leave(to)
	s, err := n.join(to, from)
	if err != nil {
		return err
	}
	defer n.leave(s)
	n.log.Info("subscribed", "to", s.name, "resumed", from != nil)
	err = n.serve(s, req.GetFromToken(), out)
	n.log.Info("a subscription ended", "to", s.name, "error", err)
	return err
}

// join makes a subscription, if the roster in force has its rep or team.
func (n *Notifier) join(to audience, from *fold.Position) (*subscription, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ready {
		return nil, tryAgain.errorf("HANDOFFS is being read again: subscribe again")
	}
	s := newSubscription(to)
	if r, version := n.p.state.Roster(); r != nil {
		if to.rep != "" && r.Rep(to.rep) == nil {
			names := make([]string, len(r.Reps))
			for i, p := range r.Reps {
				names[i] = p.ID
			}
			return nil, unknown.errorf("version %d of the roster has no rep %q; it has: %s", version, brief(to.rep), some(names))
		}
		if to.team != "" && r.Team(to.team) == nil {
			names := make([]string, len(r.Teams))
			for i, t := range r.Teams {
				names[i] = t.ID
			}
			return nil, unknown.errorf("version %d of the roster has no team %q; it has: %s", version, brief(to.team), some(names))
		}
		s.name = to.String()
	}
	s.start(n.p, from)
	all := n.subscriptions[to]
	if all == nil {
		all = map[*subscription]struct{}{}
		n.subscriptions[to] = all
	}
	all[s] = struct{}{}
	select {
	case <-n.stopped: // it came too late to be ended with the others
		s.end(stopping)
	default:
	}
	return s, nil
}

func (n *Notifier) leave(s *subscription) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.subscriptions[s.to], s)
	if len(n.subscriptions[s.to]) == 0 {
		delete(n.subscriptions, s.to)
	}
}

// sender writes one stream, in a goroutine of its own, since a subscriber that takes nothing blocks it.
type sender struct {
	since atomic.Int64           // when the message that is being sent was begun, Unix nanoseconds; 0 = none
	token atomic.Pointer[string] // of the last message that was sent
	quit  chan struct{}
}

// serve runs a stream until it ends. A send that blocks does not outlive it: gRPC gives it up when the call has returned.
func (n *Notifier) serve(s *subscription, token string, out grpc.ServerStreamingServer[subscriptionv1.SubscribeResponse]) error {
	w := &sender{quit: make(chan struct{})}
	w.token.Store(&token)
	defer close(w.quit)
	done := make(chan error, 1)
	go func() { done <- n.send(s, w, out) }()
	tick := time.NewTicker(stalledCheck)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-s.ended:
		case now := <-tick.C:
			if since := w.since.Load(); since == 0 || now.UnixNano()-since < int64(stalledAfter) {
				continue
			}
			s.end("nothing was taken for " + stalledAfter.String())
		}
		last := *w.token.Load()
		out.SetTrailer(metadata.Pairs(TokenTrailer, last))
		return tryAgain.errorf("%s: subscribe again, from the token of the last message that was taken (the last one sent: %s)", s.reason, last)
	}
}

func (n *Notifier) send(s *subscription, w *sender, out grpc.ServerStreamingServer[subscriptionv1.SubscribeResponse]) error {
	silence := time.NewTimer(aliveEvery)
	defer silence.Stop()
	for {
		r := n.next(s)
		if r == nil {
			select {
			case <-s.wake:
				continue
			case <-silence.C:
				silence.Reset(aliveEvery)
				if r = n.alive(s); r == nil {
					continue
				}
			case <-w.quit:
				return nil
			case <-out.Context().Done():
				return status.FromContextError(out.Context().Err()).Err()
			}
		}
		select {
		case <-w.quit:
			return nil
		default:
		}
		w.since.Store(time.Now().UnixNano())
		if err := out.Send(r); err != nil {
			return err
		}
		w.since.Store(0)
		w.token.Store(&r.Token)
		silence.Reset(aliveEvery)
	}
}
