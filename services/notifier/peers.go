package notifier

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"

	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/stream"
)

// Several notifiers may run behind one address: the router's call comes to one, a subscriber and its receipt to others.
// They tell each other over NATS, at most once and stored nowhere: what is lost is made good by the router's next attempt.
const (
	// offerSubject carries the handoff that the router asked one of them to deliver: the others offer it too, and tell
	// again if they know of a receipt.
	offerSubject = "baton.notifier.offer"
	// confirmedSubject carries a confirmation.
	confirmedSubject = "baton.notifier.confirmed"
	// presentSubject and an audience is attended by the notifiers that have such a subscription.
	presentSubject = "baton.notifier.present."
)

// needs are what a notifier must be allowed to do in NATS: read HANDOFFS, and tell, hear and answer the others.
func needs() []stream.Need {
	const probe, all, answers = "baton.notifier.probe", "baton.notifier.>", "_INBOX.>"
	return append(stream.Reads(subject.HandoffsStream), stream.Tells(probe, all), stream.Hears(probe, all), stream.Tells("_INBOX.probe", answers))
}

// maxName is how long the id of a rep or a team is at the most, in bytes. It goes into a subject, and NATS closes the
// connection of whoever uses one that is much longer.
const maxName = 64

// subject of an audience; ids are written in hex, since they may hold what a subject may not.
func (a audience) subject() string {
	switch {
	case a.rep != "":
		return presentSubject + "rep." + hex.EncodeToString([]byte(a.rep))
	case a.team != "":
		return presentSubject + "team." + hex.EncodeToString([]byte(a.team))
	}
	return presentSubject + "all"
}

// presence lets other notifiers find out that there are subscriptions here.
type presence struct {
	conn *stream.Conn
	mu   sync.Mutex
	here map[audience]*attendance
}

type attendance struct {
	subscriptions int
	stop          func()
}

// enter says that there is one more subscription for an audience.
func (p *presence) enter(a audience) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at := p.here[a]; at != nil {
		at.subscriptions++
		return nil
	}
	stop, err := p.conn.Attend(a.subject())
	if err != nil {
		return err
	}
	p.here[a] = &attendance{subscriptions: 1, stop: stop}
	return nil
}

// leave undoes enter.
func (p *presence) leave(a audience) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.here[a]
	if at.subscriptions--; at.subscriptions == 0 {
		at.stop()
		delete(p.here, a)
	}
}

// presenceWait is how long the other notifiers may take to say that they are there.
const presenceWait = time.Second

// subscribedAnywhere says whether any notifier has a subscription for the rep's handoffs. It says yes when it cannot
// know: then the call waits in vain, and the router tries again.
func (n *Notifier) subscribedAnywhere(ctx context.Context, h holder) bool {
	ctx, cancel := context.WithTimeout(ctx, presenceWait)
	defer cancel()
	for _, a := range h.audiences() {
		if there, err := n.conn.Attended(ctx, a.subject()); there || err != nil {
			return true
		}
	}
	return false
}

// listen takes what other notifiers tell, until stop is called.
func (n *Notifier) listen() (stop func(), err error) {
	offers, err := n.conn.Listen(offerSubject, n.heardOffer)
	if err != nil {
		return nil, err
	}
	confirmations, err := n.conn.Listen(confirmedSubject, n.heardConfirmation)
	if err != nil {
		offers()
		return nil, err
	}
	return func() {
		offers()
		confirmations()
	}, nil
}

// tellOffer asks the other notifiers to offer a handoff.
func (n *Notifier) tellOffer(h *handoffv1.Handoff) error {
	b, err := proto.Marshal(h)
	if err != nil {
		return err
	}
	return n.conn.Broadcast(offerSubject, b)
}

func (n *Notifier) heardOffer(data []byte) {
	h := &handoffv1.Handoff{}
	if err := proto.Unmarshal(data, h); err != nil {
		n.log.Warn("another notifier sent an offer that cannot be read; do all notifiers run the same version?", "bytes", len(data))
		return
	}
	n.mu.Lock()
	known, ok := n.confirmations.get(assignmentOf(h), time.Now())
	if n.fit(h) == nil {
		n.learn(h)
		n.offer(h)
	}
	n.mu.Unlock()
	if ok {
		n.tellConfirmation(known)
	}
}

// tellConfirmation lets the other notifiers know of a receipt.
func (n *Notifier) tellConfirmation(c confirmation) {
	b, err := json.Marshal(c)
	if err == nil {
		err = n.conn.Broadcast(confirmedSubject, b)
	}
	if err != nil {
		n.log.Warn("the other notifiers could not be told of a receipt; the router's next attempt makes it good",
			"handoff", c.Handoff, "assignment", c.Assignment, "error", err)
	}
}

func (n *Notifier) heardConfirmation(data []byte) {
	var c confirmation
	err := json.Unmarshal(data, &c)
	if err == nil && (c.Handoff == "" || c.Assignment == 0 || c.At.IsZero()) {
		err = errors.New("it is not complete")
	}
	if err != nil {
		n.log.Warn("another notifier sent a receipt that cannot be read; do all notifiers run the same version?", "bytes", len(data))
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.remember(c)
}
