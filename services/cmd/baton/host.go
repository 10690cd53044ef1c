package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/leadbaton/baton/services/internal/telemetry/export"
)

// service is what scorer, router and notifier have in common.
type service interface {
	Register(grpc.ServiceRegistrar)
	Run(ctx context.Context) error
	Ready() error
}

// host runs services behind one gRPC server, with the standard health service driven by their Ready, and one HTTP server.
type host struct {
	log     *slog.Logger
	server  *grpc.Server
	health  *health.Server
	members []*member
	// streams ends when the streams of the server must end.
	streams    context.Context
	endStreams context.CancelFunc
	listeners  []net.Listener

	methods map[string]bool // of the services, by their full names: whether calls are measured and traced

	// mux is what HTTP answers: /livez, /readyz, and what is added to it before run.
	mux   *http.ServeMux
	web   *httpServer  // nil = there is none
	phase atomic.Int32 // a phase
}

// member is one service of a host.
type member struct {
	name string
	service
	names []string // of its gRPC services
	// sends says that it keeps streams open: it is stopped first, so that it can tell them where to go on.
	sends bool

	cancel context.CancelFunc
	ended  chan struct{}
}

const (
	// readyEvery is how often Ready is asked.
	readyEvery = 250 * time.Millisecond
	// stopWithin is how long calls that are being answered may take when the server stops.
	stopWithin = 5 * time.Second
)

func newHost(log *slog.Logger, e *export.Export) *host {
	h := &host{log: log, health: health.NewServer(), mux: http.NewServeMux(), methods: map[string]bool{}}
	h.healthPages()
	traced := h.expose(e)
	h.streams, h.endStreams = context.WithCancel(context.Background())
	h.server = grpc.NewServer(append(traced,
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, MaxConnectionAge: 30 * time.Minute, MaxConnectionAgeGrace: stopWithin}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 20 * time.Second, PermitWithoutStream: true}),
		grpc.MaxRecvMsgSize(1<<20),
		grpc.ChainStreamInterceptor(h.endWithServer),
	)...)
	healthv1.RegisterHealthServer(h.server, h.health)
	h.health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	return h
}

// endWithServer ends a stream when the server stops: no stream would end by itself, and GracefulStop would wait for it.
func (h *host) endWithServer(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(h.streams, cancel)()
	err := handler(srv, &endingStream{stream, ctx})
	if err != nil && h.streams.Err() != nil && stream.Context().Err() == nil {
		return status.Error(codes.Unavailable, "the server is stopping: connect again")
	}
	return err
}

type endingStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *endingStream) Context() context.Context { return s.ctx }

// add puts a service behind the server; before listen.
func (h *host) add(name string, s service, sends bool) {
	before := h.server.GetServiceInfo()
	s.Register(h.server)
	m := &member{name: name, service: s, sends: sends, ended: make(chan struct{})}
	for n, info := range h.server.GetServiceInfo() {
		for _, method := range info.Methods {
			h.methods["/"+n+"/"+method.Name] = n != healthv1.Health_ServiceDesc.ServiceName
		}
		if _, had := before[n]; !had {
			m.names = append(m.names, n)
			h.health.SetServingStatus(n, healthv1.HealthCheckResponse_NOT_SERVING)
		}
	}
	h.members = append(h.members, m)
}

// listen opens the address of the flag --grpc, and returns it with its port.
func (h *host) listen(address string) (string, error) {
	l, err := listenOn("--grpc", address)
	if err != nil {
		return "", err
	}
	h.listeners = append(h.listeners, l)
	return l.Addr().String(), nil
}

// listenOn says which flag to change when an address cannot be listened on.
func listenOn(flag, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, &inUseError{address, flag}
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %s: %w; choose another address with %s", address, err, flag)
	}
	return l, nil
}

// inUseError says that somebody else listens on an address.
type inUseError struct{ address, flag string }

// Error implements error.
func (e *inUseError) Error() string {
	return fmt.Sprintf("%s is in use already: is another Baton running there? Stop it, or choose another address with %s", e.address, e.flag)
}

// Is makes it one of its kind for errors.Is.
func (e *inUseError) Is(target error) bool { return target == syscall.EADDRINUSE }

// run runs everything until ctx ends or a service fails, and stops it in order: not ready any more; streams are told where
// to go on; calls that are being answered end; the services end.
func (h *host) run(ctx context.Context) error {
	failed := make(chan error, len(h.members)+len(h.listeners))
	for _, m := range h.members {
		var run context.Context
		run, m.cancel = context.WithCancel(context.WithoutCancel(ctx))
		go func() {
			defer close(m.ended)
			if err := m.Run(run); run.Err() == nil {
				if err == nil {
					err = errors.New("it ended by itself")
				}
				failed <- fmt.Errorf("the %s stopped: %w", m.name, err)
			}
		}()
	}
	var serving sync.WaitGroup
	for _, l := range h.listeners {
		serving.Go(func() {
			if err := h.server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				failed <- fmt.Errorf("gRPC on %s: %w", l.Addr(), err)
			}
		})
	}
	var broken <-chan error // nil, and so never ready, without HTTP
	if h.web != nil {
		broken = h.web.failed
	}
	h.phase.Store(int32(working))
	watching, endWatch := context.WithCancel(ctx)
	serving.Go(func() { h.watchReady(watching) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	case err = <-broken:
	}
	endWatch()
	h.stop()
	serving.Wait()
	return err
}

func (h *host) stop() {
	h.phase.Store(int32(ending))
	h.health.Shutdown()
	h.end(true)
	h.endStreams()
	stopped := make(chan struct{})
	go func() {
		h.server.GracefulStop()
		close(stopped)
	}()
	timer := time.NewTimer(stopWithin)
	defer timer.Stop()
	select {
	case <-stopped:
	case <-timer.C:
		h.server.Stop()
		<-stopped
	}
	h.end(false)
}

// end ends the services that send, or the others, and waits for them.
func (h *host) end(sends bool) {
	for _, m := range h.members {
		if m.sends == sends {
			m.cancel()
		}
	}
	for _, m := range h.members {
		if m.sends == sends {
			<-m.ended
		}
	}
}

// watchReady tells the health service what each service says of itself.
func (h *host) watchReady(ctx context.Context) {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		all := healthv1.HealthCheckResponse_SERVING
		for _, m := range h.members {
			state := healthv1.HealthCheckResponse_SERVING
			if m.Ready() != nil {
				state = healthv1.HealthCheckResponse_NOT_SERVING
				all = state
			}
			for _, n := range m.names {
				h.health.SetServingStatus(n, state)
			}
		}
		h.health.SetServingStatus("", all)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ready says why a service cannot do its work now; nil if all can.
func (h *host) ready() error {
	for _, m := range h.members {
		if err := m.Ready(); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}
