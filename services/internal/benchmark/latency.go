package benchmark

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/leadbaton/baton/api/client"
	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"
	"github.com/leadbaton/baton/api/leadkey"
)

const (
	// rate is how many events are published a second.
	rate = 2000
	// demoEvery is how many events there are for each that qualifies its lead.
	demoEvery = 100
	// warmUp is not measured; measured is.
	warmUp   = 3 * time.Second
	measured = 15 * time.Second
	// lateWithin is how long the last offers are waited for.
	lateWithin = 30 * time.Second
)

// Latency is from the instant at which an event was due to be published until the sales tool had the offer. It counts from
// the schedule: a publisher that is held up makes the events behind it late, and that shows.
type Latency struct {
	SyncInterval string  `json:"syncInterval"`
	Rate         int     `json:"eventsPerSecond"`
	Offers       int64   `json:"offers"`
	P50          float64 `json:"p50Milliseconds"`
	P99          float64 `json:"p99Milliseconds"`
	Max          float64 `json:"maxMilliseconds"`
	// CPU is by process, in processors: 0.5 is half of one. The publisher is the benchmark itself.
	CPU map[string]float64 `json:"processors"`
}

// latency runs all services and a sales tool, and publishes on a schedule.
func (r *run) latency(ctx context.Context, syncInterval string) (Latency, error) {
	r.Say("latency at %d events/s, sync_interval %s", rate, syncInterval)
	nats, natsURL, err := r.bed.startNATS(ctx, r.NATSServer, filepath.Join(r.bed.dir, "latency-"+syncInterval), syncInterval)
	if err != nil {
		return Latency{}, err
	}
	defer nats.stop()
	redis, redisURL, err := r.bed.startRedis(ctx, r.RedisServer)
	if err != nil {
		return Latency{}, err
	}
	defer redis.stop()
	b, err := r.startBaton(ctx, natsURL, redisURL)
	if err != nil {
		return Latency{}, err
	}
	defer b.stop()
	if err := b.enforce(ctx); err != nil {
		return Latency{}, err
	}
	w := &stopwatch{due: map[string]time.Time{}, histogram: hdrhistogram.New(1, int64(10*time.Minute/time.Microsecond), 3), all: make(chan struct{})}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	live := make(chan struct{})
	running.Go(func() {
		_ = client.Subscribe(ctx, b.atNotifier, client.Filter{}, func(ctx context.Context, m *subscriptionv1.SubscribeResponse) error {
			switch m.GetKind() {
			case subscriptionv1.SubscribeResponse_KIND_LIVE:
				close(live)
			case subscriptionv1.SubscribeResponse_KIND_OFFERED:
				w.stop(m.GetHandoff().GetLeadKey(), time.Now())
				running.Go(func() {
					_, _ = client.Confirm(ctx, b.atNotifier, m.GetHandoff().GetId(), m.GetHandoff().GetAssignment(), "bench")
				})
			}
			return nil
		})
	})
	select {
	case <-live:
	case <-ctx.Done():
		return Latency{}, ctx.Err()
	}
	used, err := newMeter(nats, redis, b.scorer, b.router, b.notifier, self())
	if err != nil {
		return Latency{}, err
	}
	began := time.Now()
	if err := r.publishOnSchedule(ctx, natsURL, w); err != nil {
		return Latency{}, err
	}
	if err := used.look(); err != nil {
		return Latency{}, err
	}
	cpu := map[string]float64{}
	for name, t := range used.cpu() {
		cpu[name] = t.Seconds() / time.Since(began).Seconds()
	}
	select {
	case <-w.all:
	case <-ctx.Done():
		return Latency{}, ctx.Err()
	case <-time.After(lateWithin):
		return Latency{}, fmt.Errorf("%d leads were not offered within %s", w.left(), lateWithin)
	}
	ms := func(us int64) float64 { return float64(us) / 1000 }
	h := w.histogram
	return Latency{syncInterval, rate, h.TotalCount(), ms(h.ValueAtPercentile(50)), ms(h.ValueAtPercentile(99)), ms(h.Max()), cpu}, nil
}

// publishOnSchedule publishes each event when it is due, whatever became of those before.
func (r *run) publishOnSchedule(ctx context.Context, url string, w *stopwatch) error {
	p, err := client.Connect(url, client.PublisherOptions{})
	if err != nil {
		return err
	}
	events := NewEvents(r.Leads, time.Now())
	total := int((warmUp + measured) / time.Second * rate)
	results := make(chan *client.Pending, total)
	start := time.Now()
	for n := range total {
		due := start.Add(time.Duration(n) * time.Second / rate)
		if wait := time.Until(due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return errors.Join(ctx.Err(), p.Close(ctx))
			}
		}
		if n%demoEvery != 0 {
			results <- p.PublishAsync(ctx, events.At(due))
			continue
		}
		body, address := events.Demo(due)
		if n > int(warmUp/time.Second*rate) {
			w.start(leadkey.FromEmail(address), due)
		}
		results <- p.PublishAsync(ctx, body)
	}
	close(results)
	for s := range results {
		if res := s.Wait(ctx); res.Outcome != client.Accepted {
			return errors.Join(fmt.Errorf("an event is %s: %w", res.Outcome, res.Err), p.Close(ctx))
		}
	}
	w.complete()
	return p.Close(ctx)
}

// stopwatch knows when each lead's demo request was due.
type stopwatch struct {
	mu        sync.Mutex
	due       map[string]time.Time // of those that are not offered yet
	histogram *hdrhistogram.Histogram
	published bool
	all       chan struct{}
}

func (w *stopwatch) start(key leadkey.Key, due time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.due[string(key)] = due
}

// stop counts a lead's offer once.
func (w *stopwatch) stop(key string, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	due, ok := w.due[key]
	if !ok {
		return
	}
	delete(w.due, key)
	_ = w.histogram.RecordValue(max(1, now.Sub(due).Microseconds())) // ten minutes are its bound
	w.end()
}

// complete says that no more leads will be started.
func (w *stopwatch) complete() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.published = true
	w.end()
}

func (w *stopwatch) end() {
	if w.published && len(w.due) == 0 {
		close(w.all)
		w.published = false // once
	}
}

func (w *stopwatch) left() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.due)
}
