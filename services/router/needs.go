package router

import (
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/stream"
)

// needs are what a router must be allowed to do in NATS: read LEADS and HANDOFFS, write HANDOFFS, tell the shards, and be
// elected.
func needs() []stream.Need {
	out := append(stream.Reads(subject.LeadsStream), stream.Reads(subject.HandoffsStream)...)
	out = append(out, stream.Stores(subject.Handoffs(""), subject.AllHandoffs))
	for _, s := range subject.Shards {
		out = append(out, stream.LooksUp(subject.EngagementStream(s)), stream.Stores(subject.InboundAll("router", s), subject.AllEngagement))
	}
	return append(out, stream.Elects(electionKey)...)
}
