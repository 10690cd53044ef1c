package lead

import (
	"iter"
	"time"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/agreement"
	"github.com/leadbaton/baton/services/internal/fold"
)

// Story is one lead folded from its messages, and what became of each.
type Story struct {
	Lead *Lead
	Log  *Log
	// Entries are in the order in which things counted.
	Entries []*leadv1.TimelineEntry
	// Facts are those that the lead's messages caused.
	Facts []*leadv1.Fact
}

// Filters are the subjects of the messages that Replay needs of a lead: those of its bucket, and of what holds for all
// leads of its shard. They are read together, in the order of the shard's stream.
func Filters(key leadkey.Key) []string {
	bucket, all := subject.LeadFilter(key), subject.InboundAll(subject.Router[1:], key.Shard())
	if e, ok := subject.ParseEngagement(all); ok && e.Holds(key) {
		return []string{bucket} // NATS refuses filters that overlap
	}
	return []string{bucket, all}
}

// Replay folds one lead from the messages that Filters name, up to those that arrived at an instant, and ignores the
// other leads of the bucket. The result is what the shard's state of the lead was then.
func Replay(key leadkey.Key, messages iter.Seq2[fold.Message, error], until time.Time) (*Story, error) {
	return tell(key, messages, until, nil)
}

// Try folds one lead under a proposed agreement instead of those in force: what it would be if the agreement had always
// been. The messages are those of Replay; what sales did counts if it was under an agreement of the same name.
func Try(a *agreement.Agreement, key leadkey.Key, messages iter.Seq2[fold.Message, error], until time.Time) (*Story, error) {
	return tell(key, messages, until, a)
}

func tell(key leadkey.Key, messages iter.Seq2[fold.Message, error], until time.Time, proposed *agreement.Agreement) (*Story, error) {
	log := &Log{version: 1}
	log.declare()
	if proposed != nil {
		log.enforce(proposed, 0)
	}
	l := newLead(string(key))
	m := New(key.Shard())
	m.watch = &watch{}
	tx := fold.NewTx(func(k string) fold.State {
		if k == "" {
			return log
		}
		return l
	}, func(fold.Record) {})
	for msg, err := range messages {
		switch {
		case err != nil:
			return nil, err
		case msg.Time > until.UnixNano():
			continue // the messages of two filters, each in order
		}
		in, ok := m.Decode(msg).(*input)
		switch {
		case !ok, in.rejected != nil, in.agreement != nil && proposed != nil, in.agreement == nil && in.key() != string(key):
			continue
		}
		m.watch.last = nil
		tx.Begin()
		if err := m.Fold(tx, in); err != nil {
			return nil, err
		}
		if e := m.watch.last; e != nil && l.events > 0 {
			for _, r := range l.readings(log, l.clock) {
				if e.Scores == nil {
					e.Scores = map[string]float64{}
				}
				e.Scores[r.f.Name] = points(r.score.total())
			}
		}
	}
	return &Story{Lead: l, Log: log, Entries: m.watch.entries, Facts: m.watch.facts}, nil
}
