package simulation_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/leadbaton/baton/api/client"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/stream"
)

// How events come.
const (
	eventLate     point = "load: an event was dated hours before"
	eventFuture   point = "load: an event was dated in the future"
	eventTwice    point = "load: an event was published twice at once"
	eventAgain    point = "load: an event was published again after the window of duplicates"
	eventPoison   point = "load: what nobody can read was published"
	eventHistory  point = "load: an event was loaded as history"
	eventBusy     point = "load: one lead did more than is remembered of it"
	eventContest  point = "load: two leads claimed one identity"
	doorDuplicate point = "load: a duplicate was refused at the door"
)

// load is marketing: it publishes what people do, and does not forget an event before it is known to be stored.
type load struct {
	w     *world
	rng   *rand.Rand // of the driver's goroutine
	queue chan []byte

	next      int
	bodies    [][]byte
	forgotten [][]byte
	stored    map[string]bool // ids of events that are known to be stored

	mu      sync.Mutex
	waiting int
	old     [][]byte // stored at least a window of duplicates ago
}

const people = 24

func address(i int) string { return fmt.Sprintf("p%d@acme.example", i) }

func (w *world) startLoad() {
	if w.load == nil {
		w.load = &load{w: w, rng: rand.New(rand.NewPCG(w.seed, 3)), queue: make(chan []byte, 10_000), stored: map[string]bool{}}
	}
	w.begin("publisher", "publisher", func(ctx context.Context, p *process) error {
		return p.connected(ctx, func(conn *stream.Conn) error {
			pub, err := client.NewPublisher(conn.NATS(), client.PublisherOptions{})
			if err != nil {
				return err
			}
			var working sync.WaitGroup
			for range 4 { // side by side, so out of order
				working.Go(func() { w.load.publish(ctx, p, conn, pub) })
			}
			working.Wait()
			closing, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = pub.Close(closing)
			return ctx.Err()
		})
	})
}

// publish publishes what is queued. What is not known to be stored when the process ends goes back into the queue.
func (l *load) publish(ctx context.Context, p *process, conn *stream.Conn, pub *client.Publisher) {
	for {
		var body []byte
		select {
		case body = <-l.queue:
		case <-ctx.Done():
			return
		case <-p.dead:
			return
		}
		if body[0] != '{' {
			subj := subject.ForEvent("web", leadkey.FromEmail(address(int(body[0])%people)))
			if conn.Put(ctx, subj, "", body) != nil {
				l.queue <- body
				wait(ctx, retryAfter)
			} else {
				l.done("")
			}
			continue
		}
		try, cancel := context.WithTimeout(ctx, 20*time.Second)
		r := pub.PublishBytes(try, body)
		cancel()
		switch r.Outcome {
		case client.Duplicate:
			l.w.chance.note(doorDuplicate)
			fallthrough
		case client.Accepted:
			l.done(r.ID)
		case client.Rejected:
			l.w.fail("", "an event is refused at the door: %v", r.Err)
			l.done("")
		default:
			l.queue <- body
			wait(ctx, retryAfter)
		}
	}
}

// retryAfter is how long marketing rests when something could not be stored: time stands still for those who do not.
const retryAfter = 250 * time.Millisecond

func (l *load) done(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting--
	if id != "" {
		l.stored[id] = true
	}
}

func (l *load) drained() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting > 0 {
		return fmt.Errorf("%d events are not stored", l.waiting)
	}
	return nil
}

func (l *load) put(bodies ...[]byte) {
	l.mu.Lock()
	l.waiting += len(bodies)
	l.mu.Unlock()
	for _, body := range bodies {
		l.queue <- body
	}
}

// more publishes n events of whatever people do.
func (l *load) more(n int) {
	for range n {
		l.put(l.event())
		c := l.w.chance
		switch k := l.rng.IntN(40); {
		case k == 0:
			c.note(eventTwice)
			l.put(l.bodies[len(l.bodies)-1])
		case k == 1:
			c.note(eventPoison)
			l.put([]byte{byte(1 + l.rng.IntN(people)), '!'})
		case k <= 3 && len(l.old) > 0:
			c.note(eventAgain)
			l.put(l.old[l.rng.IntN(len(l.old))])
		}
	}
}

// age remembers what has been published so far as older than the window of duplicates.
func (l *load) age() { l.old = l.bodies[:len(l.bodies):len(l.bodies)] }

