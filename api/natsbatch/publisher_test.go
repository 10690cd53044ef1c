package natsbatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/leadbaton/baton/api/subject"
)

func TestPublisherStoresEachOnce(t *testing.T) {
	b := startBus(t, nil)
	nc := b.connect()
	js := b.shards(nc)
	p := newPublisher(t, nc, Options{})

	// 64 callers, all shards, every message published by two of them.
	type key struct {
		stream string
		seq    uint64
	}
	var (
		mu    sync.Mutex
		acked = map[key]string{}
		fresh = 0
		wg    sync.WaitGroup
	)
	const callers, each = 64, 40
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d-%d", c/2, i)
				shard := subject.Shards[(c/2+i)%16]
				ack, err := p.Publish(t.Context(), message(shard, id, id))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				k := key{ack.Stream, ack.Sequence}
				if was, has := acked[k]; has && was != id {
					t.Errorf("%v is acknowledged for %s and %s", k, was, id)
				}
				acked[k] = id
				if !ack.Duplicate {
					fresh++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if want := callers / 2 * each; fresh != want || len(acked) != want {
		t.Errorf("%d acknowledgements say new, for %d places; want %d", fresh, len(acked), want)
	}
	total := 0
	for _, s := range subject.Shards {
		name := subject.EngagementStream(s)
		for seq, data := range stored(t, js, name) {
			total++
			if acked[key{name, seq}] != data {
				t.Errorf("%s has %q at %d, acknowledged for %q", name, data, seq, acked[key{name, seq}])
			}
		}
	}
	if total != len(acked) {
		t.Errorf("%d messages are stored, %d were acknowledged", total, len(acked))
	}
}

func TestPublisherKeepsOrder(t *testing.T) {
	b := startBus(t, nil)
	nc := b.connect()
	js := b.shards(nc)
	acks := publishAll(t, newPublisher(t, nc, Options{}), batchOf(1000, "3", "m"))
	all := stored(t, js, "ENGAGEMENT_3")
	for i, ack := range acks {
		if ack.Sequence != uint64(i+1) || all[ack.Sequence] != fmt.Sprintf("m%d", i) {
			t.Fatalf("message %d is at %d, where %q is", i, ack.Sequence, all[ack.Sequence])
		}
	}
}

func TestPublisherTellsEachItsOwnFate(t *testing.T) {
	b := startBus(t, nil)
	nc := b.connect()
	js := b.shards(nc)
	p := newPublisher(t, nc, Options{})
	publishAll(t, p, batchOf(1, "0", "old"))

	msgs := batchOf(30, "0", "new")
	msgs[7] = message("0", "old0", "again")
	msgs[9].Header.Set(nats.ExpectedLastSubjSeqHdr, "99")
	msgs[20] = message("0", "new3", "the same id twice in a batch")
	var pending []*Pending
	for _, m := range msgs {
		q, err := p.PublishAsync(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, q)
	}
	for i, q := range pending {
		ack, err := q.Wait(t.Context())
		switch {
		case i == 9:
			if !IsWrongLastSequence(err) {
				t.Errorf("message %d with a wrong sequence: %+v, %v", i, ack, err)
			}
		case err != nil:
			t.Errorf("message %d: %v", i, err)
		case ack.Duplicate != (i == 7 || i == 20) || ack.Retried:
			t.Errorf("message %d: %+v", i, ack)
		}
	}
	if all := stored(t, js, "ENGAGEMENT_0"); len(all) != 28 {
		t.Errorf("%d messages are stored, want 28", len(all))
	}
}

// TestPublisherThroughRestarts promises: what is acknowledged is there, once, though the server stops in the middle, again
// and again.
func TestPublisherThroughRestarts(t *testing.T) {
	b := startBus(t, nil)
	nc := b.connect()
	js := b.shards(nc)
	p := newPublisher(t, nc, Options{Attempt: 300 * time.Millisecond})

	const callers, each, restarts = 40, 60, 4
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		count = map[string]int{}
		ready = make(chan struct{}, callers*each)
	)
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d-%d", c, i)
				if _, err := p.Publish(t.Context(), message(subject.Shards[c%4], id, id)); err != nil {
					t.Errorf("message %s: %v", id, err)
				}
				mu.Lock()
				count[id] = 0
				mu.Unlock()
				ready <- struct{}{}
			}
		})
	}
	for range restarts {
		for range callers * each / (restarts + 2) {
			<-ready
		}
		b.stop()
		b.start()
	}
	wg.Wait()
	for _, s := range subject.Shards[:4] {
		for _, data := range stored(t, js, subject.EngagementStream(s)) {
			count[data]++
		}
	}
	for id, n := range count {
		if n != 1 {
			t.Errorf("message %s is stored %d times", id, n)
		}
	}
	if len(count) != callers*each {
		t.Errorf("%d messages, want %d", len(count), callers*each)
	}
}

