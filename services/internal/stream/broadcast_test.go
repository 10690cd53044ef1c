package stream_test

import (
	"testing"

	"github.com/leadbaton/baton/services/internal/embedded"
	"github.com/leadbaton/baton/services/internal/stream"
)

func TestBroadcast(t *testing.T) {
	server, err := embedded.StartNATS(embedded.NATSOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	connect := func() *stream.Conn {
		c, err := stream.Connect(t.Context(), stream.Options{InProcess: server})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	a, b := connect(), connect()
	heard := make(chan string, 2)
	stop, err := a.Listen("baton.test.said", func(data []byte) { heard <- string(data) })
	if err != nil {
		t.Fatal(err)
	}
	leave, err := a.Attend("baton.test.present")
	if err != nil {
		t.Fatal(err)
	}
	// What a asks for is known to the server once it has answered a.
	if there, err := a.Attended(t.Context(), "baton.test.present"); !there || err != nil {
		t.Fatal(there, err)
	}
	if there, err := b.Attended(t.Context(), "baton.test.present"); !there || err != nil {
		t.Fatal(there, err)
	}
	if there, err := b.Attended(t.Context(), "baton.test.absent"); there || err != nil {
		t.Fatal(there, err)
	}
	if err := b.Broadcast("baton.test.said", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "hello" {
		t.Fatal(got)
	}
	leave()
	if there, err := a.Attended(t.Context(), "baton.test.present"); there || err != nil {
		t.Fatal(there, err)
	}
	stop()
	if err := a.Broadcast("baton.test.said", []byte("too late")); err != nil {
		t.Fatal(err)
	}
	if there, err := a.Attended(t.Context(), "baton.test.said"); there || err != nil {
		t.Fatal(there, err)
	}
	if len(heard) > 0 {
		t.Fatal("heard after stop")
	}
	// A connection that is closed first does not hold stop up.
	stop, err = b.Listen("baton.test.said", func([]byte) {})
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	stop()
	if err := b.Broadcast("baton.test.said", nil); err == nil {
		t.Fatal("a closed connection took a broadcast")
	}
}
