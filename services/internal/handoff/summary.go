package handoff

import (
	"time"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
)

// Summarize writes how the open handoffs stand at an instant.
func (s *State) Summarize(now time.Time, out *handoffv1.SummarizeResponse) {
	counts := map[handoffv1.State]uint64{}
	var oldest *record
	for _, r := range s.openOf {
		counts[r.state]++
		if r.matches(Filter{Overdue: true}, now) {
			out.Overdue++
		}
		if r.state == handoffv1.State_STATE_OFFERED && r.deliveredAt == 0 {
			out.Undelivered++
			if oldest == nil || r.number < oldest.number {
				oldest = r
			}
		}
	}
	for st := handoffv1.State_STATE_OFFERED; st < handoffv1.State_STATE_CLOSED; st++ {
		if counts[st] > 0 {
			out.Open = append(out.Open, &handoffv1.StateCount{State: st, Handoffs: counts[st]})
		}
	}
	out.Held = uint64(len(s.held))
	if oldest != nil {
		out.OldestUndelivered = oldest.id
		out.OldestUndeliveredOpenedAt, out.OldestUndeliveredDeadline = stamp(oldest.openedAt), stamp(oldest.deadline)
	}
}
