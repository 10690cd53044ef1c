package natsbatch

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/leadbaton/baton/api/subject"
)

// TestMain finds leaked goroutines. A NATS server that is stopped while an atomic batch is open leaves the store of that
// batch behind, with these goroutines of its own.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*msgBlock).flushLoop"),
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

// bus is a real NATS server that syncs always and can be restarted.
type bus struct {
	t    *testing.T
	opts server.Options

	mu      sync.Mutex
	running *server.Server
}

func startBus(t *testing.T, change func(*server.Options)) *bus {
	t.Helper()
	b := &bus{t: t, opts: server.Options{ServerName: "test", DontListen: true, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, NoLog: true, NoSigs: true}}
	if change != nil {
		change(&b.opts)
	}
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *bus) start() {
	b.t.Helper()
	o := b.opts
	s, err := server.NewServer(&o)
	if err != nil {
		b.t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		b.t.Fatal("the NATS server does not get ready")
	}
	b.mu.Lock()
	b.running = s
	b.mu.Unlock()
}

func (b *bus) stop() {
	b.mu.Lock()
	s := b.running
	b.running = nil
	b.mu.Unlock()
	if s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
}

// InProcessConn implements nats.InProcessConnProvider over whichever server runs.
func (b *bus) InProcessConn() (net.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running == nil {
		return nil, fmt.Errorf("the server is down")
	}
	return b.running.InProcessConn()
}

func (b *bus) connect(opts ...nats.Option) *nats.Conn {
	b.t.Helper()
	opts = append([]nats.Option{nats.InProcessServer(b), nats.MaxReconnects(-1), nats.ReconnectWait(10 * time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})}, opts...)
	nc, err := nats.Connect("", opts...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(nc.Close)
	return nc
}

// shards creates the streams of all shards.
func (b *bus) shards(nc *nats.Conn) jetstream.JetStream {
	b.t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, s := range subject.Shards {
		if _, err := js.CreateStream(b.t.Context(), jetstream.StreamConfig{
			Name: subject.EngagementStream(s), Subjects: []string{subject.EngagementFilter(s)}, AllowAtomicPublish: true,
		}); err != nil {
			b.t.Fatal(err)
		}
	}
	return js
}

// message is one for a shard, with an id unless that is "".
func message(shard, id, data string) *nats.Msg {
	m := nats.NewMsg("baton.engagement.web." + shard + ".123")
	m.Data = []byte(data)
	if id != "" {
		m.Header.Set(nats.MsgIdHdr, id)
	}
	return m
}

// stored returns the bodies in a stream by their sequence.
func stored(t *testing.T, js jetstream.JetStream, stream string) map[uint64]string {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	all := map[uint64]string{}
	state := s.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		for name := range m.Header {
			if strings.HasPrefix(name, "Nats-Batch") && name != headerID && name != headerSequence && name != headerCommit {
				t.Errorf("an unknown header %s is stored", name)
			}
		}
		all[seq] = string(m.Data)
	}
	return all
}

func newPublisher(t *testing.T, nc *nats.Conn, o Options) *Publisher {
	t.Helper()
	p, err := NewPublisher(nc, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Errorf("the publisher does not drain: %v", err)
		}
	})
	return p
}
