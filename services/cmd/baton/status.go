package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
)

type statusCommand struct {
	GRPC []string `name:"grpc" env:"BATON_GRPC" default:"${grpc}" placeholder:"ADDR" help:"Where Baton's gRPC is: HOST:PORT; several, or the flag again, where scorer and router answer at different addresses."`
	outputFlag
}

// Run shows the whole system: what the scorers and the router say of it, from whichever address answers first.
func (c *statusCommand) Run(s *system) error {
	o := &screen.Overview{}
	var asked error
	for _, address := range c.GRPC {
		if err := (clientFlags{GRPC: address}).overview(s, o); err != nil {
			if s.ctx.Err() != nil {
				return err
			}
			asked = err
			o.Missing = append(o.Missing, err.Error())
		}
	}
	if o.Shards == nil && o.Router == nil && asked != nil {
		if len(o.Missing) == 1 {
			return asked
		}
		return errors.New(strings.Join(o.Missing, "; "))
	}
	switch {
	case asked != nil: // that is what is missing
	case o.Shards == nil:
		o.Missing = append(o.Missing, "no scorer answers there, so nothing is known of the shards: add a scorer's address with --grpc")
	case o.Router == nil:
		o.Missing = append(o.Missing, "no router answers there, so nothing is known of the handoffs: add a router's address with --grpc")
	}
	if err := c.show(s, o); err != nil {
		return err
	}
	if asked != nil {
		return quiet(exitFailed)
	}
	return nil
}

// overview asks one address for what is not known yet.
func (c clientFlags) overview(s *system, o *screen.Overview) error {
	return c.call(s, func(ctx context.Context, conn *grpc.ClientConn) error {
		var failed error
		if o.Shards == nil {
			r, err := shardv1.NewShardServiceClient(conn).List(ctx, &shardv1.ListRequest{})
			switch {
			case err == nil:
				o.Shards = r
			case status.Code(err) != codes.Unimplemented:
				failed = fmt.Errorf("the shards cannot be shown: %w", c.explain(err))
			}
		}
		if o.Router == nil {
			r, err := handoffv1.NewHandoffServiceClient(conn).Summarize(ctx, &handoffv1.SummarizeRequest{})
			switch {
			case err == nil:
				o.Router = r
			case status.Code(err) != codes.Unimplemented:
				failed = errors.Join(failed, fmt.Errorf("the handoffs cannot be shown: %w", c.explain(err)))
			}
		}
		return failed
	})
}

// shown is the overview as JSON: the messages of both services, and what is to be said about them.
type shown struct {
	// Well says that nothing is wrong, as far as it is known.
	Well     bool            `json:"well"`
	Problems []string        `json:"problems"`
	Missing  []string        `json:"missing"`
	Shards   json.RawMessage `json:"shards"`
	Router   json.RawMessage `json:"router"`
}

func (c *statusCommand) show(s *system, o *screen.Overview) error {
	p := s.page()
	if c.Output != "json" {
		p.Overview(o)
		return p.Err()
	}
	problems := o.Problems(p.Now)
	out := shown{
		Well: len(problems)+len(o.Missing) == 0, Problems: append([]string{}, problems...), Missing: append([]string{}, o.Missing...),
		Shards: json.RawMessage("null"), Router: json.RawMessage("null"),
	}
	for _, part := range []struct {
		m   proto.Message
		has bool
		to  *json.RawMessage
	}{{o.Shards, o.Shards != nil, &out.Shards}, {o.Router, o.Router != nil, &out.Router}} {
		if part.has {
			b, err := protoJSON.Marshal(part.m)
			if err != nil {
				return err
			}
			*part.to = b
		}
	}
	return writeValue(s.out, out)
}
