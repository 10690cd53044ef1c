package main

import (
	"errors"
	"log/slog"
	"net"
	"strconv"
	"strings"

	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/stream"
	"github.com/leadbaton/baton/services/internal/telemetry/export"
)

// serviceFlags are those of every service.
type serviceFlags struct {
	NATS string `name:"nats" env:"BATON_NATS" required:"" placeholder:"URL" help:"Baton's NATS server: nats://[user:password@]HOST:PORT, several separated by commas."`
	GRPC string `name:"grpc" default:"${grpc}" placeholder:"ADDR" help:"Where to listen for gRPC: HOST:PORT; :PORT is every network."`
	httpFlag
	logFlag
}

// redisFlag is where a service keeps its state.
type redisFlag struct {
	Redis string `env:"BATON_REDIS" required:"" placeholder:"URL" help:"The Redis or Valkey for states: redis://[user:password@]HOST:PORT[/DB]; rediss:// for TLS; redis://A:PORT,B:PORT?master=NAME for Sentinels; redis://A:PORT,B:PORT?cluster=true for a Cluster."`
}

func (r redisFlag) open() (*fold.Redis, error) {
	store, err := fold.OpenRedis(fold.RedisOptions{URL: r.Redis})
	if err != nil {
		return nil, usagef("--redis: %w", err)
	}
	return store, nil
}

// process is what a service has of its process.
type process struct {
	log *slog.Logger
	*export.Export
}

// serve runs one service until it is stopped. address is where gRPC listens, with its port.
func (f serviceFlags) serve(s *system, name string, sends bool, open func(p process, conn *stream.Conn, address string) (service, error)) error {
	log := s.logger(f.or("info"))
	e, end, err := s.export(name, log)
	if err != nil {
		return err
	}
	defer end()
	h := newHost(log, e)
	address, err := h.listen(f.GRPC)
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range h.listeners {
			_ = l.Close() // it is closed already once the server has run
		}
	}()
	web, err := h.listenHTTP(f.HTTP)
	if err != nil {
		return err
	}
	defer h.closeHTTP()
	log.Info("starting; NATS is waited for", "service", name, "grpc", address, "http", web)
	conn, err := stream.Connect(s.ctx, stream.Options{URL: f.NATS, Name: "baton " + name, Logger: log, Signals: e.Signals})
	if err != nil {
		return s.unlessStopped(err)
	}
	defer conn.Close()
	if err := conn.EnsureStreams(s.ctx); err != nil {
		return s.unlessStopped(err)
	}
	svc, err := open(process{log, e}, conn, address)
	if err != nil {
		return err
	}
	h.add(name, svc, sends)
	log.Info("started", "service", name, "grpc", address, "http", web)
	err = h.run(s.ctx)
	log.Info("stopped", "service", name)
	return err
}

// unlessStopped returns err, or nil if the process was told to stop: then errors are to be expected.
func (s *system) unlessStopped(err error) error {
	if s.ctx.Err() == nil {
		return err
	}
	return nil
}

// advertised is where others reach what listens on address: with the host's own name if it listens on every network.
func advertised(address string, hostname func() (string, error)) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return address, nil
	}
	name, err := hostname()
	if err != nil || name == "" {
		return "", errors.New("this machine has no name: say where other routers reach this one with --advertise HOST:PORT")
	}
	return net.JoinHostPort(name, port), nil
}

// hostPort refuses an address that nothing can be reached at; gRPC would only say so with each call. Addresses with a
// scheme, such as dns:///HOST:PORT, are gRPC's to read.
func hostPort(flag, address string) error {
	if strings.Contains(address, ":///") {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || host == "" {
		return usagef("%s %q is not HOST:PORT", flag, address)
	}
	return nil
}
