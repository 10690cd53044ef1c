package scorer

import (
	"context"
	"fmt"
	"time"

	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
)

// A scorer is ready when it has caught up once after its start. What it falls behind later shows in `baton status` and does
// not make it unready: it answers about leads from the store all the same, its shards would not move to another member, and
// taking a lagging scorer out of a Service would only take away one that answers.
const (
	startLag   = 5000            // messages of one shard that may wait
	startAge   = 5 * time.Second // or for how long the oldest of them may have waited
	startWatch = 250 * time.Millisecond
)

var notBegun = "it has not taken up its shards yet"

// watchStart waits until the shards of this member have caught up.
func (s *Scorer) watchStart(ctx context.Context) {
	tick := time.NewTicker(startWatch)
	defer tick.Stop()
	for {
		behind := s.lagging(ctx)
		s.behind.Store(behind)
		if behind == nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// lagging says why this member has not caught up; nil if it has. A shard that stands still is left out: no waiting helps it.
func (s *Scorer) lagging(ctx context.Context) *string {
	if !s.group.Settled() {
		return &notBegun
	}
	var waiting uint64
	shards := 0
	for _, id := range subject.Shards {
		st := s.group.Status()[id]
		if !st.Held {
			continue
		}
		l, err := s.lag(ctx, id, st.Sequence)
		if err != nil {
			reason := fmt.Sprintf("it is not known yet whether shard %s has caught up: %v", id, err)
			return &reason
		}
		if l.messages > startLag && s.o.Now().Sub(l.oldest) > startAge {
			waiting += l.messages
			shards++
		}
	}
	if shards == 0 {
		return nil
	}
	reason := fmt.Sprintf("it is catching up after its start: %d messages wait in %d of its shards", waiting, shards)
	return &reason
}

// lag is how far a shard is behind its stream.
type lag struct {
	fold.LogInfo
	messages uint64
	oldest   time.Time // when the oldest message that waits arrived; zero if none waits
}

// lag looks at a shard that is folded up to a sequence.
func (s *Scorer) lag(ctx context.Context, shard string, folded uint64) (lag, error) {
	log := s.log(shard)
	info, err := log.Info(ctx)
	if err != nil || info.Last <= folded {
		return lag{LogInfo: info}, err
	}
	l := lag{LogInfo: info, messages: info.Last - folded}
	// The stream may begin later, and the next message may have been erased: then the next one there is.
	at, err := log.TimeAfter(ctx, folded)
	if err != nil {
		return lag{}, err
	}
	if at != 0 {
		l.oldest = time.Unix(0, at)
	}
	return l, nil
}
