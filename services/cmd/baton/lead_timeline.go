package main

import (
	"context"

	"google.golang.org/grpc"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
)

type leadTimelineCommand struct {
	leadArgument
	limitFlag
	outputFlag
	clientFlags
}

// limitFlag bounds a list; 0 leaves it to the service.
type limitFlag struct {
	Limit uint32 `placeholder:"N" help:"At most this many."`
}

// Run shows all that happened to a lead.
func (c *leadTimelineCommand) Run(s *system) error {
	return c.call(s, func(ctx context.Context, conn *grpc.ClientConn) error {
		r, err := leadv1.NewLeadServiceClient(conn).Timeline(ctx, &leadv1.TimelineRequest{Lead: string(c.Lead), Limit: c.Limit})
		if err != nil {
			return err
		}
		return c.write(s, r, func(p *screen.Page) { p.Timeline(r) })
	})
}
