package main

import (
	"os"

	"google.golang.org/grpc"

	"github.com/leadbaton/baton/api/client"
	channelv1 "github.com/leadbaton/baton/api/gen/baton/channel/v1"
	"github.com/leadbaton/baton/services/internal/lead"
	"github.com/leadbaton/baton/services/internal/stream"
	"github.com/leadbaton/baton/services/router"
)

type routerCommand struct {
	serviceFlags
	Redis     string `env:"BATON_REDIS" placeholder:"URL" help:"Taken for uniformity with other services; a router keeps its state in memory and in NATS."`
	Notifier  string `required:"" env:"BATON_NOTIFIER" placeholder:"ADDR" help:"The notifier's gRPC: HOST:PORT."`
	Advertise string `placeholder:"ADDR" help:"Where other routers reach this one's gRPC: HOST:PORT. By default what --grpc listens on, by this machine's name if that is every network."`
}

// Run runs a router.
func (c *routerCommand) Run(s *system) error {
	if err := hostPort("--notifier", c.Notifier); err != nil {
		return err
	}
	if c.Advertise != "" {
		if err := hostPort("--advertise", c.Advertise); err != nil {
			return err
		}
	}
	var notifier *grpc.ClientConn
	defer func() {
		if notifier != nil {
			_ = notifier.Close()
		}
	}()
	return c.serve(s, "router", false, func(p process, conn *stream.Conn, address string) (service, error) {
		advertise := c.Advertise
		if advertise == "" {
			var err error
			if advertise, err = advertised(address, os.Hostname); err != nil {
				return nil, err
			}
		}
		var err error
		if notifier, err = client.Dial(c.Notifier, dialOptions(p.Export)...); err != nil {
			return nil, usagef("--notifier %s is not HOST:PORT: %w", c.Notifier, err)
		}
		return router.New(router.Options{
			Stream: conn, Notifier: channelv1.NewNotificationChannelServiceClient(notifier), Advertise: advertise, Logger: p.log,
			Signals: p.Signals, FoldVersion: lead.Newest,
		})
	})
}
