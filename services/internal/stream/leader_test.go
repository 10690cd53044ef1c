package stream_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"

	"github.com/leadbaton/baton/services/internal/embedded"
	"github.com/leadbaton/baton/services/internal/stream"
)

func init() {
	// Goroutines and caches of the process's own, which must not be born inside a bubble.
	ats.Register()
	_, _ = net.LookupHost("localhost")
}

// candidates are members of one election, each on a connection of its own.
type candidates struct {
	t      *testing.T
	dir    string
	server *embedded.NATS
	runs   sync.WaitGroup
}

type candidate struct {
	*stream.Election
	conn *stream.Conn
	stop context.CancelFunc
}

func electing(t *testing.T, fn func(*candidates)) {
	synctest.Test(t, func(t *testing.T) {
		c := &candidates{t: t, dir: t.TempDir()}
		c.start()
		defer func() {
			c.runs.Wait()
			c.server.Stop()
			<-time.After(time.Minute) // the last goroutines of the server end by themselves
		}()
		fn(c)
	})
}

func (c *candidates) start() {
	var err error
	if c.server, err = embedded.StartNATS(embedded.NATSOptions{Dir: c.dir}); err != nil {
		c.t.Fatal(err)
	}
}

// join begins a candidacy; the caller ends it with stop or kill.
func (c *candidates) join(name string) *candidate {
	conn, err := stream.Connect(c.t.Context(), stream.Options{InProcess: c.server.Server, Name: name})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &candidate{Election: conn.Election("test", stream.Leader{Member: name, Address: name + ":1"}), conn: conn, stop: cancel}
	m.Stand(true)
	c.runs.Go(func() {
		_ = m.Run(ctx)
		conn.Close()
	})
	return m
}

// kill ends a member as a crash does: it resigns nothing.
func (m *candidate) kill() {
	m.conn.Close()
	m.stop()
}

// within waits until something holds, at most d.
func within(t *testing.T, d time.Duration, what string, holds func() bool) time.Duration {
	t.Helper()
	begun := time.Now()
	for !holds() {
		if time.Since(begun) > d {
			t.Errorf("after %s still not: %s", d, what)
			return d
		}
		<-time.After(10 * time.Millisecond)
	}
	return time.Since(begun)
}

func leadBy(m *candidate, name string) func() bool {
	return func() bool {
		l, ok := m.Leader()
		return ok && l.Member == name && l.Address == name+":1"
	}
}

func TestOneOfTwoLeadsAndBothKnow(t *testing.T) {
	electing(t, func(c *candidates) {
		a := c.join("a")
		defer a.stop()
		within(t, 2*time.Second, "a leads", a.Leading)
		b := c.join("b")
		defer b.stop()
		within(t, 2*time.Second, "b knows that a leads", leadBy(b, "a"))
		for range 60 {
			<-time.After(time.Second)
			if !a.Leading() || b.Leading() {
				t.Fatal("the lead has changed without a cause")
			}
		}
	})
}

func TestAResignedLeaderIsFollowedAtOnce(t *testing.T) {
	electing(t, func(c *candidates) {
		a := c.join("a")
		within(t, 2*time.Second, "a leads", a.Leading)
		b := c.join("b")
		defer b.stop()
		within(t, 2*time.Second, "b knows that a leads", leadBy(b, "a"))
		<-time.After(7 * time.Second)
		a.stop()
		if d := within(t, time.Second, "b leads", b.Leading); d > 200*time.Millisecond {
			t.Errorf("b leads %s after a resigned", d)
		}
	})
}

func TestADeadLeaderIsFollowedWithinSeconds(t *testing.T) {
	electing(t, func(c *candidates) {
		a := c.join("a")
		within(t, 2*time.Second, "a leads", a.Leading)
		b := c.join("b")
		defer b.stop()
		within(t, 2*time.Second, "b knows that a leads", leadBy(b, "a"))
		<-time.After(7 * time.Second)
		a.kill()
		within(t, 8*time.Second, "b leads", func() bool {
			if a.Leading() && b.Leading() {
				t.Error("both lead, though their clocks agree")
			}
			return b.Leading()
		})
	})
}

func TestOneThatStandsNoMoreResigns(t *testing.T) {
	electing(t, func(c *candidates) {
		a := c.join("a")
		defer a.stop()
		within(t, 2*time.Second, "a leads", a.Leading)
		b := c.join("b")
		defer b.stop()
		a.Stand(false)
		within(t, 2*time.Second, "b leads", b.Leading)
		within(t, 2*time.Second, "a knows that b leads", leadBy(a, "b"))
	})
}

func TestTheBucketVanishesWithTheServer(t *testing.T) {
	electing(t, func(c *candidates) {
		a := c.join("a")
		defer a.stop()
		within(t, 2*time.Second, "a leads", a.Leading)
		nc := a.conn.NATS()
		js, err := nc.JetStream()
		if err != nil {
			t.Fatal(err)
		}
		if err := js.DeleteKeyValue("BATON_LEADERS"); err != nil {
			t.Fatal(err)
		}
		b := c.join("b")
		defer b.stop()
		within(t, 12*time.Second, "exactly one leads", func() bool { return a.Leading() != b.Leading() })
		<-time.After(20 * time.Second)
		if a.Leading() == b.Leading() {
			t.Errorf("a leads: %v, b leads: %v", a.Leading(), b.Leading())
		}
	})
}
