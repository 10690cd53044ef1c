package main

import (
	"context"

	"google.golang.org/grpc"

	agreementv1 "github.com/leadbaton/baton/api/gen/baton/agreement/v1"
	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
)

type agreementActivateCommand struct {
	fileArgument
	requestFlag
	outputFlag
	clientFlags
}

// Run puts a document in force. One whose own tests fail is not sent: Baton would refuse it.
func (c *agreementActivateCommand) Run(s *system) error {
	a, err := s.parseAgreement(c.File)
	if err != nil {
		return err
	}
	if _, failed := runTests(s, a); failed > 0 {
		return untested(c.File, failed)
	}
	return c.call(s, func(ctx context.Context, conn *grpc.ClientConn) error {
		r, err := agreementv1.NewAgreementServiceClient(conn).Activate(ctx, &agreementv1.ActivateRequest{RequestId: c.id(), Document: a.Document})
		if err != nil {
			return err
		}
		s.warnings(c.File, r.GetFindings())
		return c.write(s, r, func(p *screen.Page) { p.Activated(r) })
	})
}
