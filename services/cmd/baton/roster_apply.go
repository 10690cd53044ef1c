package main

import (
	"context"

	"google.golang.org/grpc"

	agreementv1 "github.com/leadbaton/baton/api/gen/baton/agreement/v1"
	rosterv1 "github.com/leadbaton/baton/api/gen/baton/roster/v1"
	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
	"github.com/leadbaton/baton/services/internal/document"
)

type rosterApplyCommand struct {
	fileArgument
	requestFlag
	outputFlag
	clientFlags
}

// Run puts a roster in force.
func (c *rosterApplyCommand) Run(s *system) error {
	r, err := s.parseRoster(c.File)
	if err != nil {
		return err
	}
	return c.call(s, func(ctx context.Context, conn *grpc.ClientConn) error {
		r, err := rosterv1.NewRosterServiceClient(conn).Apply(ctx, &rosterv1.ApplyRequest{RequestId: c.id(), Document: r.Document})
		if err != nil {
			return err
		}
		s.warnings(c.File, r.GetFindings())
		return c.write(s, r, func(p *screen.Page) { p.Applied(r) })
	})
}

// warnings writes what a service had to say of a document that it took.
func (s *system) warnings(file string, findings []*agreementv1.Finding) {
	list := make([]document.Finding, 0, len(findings))
	for _, f := range findings {
		severity := document.Error
		if f.GetSeverity() == agreementv1.Finding_SEVERITY_WARNING {
			severity = document.Warning
		}
		list = append(list, document.Finding{
			Severity: severity, Line: int(f.GetLine()), Column: int(f.GetColumn()), Path: f.GetPath(), Message: f.GetMessage(),
		})
	}
	s.errorPage().Findings(file, list)
}
