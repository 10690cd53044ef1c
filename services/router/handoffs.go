package router

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/handoff"
)

// handoffService is HandoffService.
type handoffService struct {
	handoffv1.UnimplementedHandoffServiceServer
	r *Router
}

// Get implements HandoffService.
func (s *handoffService) Get(ctx context.Context, in *handoffv1.GetRequest) (*handoffv1.GetResponse, error) {
	if in.GetHandoffId() == "" {
		return nil, invalidArgument("handoff_id is empty; List shows the ids")
	}
	return serve(ctx, s.r, handoffv1.HandoffService_Get_FullMethodName, in, func() *handoffv1.GetResponse { return &handoffv1.GetResponse{} },
		func(ctx context.Context, t *term) (*handoffv1.GetResponse, error) {
			return s.get(ctx, t, in.GetHandoffId())
		})
}

func (s *handoffService) get(ctx context.Context, t *term, id string) (*handoffv1.GetResponse, error) {
	out := &handoffv1.GetResponse{}
	var places []uint64
	if err := t.look(ctx, func(l *ledger) { out.Handoff, places = l.state.Handoff(id), l.state.Facts(id) }); err != nil {
		return nil, err
	}
	if out.Handoff == nil || len(places) == 0 {
		return nil, status.Errorf(codes.NotFound, "no handoff %.64q is known; of those that ended the latest %d are remembered", id, handoff.KeptClosed)
	}
	wanted := make(map[uint64]bool, len(places))
	for _, p := range places {
		wanted[p] = true
	}
	last := places[len(places)-1]
	var bad error
	err := t.r.ledger.log.ScanAfter(ctx, places[0]-1, []string{subject.Handoffs(id)}, func(m fold.Message) bool {
		if wanted[m.Sequence] {
			facts, err := handoff.Decode(m.Data)
			if bad = err; bad != nil {
				return false
			}
			out.Facts = append(out.Facts, facts...)
		}
		return m.Sequence < last
	})
	if err == nil {
		err = bad
	}
	return out, err
}

// List implements HandoffService.
func (s *handoffService) List(ctx context.Context, in *handoffv1.ListRequest) (*handoffv1.ListResponse, error) {
	lead, err := resolveLead(in.GetLead())
	if err != nil {
		return nil, err
	}
	return serve(ctx, s.r, handoffv1.HandoffService_List_FullMethodName, in, func() *handoffv1.ListResponse { return &handoffv1.ListResponse{} },
		func(ctx context.Context, t *term) (*handoffv1.ListResponse, error) {
			out := &handoffv1.ListResponse{}
			err := t.look(ctx, func(l *ledger) {
				out.Handoffs, out.Total = l.state.List(handoff.Filter{
					Rep: in.GetRep(), Team: in.GetTeam(), State: in.GetState(), Overdue: in.GetOverdue(), LeadKey: l.ids.find(l.state, lead, in.GetLead()),
					Limit: int(min(in.GetLimit(), handoff.MaxLimit)),
				}, time.Now())
			})
			return out, err
		})
}

// Answer implements HandoffService.
func (s *handoffService) Answer(ctx context.Context, in *handoffv1.AnswerRequest) (*handoffv1.AnswerResponse, error) {
	if err := needRequestID(in.GetRequestId()); err != nil {
		return nil, err
	}
	lead, err := resolveLead(in.GetLead())
	if err != nil {
		return nil, err
	}
	return serve(ctx, s.r, handoffv1.HandoffService_Answer_FullMethodName, in, func() *handoffv1.AnswerResponse { return &handoffv1.AnswerResponse{} },
		func(ctx context.Context, t *term) (*handoffv1.AnswerResponse, error) {
			out := &handoffv1.AnswerResponse{}
			ids := t.r.ledger
			err := t.put(ctx, func(st *handoff.State, now time.Time) ([]*handoffv1.Fact, error) {
				return st.DecideAnswer(handoff.Answer{
					RequestID: in.GetRequestId(), HandoffID: in.GetHandoffId(), LeadKey: ids.ids.find(st, lead, in.GetLead()), Asked: string(lead),
					Answer: in.GetAnswer(), Traceparent: traceparentOf(ctx),
				}, now)
			}, func(st *handoff.State, _ bool) {
				if q, ok := st.Request(in.GetRequestId()); ok {
					out.Handoff = st.Handoff(q.HandoffID)
				}
			})
			return out, err
		})
}

// resolveLead reads what the caller calls a lead; "" is nobody.
func resolveLead(s string) (leadkey.Key, error) {
	if s == "" {
		return "", nil
	}
	k, err := leadkey.Resolve(s)
	if err != nil {
		return "", invalidArgument("lead: %v", err)
	}
	return k, nil
}
