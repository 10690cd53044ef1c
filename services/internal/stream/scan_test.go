package stream_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/servertest"
	"github.com/leadbaton/baton/services/internal/stream"
)

// TestAScanEndsThoughItsLastMessagesAreErased: what the server has not sent yet when it is erased never comes.
func TestAScanEndsThoughItsLastMessagesAreErased(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := stream.Connect(ctx, onEmbedded(t).options())
	must(t, err)
	t.Cleanup(c.Close)
	must(t, c.EnsureStreams(ctx))
	last := uint64(0)
	for range 10 { // more than the server sends before it is told to go on
		es := entries("baton.handoffs.a", 20)
		for i := range es {
			es[i].Data = make([]byte, 32<<10)
		}
		last, err = c.Append(ctx, "HANDOFFS", last, es)
		must(t, err)
	}
	js, err := jetstream.New(c.NATS())
	must(t, err)
	s, err := js.Stream(ctx, "HANDOFFS")
	must(t, err)
	n := uint64(0)
	err = c.Log("HANDOFFS").Scan(ctx, []string{"baton.handoffs.a"}, func(m fold.Message) bool {
		if n++; n > 1 {
			return true
		}
		sent := stalled(ctx, t, s)
		if sent >= last {
			t.Errorf("the server sent all %d messages at once: the test is too small", sent)
		}
		must(t, s.Purge(ctx, jetstream.WithPurgeSubject("baton.handoffs.a"), jetstream.WithPurgeKeep(0)))
		return true
	})
	if err != nil || n == 0 {
		t.Errorf("%d messages, and then %v", n, err)
	}
}

// TestASlowReaderIsSentLittle: one connection reads every shard, and a server cuts off a connection that much waits for.
func TestASlowReaderIsSentLittle(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := connectTo(t, ctx, onEmbedded(t).options())
	t.Cleanup(c.Close)
	const size, messages, quick = 64 << 10, 600, 400
	for last := uint64(0); last < messages; {
		es := entries("baton.handoffs.a", 50)
		for i := range es {
			es[i].Data = make([]byte, size)
		}
		stored, err := c.Append(ctx, "HANDOFFS", last, es)
		must(t, err)
		last = stored
	}
	js, err := jetstream.New(c.NATS())
	must(t, err)
	s, err := js.Stream(ctx, "HANDOFFS")
	must(t, err)
	n := uint64(0)
	reading, enough := context.WithCancel(ctx)
	_ = c.Log("HANDOFFS").Read(reading, 0, func(m fold.Message) {
		if n++; n == quick { // it was quick so far
			if waits := stalled(ctx, t, s) - n; waits > 3<<20/size {
				t.Errorf("%d messages of %d KiB wait for a reader that takes none", waits, size>>10)
			}
		}
		if n == messages {
			enough()
		}
	})
	if n != messages {
		t.Errorf("%d messages came", n)
	}
}

// TestALargeMessageIsRead: one that is larger than all that is asked for at once, between two that are not.
func TestALargeMessageIsRead(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ns := servertest.NATS(t, "max_payload: 8MB\n")
	c := connectTo(t, ctx, stream.Options{URL: ns.URL()})
	t.Cleanup(c.Close)
	sizes := []int{10, 5 << 20, 20, 3 << 20, 3 << 20, 30}
	for i, size := range sizes {
		es := entries("baton.handoffs.a", 1)
		es[0].Data = make([]byte, size)
		_, err := c.Append(ctx, "HANDOFFS", uint64(i), es)
		must(t, err)
	}
	for i, m := range collect(t, c.Log("HANDOFFS"), 0, len(sizes)) {
		if len(m.Data) != sizes[i] {
			t.Errorf("message %d has %d bytes, want %d", i, len(m.Data), sizes[i])
		}
	}
}

