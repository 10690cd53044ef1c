package simulation_test

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/leadbaton/baton/services/internal/embedded"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/stream"
)

// world is all of Baton, whom it serves, and the servers that it stands on, in one bubble of time.
type world struct {
	t      *testing.T
	seed   uint64
	dir    string
	chance *chance
	trace  *trace

	agreement, roster []byte

	serving sync.Mutex // guards server
	server  *embedded.NATS
	store   keep
	fence   *fence
	stall   *gate
	conn    *stream.Conn // the judge's own, without faults

	mu        sync.Mutex
	processes map[string]*process
	suspects  []string // the leads of which something is wrong

	echoes     map[string]bool // producers and shards with a message that was stored twice from outside
	saved      func()          // takes the store back to what it held once; nil = nothing is saved
	background sync.WaitGroup

	mail     *mailbox
	sales    *sales
	load     *load
	operator *operator
}

// inWorld runs fn in a world of a seed: an hour passes as soon as everybody waits for it.
func inWorld(t *testing.T, seed uint64, fn func(*world)) {
	// nats.go keeps timers in a pool of the process; one of another bubble would be fatal. Two collections empty it.
	runtime.GC()
	runtime.GC()
	dir := scratch(t)
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t: t, seed: seed, dir: dir, chance: newChance(seed), trace: &trace{}, stall: newGate(),
			fence: newFence(), echoes: map[string]bool{}, processes: map[string]*process{},
			agreement: testdata(t, "agreement.yaml"), roster: testdata(t, "roster.yaml"),
		}
		<-time.After(w.chance.between(7*time.Hour, 23*time.Hour)) // of the first day
		defer w.end()
		w.begins()
		fn(w)
	})
}

// scratch is a folder in memory if there is one: NATS syncs every message, and real time is not what is simulated.
func scratch(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "baton-simulation")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func testdata(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (w *world) begins() {
	w.startNATS()
	var err error
	if w.store = (memory{fold.NewMemory()}); w.seed%8 == 0 {
		if w.store, err = openRedis(); err != nil {
			w.t.Fatal(err)
		}
	}
	if w.conn, err = stream.Connect(w.t.Context(), stream.Options{InProcess: plain{w}, Name: "judge", Logger: w.log("judge")}); err != nil {
		w.t.Fatal(err)
	}
}

// end leaves nothing behind, whatever happened: what is left would keep the bubble for ever.
func (w *world) end() {
	if w.t.Failed() {
		w.tell()
	}
	w.chance.set(false)
	for _, p := range w.all() {
		p.crash("at the end")
		p.reap()
	}
	if w.conn != nil {
		w.conn.Close()
	}
	w.store.close()
	w.server.Stop()
	<-time.After(time.Minute) // the last goroutines of the server's store end by themselves
}

func (w *world) startNATS() {
	server, err := embedded.StartNATS(embedded.NATSOptions{Dir: w.dir})
	if err != nil {
		w.t.Fatal(err)
	}
	w.serving.Lock()
	w.server = server
	w.serving.Unlock()
}

func (w *world) restartNATS() {
	w.chance.note(natsRestarted)
	w.trace.add("", "NATS restarts")
	w.server.Stop()
	w.startNATS()
}

// inProcessConn lets clients find the server again after it was restarted.
func (w *world) inProcessConn() (net.Conn, error) {
	w.serving.Lock()
	defer w.serving.Unlock()
	return w.server.InProcessConn()
}

// plain is the way to NATS on which nothing goes wrong.
type plain struct{ w *world }

// InProcessConn implements nats.InProcessConnProvider.
func (p plain) InProcessConn() (net.Conn, error) { return p.w.inProcessConn() }

func (w *world) all() []*process {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]*process, 0, len(w.processes))
	for _, p := range w.processes {
		out = append(out, p)
	}
	return out
}

func (w *world) process(name string) *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.processes[name]
}

// dial connects a process (nil = the judge) to whatever has a name now.
func (w *world) dial(from *process, name string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+name, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, MaxDelay: 2 * time.Second}, MinConnectTimeout: 2 * time.Second,
		}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			if from != nil {
				select {
				case <-from.dead:
					return nil, errDead
				default:
				}
			}
			p := w.process(name)
			if p == nil || p.listener() == nil {
				return nil, errors.New("simulated: nobody listens as " + name)
			}
			return p.listener().DialContext(ctx)
		}))
}

// eventually waits until something holds, at most d of simulated time.
func (w *world) eventually(d time.Duration, holds func() error) error {
	pause := 250 * time.Millisecond
	for end := time.Now().Add(d); ; <-time.After(pause) {
		pause = min(2*pause, 10*time.Second)
		err := holds()
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}
