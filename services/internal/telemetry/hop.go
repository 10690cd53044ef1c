package telemetry

import (
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Hop is one leg of a lead's way, named by where it ends.
type Hop uint8

// The hops, in their order.
const (
	Arrived      Hop = iota // from the act to its arrival in the shard's stream
	Scored                  // from there to the commit of its score
	Qualified               // from there to the fact in LEADS
	Assigned                // from there to the decision for the first rep
	Delivered               // from the assignment to the receipt of the rep's channel
	Acknowledged            // from the step before that was taken, here and below
	Accepted
	Attempted // the first attempt to reach the lead
	hops
)

var hopNames = [hops]string{"arrived", "scored", "qualified", "assigned", "delivered", "acknowledged", "accepted", "attempted"}

// String is the value of the attribute baton.hop.
func (h Hop) String() string { return hopNames[h] }

// The instrument of the hops, which telemetry/export makes from Hops.
const (
	HopName        = "baton.hop.duration"
	HopUnit        = "s"
	HopDescription = "How long each hop of a lead took."
	HopAttribute   = "baton.hop"
)

// bounds are the buckets of all lengths of time.
var bounds = [...]time.Duration{
	time.Millisecond, 5 * time.Millisecond, 25 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute,
	15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 24 * time.Hour,
}

// Bounds returns the upper bounds of the buckets, in seconds.
func Bounds() []float64 {
	out := make([]float64, len(bounds))
	for i, b := range bounds {
		out[i] = b.Seconds()
	}
	return out
}

func bucketOf(d time.Duration) int {
	for i, b := range bounds {
		if d <= b {
			return i
		}
	}
	return len(bounds)
}

// Tally gathers the lengths of one hop for a batch, by one goroutine. Adding takes some nanoseconds, where a histogram of
// the SDK takes a fifth of a microsecond: too much for every event.
type Tally struct {
	buckets [len(bounds) + 1]uint64
	count   uint64
	sum     time.Duration
}

// Add adds one length; one below 0 counts as 0, as where two clocks differ.
func (t *Tally) Add(d time.Duration) {
	d = max(d, 0)
	t.buckets[bucketOf(d)]++
	t.count++
	t.sum += d
}

// Hops are the histograms of all hops. It is for concurrent use; a nil *Hops counts nothing.
type Hops struct {
	mu    sync.Mutex
	start time.Time
	all   [hops]hopState
}

type hopState struct {
	count     uint64
	sum       float64
	buckets   [len(bounds) + 1]uint64
	exemplars [len(bounds) + 1]Exemplar
}

// Exemplar is one length of a bucket whose trace can be looked at.
type Exemplar struct {
	Span  trace.SpanContext
	Value float64 // seconds
	At    time.Time
}

// NewHops returns histograms that have counted nothing.
func NewHops() *Hops { return &Hops{start: time.Now()} }

// Merge takes over what a Tally has gathered, and empties it.
func (h *Hops) Merge(hop Hop, t *Tally) {
	if h != nil && t.count > 0 {
		h.mu.Lock()
		s := &h.all[hop]
		for i, n := range t.buckets {
			s.buckets[i] += n
		}
		s.count += t.count
		s.sum += t.sum.Seconds()
		h.mu.Unlock()
	}
	*t = Tally{}
}

// Record counts one length. If its trace is sampled, it becomes its bucket's exemplar.
func (h *Hops) Record(hop Hop, d time.Duration, traceparent string) {
	var t Tally
	t.Add(d)
	h.Merge(hop, &t)
	if c, ok := Sampled(traceparent); ok {
		h.Exemplify(hop, d, c)
	}
}

// Exemplify makes a length that was counted its bucket's exemplar.
func (h *Hops) Exemplify(hop Hop, d time.Duration, c trace.SpanContext) {
	if h == nil {
		return
	}
	d = max(d, 0)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[hop].exemplars[bucketOf(d)] = Exemplar{Span: c, Value: d.Seconds(), At: time.Now()}
}

// HopPoint is one hop's histogram at an instant.
type HopPoint struct {
	Hop       Hop
	Start     time.Time
	Count     uint64
	Sum       float64 // seconds
	Buckets   []uint64
	Exemplars []Exemplar
}

// Points returns the hops that were counted at all.
func (h *Hops) Points() []HopPoint {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []HopPoint
	for i := range h.all {
		s := &h.all[i]
		if s.count == 0 {
			continue
		}
		p := HopPoint{Hop: Hop(i), Start: h.start, Count: s.count, Sum: s.sum, Buckets: append([]uint64(nil), s.buckets[:]...)}
		for _, e := range s.exemplars {
			if e.Span.IsValid() {
				p.Exemplars = append(p.Exemplars, e)
			}
		}
		out = append(out, p)
	}
	return out
}
