package main

import (
	"context"

	"google.golang.org/grpc"

	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
)

type verifyCommand struct {
	Data         string        `placeholder:"DIR" help:"Verify the data of a 'baton up' that is not running, instead of asking a running one."`
	Shards       []shardDigits `name:"shard" placeholder:"N" help:"Only this shard, one hex digit; may be given more than once."`
	FromSnapshot bool          `help:"Fold on from each shard's newest snapshot, if it has one, instead of from the start: faster, and the only way once messages were erased."`
	outputFlag
	clientFlags
}

// Run folds the log again and compares.
func (c *verifyCommand) Run(s *system) error {
	var r *shardv1.VerifyResponse
	var err error
	q := &shardv1.VerifyRequest{FromSnapshot: c.FromSnapshot}
	for _, n := range c.Shards {
		q.Shards = append(q.Shards, string(n))
	}
	if c.Data != "" {
		if len(c.Shards) > 0 {
			return usagef("--data verifies all shards: leave --shard out")
		}
		r, err = verifyOffline(s, c.Data, c.FromSnapshot)
	} else {
		err = c.callFor(s, longTimeout, func(ctx context.Context, conn *grpc.ClientConn) (err error) {
			r, err = shardv1.NewShardServiceClient(conn).Verify(ctx, q)
			return err
		})
	}
	if err != nil {
		return err
	}
	if err := c.write(s, r, func(p *screen.Page) { p.Verified(r) }); err != nil {
		return err
	}
	if len(r.GetDifferences()) > 0 {
		return quiet(exitFailed)
	}
	return nil
}
