package stream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/leadbaton/baton/services/internal/embedded"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/servertest"
	"github.com/leadbaton/baton/services/internal/stream"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// server is where a suite runs: it can be restarted with its data.
type server struct {
	options func() stream.Options
	restart func()
}

func onEmbedded(t *testing.T) server {
	dir := t.TempDir()
	listen := fmt.Sprintf("127.0.0.1:%d", servertest.FreePort(t))
	var s *embedded.NATS
	start := func() {
		var err error
		if s, err = embedded.StartNATS(embedded.NATSOptions{Dir: dir, Listen: listen}); err != nil {
			t.Fatal(err)
		}
	}
	start()
	t.Cleanup(func() { s.Stop() })
	return server{
		options: func() stream.Options { return stream.Options{URL: s.ClientURL(), Logger: quiet, Name: "test"} },
		restart: func() { s.Stop(); start() },
	}
}

func onProcess(t *testing.T) server {
	p := servertest.NATS(t)
	return server{
		options: func() stream.Options { return stream.Options{URL: p.URL(), Logger: quiet, Name: "test"} },
		restart: func() { p.Kill(); p.Start(t) },
	}
}

func TestEmbedded(t *testing.T) { suite(t, onEmbedded) }
func TestProcess(t *testing.T)  { suite(t, onProcess) }

