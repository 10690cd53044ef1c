package simulation_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
)

// What the operator does.
const (
	mergeTaken    point = "operator: a merge was taken"
	mergeAgain    point = "operator: a merge was asked for again under its request id"
	mergeLate     point = "operator: a merge was asked for again after the window of duplicates"
	mergeUnknown  point = "operator: nobody said whether a merge was taken"
	mergeNeedless point = "operator: the two were one lead already"
	mergeNobody   point = "operator: one of the two was not known"
)

// operator merges leads, and repeats a request until it is answered.
type operator struct {
	w     *world
	rng   *rand.Rand // of the driver's goroutine
	queue chan *leadv1.MergeRequest
	next  int

	mu      sync.Mutex
	waiting int
	taken   []*leadv1.MergeRequest
	old     []*leadv1.MergeRequest // taken at least a window of duplicates ago
}

func (w *world) startOperator() {
	if w.operator == nil {
		w.operator = &operator{w: w, rng: rand.New(rand.NewPCG(w.seed, 4)), queue: make(chan *leadv1.MergeRequest, 1000)}
	}
	w.begin("operator", "operator", func(ctx context.Context, p *process) error {
		for {
			select {
			case r := <-w.operator.queue:
				w.operator.merge(ctx, p, r)
			case <-ctx.Done():
				return ctx.Err()
			case <-p.dead:
				return errDead
			}
		}
	})
}

// more asks for a merge now and then. People are in threes: the first two are merged either way, and the third into the
// second, so that they never go in a circle.
func (o *operator) more() {
	o.mu.Lock()
	old := o.old
	o.mu.Unlock()
	switch k := o.rng.IntN(10); {
	case k == 0 && len(old) > 0:
		o.w.chance.note(mergeLate)
		o.put(old[o.rng.IntN(len(old))])
	case k < 3:
		three := 3 * o.rng.IntN(people/3)
		if o.rng.IntN(4) == 0 {
			three = 0 // some do most
		}
		pair := [][2]int{{0, 1}, {1, 0}, {2, 1}}[o.rng.IntN(3)]
		o.next++
		o.put(&leadv1.MergeRequest{RequestId: fmt.Sprint("merge-", o.next), From: address(three + pair[0]), Into: address(three + pair[1])})
	}
}

// age remembers what has been taken so far as older than the window of duplicates.
func (o *operator) age() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.old = o.taken[:len(o.taken):len(o.taken)]
}

func (o *operator) put(r *leadv1.MergeRequest) {
	o.mu.Lock()
	o.waiting++
	o.mu.Unlock()
	o.queue <- r
}

// merge asks until it is known what became of the request. If the process ends before, the request goes back into the queue.
func (o *operator) merge(ctx context.Context, p *process, r *leadv1.MergeRequest) {
	c := o.w.chance
	for {
		code, err := o.ask(ctx, p, r)
		switch code {
		case codes.OK:
			c.note(mergeTaken)
			o.w.trace.add("", "%s of %s into %s is taken", r.GetRequestId(), r.GetFrom(), r.GetInto())
			if c.roll(mergeAgain) {
				continue // as if the answer to it had been lost
			}
			o.done(r, true)
			return
		case codes.FailedPrecondition:
			c.note(mergeNeedless)
			o.done(r, false)
			return
		case codes.NotFound:
			c.note(mergeNobody)
			o.done(r, false)
			return
		case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
			c.note(mergeUnknown)
		default:
			o.w.fail("", "the merge of %s into %s is refused: %v", r.GetFrom(), r.GetInto(), err)
			o.done(r, false)
			return
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			o.queue <- r
			return
		case <-p.dead:
			o.queue <- r
			return
		}
	}
}

// ask makes one call.
func (o *operator) ask(ctx context.Context, p *process, r *leadv1.MergeRequest) (codes.Code, error) {
	conn, err := o.w.dial(p, fmt.Sprintf("scorer-%d", 1+o.w.chance.intN(2)))
	if err != nil {
		return codes.Internal, err
	}
	defer conn.Close()
	call, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err = leadv1.NewLeadServiceClient(conn).Merge(call, r)
	return status.Code(err), err
}

func (o *operator) done(r *leadv1.MergeRequest, taken bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting--
	if taken {
		o.taken = append(o.taken, r)
	}
}

func (o *operator) drained() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waiting > 0 {
		return fmt.Errorf("%d merges are not answered", o.waiting)
	}
	return nil
}
