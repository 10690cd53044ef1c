package crash_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/leadbaton/baton/api/client"
	"github.com/leadbaton/baton/services/internal/servertest"
)

// service is one process: of the binary, or a server that it stands on.
type service struct {
	*servertest.Process
	name string
}

// stack is Baton on what it stands on, under load.
type stack struct {
	t    *testing.T
	ctx  context.Context
	rng  *rand.Rand
	load *load

	nats    string    // URLs
	baton   []service // processes of the binary
	servers []service // what Baton stands on
	// mortal are those that killSome takes: none of them may be needed to bring another one back.
	mortal []service
	// scorer and router are where gRPC is asked.
	scorer, router string
	conns          map[string]*grpc.ClientConn
	faults         []fault
	// done looks whether the faults have had their effect, before the judgement.
	done func()
}

// fault is one kind of what may happen.
type fault struct {
	name string
	do   func()
}

func newStack(t *testing.T, nats string) *stack {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Minute)
	t.Cleanup(cancel)
	s := &stack{t: t, ctx: ctx, rng: seeded(t), nats: nats, conns: map[string]*grpc.ClientConn{}, done: func() {}}
	t.Cleanup(s.keepLogs)
	return s
}

// launch starts scorers, two routers and a notifier, puts the documents in force and begins with the load.
func (s *stack) launch(scorers int, redis string) {
	port := map[string]int{}
	at := func(name string) string {
		if port[name] == 0 {
			port[name] = servertest.FreePort(s.t)
		}
		return fmt.Sprintf("127.0.0.1:%d", port[name])
	}
	start := func(name string, args ...string) {
		args = append(args, "--nats", s.nats, "--grpc", at(name), "--http", "off")
		s.baton = append(s.baton, service{servertest.Command(s.t, port[name], binary, args...), name})
	}
	start("notifier", "notifier")
	for i := range scorers {
		start(fmt.Sprintf("scorer-%d", i+1), "scorer", "--redis", redis)
	}
	for _, n := range []string{"router-1", "router-2"} {
		start(n, "router", "--notifier", at("notifier"), "--advertise", at(n))
	}
	s.scorer, s.router = at("scorer-1"), at("router-1")
	s.begin(at("notifier"))
}

// begin puts the documents in force and begins with the load.
func (s *stack) begin(notifier string) {
	s.mortal = append(s.mortal, s.baton...)
	s.load = newLoad(s.t, s.ctx, s.rng, s.nats, notifier)
	a, r := file(s.t, "agreement.yaml", agreementYAML), file(s.t, "roster.yaml", rosterYAML)
	for _, args := range [][]string{{"agreement", "activate", a}, {"roster", "apply", r}} {
		eventually(s.t, 2*time.Minute, func() error { // the answer comes when every shard has it
			s.revive()
			_, err := baton(append(args, "--grpc", s.router)...)
			return err
		})
	}
	s.load.start()
}

// conn returns a connection for gRPC.
func (s *stack) conn(address string) *grpc.ClientConn {
	c := s.conns[address]
	if c == nil {
		var err error
		c, err = client.Dial(address)
		must(s.t, err)
		s.t.Cleanup(func() { _ = c.Close() })
		s.conns[address] = c
	}
	return c
}

// eventually repeats f until it succeeds, while those processes are started again that gave up waiting for a server.
func (s *stack) eventually(within time.Duration, f func() error) {
	s.t.Helper()
	eventually(s.t, within, func() error {
		s.revive()
		return f()
	})
}

// revive starts those processes of the binary again that have ended by themselves, as a supervisor does: they may, when
// what they need cannot be reached at their start.
func (s *stack) revive() {
	for _, v := range s.baton {
		if !v.Running() {
			s.t.Logf("  %s does not run and is started: %s", v.name, lastLine(v.Log(s.t)))
			v.Start(s.t)
		}
	}
}

func lastLine(log string) string {
	log = strings.TrimSpace(log)
	return log[strings.LastIndexByte(log, '\n')+1:]
}

// named returns the processes of the binary whose name begins so.
func (s *stack) named(prefix string) []service {
	var out []service
	for _, v := range s.baton {
		if strings.HasPrefix(v.name, prefix) {
			out = append(out, v)
		}
	}
	return out
}

// restart kills processes and starts them again.
func restart(t *testing.T, all []service) {
	for _, v := range all {
		v.Kill()
		v.Start(t)
	}
}

// killSome kills one to three processes at random moments, or lets them hang for up to longer than a lease, and brings
// them back in any order.
func (s *stack) killSome() {
	victims := slices.Clone(s.mortal)
	s.rng.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	victims = victims[:1+s.rng.IntN(min(3, len(victims)))]
	hang := map[string]bool{}
	for _, v := range victims {
		if hang[v.name] = s.rng.IntN(4) == 0; hang[v.name] {
			s.t.Logf("  %s hangs", v.name)
			must(s.t, v.Pause())
		} else {
			s.t.Logf("  %s is killed", v.name)
			v.Kill()
		}
		pause(s.ctx, between(s.rng, 0, 300*time.Millisecond))
	}
	s.rng.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	for _, v := range victims {
		if hang[v.name] {
			pause(s.ctx, between(s.rng, 0, 6*time.Second))
			must(s.t, v.Continue())
			continue
		}
		pause(s.ctx, between(s.rng, 0, 400*time.Millisecond))
		v.Start(s.t)
	}
}

// rounds lets the faults happen under load, each kind as often as the others, and judges what is left.
func (s *stack) rounds(n int) {
	var deck []int
	for i := range n {
		if len(deck) == 0 {
			deck = s.rng.Perm(len(s.faults))
		}
		f := s.faults[deck[0]]
		deck = deck[1:]
		s.load.more(40 + s.rng.IntN(200))
		pause(s.ctx, between(s.rng, 0, 700*time.Millisecond))
		s.t.Logf("round %d of %d: %s", i+1, n, f.name)
		f.do()
		s.revive()
	}
	s.done()
	s.load.finish()
	s.judge()
}

// keepLogs keeps the logs of a test that failed.
func (s *stack) keepLogs() {
	if !s.t.Failed() {
		return
	}
	dir, err := os.MkdirTemp("", "baton-crash-logs-")
	if err != nil {
		s.t.Error(err)
		return
	}
	for _, v := range slices.Concat(s.baton, s.servers) {
		if err := os.WriteFile(filepath.Join(dir, v.name+".log"), []byte(v.Log(s.t)), 0o600); err != nil {
			s.t.Error(err)
		}
	}
	s.t.Logf("the logs of all processes are in %s", dir)
}
