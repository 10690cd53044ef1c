package router

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/api/subject"
)

// Summarize implements HandoffService.
func (s *handoffService) Summarize(ctx context.Context, in *handoffv1.SummarizeRequest) (*handoffv1.SummarizeResponse, error) {
	out, err := serve(ctx, s.r, handoffv1.HandoffService_Summarize_FullMethodName, in,
		func() *handoffv1.SummarizeResponse { return &handoffv1.SummarizeResponse{} }, s.r.summarize)
	if err == nil && out.GetLeader() != s.r.o.Member {
		out.Standby = s.r.o.Member
	}
	return out, err
}

func (r *Router) summarize(ctx context.Context, t *term) (*handoffv1.SummarizeResponse, error) {
	out := &handoffv1.SummarizeResponse{Leader: r.o.Member, LeaderAddress: r.o.Advertise}
	if err := r.Ready(); err != nil {
		out.Problems = []string{err.Error()}
	}
	var decided, folded uint64
	if err := t.look(ctx, func(l *ledger) {
		l.state.Summarize(time.Now(), out)
		_, decided = l.state.Leads()
		folded = l.base
	}); err != nil {
		return nil, err
	}
	var err error
	if out.Leads, err = r.readUpTo(ctx, subject.LeadsStream, max(decided, t.decided.Load())); err != nil {
		return nil, err
	}
	out.Handoffs, err = r.readUpTo(ctx, subject.HandoffsStream, folded)
	return out, err
}

// readUpTo says how far a stream of the ledger has been read, and what waits in it.
func (r *Router) readUpTo(ctx context.Context, name string, sequence uint64) (*handoffv1.LedgerPosition, error) {
	log := r.o.Stream.Log(name)
	info, err := log.Info(ctx)
	if err != nil {
		return nil, err
	}
	p := &handoffv1.LedgerPosition{Sequence: sequence, Last: max(info.Last, sequence), Bytes: info.Bytes}
	if p.Waiting = p.GetLast() - sequence; p.GetWaiting() == 0 {
		return p, nil
	}
	at, err := log.TimeAfter(ctx, sequence)
	if at != 0 {
		p.OldestWaitingAt = timestamppb.New(time.Unix(0, at))
	}
	return p, err
}
