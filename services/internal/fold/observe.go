package fold

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/leadbaton/baton/services/internal/telemetry"
)

// Observer sees what an owner does, to measure and to trace what only its service understands. It is asked by the owner's
// goroutines and must not block. Folding, Folded and Committed are called by one goroutine, Left by another.
type Observer interface {
	// Folding is called before each message is folded.
	Folding(in Input)
	// Folded is called when some messages were folded.
	Folded()
	// Committed is called when all that was folded up to a sequence is known to be stored. arrived are the times of the
	// messages that were folded since the commit before, Unix nanoseconds.
	Committed(sequence uint64, arrived []int64, now time.Time)
	// Left is called when records are known to be where they were to go; since is when they were committed, zero if that
	// was before this owner.
	Left(records []Record, since []time.Time)
}

// Metrics are the measurements of all owners of a process; a nil *Metrics measures nothing. See the table in
// services/internal/telemetry.
type Metrics struct {
	meter telemetry.Meter

	committed, ownerChanges, refusals, retries, lookups, loaded metric.Int64Counter
	commitSize                                                  metric.Int64Histogram
	commitDuration                                              metric.Float64Histogram
	lag, outbox, owned, stopped                                 metric.Int64ObservableGauge
	behind                                                      metric.Float64ObservableGauge
}

// NewMetrics makes the instruments.
func NewMetrics(s telemetry.Signals) *Metrics {
	m := s.Meter()
	return &Metrics{
		meter:          m,
		committed:      m.Counter("baton.fold.messages", "{message}", "Messages whose fold is committed."),
		ownerChanges:   m.Counter("baton.fold.owner.changes", "{change}", "Shards that this member took up or gave up."),
		refusals:       m.Counter("baton.fold.fence.refusals", "{refusal}", "Commits and renewals that the fence refused."),
		retries:        m.Counter("baton.fold.retries", "{attempt}", "Attempts that failed and are made again."),
		lookups:        m.Counter("baton.fold.cache.lookups", "{lookup}", "States looked for in the cache."),
		loaded:         m.Counter("baton.fold.states.loaded", "{state}", "States read from the store."),
		commitSize:     m.Sizes("baton.fold.commit.size", "{message}", "Messages in one commit."),
		commitDuration: m.Seconds("baton.fold.commit.duration", "From a commit's first attempt until it is known to be applied."),
		lag:            m.Gauge("baton.fold.lag.messages", "{message}", "Messages that are stored and not committed, as of the last one read."),
		behind:         m.SecondsGauge("baton.fold.lag", "Age of the oldest message that was read and is not committed; 0 = none."),
		outbox:         m.Gauge("baton.fold.outbox.size", "{record}", "Records that wait to leave."),
		owned:          m.Gauge("baton.fold.shard.owned", "{shard}", "1 for each shard that this member owns."),
		stopped:        m.Gauge("baton.fold.shard.stopped", "{shard}", "1 for each shard that stands still until an operator decides."),
	}
}

// Values of the attributes.
const (
	tookUp, gaveUp                   = "taken", "given up"
	byLease, byTravel                = "lease", "went back"
	shardKey, changeKey              = attribute.Key("baton.shard"), attribute.Key("baton.change")
	fenceKey, operationKey, cacheKey = attribute.Key("baton.fence"), attribute.Key("baton.operation"), attribute.Key("baton.cache")
	loading, committing, publishing  = "load", "commit", "publish"
	checking, cacheHit, cacheMiss    = "check", "hit", "miss"
)

// observe has the gauges of a group's shards looked at for as long as it runs.
func (m *Metrics) observe(g *Group) (stop func()) {
	if m == nil {
		return func() {}
	}
	return m.meter.Observe(func(o metric.Observer) {
		now := time.Now()
		g.mu.Lock()
		held := make(map[string]*owner, len(g.held))
		for id, h := range g.held {
			held[id] = h.owner
		}
		g.mu.Unlock()
		for id, w := range held {
			at := metric.WithAttributeSet(attribute.NewSet(shardKey.String(id)))
			o.ObserveInt64(m.owned, 1, at)
			if !w.begun.Load() {
				continue
			}
			lag, behind := w.lag(now)
			o.ObserveInt64(m.lag, lag, at)
			o.ObserveFloat64(m.behind, behind.Seconds(), at)
			o.ObserveInt64(m.outbox, int64(w.outbox.len()), at)
		}
		for id, s := range g.Status() {
			if s.Stopped != "" {
				o.ObserveInt64(m.stopped, 1, metric.WithAttributeSet(attribute.NewSet(shardKey.String(id))))
			}
		}
	}, m.lag, m.behind, m.outbox, m.owned, m.stopped)
}