// TestAllThatIsAskedForComesAtOnce: what is asked for is used up to the byte, so the server does not say that it sends no more.
func TestAllThatIsAskedForComesAtOnce(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ns := servertest.NATS(t, "max_payload: 8MB\n")
	c := connectTo(t, ctx, stream.Options{URL: ns.URL(), Logger: quiet})
	t.Cleanup(c.Close)
	js, err := jetstream.New(c.NATS())
	must(t, err)
	header := nats.Header{"Some": {"header"}}
	_, err = js.PublishMsg(ctx, &nats.Msg{Subject: "baton.handoffs.a", Header: header, Data: []byte("x")})
	must(t, err)
	s, err := js.Stream(ctx, "HANDOFFS")
	must(t, err)
	cons, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true})
	must(t, err)
	m, err := cons.Next()
	must(t, err)
	// Of the message that is to come: the reply's numbers have as many digits.
	overhead := len(m.Subject()) + len(m.Reply()) + len("NATS/1.0\r\nSome: header\r\n\r\n")
	for _, off := range []int{-1, 0, 1} {
		must(t, s.Purge(ctx))
		info, err := s.Info(ctx)
		must(t, err)
		_, err = js.PublishMsg(ctx, &nats.Msg{Subject: "baton.handoffs.a", Header: header, Data: make([]byte, 2<<20-overhead+off)})
		must(t, err)
		_, err = js.Publish(ctx, "baton.handoffs.a", []byte("x"))
		must(t, err)
		n := 0
		reading, enough := context.WithCancel(ctx)
		err = c.Log("HANDOFFS").Read(reading, info.State.LastSeq, func(fold.Message) {
			if n++; n == 2 {
				enough()
			}
		})
		enough()
		if n != 2 || !errors.Is(err, context.Canceled) {
			t.Errorf("%+d bytes: %d messages, and then %v", off, n, err)
		}
	}
}

// TestAMessageIsNoStatus: a publisher may send what looks like one of the server's own.
func TestAMessageIsNoStatus(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := connectTo(t, ctx, onEmbedded(t).options())
	t.Cleanup(c.Close)
	js, err := jetstream.New(c.NATS())
	must(t, err)
	all := []nats.Header{{}, {"Status": {"100"}}, {"Status": {"400"}}, {"Status": {"408"}, "Nats-Pending-Messages": {"0"}}, {}}
	for _, h := range all {
		_, err := js.PublishMsg(ctx, &nats.Msg{Subject: "baton.handoffs.a", Header: h})
		must(t, err)
	}
	if got := collect(t, c.Log("HANDOFFS"), 0, len(all)); got[len(got)-1].Sequence != uint64(len(all)) {
		t.Errorf("the last message is %d", got[len(got)-1].Sequence)
	}
}

// stalled waits until the only consumer of a stream is sent no more, and returns how many messages it was sent.
func stalled(ctx context.Context, t *testing.T, s jetstream.Stream) uint64 {
	t.Helper()
	for before := uint64(0); ; {
		list := s.ListConsumers(ctx)
		now := uint64(0)
		for i := range list.Info() {
			now = i.Delivered.Consumer
		}
		must(t, list.Err())
		if now > 0 && now == before {
			return now
		}
		before = now
		select {
		case <-ctx.Done():
			t.Fatal("the server goes on sending")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// TestALostAnswerIsAnError: a server that dies before it answers never will, and whoever waits has no deadline of its own.
func TestALostAnswerIsAnError(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := stream.Connect(ctx, onEmbedded(t).options())
	must(t, err)
	t.Cleanup(c.Close)
	_, err = c.NATS().Subscribe("silent.*", func(*nats.Msg) {})
	must(t, err)
	late := time.AfterFunc(20*time.Second, cancel)
	defer late.Stop()
	err = c.Outlet(nil).Once(ctx, []fold.Record{{Guard: fold.Once, Stream: "S", Subject: "silent.1"}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("publishing one record: %v, want an error that can be tried again", err)
	}
}
