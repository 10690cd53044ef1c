package main

import (
	"context"

	"google.golang.org/grpc"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
)

type leadExplainCommand struct {
	leadArgument
	atFlag
	Exact bool `help:"Show points to the thousandth."`
	outputFlag
	clientFlags
}

// Run shows where a lead's score comes from.
func (c *leadExplainCommand) Run(s *system) error {
	return c.call(s, func(ctx context.Context, conn *grpc.ClientConn) error {
		r, err := leadv1.NewLeadServiceClient(conn).Explain(ctx, &leadv1.ExplainRequest{Lead: string(c.Lead), At: c.At.proto()})
		if err != nil {
			return err
		}
		return c.write(s, r, func(p *screen.Page) { p.Explain(r, c.Exact) })
	})
}
