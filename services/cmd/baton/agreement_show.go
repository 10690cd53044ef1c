package main

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	agreementv1 "github.com/leadbaton/baton/api/gen/baton/agreement/v1"
	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
	"github.com/leadbaton/baton/services/internal/agreement"
)

type agreementShowCommand struct {
	Agreement string `arg:"" optional:"" name:"name|file" help:"A name, needed where several agreements are in force; or a file."`
	outputFlag
	clientFlags
}

// Run shows an agreement for a meeting of both teams.
func (c *agreementShowCommand) Run(s *system) error {
	if looksLikeFile(c.Agreement) {
		a, err := s.parseAgreement(c.Agreement)
		if err != nil {
			return err
		}
		r := &agreementv1.GetResponse{Agreement: &agreementv1.Agreement{Name: a.Name, Document: a.Document, Unsigned: true}}
		return c.show(s, r, a, func(*screen.Page) {})
	}
	return c.call(s, func(ctx context.Context, conn *grpc.ClientConn) error {
		r, err := agreementv1.NewAgreementServiceClient(conn).Get(ctx, &agreementv1.GetRequest{Name: c.Agreement})
		if err != nil {
			return err
		}
		a, findings := agreement.Parse(r.GetAgreement().GetDocument())
		if a == nil {
			s.errorPage().Findings(r.GetAgreement().GetName(), findings)
			return fmt.Errorf("this baton cannot read the agreement in force: it is of another version; update it")
		}
		return c.show(s, r, a, func(p *screen.Page) { p.Agreement(r.GetAgreement()) })
	})
}

func (c *agreementShowCommand) show(s *system, r *agreementv1.GetResponse, a *agreement.Agreement, head func(p *screen.Page)) error {
	if c.Output == "json" {
		return writeJSON(s.out, r)
	}
	p := s.page()
	head(p)
	if err := p.Err(); err != nil {
		return err
	}
	return agreement.Show(s.out, a)
}
