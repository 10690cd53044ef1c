package main

import (
	"github.com/leadbaton/baton/services/internal/stream"
	"github.com/leadbaton/baton/services/notifier"
)

type notifierCommand struct {
	serviceFlags
	Redis string `env:"BATON_REDIS" placeholder:"URL" help:"Taken for uniformity with other services; a notifier keeps its state in memory and in NATS."`
}

// Run runs a notifier.
func (c *notifierCommand) Run(s *system) error {
	return c.serve(s, "notifier", true, func(p process, conn *stream.Conn, _ string) (service, error) {
		return notifier.New(notifier.Options{Stream: conn, Logger: p.log, Signals: p.Signals})
	})
}
