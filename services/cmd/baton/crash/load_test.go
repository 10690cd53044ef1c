package crash_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/leadbaton/baton/api/client"
	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"
)

// load publishes events and plays the sales tool, through every fault.
type load struct {
	t     *testing.T
	ctx   context.Context
	rng   *rand.Rand
	pub   *client.Publisher
	conn  *grpc.ClientConn
	model model

	people  int // have addresses and anonymous ids by number
	events  int
	batches []*batch
	sending sync.WaitGroup

	mu    sync.Mutex
	shown map[string]bool // by handoff and assignment
}

func newLoad(t *testing.T, ctx context.Context, rng *rand.Rand, nats, notifier string) *load {
	t.Helper()
	l := &load{t: t, ctx: ctx, rng: rng, model: model{points: map[string]int{}, demo: map[string]bool{}}, shown: map[string]bool{}, people: 40}
	eventually(t, time.Minute, func() (err error) {
		l.pub, err = client.Connect(nats, client.PublisherOptions{})
		return err
	})
	var err error
	if l.conn, err = client.Dial(notifier); err != nil {
		t.Fatal(err)
	}
	return l
}

// start subscribes as a sales tool that confirms every offer.
func (l *load) start() {
	ctx, cancel := context.WithCancel(l.ctx)
	var subscribed sync.WaitGroup
	l.t.Cleanup(func() {
		cancel()
		l.sending.Wait()
		subscribed.Wait()
		_ = l.conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = l.pub.Close(ctx)
	})
	// A tool that is refused, as over an offer of a time that was lost, comes back.
	take := func() {
		_ = client.Subscribe(ctx, l.conn, client.Filter{}, func(ctx context.Context, m *subscriptionv1.SubscribeResponse) error {
			if m.GetKind() != subscriptionv1.SubscribeResponse_KIND_OFFERED {
				return nil
			}
			h := m.GetHandoff()
			l.mu.Lock()
			l.shown[fmt.Sprintf("%s/%d", h.GetId(), h.GetAssignment())] = true
			l.mu.Unlock()
			// A lost confirmation is asked for again: the offer stays open.
			_, err := client.Confirm(ctx, l.conn, h.GetId(), h.GetAssignment(), "crash test")
			return err
		})
	}
	subscribed.Go(func() {
		for ctx.Err() == nil {
			take()
			pause(ctx, 200*time.Millisecond)
		}
	})
}

func (l *load) offers() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.shown)
}

// more publishes n events in the background: most are page views, some under an anonymous id that is tied to its address
// sooner or later, some are demo requests, and some are published twice. Each time some people are new.
func (l *load) more(n int) {
	l.people += 8
	var bodies [][]byte
	for range n {
		l.events++
		i := l.rng.IntN(l.people)
		if l.rng.IntN(2) == 0 {
			i = max(0, l.people-30) + l.rng.IntN(min(30, l.people))
		}
		lead := map[string]any{"email": address(i)}
		kind, properties := "page.viewed", map[string]any{"path": "/"}
		switch l.rng.IntN(12) {
		case 0:
			if !l.model.demo[address(i)] { // one episode each: the model knows nothing of `again`
				kind, properties = "form.submitted", map[string]any{"form": "demo"}
			}
		case 1, 2:
			lead = map[string]any{"anonymousId": anonymous(i)}
		case 3:
			lead["anonymousId"] = anonymous(i)
		}
		if kind == "form.submitted" {
			l.model.raise(address(i))
		} else {
			l.model.view(address(i))
		}
		bodies = append(bodies, l.body(l.events, kind, lead, properties))
		if l.rng.IntN(10) == 0 {
			bodies = append(bodies, bodies[l.rng.IntN(len(bodies))])
		}
	}
	l.send(bodies)
}

func address(person int) string   { return fmt.Sprintf("p%d@example.org", person) }
func anonymous(person int) string { return fmt.Sprintf("a%d", person) }

// views publishes n page views under addresses: nothing of them is passed on, nor tied to anything.
func (l *load) views(n int) {
	var bodies [][]byte
	for range n {
		l.events++
		who := address(l.rng.IntN(l.people))
		l.model.view(who)
		bodies = append(bodies, l.body(l.events, "page.viewed", map[string]any{"email": who}, map[string]any{"path": "/"}))
	}
	l.send(bodies)
}

// tie ties every anonymous id to its address.
func (l *load) tie() {
	var bodies [][]byte
	for i := range l.people {
		l.events++
		l.model.view(address(i))
		bodies = append(bodies, l.body(l.events, "page.viewed", map[string]any{"email": address(i), "anonymousId": anonymous(i)}, map[string]any{"path": "/"}))
	}
	l.send(bodies)
}

func (l *load) body(id int, kind string, lead, properties map[string]any) []byte {
	b, err := json.Marshal(map[string]any{
		"specversion": "1.0", "id": fmt.Sprint(id), "source": "web", "type": kind, "time": time.Now().UTC().Format(time.RFC3339Nano),
		"data": map[string]any{"lead": lead, "properties": properties},
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

// batch is what was published at one time.
type batch struct {
	bodies [][]byte
	stored atomic.Bool
}

// send publishes until each event is known to be stored.
func (l *load) send(bodies [][]byte) {
	b := &batch{bodies: bodies}
	l.batches = append(l.batches, b)
	l.sending.Go(func() {
		for _, body := range bodies {
			for {
				r := l.pub.PublishBytes(l.ctx, body)
				if r.Outcome == client.Accepted || r.Outcome == client.Duplicate {
					break
				}
				if r.Outcome == client.Rejected || l.ctx.Err() != nil {
					l.t.Errorf("event not published: %v", r.Err)
					return
				}
			}
		}
		b.stored.Store(true)
	})
}

// mark returns from which batch on not all events are known to be stored.
func (l *load) mark() int {
	for i, b := range l.batches {
		if !b.stored.Load() {
			return i
		}
	}
	return len(l.batches)
}

// again publishes everything from a mark on again, as who keeps what was sent does after a loss.
func (l *load) again(mark int) {
	for _, b := range l.batches[mark:] {
		l.send(b.bodies)
	}
}

// finish ties every anonymous id to its address, publishes a demo request for some who have none, and waits for the load
// to be stored. The sales tool goes on until the test ends.
func (l *load) finish() {
	l.tie()
	var bodies [][]byte
	for i := range l.people {
		if i%7 == 0 && !l.model.demo[address(i)] {
			l.events++
			l.model.raise(address(i))
			bodies = append(bodies, l.body(l.events, "form.submitted", map[string]any{"email": address(i)}, map[string]any{"form": "demo"}))
		}
	}
	l.send(bodies)
	l.sending.Wait()
}
