package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/leadbaton/baton/api/client"
	channelv1 "github.com/leadbaton/baton/api/gen/baton/channel/v1"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/servertest"
	"github.com/leadbaton/baton/services/internal/stream"
	"github.com/leadbaton/baton/services/notifier"
	"github.com/leadbaton/baton/services/router"
	"github.com/leadbaton/baton/services/scorer"
)

// natsUsers are the users of services/internal/stream/README.md, with %s for what the scorer may publish besides.
const natsUsers = `authorization { users: [
  {user: scorer, password: x, permissions: {publish: ["baton.engagement.>", "baton.rejected.>", "$JS.API.>", "$O.BATON_SNAPSHOTS.>", %s], subscribe: ["_INBOX.>"]}}
  {user: router, password: x, permissions: {publish: ["baton.engagement.>", "baton.handoffs.>", "$JS.API.>", "$KV.BATON_LEADERS.>"], subscribe: ["_INBOX.>", "$KV.BATON_LEADERS.>"]}}
  {user: notifier, password: x, permissions: {publish: ["baton.notifier.>", "_INBOX.>", "$JS.API.>"], subscribe: ["baton.notifier.>", "_INBOX.>"]}}
] }
`

// With the permissions of the README every service becomes ready; without one of them it says which one is missing and the
// others are ready all the same.
func TestReadyWithThePermissionsOfTheREADME(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	p := servertest.NATS(t, fmt.Sprintf(natsUsers, `"baton.nothing"`))
	quiet := slog.New(slog.DiscardHandler)
	connect := func(user string) *stream.Conn {
		t.Helper()
		c, err := stream.Connect(ctx, stream.Options{URL: "nats://" + user + ":x@" + p.Addr, Name: user, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		if err := c.EnsureStreams(ctx); err != nil {
			t.Fatal(err)
		}
		return c
	}
	h := newHost(quiet, nil)
	grpcAddress, err := h.listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web, err := h.listenHTTP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer h.closeHTTP()
	inner, err := client.Dial(grpcAddress)
	if err != nil {
		t.Fatal(err)
	}
	defer func(c *grpc.ClientConn) { _ = c.Close() }(inner)
	store := fold.NewMemory()
	sc, err := scorer.New(scorer.Options{Stream: connect("scorer"), Store: store, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	rt, err := router.New(router.Options{
		Stream: connect("router"), Notifier: channelv1.NewNotificationChannelServiceClient(inner), Advertise: grpcAddress, Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	nt, err := notifier.New(notifier.Options{Stream: connect("notifier"), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	h.add("scorer", sc, false)
	h.add("router", rt, false)
	h.add("notifier", nt, true)
	running, stop := context.WithCancel(ctx)
	var run sync.WaitGroup
	run.Go(func() {
		if err := h.run(running); err != nil {
			t.Error(err)
		}
	})
	defer run.Wait()
	defer stop()

	becomes := func(code int, want string) {
		t.Helper()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			got, body := fetch(t, "http://"+web+"/readyz")
			if got == code && strings.Contains(body, want) {
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatalf("/readyz never was %d with %q, but %d:\n%s", code, want, got, body)
			}
		}
	}
	becomes(503, "not ready\nscorer: not ready: NATS forbids this user to publish on \"baton.leads.0.000.probe\": give it publish on \"baton.leads.>\"\n"+
		"router: ready\nnotifier: ready\n")
	p.Reconfigure(t, fmt.Sprintf(natsUsers, `"baton.leads.>"`))
	becomes(200, "ready\nscorer: ready\nrouter: ready\nnotifier: ready\n")
}
