package main

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"

	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
)

// shardDigits is a shard on the command line: one hex digit.
type shardDigits string

// UnmarshalText reads a hex digit.
func (d *shardDigits) UnmarshalText(b []byte) error {
	name := strings.ToLower(string(b))
	if subject.ShardNumber(name) < 0 {
		return fmt.Errorf("%q is no shard: want one hex digit, 0 to f", b)
	}
	*d = shardDigits(name)
	return nil
}

type shardAdoptCommand struct {
	Shard  shardDigits `arg:"" name:"n" help:"The shard: one hex digit."`
	Keep   bool        `required:"" xor:"mode" help:"Keep the states, and read on with what the stream holds of later date."`
	Replay bool        `required:"" xor:"mode" help:"Forget the states and fold the stream from its start; nothing of it is handed off anew. Also for a shard that works, when what it caused was lost."`
	requestFlag
	outputFlag
	clientFlags
}

// Run decides what becomes of a shard.
func (c *shardAdoptCommand) Run(s *system) error {
	q := &shardv1.AdoptRequest{RequestId: c.id(), Shard: string(c.Shard), Mode: shardv1.AdoptRequest_MODE_KEEP}
	did := "kept the states; it reads on with what the stream holds of later date"
	if c.Replay {
		q.Mode, did = shardv1.AdoptRequest_MODE_REPLAY, "forgot the states; the stream is folded from its start, and nothing of it is handed off anew"
	}
	return c.callFor(s, longTimeout, func(ctx context.Context, conn *grpc.ClientConn) error {
		r, err := shardv1.NewShardServiceClient(conn).Adopt(ctx, q)
		if err != nil {
			return err
		}
		return c.write(s, r, func(p *screen.Page) {
			p.Say("%s", did)
			p.Shard(r.GetShard())
		})
	})
}
