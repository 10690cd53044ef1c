package main

import (
	"context"

	"google.golang.org/grpc"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
)

// leadArgument names a lead, and the instant to show it at.
type leadArgument struct {
	Lead leadName `arg:"" placeholder:"LEAD" help:"An e-mail address, SYSTEM:ID, anon:ID, or a lead key."`
}

// atFlag is the instant that scores are faded to.
type atFlag struct {
	At instant `placeholder:"TIME" help:"As of this instant (RFC 3339), with what had arrived by then."`
}

type leadGetCommand struct {
	leadArgument
	atFlag
	outputFlag
	clientFlags
}

// Run shows what is known of a lead.
func (c *leadGetCommand) Run(s *system) error {
	return c.call(s, func(ctx context.Context, conn *grpc.ClientConn) error {
		r, err := leadv1.NewLeadServiceClient(conn).Get(ctx, &leadv1.GetRequest{Lead: string(c.Lead), At: c.At.proto()})
		if err != nil {
			return err
		}
		return c.write(s, r, func(p *screen.Page) { p.Lead(r.GetLead()) })
	})
}
