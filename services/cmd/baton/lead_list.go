package main

import (
	"context"

	"google.golang.org/grpc"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
)

type leadListCommand struct {
	Stage     string     `placeholder:"STAGE" help:"Only leads in this stage."`
	MinScore  *float64   `placeholder:"N" help:"Only leads with at least this score."`
	Held      heldReason `placeholder:"REASON" help:"Only leads that are held for this reason: ${helds}."`
	Agreement string     `placeholder:"NAME" help:"The agreement that stage, score and reason refer to; any if not given."`
	limitFlag
	outputFlag
	clientFlags
}

// Run lists leads.
func (c *leadListCommand) Run(s *system) error {
	return c.call(s, func(ctx context.Context, conn *grpc.ClientConn) error {
		r, err := leadv1.NewLeadServiceClient(conn).List(ctx, &leadv1.ListRequest{
			Stage: c.Stage, MinScore: c.MinScore, Held: c.Held.Held, Agreement: c.Agreement, Limit: c.Limit,
		})
		if err != nil {
			return err
		}
		return c.write(s, r, func(p *screen.Page) { p.Leads(r) })
	})
}
