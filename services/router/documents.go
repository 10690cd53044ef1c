package router

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agreementv1 "github.com/leadbaton/baton/api/gen/baton/agreement/v1"
	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	rosterv1 "github.com/leadbaton/baton/api/gen/baton/roster/v1"
	"github.com/leadbaton/baton/services/internal/agreement"
	"github.com/leadbaton/baton/services/internal/document"
	"github.com/leadbaton/baton/services/internal/handoff"
	"github.com/leadbaton/baton/services/internal/lead"
	"github.com/leadbaton/baton/services/internal/roster"
)

// agreementService is AgreementService.
type agreementService struct {
	agreementv1.UnimplementedAgreementServiceServer
	r *Router
}

// lintAgreement reads a document and runs its own tests. Its error is a gRPC status with every finding.
func lintAgreement(ctx context.Context, doc []byte) (*agreement.Agreement, []document.Finding, error) {
	a, fs := agreement.Parse(doc)
	if a == nil || document.Invalid(fs) {
		return nil, nil, status.Error(codes.InvalidArgument, findingLines(fs))
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	var failed []string
	for _, r := range lead.RunTests(a, time.Now()) {
		for _, f := range r.Failures {
			failed = append(failed, fmt.Sprintf("line %d: the test %q fails: %s", r.Line, r.Name, f))
		}
	}
	if len(failed) > 0 {
		return nil, nil, status.Error(codes.FailedPrecondition, "the agreement's own tests fail, so it is not put in force:\n"+strings.Join(failed, "\n"))
	}
	return a, fs, nil
}

// Activate implements AgreementService.
func (s *agreementService) Activate(ctx context.Context, in *agreementv1.ActivateRequest) (*agreementv1.ActivateResponse, error) {
	if err := needRequestID(in.GetRequestId()); err != nil {
		return nil, err
	}
	return serve(ctx, s.r, agreementv1.AgreementService_Activate_FullMethodName, in,
		func() *agreementv1.ActivateResponse { return &agreementv1.ActivateResponse{} },
		func(ctx context.Context, t *term) (*agreementv1.ActivateResponse, error) {
			a, fs, err := lintAgreement(ctx, in.GetDocument())
			if err != nil {
				return nil, err
			}
			out := &agreementv1.ActivateResponse{Findings: findingsOf(fs)}
			var stored uint64
			err = t.put(ctx, func(st *handoff.State, now time.Time) ([]*handoffv1.Fact, error) {
				return st.DecideActivate(handoff.Activate{RequestID: in.GetRequestId(), Document: in.GetDocument(), Traceparent: traceparentOf(ctx)}, now)
			}, func(st *handoff.State, changed bool) {
				out.Agreement = st.Agreement(a.Name)
				_, known := st.Request(in.GetRequestId())
				out.Unchanged = !changed && !known
				stored = st.Sequence()
			})
			if err != nil {
				return nil, err
			}
			return out, s.inForce(ctx, out.GetAgreement(), stored)
		})
}

// tellWithin is how long an activation waits for the shards.
const tellWithin = 10 * time.Second

// inForce waits until a version has its place in every shard's order: whatever is published after the answer is judged by it.
func (s *agreementService) inForce(ctx context.Context, a *agreementv1.Agreement, stored uint64) error {
	within, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	err := s.r.ledger.outbox.told(within, stored)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	default:
		return status.Errorf(codes.Unavailable, "version %d of agreement %s is stored, but not every shard's stream could be told yet; "+
			"it takes force there as soon as it can; repeat the request to wait for it", a.GetVersion(), a.GetName())
	}
}

// Get implements AgreementService.
func (s *agreementService) Get(ctx context.Context, in *agreementv1.GetRequest) (*agreementv1.GetResponse, error) {
	return serve(ctx, s.r, agreementv1.AgreementService_Get_FullMethodName, in, func() *agreementv1.GetResponse { return &agreementv1.GetResponse{} },
		func(ctx context.Context, t *term) (*agreementv1.GetResponse, error) {
			var all []*agreementv1.Agreement
			if err := t.look(ctx, func(l *ledger) { all = l.state.Agreements() }); err != nil {
				return nil, err
			}
			names := make([]string, len(all))
			for i, a := range all {
				names[i] = a.GetName()
				if a.GetName() == in.GetName() || in.GetName() == "" && len(all) == 1 {
					return &agreementv1.GetResponse{Agreement: a}, nil
				}
			}
			switch {
			case len(all) == 0:
				return nil, status.Error(codes.NotFound, "no agreement is in force; put one in force with `baton agreement activate FILE`")
			case in.GetName() == "":
				return nil, invalidArgument("several agreements are in force; name one of %s", strings.Join(names, ", "))
			}
			return nil, status.Errorf(codes.NotFound, "no agreement %.64q is in force; there are %s", in.GetName(), strings.Join(names, ", "))
		})
}

