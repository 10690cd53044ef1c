package crash_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
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

	events  int
	sending sync.WaitGroup

	mu    sync.Mutex
	shown map[string]bool // by handoff and assignment
}

func newLoad(t *testing.T, ctx context.Context, rng *rand.Rand, nats, notifier string) *load {
	t.Helper()
	l := &load{t: t, ctx: ctx, rng: rng, model: model{points: map[string]int{}, demo: map[string]bool{}}, shown: map[string]bool{}}
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
	subscribed.Go(func() {
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
	})
}

func (l *load) offers() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.shown)
}

// more publishes n events in the background: most are page views, some under an anonymous id that is tied to its address
// sooner or later, some are demo requests, and some are published twice.
func (l *load) more(n int) {
	var bodies [][]byte
	for range n {
		l.events++
		i := l.rng.IntN(60)
		who := fmt.Sprintf("p%d@example.org", i)
		lead := map[string]any{"email": who}
		kind, properties := "page.viewed", map[string]any{"path": "/"}
		switch l.rng.IntN(12) {
		case 0:
			if !l.model.demo[who] { // one episode each: the model knows nothing of `again`
				kind, properties = "form.submitted", map[string]any{"form": "demo"}
				l.model.raise(who)
			} else {
				l.model.view(who)
			}
		case 1, 2:
			lead = map[string]any{"anonymousId": fmt.Sprintf("a%d", i)}
			l.model.view(who)
		case 3:
			lead["anonymousId"] = fmt.Sprintf("a%d", i)
			l.model.view(who)
		default:
			l.model.view(who)
		}
		bodies = append(bodies, l.body(l.events, kind, lead, properties))
		if l.rng.IntN(10) == 0 {
			bodies = append(bodies, bodies[l.rng.IntN(len(bodies))])
		}
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

// send publishes until each event is known to be stored.
func (l *load) send(bodies [][]byte) {
	l.sending.Go(func() {
		for _, b := range bodies {
			for {
				r := l.pub.PublishBytes(l.ctx, b)
				if r.Outcome == client.Accepted || r.Outcome == client.Duplicate {
					break
				}
				if r.Outcome == client.Rejected || l.ctx.Err() != nil {
					l.t.Errorf("event not published: %v", r.Err)
					return
				}
			}
		}
	})
}

// finish ties every anonymous id to its address, publishes a demo request for some who have none, and waits for the load
// to be stored. The sales tool goes on until the test ends.
func (l *load) finish() {
	var bodies [][]byte
	for i := range 60 {
		l.events++
		who := fmt.Sprintf("p%d@example.org", i)
		l.model.view(who)
		bodies = append(bodies, l.body(l.events, "page.viewed", map[string]any{"email": who, "anonymousId": fmt.Sprintf("a%d", i)}, map[string]any{"path": "/"}))
	}
	for _, i := range []int{3, 14, 15, 59} {
		who := fmt.Sprintf("p%d@example.org", i)
		if !l.model.demo[who] {
			l.events++
			l.model.raise(who)
			bodies = append(bodies, l.body(l.events, "form.submitted", map[string]any{"email": who}, map[string]any{"form": "demo"}))
		}
	}
	l.send(bodies)
	l.sending.Wait()
}