func (m *Metrics) changed(shard, change string) {
	if m != nil {
		m.ownerChanges.Add(context.Background(), 1, metric.WithAttributes(shardKey.String(shard), changeKey.String(change)))
	}
}

// refused counts a refusal of the fence, if err is one.
func (m *Metrics) refused(shard string, err error) {
	switch {
	case errors.Is(err, ErrFenced):
		m.refusal(shard, byLease)
	case errors.Is(err, ErrWentBack):
		m.refusal(shard, byTravel)
	}
}

func (m *Metrics) refusal(shard, kind string) {
	if m != nil {
		m.refusals.Add(context.Background(), 1, metric.WithAttributes(shardKey.String(shard), fenceKey.String(kind)))
	}
}

// failed returns what retry calls for each attempt that failed.
func (m *Metrics) failed(shard, operation string) func() {
	return func() {
		if m != nil {
			m.retries.Add(context.Background(), 1, metric.WithAttributes(shardKey.String(shard), operationKey.String(operation)))
		}
	}
}

// looked counts look-ups in the cache.
func (m *Metrics) looked(all, missed int) {
	if m == nil {
		return
	}
	ctx := context.Background()
	if missed > 0 {
		m.lookups.Add(ctx, int64(missed), metric.WithAttributes(cacheKey.String(cacheMiss)))
	}
	if all > missed {
		m.lookups.Add(ctx, int64(all-missed), metric.WithAttributes(cacheKey.String(cacheHit)))
	}
}

func (m *Metrics) load(states int) {
	if m != nil {
		m.loaded.Add(context.Background(), int64(states))
	}
}

func (m *Metrics) applied(shard string, messages int, took time.Duration) {
	if m == nil {
		return
	}
	ctx := context.Background()
	m.committed.Add(ctx, int64(messages), metric.WithAttributes(shardKey.String(shard)))
	m.commitSize.Record(ctx, int64(messages))
	m.commitDuration.Record(ctx, took.Seconds())
}

// progress is how far an owner has come, for those who look while it works.
type progress struct {
	arrived []int64 // of the messages folded since the last commit was built; of the folding goroutine
	// of the messages of the commit under way
	committing []int64

	last    atomic.Uint64 // sequence of the last message read
	pending atomic.Uint64 // how many more there were then
	oldest  atomic.Int64  // arrival of the first message that is folded and not committed, Unix nanoseconds; 0 = none
}

// folded takes note of a message.
func (p *progress) folded(m *Message) {
	if len(p.arrived) == 0 && len(p.committing) == 0 {
		p.oldest.Store(m.Time)
	}
	p.arrived = append(p.arrived, m.Time)
}

// begin takes note that all that was folded is being committed.
func (p *progress) begin() { p.arrived, p.committing = p.committing[:0], p.arrived }

// end takes note that it is committed.
func (p *progress) end() {
	p.committing = p.committing[:0]
	oldest := int64(0)
	if len(p.arrived) > 0 {
		oldest = p.arrived[0]
	}
	p.oldest.Store(oldest)
}

// lag is how many messages, and how much time, the owner's commits are behind.
func (o *owner) lag(now time.Time) (messages int64, behind time.Duration) {
	messages = int64(o.progress.pending.Load())
	if last, committed := o.progress.last.Load(), o.position.Load(); last > committed {
		messages += int64(last - committed)
	}
	oldest := o.progress.oldest.Load()
	if oldest == 0 {
		oldest = o.inbox.oldest()
	}
	if oldest != 0 {
		behind = max(0, now.Sub(time.Unix(0, oldest)))
	}
	return messages, behind
}
