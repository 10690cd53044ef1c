package servertest

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// LimitedStream creates a stream that forgets messages by age, as an operator might by mistake.
func LimitedStream(t testing.TB, url, name, filter string) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: name, Subjects: []string{filter}, MaxAge: time.Hour}); err != nil {
		t.Fatal(err)
	}
}