// event makes one more event.
func (l *load) event() []byte {
	who := l.rng.IntN(people)
	if l.rng.IntN(2) == 0 {
		who = l.rng.IntN(4) // some do most
	}
	lead := map[string]any{}
	anonymous := fmt.Sprintf("a%d", who)
	if who%3 == 2 {
		anonymous = fmt.Sprintf("a%d", who-1) // shared with somebody else
		l.w.chance.note(eventContest)
	}
	switch k := l.rng.IntN(20); {
	case k < 10:
		lead["email"] = address(who)
	case k < 14:
		lead["anonymousId"] = anonymous
	case k < 16:
		lead["ids"] = map[string]any{"crm": fmt.Sprint(who)}
	case k < 18:
		lead["email"], lead["anonymousId"] = address(who), anonymous
	default:
		lead["email"], lead["ids"] = address(who), map[string]any{"crm": fmt.Sprint(who)}
	}
	return l.make(who, lead)
}

// known is what is known of a person, always the same.
func known(who int, lead map[string]any) {
	lead["country"] = [...]string{"DE", "CH", "US"}[who%3]
	switch who % 8 {
	case 1:
		lead["title"] = "Director"
	case 2:
		lead["title"] = "Student"
	}
}

func (l *load) make(who int, lead map[string]any) []byte {
	kind, properties := "page.viewed", map[string]any{"path": "/"}
	switch k := l.rng.IntN(100); {
	case k < 40:
	case k < 65:
		properties["path"] = "/pricing"
	case k < 70:
		properties["path"] = "/careers"
	case k < 90:
		kind = "email.clicked"
	case k < 97:
		kind, properties = "form.submitted", map[string]any{"form": "demo"}
	case k < 98 && who > 15 && lead["email"] != nil:
		kind = "consent.withdrawn"
	}
	if l.rng.IntN(3) > 0 && lead["email"] != nil {
		known(who, lead)
	}
	c, at := l.w.chance, time.Now().UTC()
	e := map[string]any{"specversion": "1.0", "source": "web", "type": kind, "data": map[string]any{"lead": lead, "properties": properties}}
	switch k := l.rng.IntN(20); {
	case k < 2:
		c.note(eventLate)
		at = at.Add(-time.Duration(l.rng.IntN(20 * int(time.Hour))))
	case k == 2:
		c.note(eventFuture)
		at = at.Add(time.Duration(l.rng.IntN(3 * int(time.Hour))))
	case k == 3:
		c.note(eventHistory)
		e["history"] = true
		at = at.Add(-time.Hour)
	}
	e["time"] = at.Format(time.RFC3339Nano)
	return l.body(e)
}

// busy publishes what one person did long ago, and then more of the same person than is remembered of a lead. tooLate publishes
// the first again, and as much that nobody has heard of: none of it can be told from the other.
func (l *load) busy() {
	l.w.chance.note(eventBusy)
	for range 40 {
		l.forgotten = append(l.forgotten, l.did(10*time.Hour))
	}
	l.put(l.forgotten...)
	for range mostKept {
		l.put(l.did(0))
	}
}

func (l *load) tooLate() {
	l.put(l.forgotten...)
	for range l.forgotten {
		l.put(l.did(20 * time.Hour))
	}
}

// did is an event of the busy person, of the nine hours before some time ago.
func (l *load) did(ago time.Duration) []byte {
	at := time.Now().UTC().Add(-ago - time.Duration(l.rng.IntN(9*int(time.Hour))))
	return l.body(map[string]any{
		"specversion": "1.0", "source": "web", "type": "page.viewed", "time": at.Format(time.RFC3339Nano),
		"data": map[string]any{"lead": map[string]any{"email": address(5)}, "properties": map[string]any{"path": "/"}},
	})
}

// body gives an event its id.
func (l *load) body(e map[string]any) []byte {
	l.next++
	e["id"] = fmt.Sprint(l.next)
	b, err := json.Marshal(e)
	if err != nil {
		l.w.t.Fatal(err)
	}
	l.bodies = append(l.bodies, b)
	return b
}

// tie ties every identity to an address, so that in the end no event is nobody's.
func (l *load) tie() {
	for who := range people {
		for _, lead := range []map[string]any{
			{"email": address(who), "anonymousId": fmt.Sprintf("a%d", who)},
			{"email": address(who), "ids": map[string]any{"crm": fmt.Sprint(who)}},
		} {
			l.put(l.make(who, lead))
		}
	}
}
