package main

import (
	"context"

	"google.golang.org/grpc"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
)

type handoffShowCommand struct {
	ID string `arg:"" help:"The handoff's id."`
	outputFlag
	clientFlags
}

// Run shows a handoff and its story.
func (c *handoffShowCommand) Run(s *system) error {
	return c.call(s, func(ctx context.Context, conn *grpc.ClientConn) error {
		r, err := handoffv1.NewHandoffServiceClient(conn).Get(ctx, &handoffv1.GetRequest{HandoffId: c.ID})
		if err != nil {
			return err
		}
		return c.write(s, r, func(p *screen.Page) { p.Story(r) })
	})
}
