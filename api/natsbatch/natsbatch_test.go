package natsbatch

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func batchOf(n int, shard, prefix string) (msgs []*nats.Msg) {
	for i := range n {
		id := fmt.Sprintf("%s%d", prefix, i)
		msgs = append(msgs, message(shard, id, id))
	}
	return msgs
}

func TestPublishStoresAllInOrder(t *testing.T) {
	b := startBus(t, nil)
	nc := b.connect()
	js := b.shards(nc)
	last := uint64(0)
	for _, n := range []int{1, 2, 3, 200, 1000} {
		ack, err := Publish(t.Context(), nc, batchOf(n, "a", fmt.Sprintf("%d-", n)))
		if err != nil {
			t.Fatal(err)
		}
		if last += uint64(n); ack != (Ack{Stream: "ENGAGEMENT_A", Sequence: last}) {
			t.Errorf("a batch of %d is acknowledged with %+v, want sequence %d", n, ack, last)
		}
	}
	all := stored(t, js, "ENGAGEMENT_A")
	if len(all) != int(last) || all[1] != "1-0" || all[2] != "2-0" || all[last] != "1000-999" {
		t.Errorf("%d messages are stored, %q first, %q last", len(all), all[1], all[last])
	}
}

func TestPublishStoresNoneOfARefusedBatch(t *testing.T) {
	b := startBus(t, nil)
	nc := b.connect()
	js := b.shards(nc)
	if _, err := Publish(t.Context(), nc, batchOf(2, "a", "x")); err != nil {
		t.Fatal(err)
	}

	wrong := batchOf(10, "a", "y")
	wrong[5].Subject = "baton.engagement.mail.a.456"
	wrong[5].Header.Set(nats.ExpectedLastSubjSeqHdr, "1")
	_, err := Publish(t.Context(), nc, wrong)
	if !IsWrongLastSequence(err) || IsDuplicate(err) {
		t.Errorf("a wrong sequence in the middle: %v", err)
	}
	if _, has := wrong[5].Header[headerID]; has {
		t.Error("the caller's message was changed")
	}

	_, err = Publish(t.Context(), nc, append(batchOf(5, "a", "z"), message("a", "x1", "again")))
	if !IsDuplicate(err) || IsWrongLastSequence(err) {
		t.Errorf("a duplicate in the batch: %v", err)
	}
	var refused *Error
	if !errors.As(err, &refused) || refused.Code != 10201 || refused.Temporary() {
		t.Errorf("a duplicate in the batch: %#v", refused)
	}

	// One message alone is no batch: JetStream says where the duplicate is.
	ack, err := Publish(t.Context(), nc, []*nats.Msg{message("a", "x1", "again")})
	if err != nil || !ack.Duplicate || ack.Sequence != 2 {
		t.Errorf("a duplicate alone: %+v, %v", ack, err)
	}
	for _, n := range []int{0, 1001} {
		if _, err := Publish(t.Context(), nc, batchOf(n, "a", "n")); !errors.Is(err, ErrTooMany) {
			t.Errorf("a batch of %d: %v", n, err)
		}
	}
	if all := stored(t, js, "ENGAGEMENT_A"); len(all) != 2 {
		t.Errorf("stored are %v", all)
	}
}

func TestPublishWithoutAStream(t *testing.T) {
	b := startBus(t, nil)
	nc := b.connect()
	for _, n := range []int{1, 3} {
		if _, err := Publish(t.Context(), nc, batchOf(n, "a", "x")); !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("%d messages: %v", n, err)
		}
	}
}

func TestPublishToAStreamWithoutBatches(t *testing.T) {
	b := startBus(t, nil)
	nc := b.connect()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ENGAGEMENT_A", Subjects: []string{"baton.engagement.*.a.*"}}); err != nil {
		t.Fatal(err)
	}
	var refused *Error
	if _, err := Publish(t.Context(), nc, batchOf(3, "a", "x")); !errors.As(err, &refused) || refused.Code != codeBatchDisabled {
		t.Errorf("a batch: %v", err)
	}
	// A Publisher finds it out, and goes on with single messages.
	p := newPublisher(t, nc, Options{})
	publishAll(t, p, batchOf(50, "a", "y"))
	publishAll(t, p, batchOf(50, "a", "z"))
	if all := stored(t, js, "ENGAGEMENT_A"); len(all) != 100 {
		t.Errorf("%d messages are stored, want 100", len(all))
	}
}

func TestPublishOutcomeIsUnknownAfterItsTime(t *testing.T) {
	b := startBus(t, nil)
	nc := b.connect()
	// Something takes the messages and says nothing.
	if _, err := nc.SubscribeSync("baton.engagement.>"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	var refused *Error
	if _, err := Publish(ctx, nc, batchOf(3, "a", "x")); !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
}

func TestPublishToSomethingElse(t *testing.T) {
	b := startBus(t, nil)
	nc := b.connect()
	for answer, want := range map[string]string{
		"pong":           "publish: JetStream's acknowledgement is not JSON: invalid character 'p' looking for beginning of value",
		`{"ok":true}`:    "publish: the acknowledgement is not JetStream's: something else answers on this subject",
		`{"error":null}`: "publish: the acknowledgement is not JetStream's: something else answers on this subject",
	} {
		sub, err := nc.Subscribe("baton.engagement.>", func(m *nats.Msg) { _ = m.Respond([]byte(answer)) })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Publish(t.Context(), nc, batchOf(1, "a", "x")); err == nil || err.Error() != want {
			t.Errorf("%s: %v", answer, err)
		}
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
}

// publishAll publishes without waiting in between, and wants all stored. It returns the acks.
func publishAll(t *testing.T, p *Publisher, msgs []*nats.Msg) (acks []Ack) {
	t.Helper()
	var pending []*Pending
	for _, m := range msgs {
		q, err := p.PublishAsync(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, q)
	}
	for _, q := range pending {
		ack, err := q.Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		acks = append(acks, ack)
	}
	return acks
}
