package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/leadbaton/baton/api/client"
	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"
)

// answering is a service that answers calls.
type answering struct {
	handoffv1.UnimplementedHandoffServiceServer
	asked, release chan struct{} // a call has begun; it may end
	ready          atomic.Bool
	fail           chan error
	ended          func()
}

func (a *answering) Register(r grpc.ServiceRegistrar) { handoffv1.RegisterHandoffServiceServer(r, a) }

func (a *answering) Get(context.Context, *handoffv1.GetRequest) (*handoffv1.GetResponse, error) {
	close(a.asked)
	<-a.release
	return &handoffv1.GetResponse{}, nil
}

func (a *answering) Ready() error {
	if a.ready.Load() {
		return nil
	}
	return errors.New("it is starting")
}

func (a *answering) Run(ctx context.Context) error {
	defer func() { a.ended() }()
	select {
	case err := <-a.fail:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sending is a service with streams, which never end by themselves.
type sending struct {
	subscriptionv1.UnimplementedSubscriptionServiceServer
	ended func()
}

func (s *sending) Register(r grpc.ServiceRegistrar) {
	subscriptionv1.RegisterSubscriptionServiceServer(r, s)
}
func (s *sending) Ready() error { return nil }
func (s *sending) Run(ctx context.Context) error {
	defer s.ended()
	<-ctx.Done()
	return ctx.Err()
}

func (s *sending) Subscribe(_ *subscriptionv1.SubscribeRequest, out grpc.ServerStreamingServer[subscriptionv1.SubscribeResponse]) error {
	if err := out.Send(&subscriptionv1.SubscribeResponse{Token: "t-1"}); err != nil {
		return err
	}
	<-out.Context().Done()
	return out.Context().Err()
}

// hosted is a running host with both services, and a connection to it.
type hosted struct {
	*host
	a     *answering
	conn  *grpc.ClientConn
	stop  context.CancelFunc
	done  chan error
	order chan string // in which the services ended
	web   string      // where HTTP is
}

func startHost(t *testing.T) *hosted {
	t.Helper()
	x := &hosted{host: newHost(slog.New(slog.DiscardHandler), nil), done: make(chan error, 1), order: make(chan string, 2)}
	x.a = &answering{
		asked: make(chan struct{}), release: make(chan struct{}), fail: make(chan error, 1), ended: func() { x.order <- "answering" },
	}
	x.add("answerer", x.a, false)
	x.add("sender", &sending{ended: func() { x.order <- "sending" }}, true)
	address, err := x.listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if x.web, err = x.listenHTTP("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.closeHTTP)
	if x.conn, err = client.Dial(address); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	x.stop = cancel
	var running sync.WaitGroup
	running.Go(func() { x.done <- x.run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		_ = x.conn.Close()
	})
	return x
}

// health waits until the health of a service is as wanted.
func (x *hosted) health(t *testing.T, name string, want healthv1.HealthCheckResponse_ServingStatus) {
	t.Helper()
	watch, err := healthv1.NewHealthClient(x.conn).Watch(t.Context(), &healthv1.HealthCheckRequest{Service: name})
	if err != nil {
		t.Fatal(err)
	}
	for {
		r, err := watch.Recv()
		if err != nil {
			t.Fatalf("health of %q never was %s: %v", name, want, err)
		}
		if r.GetStatus() == want {
			return
		}
	}
}

const (
	serving    = healthv1.HealthCheckResponse_SERVING
	notServing = healthv1.HealthCheckResponse_NOT_SERVING
)

func TestHealthFollowsReady(t *testing.T) {
	x := startHost(t)
	x.health(t, "baton.subscription.v1.SubscriptionService", serving)
	x.health(t, "baton.handoff.v1.HandoffService", notServing)
	x.health(t, "", notServing)
	if err := x.ready(); err == nil || err.Error() != "answerer: it is starting" {
		t.Errorf("ready says %v", err)
	}
	x.a.ready.Store(true)
	x.health(t, "baton.handoff.v1.HandoffService", serving)
	x.health(t, "", serving)
	x.a.ready.Store(false)
	x.health(t, "", notServing)
}

// What is being answered when the server stops is answered, streams end at once, and what sends ends first.
func TestHostStopsInOrder(t *testing.T) {
	x := startHost(t)
	stream, err := subscriptionv1.NewSubscriptionServiceClient(x.conn).Subscribe(t.Context(), &subscriptionv1.SubscribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := stream.Recv(); err != nil || r.GetToken() != "t-1" {
		t.Fatalf("the stream begins with %v, %v", r, err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := handoffv1.NewHandoffServiceClient(x.conn).Get(t.Context(), &handoffv1.GetRequest{})
		answered <- err
	}()
	<-x.a.asked
	x.stop()
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "connect again") {
		t.Errorf("the stream ends with %v", err)
	}
	if first := <-x.order; first != "sending" {
		t.Errorf("the service %s ended first", first)
	}
	close(x.a.release)
	if err := <-answered; err != nil {
		t.Errorf("the call that was being answered got %v", err)
	}
	if err := <-x.done; err != nil {
		t.Errorf("run ended with %v", err)
	}
	if last := <-x.order; last != "answering" {
		t.Errorf("the service %s ended last", last)
	}
}

func TestServiceThatFailsEndsTheHost(t *testing.T) {
	x := startHost(t)
	x.a.fail <- errors.New("redis may evict states")
	if err := <-x.done; err == nil || err.Error() != "the answerer stopped: redis may evict states" {
		t.Errorf("run ended with %v", err)
	}
}

func TestAddressInUseNamesTheFlag(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := listenOn("--grpc", l.Addr().String()); err == nil || !strings.Contains(err.Error(), "choose another address with --grpc") {
		t.Errorf("got %v", err)
	}
}

func TestAdvertised(t *testing.T) {
	hostname := func() (string, error) { return "router-7", nil }
	for address, want := range map[string]string{
		"10.1.2.3:4422": "10.1.2.3:4422", "[::]:4422": "router-7:4422", "0.0.0.0:4422": "router-7:4422", ":4422": "router-7:4422",
		"router.internal:4422": "router.internal:4422",
	} {
		if got, err := advertised(address, hostname); err != nil || got != want {
			t.Errorf("%s is advertised as %s, %v; want %s", address, got, err, want)
		}
	}
	nameless := func() (string, error) { return "", nil }
	if _, err := advertised(":4422", nameless); err == nil || !strings.Contains(err.Error(), "--advertise") {
		t.Errorf("got %v", err)
	}
}

func TestDataIsLocked(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lockData(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockData(dir); err == nil || !strings.Contains(err.Error(), "another baton is running on the data in "+dir) {
		t.Errorf("a second lock: %v", err)
	}
	unlock()
	again, err := lockData(dir)
	if err != nil {
		t.Fatal(err)
	}
	again()
}
