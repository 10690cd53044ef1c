package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/leadbaton/baton/services/internal/benchmark"
)

type benchCommand struct {
	Events      int      `default:"500000" placeholder:"N" help:"How many events the backlog has (${default})."`
	Leads       int      `default:"100000" placeholder:"N" help:"How many leads they are about (${default})."`
	Rounds      int      `default:"3" placeholder:"N" help:"How often each part is measured; medians are shown (${default})."`
	Only        []string `placeholder:"PART" help:"Measure these parts only: ${parts}."`
	NATSServer  string   `name:"nats-server" env:"BATON_TEST_NATS_SERVER" placeholder:"PATH" help:"The nats-server to measure with; by default that of $$PATH."`
	RedisServer string   `name:"redis-server" env:"BATON_TEST_REDIS_SERVER" placeholder:"PATH" help:"The redis-server (or valkey-server) to measure with; by default that of $$PATH."`
	Against     string   `placeholder:"PROGRAM" help:"Measure this program beside: it gets --nats URL, --redis URL and --events N, scores so many events, and writes {\"events\": N, \"seconds\": S}."`
	outputFlag
}

// Run measures this machine's limit and Baton's share of it.
func (c *benchCommand) Run(s *system) error {
	for _, n := range []struct {
		flag  string
		value int
		least int
	}{{"--events", c.Events, 1000}, {"--leads", c.Leads, 2}, {"--rounds", c.Rounds, 1}} {
		if n.value < n.least {
			return usagef("%s %d is too few: at least %d", n.flag, n.value, n.least)
		}
	}
	for _, p := range c.Only {
		if !benchmark.Known(p) {
			return usagef("--only %q is no part: want one of %s", p, strings.Join(benchmark.Parts, ", "))
		}
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("the benchmark starts this program's services, and does not find the program: %w", err)
	}
	r, err := benchmark.Run(s.ctx, benchmark.Options{
		Events: c.Events, Leads: c.Leads, Rounds: c.Rounds, Only: c.Only, NATSServer: c.NATSServer, RedisServer: c.RedisServer,
		Against: c.Against, Baton: self, Say: s.errorPage().Say,
	})
	if err != nil {
		return err
	}
	if c.Output == "json" {
		e := json.NewEncoder(s.out)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	return r.Write(s.out)
}

// benchWorkerCommand is a process of the benchmark.
type benchWorkerCommand struct {
	Part   string `arg:""`
	NATS   string `name:"nats"`
	Redis  string
	Events int
	Bytes  int
}

// Run does one part.
func (c *benchWorkerCommand) Run(s *system) error {
	return benchmark.Worker{Part: c.Part, NATS: c.NATS, Redis: c.Redis, Events: c.Events, Bytes: c.Bytes}.Run(s.ctx, s.out)
}