// TestPublisherRepeatsUnknownOutcomes loses the first acknowledgement.
func TestPublisherRepeatsUnknownOutcomes(t *testing.T) {
	b := startBus(t, nil)
	nc := b.connect()
	seen := map[string]int{}
	if _, err := nc.Subscribe("lost.>", func(m *nats.Msg) {
		id := m.Header.Get(nats.MsgIdHdr)
		if seen[id]++; seen[id] > 1 {
			_ = m.Respond([]byte(`{"stream":"S","seq":7,"duplicate":true}`))
		}
	}); err != nil {
		t.Fatal(err)
	}
	p := newPublisher(t, nc, Options{Attempt: 20 * time.Millisecond})
	m := message("0", "id", "")
	m.Subject = "lost.x"
	ack, err := p.Publish(t.Context(), m)
	if err != nil || ack != (Ack{Stream: "S", Sequence: 7, Duplicate: true, Retried: true}) {
		t.Errorf("with an id: %+v, %v", ack, err)
	}
	m = message("0", "", "")
	m.Subject = "lost.x"
	if ack, err := p.Publish(t.Context(), m); !errors.Is(err, ErrUnknown) {
		t.Errorf("without an id it must not be repeated: %+v, %v", ack, err)
	}
}

func TestPublisherGivesUp(t *testing.T) {
	b := startBus(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "admin", Password: "x"},
			{Username: "web", Password: "x", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: []string{subject.SourceFilter("web")}},
			}},
		}
	})
	nc := b.connect(nats.UserInfo("web", "x"))

	t.Run("without a stream", func(t *testing.T) {
		p := newPublisher(t, nc, Options{NoStream: 100 * time.Millisecond})
		if _, err := p.Publish(t.Context(), message("a", "1", "")); !errors.Is(err, ErrNoStream) || errors.Is(err, ErrUnknown) {
			t.Errorf("got %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		m, err := p.PublishAsync(ctx, message("a", "2", ""))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Wait(t.Context()); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("when the context ends first: %v", err)
		}
	})
	b.shards(b.connect(nats.UserInfo("admin", "x")))
	t.Run("without permission", func(t *testing.T) {
		p := newPublisher(t, nc, Options{Attempt: 100 * time.Millisecond})
		if _, err := p.Publish(t.Context(), message("a", "1", "")); err != nil {
			t.Errorf("the user's own source: %v", err)
		}
		m := message("a", "2", "")
		m.Subject = "baton.engagement.mail.a.123"
		if _, err := p.Publish(t.Context(), m); !errors.Is(err, ErrForbidden) {
			t.Errorf("another source: %v", err)
		}
	})
	t.Run("on a subject that is none", func(t *testing.T) {
		p := newPublisher(t, nc, Options{})
		if _, err := p.Publish(t.Context(), &nats.Msg{Subject: ""}); !errors.Is(err, ErrNotSent) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("on a closed connection", func(t *testing.T) {
		closed := b.connect(nats.UserInfo("web", "x"))
		p, err := NewPublisher(closed, Options{})
		if err != nil {
			t.Fatal(err)
		}
		closed.Close()
		if _, err := p.Publish(t.Context(), message("a", "3", "")); !errors.Is(err, nats.ErrConnectionClosed) || !errors.Is(err, ErrNotSent) {
			t.Errorf("got %v", err)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestPublisherBlocksWhenTooMuchWaits(t *testing.T) {
	b := startBus(t, nil)
	nc := b.connect()
	silent := func(m *nats.Msg) {}
	if _, err := nc.Subscribe("baton.engagement.>", silent); err != nil {
		t.Fatal(err)
	}
	p, err := NewPublisher(nc, Options{MaxPending: 10 * overhead, Attempt: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var taken []*Pending
	for i := range 10 {
		m, err := p.PublishAsync(ctx, message("a", fmt.Sprint(i), ""))
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, m)
	}
	short, done := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer done()
	if _, err := p.PublishAsync(short, message("a", "x", "")); !errors.Is(err, ErrNotSent) {
		t.Errorf("one too many: %v", err)
	}
	// Somebody who waits for room gets it when the others give up.
	room := make(chan error)
	go func() {
		_, err := p.PublishAsync(t.Context(), message("a", "y", ""))
		room <- err
	}()
	cancel()
	if err := <-room; err != nil {
		t.Errorf("when there is room: %v", err)
	}
	for _, m := range taken {
		if _, err := m.Wait(t.Context()); !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrNotSent) {
			t.Errorf("a message whose context ended: %v", err)
		}
	}
	// A Close that cannot drain ends all the same.
	ended, end := context.WithCancel(t.Context())
	end()
	if err := p.Close(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v", err)
	}
	if _, err := p.Publish(t.Context(), message("a", "z", "")); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestCloseDrains(t *testing.T) {
	b := startBus(t, nil)
	nc := b.connect()
	js := b.shards(nc)
	p, err := NewPublisher(nc, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var pending []*Pending
	for _, m := range batchOf(700, "5", "m") {
		q, err := p.PublishAsync(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, q)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, q := range pending {
		select {
		case <-q.Done():
		default:
			t.Fatal("Close returned before a message had its outcome")
		}
	}
	if all := stored(t, js, "ENGAGEMENT_5"); len(all) != 700 {
		t.Errorf("%d messages are stored, want 700", len(all))
	}
}

// A repeat that waits for the first one's fate goes on by itself when the first one's context ends.
func TestRepeatOutlivesTheFirst(t *testing.T) {
	b := startBus(t, nil)
	nc := b.connect()
	answer := make(chan struct{})
	if _, err := nc.Subscribe("slow.x", func(m *nats.Msg) {
		select {
		case <-answer:
			_ = m.Respond([]byte(`{"stream":"S","seq":1}`))
		default:
		}
	}); err != nil {
		t.Fatal(err)
	}
	p := newPublisher(t, nc, Options{Attempt: 20 * time.Millisecond})
	of := func() *nats.Msg { m := message("0", "id", ""); m.Subject = "slow.x"; return m }
	// The first occupies the lane, so that the next two are one group.
	other := message("0", "other", "")
	other.Subject = "slow.x"
	ctx0, cancel0 := context.WithCancel(t.Context())
	if _, err := p.PublishAsync(ctx0, other); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	first, err := p.PublishAsync(ctx, of())
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.PublishAsync(t.Context(), of())
	if err != nil {
		t.Fatal(err)
	}
	cancel0()
	<-first.Done()
	if _, err := first.Wait(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the first: %v", err)
	}
	close(answer)
	if ack, err := second.Wait(t.Context()); err != nil || ack.Sequence != 1 {
		t.Errorf("the repeat: %+v, %v", ack, err)
	}
}

// BenchmarkPublisher measures what concurrent callers get through JetStream with `sync always`.
func BenchmarkPublisher(b *testing.B) {
	s, err := server.NewServer(&server.Options{DontListen: true, JetStream: true, StoreDir: b.TempDir(), SyncAlways: true, NoLog: true, NoSigs: true})
	if err != nil {
		b.Fatal(err)
	}
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	for _, shard := range subject.Shards {
		if _, err := js.CreateStream(b.Context(), jetstream.StreamConfig{Name: subject.EngagementStream(shard), Subjects: []string{subject.EngagementFilter(shard)}, AllowAtomicPublish: true}); err != nil {
			b.Fatal(err)
		}
	}
	p, err := NewPublisher(nc, Options{})
	if err != nil {
		b.Fatal(err)
	}
	body := string(make([]byte, 500))
	n := 0
	pending := make([]*Pending, 0, 8192)
	wait := func() {
		for _, m := range pending {
			if _, err := m.Wait(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		pending = pending[:0]
	}
	for b.Loop() {
		n++
		m, err := p.PublishAsync(b.Context(), message(subject.Shards[n%16], fmt.Sprint(n), body))
		if err != nil {
			b.Fatal(err)
		}
		if pending = append(pending, m); len(pending) == cap(pending) {
			wait()
		}
	}
	wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	if err := p.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}