func suite(t *testing.T, on func(*testing.T) server) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	connect := func(t *testing.T, s server) *stream.Conn {
		t.Helper()
		c, err := stream.Connect(ctx, s.options())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		if err := c.EnsureStreams(ctx); err != nil {
			t.Fatal(err)
		}
		return c
	}

	t.Run("append and read", func(t *testing.T) {
		c := connect(t, on(t))
		last, err := c.Append(ctx, "HANDOFFS", 0, entries("baton.handoffs.a", 250))
		if err != nil || last != 250 {
			t.Fatalf("Append = %d, %v", last, err)
		}
		if _, err := c.Append(ctx, "HANDOFFS", 249, entries("baton.handoffs.b", 3)); !errors.Is(err, stream.ErrConflict) {
			t.Fatalf("an Append after another's: %v, want ErrConflict", err)
		}
		if _, err := c.Append(ctx, "HANDOFFS", 0, entries("baton.handoffs.b", 1)); !errors.Is(err, stream.ErrConflict) {
			t.Fatalf("a single Append after another's: %v, want ErrConflict", err)
		}
		if last, err = c.Append(ctx, "HANDOFFS", 250, entries("baton.handoffs.b", 1)); err != nil || last != 251 {
			t.Fatalf("Append = %d, %v", last, err)
		}
		log := c.Log("HANDOFFS")
		info, err := log.Info(ctx)
		if err != nil || info.Last != 251 || info.Created == 0 {
			t.Fatalf("Info = %+v, %v", info, err)
		}
		got := collect(t, log, 100, 151)
		if got[0].Sequence != 101 || got[150].Sequence != 251 || got[150].Subject != "baton.handoffs.b" || got[0].Incarnation != info.Created {
			t.Errorf("read %+v ... %+v", got[0], got[150])
		}
		if got[0].Traceparent != "00-tp-0100" {
			t.Errorf("Traceparent = %q", got[0].Traceparent)
		}
		at, err := log.TimeAt(ctx, 101)
		if err != nil || at != got[0].Time {
			t.Errorf("TimeAt = %d, %v; the message says %d", at, err, got[0].Time)
		}
		if _, err := log.TimeAt(ctx, 999); !errors.Is(err, fold.ErrErased) {
			t.Errorf("TimeAt of no message: %v", err)
		}
		p, err := log.LastBefore(ctx, got[50].Time)
		if err != nil || p.Time != got[50].Time || p.Sequence < got[50].Sequence || p.Created != info.Created {
			t.Errorf("LastBefore = %+v, %v; want the last message at %d", p, err, got[50].Time)
		}
		n := 0
		if err := log.Scan(ctx, []string{"baton.handoffs.b"}, func(fold.Message) bool { n++; return true }); err != nil || n != 1 {
			t.Errorf("Scan found %d, %v", n, err)
		}
		if err := log.Scan(ctx, []string{"baton.handoffs.none"}, func(fold.Message) bool { n++; return true }); err != nil || n != 1 {
			t.Errorf("Scan of nothing found %d, %v", n-1, err)
		}
		n = 0
		for _, err := range log.Messages(ctx, "baton.handoffs.a") {
			must(t, err)
			if n++; n == 20 {
				break
			}
		}
		for _, err := range log.Messages(ctx, "baton.handoffs.*") {
			must(t, err)
			n++
		}
		if n != 271 {
			t.Errorf("Messages gave %d, want 20 and 251", n)
		}
		n = 0
		if err := log.Scan(ctx, []string{"baton.handoffs.a", "baton.handoffs.b"}, func(fold.Message) bool { n++; return n < 7 }); err != nil || n != 7 {
			t.Errorf("a Scan that is ended by its caller saw %d, %v", n, err)
		}
	})

	t.Run("once", func(t *testing.T) {
		c := connect(t, on(t))
		records := func(n int) []fold.Record {
			out := make([]fold.Record, n)
			for i := range out {
				out[i] = fold.Record{Sequence: uint64(i), Guard: fold.Once, Stream: "LEADS", Subject: fmt.Sprintf("baton.leads.0.k.%d", i), Data: fmt.Appendf(nil, "fact %d", i)}
			}
			return out
		}
		must(t, c.Outlet(nil).Once(ctx, records(1)))
		must(t, c.Outlet(nil).Once(ctx, records(300)))
		must(t, c.Outlet(nil).Once(ctx, records(450))) // another owner, after a crash
		info, err := c.Log("LEADS").Info(ctx)
		if err != nil || info.Last != 450 {
			t.Fatalf("%d facts, %v; want each once", info.Last, err)
		}
		few := make([]fold.Record, 16)
		for i := range few {
			few[i] = fold.Record{Sequence: uint64(i), Guard: fold.Once, Stream: "LEADS", Subject: fmt.Sprintf("baton.leads.0.few.%d", i), Data: []byte("fact")}
		}
		must(t, c.Outlet(nil).Once(ctx, few))
		i := 0
		for m, err := range c.Log("LEADS").Messages(ctx, "baton.leads.0.few.*") {
			must(t, err)
			if m.Subject != few[i].Subject {
				t.Errorf("%s is stored where %s belongs: facts of one lead are out of order", m.Subject, few[i].Subject)
			}
			i++
		}
		other := records(5)
		other[3].Data = []byte("something else")
		var stop *fold.StopError
		if err := c.Outlet(nil).Once(ctx, other); !errors.As(err, &stop) || !strings.Contains(err.Error(), "another record") {
			t.Errorf("a different record in the same place: %v; want a StopError", err)
		}
	})

	t.Run("ordered", func(t *testing.T) {
		c := connect(t, on(t))
		records := func(from, to int, prefix string) []fold.Record {
			var out []fold.Record
			for i := from; i < to; i++ {
				out = append(out, fold.Record{
					Incarnation: 7, Sequence: uint64(i / 3), Ordinal: uint32(i % 3), Guard: fold.Ordered, Stream: "ENGAGEMENT_A",
					Subject: fmt.Sprintf("%s%03x", strings.TrimSuffix(prefix, "*"), i%7), Prefix: prefix, Data: fmt.Appendf(nil, "%d", i),
				})
			}
			return out
		}
		const mine, other = "baton.engagement._shard-3.a.*", "baton.engagement._shard-4.a.*"
		a, b := c.Outlet(nil), c.Outlet(nil)
		must(t, a.Ordered(ctx, records(0, 10, mine)))
		must(t, b.Ordered(ctx, records(0, 4, other)))
		must(t, a.Ordered(ctx, records(5, 250, mine)))
		// The next owner begins from what it finds in the outbox.
		must(t, c.Outlet(nil).Ordered(ctx, records(100, 300, mine)))
		// The old one does not know of that: it fails once, reads the tail, and goes on.
		if err := a.Ordered(ctx, records(250, 301, mine)); err == nil {
			t.Error("an outlet that lags behind published all the same")
		}
		must(t, a.Ordered(ctx, records(250, 301, mine)))
		var got []string
		must(t, c.Log("ENGAGEMENT_A").Scan(ctx, []string{mine}, func(m fold.Message) bool {
			got = append(got, string(m.Data))
			return true
		}))
		for i := range 301 {
			if i >= len(got) || got[i] != fmt.Sprint(i) {
				t.Fatalf("message %d of %d is %v", i, len(got), got[i:min(i+3, len(got))])
			}
		}
		if len(got) != 301 {
			t.Errorf("%d messages, want 301", len(got))
		}
		o, ok, err := c.LastOrigin(ctx, "ENGAGEMENT_A", mine)
		if err != nil || !ok || o != (fold.Origin{Incarnation: 7, Sequence: 100, Ordinal: 0}) {
			t.Errorf("LastOrigin = %v, %v, %v", o, ok, err)
		}
	})

	t.Run("reading goes on after a restart of the server", func(t *testing.T) {
		s := on(t)
		c := connect(t, s)
		_, err := c.Append(ctx, "HANDOFFS", 0, entries("baton.handoffs.a", 10))
		must(t, err)
		rctx, stop := context.WithCancel(ctx)
		defer stop()
		seen := make(chan uint64, 100)
		ended := make(chan error, 1)
		go func() { ended <- c.Log("HANDOFFS").Read(rctx, 0, func(m fold.Message) { seen <- m.Sequence }) }()
		for i := uint64(1); i <= 10; i++ {
			if n := <-seen; n != i {
				t.Fatalf("read %d, want %d", n, i)
			}
		}
		s.restart()
		select { // reading ends, so that its owner checks the stream before it reads on
		case err := <-ended:
			if err == nil {
				t.Fatal("reading ended without an error")
			}
		case <-ctx.Done():
			t.Fatal("reading did not end")
		}
		again := time.NewTicker(20 * time.Millisecond)
		defer again.Stop()
		for range again.C { // until it is reconnected; a conflict says that an attempt whose answer was lost is there
			if _, err := c.Append(ctx, "HANDOFFS", 10, entries("baton.handoffs.a", 1)); err == nil || errors.Is(err, stream.ErrConflict) {
				break
			}
		}
		if got := collect(t, c.Log("HANDOFFS"), 10, 1); got[0].Sequence != 11 {
			t.Errorf("read %d after the restart", got[0].Sequence)
		}
	})

	t.Run("adoption", func(t *testing.T) {
		c := connect(t, on(t))
		log := c.Log("ENGAGEMENT_0")
		publish := func(n int) {
			for range n {
				if _, err := c.NATS().Request("baton.engagement.web.0.000", []byte("x"), 5*time.Second); err != nil {
					t.Fatal(err)
				}
			}
		}
		publish(3)
		at := time.Now()
		must(t, log.Adopt(ctx, 2, 3, at))
		publish(1)
		got := collect(t, log, 0, 4)
		info, err := log.Info(ctx)
		must(t, err)
		for i, want := range []int64{info.Created, info.Created, at.UnixNano(), at.UnixNano()} {
			if got[i].Incarnation != want || got[i].History != (i == 2) {
				t.Errorf("message %d has incarnation %d, history %v; want %d", i+1, got[i].Incarnation, got[i].History, want)
			}
		}
	})

	t.Run("a stream that may lose events is refused", func(t *testing.T) {
		s := on(t)
		nc, err := nats.Connect(s.options().URL)
		must(t, err)
		defer nc.Close()
		js, err := jetstream.New(nc)
		must(t, err)
		_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "ENGAGEMENT_3", Subjects: []string{"baton.engagement.*.3.*"}, MaxAge: time.Hour, MaxMsgs: 5})
		must(t, err)
		c, err := stream.Connect(ctx, s.options())
		must(t, err)
		defer c.Close()
		err = c.EnsureStreams(ctx)
		for _, want := range []string{"ENGAGEMENT_3", "max age 1h", "max messages 5", "nats stream edit"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("EnsureStreams = %v; want it to say %q", err, want)
			}
		}
	})
}

