package main

import (
	"context"

	"google.golang.org/grpc"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
)

type handoffListCommand struct {
	Rep     string       `placeholder:"REP" help:"Only of this rep."`
	Team    string       `placeholder:"TEAM" help:"Only of this team."`
	State   handoffState `placeholder:"STATE" help:"Only in this state: ${states}."`
	Overdue bool         `help:"Only those past their deadline whose rep has not been told."`
	Lead    leadName     `placeholder:"LEAD" help:"Only of this lead."`
	limitFlag
	outputFlag
	clientFlags
}

// Run lists handoffs.
func (c *handoffListCommand) Run(s *system) error {
	return c.call(s, func(ctx context.Context, conn *grpc.ClientConn) error {
		r, err := handoffv1.NewHandoffServiceClient(conn).List(ctx, &handoffv1.ListRequest{
			Rep: c.Rep, Team: c.Team, State: c.State.State, Overdue: c.Overdue, Lead: string(c.Lead), Limit: c.Limit,
		})
		if err != nil {
			return err
		}
		return c.write(s, r, func(p *screen.Page) { p.Handoffs(r) })
	})
}
