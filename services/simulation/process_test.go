package simulation_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	channelv1 "github.com/leadbaton/baton/api/gen/baton/channel/v1"
	"github.com/leadbaton/baton/services/internal/stream"
	"github.com/leadbaton/baton/services/notifier"
	"github.com/leadbaton/baton/services/router"
	"github.com/leadbaton/baton/services/scorer"
)

// gate lets pass while it is open. It blocks on a channel and not on a lock, so that simulated time goes on.
type gate struct {
	mu    sync.Mutex
	open  chan struct{}
	shuts int // how many hold it shut
}

func newGate() *gate {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	return g
}

// pass waits until the gate is open; false if over is closed before.
func (g *gate) pass(over <-chan struct{}) bool {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	select {
	case <-open:
		return true
	default:
	}
	select {
	case <-open:
		return true
	case <-over:
		return false
	}
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shuts > 0
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shuts++; g.shuts == 1 {
		g.open = make(chan struct{})
	}
}

func (g *gate) reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shuts--; g.shuts == 0 {
		close(g.open)
	}
}

// process is one start of a service, with connections of its own. A crash cuts them all at one moment; whatever it still
// does reaches nobody.
type process struct {
	w    *world
	kind string // scorer, router, notifier, publisher, salesperson, operator
	name string // where others reach it
	gate *gate
	dead chan struct{}
	once sync.Once

	mu      sync.Mutex
	wires   []*wire
	deafTil time.Time
	server  *grpc.Server
	listen  *bufconn.Listener
	router  *router.Router

	cancel context.CancelFunc
	done   chan struct{}
}

// InProcessConn implements nats.InProcessConnProvider.
func (p *process) InProcessConn() (net.Conn, error) {
	select {
	case <-p.dead:
		return nil, errDead
	default:
	}
	if p.gate.isShut() {
		return nil, errPaused
	}
	c, err := p.w.inProcessConn()
	if err != nil {
		return nil, err
	}
	w := newWire(p, c)
	p.mu.Lock()
	p.wires = append(p.wires, w)
	p.mu.Unlock()
	select {
	case <-p.dead: // meanwhile
		_ = w.Close()
	default:
	}
	return w, nil
}

// cut closes its connections to NATS; it may connect anew.
func (p *process) cut() {
	p.mu.Lock()
	wires := p.wires
	p.wires = nil
	p.mu.Unlock()
	for _, w := range wires {
		_ = w.Close()
	}
}

// deaf says whether it hears nothing of the election now.
func (p *process) deaf() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Before(p.deafTil)
}

// hearNothing makes it deaf for what the election says.
func (p *process) hearNothing(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deafTil = time.Now().Add(d)
}

// crash ends it as a lost machine does: from this moment on it reaches nothing and nobody reaches it.
func (p *process) crash(when string) {
	p.once.Do(func() {
		p.w.chance.note(crashed)
		p.w.trace.add("", "%s crashes %s", p.name, when)
		close(p.dead)
		p.cut()
		if l := p.listener(); l != nil {
			_ = l.Close()
		}
	})
}

// reap waits for what is left of it.
func (p *process) reap() {
	p.cancel()
	<-p.done
	p.mu.Lock()
	server := p.server
	p.mu.Unlock()
	if server != nil {
		server.Stop()
	}
	p.once.Do(func() { close(p.dead) })
	p.cut()
}

// begin makes a process and runs it until it is reaped. An orchestrator starts what ended by itself again.
func (w *world) begin(kind, name string, run func(context.Context, *process) error) *process {
	p := &process{w: w, kind: kind, name: name, gate: newGate(), dead: make(chan struct{}), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	w.mu.Lock()
	w.processes[name] = p
	w.mu.Unlock()
	go func() {
		defer close(p.done)
		for ctx.Err() == nil {
			err := run(ctx, p)
			select {
			case <-p.dead:
				<-ctx.Done()
			case <-ctx.Done():
			case <-time.After(time.Second):
				w.trace.add("", "%s ended by itself and starts again: %v", name, err)
			}
		}
	}()
	return p
}

// connected runs what needs a connection to NATS, with the streams there.
func (p *process) connected(ctx context.Context, run func(*stream.Conn) error) error {
	conn, err := stream.Connect(ctx, stream.Options{InProcess: p, Name: p.name, Logger: p.w.log(p.name)})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.EnsureStreams(ctx); err != nil {
		return err
	}
	return run(conn)
}

// serve serves a service's gRPC until the process ends or serves anew.
func (p *process) serve(register func(grpc.ServiceRegistrar)) {
	g, l := grpc.NewServer(), bufconn.Listen(1<<18)
	register(g)
	p.mu.Lock()
	old := p.server
	p.server, p.listen = g, l
	p.mu.Unlock()
	if old != nil {
		old.Stop()
	}
	go func() { _ = g.Serve(l) }()
	select {
	case <-p.dead:
		_ = l.Close()
	default:
	}
}

// member is another name for each start, as a pod has.
func (p *process) member() string { return fmt.Sprintf("%s-%d", p.name, p.w.chance.intN(1<<30)) }

func (w *world) startScorer(name string) {
	w.begin("scorer", name, func(ctx context.Context, p *process) error {
		return p.connected(ctx, func(conn *stream.Conn) error {
			s, err := scorer.New(scorer.Options{Stream: conn, Store: &faulty{w.store, p}, Member: p.member(), Logger: w.log(name)})
			if err != nil {
				return err
			}
			p.serve(s.Register)
			return s.Run(ctx)
		})
	})
}

func (w *world) startRouter(name string) {
	w.begin("router", name, func(ctx context.Context, p *process) error {
		return p.connected(ctx, func(conn *stream.Conn) error {
			desk, err := w.dial(p, "channel")
			if err != nil {
				return err
			}
			defer desk.Close()
			r, err := router.New(router.Options{
				Stream: conn, Notifier: channelv1.NewNotificationChannelServiceClient(desk), Advertise: name, Member: p.member(),
				InitialAgreement: w.agreement, InitialRoster: w.roster, Logger: w.log(name),
				Dial: func(address string) (*grpc.ClientConn, error) { return w.dial(p, address) },
			})
			if err != nil {
				return err
			}
			p.mu.Lock()
			p.router = r
			p.mu.Unlock()
			p.serve(r.Register)
			return r.Run(ctx)
		})
	})
}

func (w *world) startNotifier(name string) {
	w.begin("notifier", name, func(ctx context.Context, p *process) error {
		return p.connected(ctx, func(conn *stream.Conn) error {
			n, err := notifier.New(notifier.Options{Stream: conn, Logger: w.log(name)})
			if err != nil {
				return err
			}
			p.serve(n.Register)
			return n.Run(ctx)
		})
	})
}

// leads says whether it is a router that believes it leads.
func (p *process) leads() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.router != nil && p.router.Leading()
}

// listener is where it is reached; nil if it is not.
func (p *process) listener() *bufconn.Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.listen
}