// TestRestoredThroughTheAPI: NATS dates a stream anew that it restores from a backup; it is the same one nevertheless, and
// one that is created anew is not.
func TestRestoredThroughTheAPI(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p := servertest.NATS(t)
	c, err := stream.Connect(ctx, stream.Options{URL: p.URL(), Logger: quiet})
	must(t, err)
	defer c.Close()
	must(t, c.EnsureStreams(ctx))
	_, err = c.Append(ctx, "HANDOFFS", 0, entries("baton.handoffs.b", 20))
	must(t, err)
	log := c.Log("HANDOFFS")
	was, err := log.Info(ctx)
	must(t, err)
	first := collect(t, log, 0, 20)
	backup := servertest.BackUp(t, p.URL(), "HANDOFFS")
	_, err = c.Append(ctx, "HANDOFFS", 20, entries("baton.handoffs.b", 5))
	must(t, err)
	backup.Restore(t, p.URL())
	is, err := log.Info(ctx)
	must(t, err)
	if is != was {
		t.Errorf("restored, the stream is %+v; it was %+v", is, was)
	}
	for i, m := range collect(t, log, 0, 20) {
		if m.Incarnation != first[i].Incarnation || m.Time != first[i].Time {
			t.Errorf("restored, message %d is of incarnation %d and %d; it was of %d and %d", i, m.Incarnation, m.Time, first[i].Incarnation, first[i].Time)
		}
	}
	servertest.DeleteStream(t, p.URL(), "HANDOFFS")
	must(t, c.EnsureStreams(ctx))
	if is, err = log.Info(ctx); err != nil || is.Created == was.Created {
		t.Errorf("a stream that was created anew passes for the one before: %+v, %v", is, err)
	}
}

