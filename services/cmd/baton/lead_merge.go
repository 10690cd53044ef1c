package main

import (
	"context"

	"google.golang.org/grpc"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
)

type leadMergeCommand struct {
	From leadName `arg:"" help:"The lead that becomes part of the other."`
	Into leadName `arg:"" help:"The lead that it becomes part of."`
	requestFlag
	outputFlag
	clientFlags
}

// Run makes one lead part of another.
func (c *leadMergeCommand) Run(s *system) error {
	return c.call(s, func(ctx context.Context, conn *grpc.ClientConn) error {
		r, err := leadv1.NewLeadServiceClient(conn).Merge(ctx, &leadv1.MergeRequest{
			RequestId: c.id(), From: string(c.From), Into: string(c.Into),
		})
		if err != nil {
			return err
		}
		return c.write(s, r, func(p *screen.Page) {
			p.Say("%s becomes part of %s, with all its history", screen.Clean(string(c.From)), screen.Clean(string(c.Into)))
			p.Say("keys: %s into %s", r.GetFromKey(), r.GetIntoKey())
		})
	})
}
