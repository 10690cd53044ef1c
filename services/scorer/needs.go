package scorer

import (
	"strings"

	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/stream"
)

// needs are what a scorer must be allowed to do in NATS: read each shard's stream, answer in the others, write facts and
// what was rejected.
func needs() []stream.Need {
	var out []stream.Need
	for _, s := range subject.Shards {
		key := leadkey.Key(s + strings.Repeat("0", leadkey.Size-1))
		out = append(out, stream.Reads(subject.EngagementStream(s))...)
		out = append(out,
			stream.Stores(subject.InboundAll(subject.ShardProducer(s), s), subject.AllEngagement),
			stream.Stores(subject.Leads(key, "probe"), subject.AllLeads),
			stream.Stores(subject.Rejected(s, "probe"), subject.AllRejected),
		)
	}
	out = append(out, stream.KeepsSnapshots()...)
	return append(out, stream.LooksUp(subject.LeadsStream), stream.LooksUp(subject.RejectedStream))
}