// onCluster starts a cluster, and connects once all three have found each other.
func onCluster(t *testing.T, ctx context.Context) ([]*servertest.Process, *stream.Conn) {
	t.Helper()
	nodes := servertest.NATSCluster(t)
	c, err := stream.Connect(ctx, stream.Options{URL: servertest.URLs(nodes), Wait: time.Minute, Logger: quiet})
	must(t, err)
	t.Cleanup(c.Close)
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for err = c.EnsureStreams(ctx); err != nil && ctx.Err() == nil; err = c.EnsureStreams(ctx) {
		t.Logf("creating the streams: %v", err)
		<-again.C
	}
	must(t, err)
	return nodes, c
}

// TestCluster: every stream has three copies, and what was acknowledged is there after a server is lost.
func TestCluster(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	nodes, c := onCluster(t, ctx)
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	js, err := jetstream.New(c.NATS())
	must(t, err)
	for _, name := range []string{"ENGAGEMENT_0", "LEADS", "HANDOFFS", "REJECTED"} {
		s, err := js.Stream(ctx, name)
		must(t, err)
		if n := s.CachedInfo().Config.Replicas; n != 3 {
			t.Errorf("stream %s has %d replicas", name, n)
		}
	}
	records := make([]fold.Record, 300)
	for i := range records {
		records[i] = fold.Record{Sequence: uint64(i), Guard: fold.Once, Stream: "LEADS", Subject: fmt.Sprintf("baton.leads.0.k.%d", i), Data: fmt.Appendf(nil, "fact %d", i)}
	}
	outlet := c.Outlet(nil)
	for err = outlet.Once(ctx, records[:200]); err != nil && ctx.Err() == nil; err = outlet.Once(ctx, records[:200]) {
		t.Logf("publishing while the cluster settles: %v", err)
		<-again.C
	}
	must(t, err)
	nodes[0].Kill()
	for err = outlet.Once(ctx, records); err != nil && ctx.Err() == nil; err = outlet.Once(ctx, records) {
		t.Logf("publishing after the loss: %v", err)
		<-again.C // as the outbox does, while a new leader is elected
	}
	must(t, err)
	n := 0
	for err = errors.New("not read yet"); err != nil && ctx.Err() == nil; <-again.C {
		n = 0
		err = c.Log("LEADS").Scan(ctx, []string{"baton.leads.>"}, func(fold.Message) bool { n++; return true })
	}
	if err != nil || n != 300 {
		t.Errorf("%d facts after the loss of a server, %v; want 300", n, err)
	}
}

func TestUnreachable(t *testing.T) {
	url := fmt.Sprintf("nats://me:secret@127.0.0.1:%d", servertest.FreePort(t))
	_, err := stream.Connect(context.Background(), stream.Options{URL: url, Wait: time.Millisecond, Logger: quiet})
	if err == nil || !strings.Contains(err.Error(), "--nats") || strings.Contains(err.Error(), "secret") {
		t.Errorf("Connect = %v; want an error that says what to do and keeps the password", err)
	}
}

func entries(subject string, n int) []stream.Entry {
	out := make([]stream.Entry, n)
	for i := range out {
		out[i] = stream.Entry{Subject: subject, Data: fmt.Appendf(nil, "%d", i), Traceparent: fmt.Sprintf("00-tp-%04d", i)}
	}
	return out
}

// collect reads n messages after a sequence.
func collect(t *testing.T, l *stream.Log, after uint64, n int) []fold.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var mu sync.Mutex
	var out []fold.Message
	err := l.Read(ctx, after, func(m fold.Message) {
		mu.Lock()
		defer mu.Unlock()
		if out = append(out, m); len(out) == n {
			cancel()
		}
	})
	mu.Lock()
	defer mu.Unlock()
	if len(out) < n {
		t.Fatalf("read %d messages, want %d: %v", len(out), n, err)
	}
	return out[:n]
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
