package servertest

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// LimitedStream creates a stream that forgets messages by age, as an operator might by mistake.
func LimitedStream(t testing.TB, url, name, filter string) {
	t.Helper()
	withJetStream(t, url, func(js nats.JetStreamContext) error {
		_, err := js.AddStream(&nats.StreamConfig{Name: name, Subjects: []string{filter}, MaxAge: time.Hour})
		return err
	})
}

// DeleteStream deletes a stream, as an operator might by mistake.
func DeleteStream(t testing.TB, url, name string) {
	t.Helper()
	withJetStream(t, url, func(js nats.JetStreamContext) error { return js.DeleteStream(name) })
}

// LeaderOf returns which server of a NATSCluster leads a stream; -1 if none does at the moment.
func LeaderOf(t testing.TB, servers []*Process, stream string) int {
	t.Helper()
	leader := -1
	withJetStream(t, URLs(servers), func(js nats.JetStreamContext) error {
		// Without an answer it is being elected.
		if info, err := js.StreamInfo(stream); err == nil && info.Cluster != nil {
			if n, err := strconv.Atoi(strings.TrimPrefix(info.Cluster.Leader, "n")); err == nil {
				leader = n
			}
		}
		return nil
	})
	return leader
}

// LastSequence returns the sequence of a stream's last message.
func LastSequence(t testing.TB, url, stream string) (last uint64) {
	t.Helper()
	withJetStream(t, url, func(js nats.JetStreamContext) error {
		info, err := js.StreamInfo(stream)
		if err == nil {
			last = info.State.LastSeq
		}
		return err
	})
	return last
}

func withJetStream(t testing.TB, url string, do func(nats.JetStreamContext) error) {
	t.Helper()
	withNATS(t, url, func(nc *nats.Conn) error {
		js, err := nc.JetStream()
		if err != nil {
			return err
		}
		return do(js)
	})
}

func withNATS(t testing.TB, url string, do func(*nats.Conn) error) {
	t.Helper()
	nc, err := nats.Connect(url, nats.Timeout(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := do(nc); err != nil {
		t.Fatal(err)
	}
}
