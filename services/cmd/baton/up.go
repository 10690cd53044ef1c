package main

import (
	"context"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/leadbaton/baton/api/client"
	channelv1 "github.com/leadbaton/baton/api/gen/baton/channel/v1"
	"github.com/leadbaton/baton/services/internal/embedded"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/lead"
	"github.com/leadbaton/baton/services/internal/stream"
	"github.com/leadbaton/baton/services/internal/telemetry/export"
	"github.com/leadbaton/baton/services/notifier"
	"github.com/leadbaton/baton/services/router"
	"github.com/leadbaton/baton/services/scorer"
)

type upCommand struct {
	Data       string `default:"data" placeholder:"DIR" help:"Where everything is kept (${default})."`
	Agreement  string `placeholder:"FILE" help:"Put this agreement in force. Without it, what is in force stays; at the first start that is the example."`
	Roster     string `placeholder:"FILE" help:"Put this roster in force. Without it, what is in force stays; at the first start that is the example."`
	NATS       string `name:"nats" xor:"nats" placeholder:"URL" help:"Use this NATS server (2.12 or newer, with JetStream) instead of the embedded one."`
	NATSListen string `name:"nats-listen" xor:"nats" placeholder:"ADDR" help:"Where the embedded NATS server listens (${listen})."`
	Redis      string `placeholder:"URL" help:"Keep states in this Redis or Valkey instead of in memory."`
	GRPC       string `name:"grpc" default:"${grpc}" placeholder:"ADDR" help:"Where to listen for gRPC (${default})."`
	httpFlag
	logFlag
}

// Run runs all of Baton until it is stopped.
func (c *upCommand) Run(s *system) error {
	docs, err := c.documents(s)
	if err != nil {
		return err
	}
	level := "info"
	if s.errTerminal {
		level = "warn"
	}
	u := &running{c: c, s: s, log: s.logger(c.or(level)), docs: docs}
	defer u.close()
	if err := u.open(); err != nil {
		return s.unlessStopped(err)
	}
	return u.run()
}

// running is one run of up. What it has opened it closes again, last first.
type running struct {
	c    *upCommand
	s    *system
	log  *slog.Logger
	docs documents

	host       *host
	inner      *grpc.ClientConn // to the host's own server, whatever address it listens on
	grpc, nats string           // where it listens
	web        string           // where HTTP is; "" = nowhere
	signals    *export.Export
	closers    []func()
}

func (u *running) later(f func()) { u.closers = append(u.closers, f) }

func (u *running) close() {
	for i := len(u.closers) - 1; i >= 0; i-- {
		u.closers[i]()
	}
}

// open opens the data, the servers and the services, and starts nothing yet that reads or writes.
func (u *running) open() error {
	unlock, err := lockData(u.c.Data)
	if err != nil {
		return err
	}
	u.later(unlock)
	var end func()
	if u.signals, end, err = u.s.export("up", u.log); err != nil {
		return err
	}
	u.later(end)
	u.host = newHost(u.log, u.signals)
	if u.grpc, err = u.host.listen(u.c.GRPC); err != nil {
		return err
	}
	u.later(func() { _ = u.host.listeners[0].Close() })
	if u.web, err = u.host.listenHTTP(u.c.HTTP); err != nil {
		return err
	}
	u.later(u.host.closeHTTP)
	inner := bufconn.Listen(1 << 20)
	u.host.listeners = append(u.host.listeners, inner)
	u.later(func() { _ = inner.Close() })
	u.inner, err = client.Dial("passthrough:///up", append(dialOptions(u.signals), grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return inner.DialContext(ctx)
	}))...)
	if err != nil {
		return err
	}
	u.later(func() { _ = u.inner.Close() })
	conn, err := u.connect()
	if err != nil {
		return err
	}
	u.later(conn.Close)
	store, err := u.store()
	if err != nil {
		return err
	}
	if err := conn.EnsureStreams(u.s.ctx); err != nil {
		return err
	}
	return u.services(conn, store)
}

// connect starts the embedded NATS server, unless there is another, and connects.
func (u *running) connect() (*stream.Conn, error) {
	o := stream.Options{URL: u.c.NATS, Name: "baton up", Logger: u.log, Signals: u.signals.Signals}
	u.nats = redacted(u.c.NATS)
	if u.c.NATS == "" {
		listen := u.c.NATSListen
		if listen == "" {
			listen = defaultNATSListen
		}
		// The server would only say after a while that it cannot listen.
		l, err := listenOn("--nats-listen", listen)
		if err != nil {
			return nil, err
		}
		listen = l.Addr().String() // with the port that was free
		_ = l.Close()
		server, err := embedded.StartNATS(embedded.NATSOptions{Dir: u.c.Data, Listen: listen})
		if err != nil {
			return nil, err
		}
		u.later(server.Stop)
		o.InProcess, u.nats = server, "nats://"+listen
	}
	return stream.Connect(u.s.ctx, o)
}

// redacted takes the passwords out of addresses.
func redacted(addresses string) string {
	list := strings.Split(addresses, ",")
	for i, a := range list {
		if a, err := url.Parse(strings.TrimSpace(a)); err == nil {
			list[i] = a.Redacted()
		}
	}
	return strings.Join(list, ",")
}

func (u *running) store() (fold.Store, error) {
	if u.c.Redis != "" {
		store, err := redisFlag{Redis: u.c.Redis}.open()
		if err != nil {
			return nil, err
		}
		u.later(func() { _ = store.Close() })
		return store, nil
	}
	return fold.NewMemory(), nil
}

func (u *running) services(conn *stream.Conn, store fold.Store) error {
	sc, err := scorer.New(scorer.Options{Stream: conn, Store: store, Logger: u.log.With("service", "scorer"), Signals: u.signals.Signals})
	if err != nil {
		return err
	}
	rt, err := router.New(router.Options{
		Stream: conn, Notifier: channelv1.NewNotificationChannelServiceClient(u.inner), Advertise: u.grpc, FoldVersion: lead.Newest,
		InitialAgreement: u.docs.given.agreement, InitialRoster: u.docs.given.roster, Logger: u.log.With("service", "router"),
		Signals: u.signals.Signals,
	})
	if err != nil {
		return err
	}
	nt, err := notifier.New(notifier.Options{Stream: conn, Logger: u.log.With("service", "notifier"), Signals: u.signals.Signals})
	if err != nil {
		return err
	}
	u.host.add("scorer", sc, false)
	u.host.add("router", rt, false)
	u.host.add("notifier", nt, true)
	return nil
}

// run runs the services, puts the documents in force, and says where everything is.
func (u *running) run() error {
	var both sync.WaitGroup
	defer both.Wait()
	ctx, cancel := context.WithCancel(u.s.ctx)
	defer cancel()
	ended, begun := make(chan error, 1), make(chan error, 1)
	both.Go(func() { ended <- u.host.run(ctx) })
	both.Go(func() { begun <- u.begin(ctx) })
	select {
	case err := <-ended:
		return err
	case err := <-begun:
		if err != nil {
			return u.s.unlessStopped(err)
		}
	}
	err := <-ended
	if err == nil {
		u.s.page().Say("stopped; everything is kept in %s", u.c.Data)
	}
	return err
}

// begin waits until all services work, puts the documents in force, and says so.
func (u *running) begin(ctx context.Context) error {
	if err := u.awaitReady(ctx); err != nil {
		return err
	}
	state, err := u.docs.enforce(ctx, u.inner)
	if err != nil {
		return err
	}
	return u.summary(state)
}
