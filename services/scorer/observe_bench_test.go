package scorer

import (
	"fmt"
	"testing"
	"time"

	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/lead"
	"github.com/leadbaton/baton/services/internal/telemetry"
)

// BenchmarkObserver is what measuring costs an event whose trace is not sampled, in batches of 512.
func BenchmarkObserver(b *testing.B) {
	const batch = 512
	key := leadkey.FromEmail("d@acme.example")
	machine := lead.New(key.Shard())
	o := &observer{metrics: newMetrics(telemetry.Signals{Hops: telemetry.NewHops()}), machine: machine}
	now := time.Now()
	body := fmt.Sprintf(`{"specversion":"1.0","id":"e","source":"web","type":"page.viewed","time":%q,"data":{"lead":{"email":"d@acme.example"}}}`,
		now.Add(-time.Second).UTC().Format(time.RFC3339Nano))
	in := machine.Decode(fold.Message{Subject: subject.ForEvent("web", key), Data: []byte(body), Time: now.UnixNano(), Sequence: 1})
	if machine.Look(in).Acted == 0 {
		b.Fatal("the event is not measured")
	}
	arrived := make([]int64, batch)
	for i := range arrived {
		arrived[i] = now.UnixNano()
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		o.Folding(in)
		if i%batch == batch-1 {
			o.Folded()
			o.Committed(uint64(i), arrived, now.Add(20*time.Millisecond))
		}
	}
}