// List implements AgreementService.
func (s *agreementService) List(ctx context.Context, in *agreementv1.ListRequest) (*agreementv1.ListResponse, error) {
	return serve(ctx, s.r, agreementv1.AgreementService_List_FullMethodName, in, func() *agreementv1.ListResponse { return &agreementv1.ListResponse{} },
		func(ctx context.Context, t *term) (*agreementv1.ListResponse, error) {
			out := &agreementv1.ListResponse{}
			return out, t.look(ctx, func(l *ledger) { out.Agreements = l.state.Agreements() })
		})
}

// rosterService is RosterService.
type rosterService struct {
	rosterv1.UnimplementedRosterServiceServer
	r *Router
}

// lintRoster reads a document and looks for its files. Its error is a gRPC status with every finding.
func lintRoster(doc []byte) (*roster.Roster, []document.Finding, error) {
	r, fs := roster.Parse(doc)
	if r == nil {
		return nil, nil, status.Error(codes.InvalidArgument, findingLines(fs))
	}
	return r, append(fs, roster.Lint(r, func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	})...), nil
}

// Apply implements RosterService.
func (s *rosterService) Apply(ctx context.Context, in *rosterv1.ApplyRequest) (*rosterv1.ApplyResponse, error) {
	if err := needRequestID(in.GetRequestId()); err != nil {
		return nil, err
	}
	return serve(ctx, s.r, rosterv1.RosterService_Apply_FullMethodName, in, func() *rosterv1.ApplyResponse { return &rosterv1.ApplyResponse{} },
		func(ctx context.Context, t *term) (*rosterv1.ApplyResponse, error) {
			_, fs, err := lintRoster(in.GetDocument())
			if err != nil {
				return nil, err
			}
			out := &rosterv1.ApplyResponse{Findings: findingsOf(fs)}
			err = t.put(ctx, func(st *handoff.State, now time.Time) ([]*handoffv1.Fact, error) {
				return st.DecideApply(handoff.Apply{RequestID: in.GetRequestId(), Document: in.GetDocument(), Traceparent: traceparentOf(ctx)}, now)
			}, func(st *handoff.State, changed bool) {
				out.Roster = st.RosterInForce()
				_, known := st.Request(in.GetRequestId())
				out.Unchanged = !changed && !known
			})
			return out, err
		})
}

// Get implements RosterService.
func (s *rosterService) Get(ctx context.Context, in *rosterv1.GetRequest) (*rosterv1.GetResponse, error) {
	return serve(ctx, s.r, rosterv1.RosterService_Get_FullMethodName, in, func() *rosterv1.GetResponse { return &rosterv1.GetResponse{} },
		func(ctx context.Context, t *term) (*rosterv1.GetResponse, error) {
			out := &rosterv1.GetResponse{}
			if err := t.look(ctx, func(l *ledger) { out.Roster, out.Reps = l.state.RosterInForce(), l.state.RepLoads(time.Now()) }); err != nil {
				return nil, err
			}
			if out.Roster == nil {
				return nil, status.Error(codes.NotFound, "no roster is in force; put one in force with `baton roster apply FILE`")
			}
			return out, nil
		})
}

func findingsOf(fs []document.Finding) []*agreementv1.Finding {
	out := make([]*agreementv1.Finding, len(fs))
	for i, f := range fs {
		out[i] = &agreementv1.Finding{
			Severity: agreementv1.Finding_SEVERITY_WARNING, Line: uint32(f.Line), Column: uint32(f.Column), Path: f.Path, Message: f.Message,
		}
		if f.Severity == document.Error {
			out[i].Severity = agreementv1.Finding_SEVERITY_ERROR
		}
	}
	return out
}
