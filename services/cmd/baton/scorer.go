package main

import (
	"github.com/leadbaton/baton/services/internal/stream"
	"github.com/leadbaton/baton/services/scorer"
)

type scorerCommand struct {
	serviceFlags
	redisFlag
}

// Run runs a scorer.
func (c *scorerCommand) Run(s *system) error {
	store, err := c.open()
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	return c.serve(s, "scorer", false, func(p process, conn *stream.Conn, _ string) (service, error) {
		return scorer.New(scorer.Options{Stream: conn, Store: store, Logger: p.log, Signals: p.Signals})
	})
}
