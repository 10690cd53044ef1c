package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"

	"github.com/leadbaton/baton/api/client"
	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	subscriptionv1 "github.com/leadbaton/baton/api/gen/baton/subscription/v1"
)

// live is `baton up` in this process, with everything it says and every span within reach.
type live struct {
	*running
	t     *testing.T
	out   safeBuffer
	logs  safeBuffer
	spans *tracetest.InMemoryExporter
	conn  *grpc.ClientConn
	done  chan error
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// startLive runs up on a data folder, with the example documents.
func startLive(t *testing.T, data string) *live {
	t.Helper()
	l := &live{t: t, spans: tracetest.NewInMemoryExporter(), done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	s := &system{ctx: ctx, cancel: cancel, in: strings.NewReader(""), out: &l.out, errors: &l.logs, now: time.Now, spans: l.spans}
	c := &upCommand{Data: data, NATSListen: "127.0.0.1:0", GRPC: "127.0.0.1:0", httpFlag: httpFlag{HTTP: "127.0.0.1:0"}, logFlag: logFlag{LogLevel: "debug"}}
	l.running = &running{c: c, s: s, log: s.logger("debug")}
	if err := l.open(); err != nil {
		l.close()
		t.Fatal(err)
	}
	go func() { l.done <- l.run() }()
	t.Cleanup(l.stop)
	var err error
	if l.conn, err = client.Dial(l.grpc); err != nil {
		t.Fatal(err)
	}
	l.until("Baton is running", func() bool { return strings.Contains(l.out.String(), "Baton is running.") })
	return l
}

func (l *live) stop() {
	if l.done == nil {
		return
	}
	if l.conn != nil {
		_ = l.conn.Close()
	}
	l.s.cancel()
	if err := <-l.done; err != nil {
		l.t.Errorf("up ended with %v", err)
	}
	l.done = nil
	l.close()
}

func (l *live) until(what string, holds func() bool) {
	l.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(60 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			l.t.Fatalf("not within a minute: %s\nlog:\n%s", what, l.logs.String())
		}
	}
}

// sell subscribes as every rep and confirms what is offered, until the test ends. It returns once the subscription is live.
func (l *live) sell() {
	ctx, cancel := context.WithCancel(l.t.Context())
	done, began := make(chan struct{}), make(chan struct{}, 1)
	go func() {
		defer close(done)
		_ = client.Subscribe(ctx, l.conn, client.Filter{}, func(ctx context.Context, c *subscriptionv1.SubscribeResponse) error {
			switch c.GetKind() { //nolint:exhaustive // the others need no answer
			case subscriptionv1.SubscribeResponse_KIND_LIVE:
				began <- struct{}{}
			case subscriptionv1.SubscribeResponse_KIND_OFFERED:
				_, _ = client.Confirm(ctx, l.conn, c.GetHandoff().GetId(), c.GetHandoff().GetAssignment(), "desk")
			}
			return nil
		})
	}()
	l.t.Cleanup(func() { cancel(); <-done })
	select {
	case <-began:
	case <-done:
		l.t.Fatal("the subscription ended")
	}
}

// delivered waits until n handoffs have their receipt, and returns them.
func (l *live) delivered(n int) []*handoffv1.Handoff {
	l.t.Helper()
	var out []*handoffv1.Handoff
	l.until("handoffs with a receipt", func() bool {
		r, err := handoffv1.NewHandoffServiceClient(l.conn).List(l.t.Context(), &handoffv1.ListRequest{})
		if err != nil {
			return false
		}
		out = nil
		for _, h := range r.GetHandoffs() {
			if h.GetDeliveredAt() != nil {
				out = append(out, h)
			}
		}
		return len(out) >= n
	})
	return out
}

func (l *live) scrape() string {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, "http://"+l.web+"/metrics", nil)
	if err != nil {
		l.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		l.t.Fatalf("%d %v: %s", r.StatusCode, err, b)
	}
	http.DefaultClient.CloseIdleConnections()
	return string(b)
}
