package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/leadbaton/baton/api/client"
	"github.com/leadbaton/baton/api/natsbatch"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
)

// natsFlag says where NATS is.
type natsFlag struct {
	NATS string `name:"nats" env:"BATON_NATS" default:"${nats}" placeholder:"URL" help:"Where Baton's NATS server is: nats://[user:password@]HOST:PORT."`
}

type publishCommand struct {
	Source  string `placeholder:"SOURCE" help:"The source of events that name none."`
	History bool   `help:"Load an existing base: the events score, but hand nothing off until the lead acts anew."`
	natsFlag
	File string `arg:"" help:"JSON lines, one CloudEvent each; - reads the standard input, and publishes while it stays open."`
}

const (
	// inFlight is how many events are on their way at the most.
	inFlight = 8192
	// drain is how long events that are on their way are waited for after Ctrl-C.
	drain = 10 * time.Second
)

// Run publishes events.
func (c *publishCommand) Run(s *system) error {
	if c.Source != "" {
		if err := subject.ValidSource(c.Source); err != nil {
			return usagef("--source %s: %w", c.Source, err)
		}
	}
	in := s.in
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	pub, err := client.Connect(c.NATS, client.PublisherOptions{Source: c.Source, History: c.History})
	if err != nil {
		return fmt.Errorf("%w: start Baton (baton up), or say where its NATS server is with --nats or BATON_NATS", err)
	}
	// What was taken is stored even when the command is stopped; only its patience ends.
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.ctx))
	defer cancel()
	p := &publishing{s: s, pub: pub, ctx: ctx, queue: make(chan sent, inFlight), start: s.now()}
	err = p.run(in, cancel)
	closing, done := context.WithTimeout(context.WithoutCancel(s.ctx), drain)
	defer done()
	if cerr := pub.Close(closing); err == nil {
		err = cerr
	}
	p.summary()
	if err == nil && p.tally.bad() > 0 {
		return quiet(exitFailed)
	}
	return err
}

// publishing is one run of publish.
type publishing struct {
	s     *system
	pub   *client.Publisher
	ctx   context.Context // of what was taken
	queue chan sent
	start time.Time
	tally tally
	done  atomic.Int64 // events with an outcome, for the progress
}

// sent is a line that is on its way.
type sent struct {
	line    int
	pending *client.Pending
	err     error // it was not sent for this reason
}

// run reads and publishes until the input ends, the command is stopped, or no stream takes the events.
func (p *publishing) run(in io.Reader, cancel context.CancelFunc) error {
	reading, stop := context.WithCancel(p.s.ctx)
	defer stop()
	readErr := make(chan error, 1)
	// The reader may hang in a read from a terminal or a pipe; when the command is stopped it is left behind.
	go func() {
		defer close(p.queue)
		readErr <- p.read(reading, in)
	}()
	defer p.progress()()
	for {
		select {
		case x, more := <-p.queue:
			if !more {
				return <-readErr
			}
			if err := p.settle(x); err != nil {
				stop()
				cancel()
				return err
			}
		case <-p.s.ctx.Done():
			stop()
			time.AfterFunc(drain, cancel)
			return p.drain()
		}
	}
}

// drain waits for what is on its way.
func (p *publishing) drain() error {
	for {
		select {
		case x, more := <-p.queue:
			if !more {
				return p.s.ctx.Err()
			}
			if err := p.settle(x); err != nil {
				return err
			}
		default:
			return p.s.ctx.Err()
		}
	}
}

// settle counts what became of a line. Its error is one that all further lines would have.
func (p *publishing) settle(x sent) error {
	p.done.Add(1)
	if x.pending == nil {
		p.tally.reject(x.line, x.err)
		return nil
	}
	r := x.pending.Wait(p.ctx)
	p.tally.add(x.line, r)
	if errors.Is(r.Err, natsbatch.ErrNoStream) {
		return fmt.Errorf("stopped at line %d: %w", x.line, r.Err)
	}
	return nil
}

// read sends each line.
func (p *publishing) read(ctx context.Context, in io.Reader) error {
	lines := newLineReader(in)
	for ctx.Err() == nil {
		body, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		x := sent{line: lines.number}
		switch {
		case errors.Is(err, errLong):
			x.err = err
		case err != nil:
			return fmt.Errorf("reading stopped after line %d: %w", lines.number, err)
		default:
			x.pending = p.pub.PublishAsync(p.ctx, body)
		}
		select {
		case p.queue <- x:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// progress shows on a terminal how far it is, until the returned function is called.
func (p *publishing) progress() (stop func()) {
	if !p.s.errTerminal {
		return func() {}
	}
	done := make(chan struct{})
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				n := p.done.Load()
				fmt.Fprintf(p.s.errors, "\r\x1b[K%s, %s/s", screen.Count(uint64(n), "event", "events"), rate(n, p.s.now().Sub(p.start)))
			case <-done:
				fmt.Fprint(p.s.errors, "\r\x1b[K")
				return
			}
		}
	}()
	return func() {
		close(done)
		<-finished
	}
}

func rate(n int64, d time.Duration) string {
	if d <= 0 {
		d = time.Millisecond
	}
	return screen.Grouped(uint64(float64(n) / d.Seconds()))
}

// summary says what became of all.
func (p *publishing) summary() {
	t := &p.tally
	page := p.s.page()
	took := p.s.now().Sub(p.start)
	text := fmt.Sprintf("%s in %s: %s accepted, %s", screen.Count(uint64(t.total()), "event", "events"), screen.Span(took),
		screen.Grouped(uint64(t.accepted)), screen.Count(uint64(t.duplicates), "duplicate", "duplicates"))
	if t.rejected > 0 {
		text += ", " + screen.Grouped(uint64(t.rejected)) + " rejected"
	}
	if t.failed > 0 {
		text += ", " + screen.Grouped(uint64(t.failed)) + " failed"
	}
	if t.total() >= 1000 {
		text += " (" + rate(t.total(), took) + "/s)"
	}
	page.Say("%s", text)
	errs := p.s.errorPage()
	for _, l := range t.lines {
		errs.Warn("%s", screen.Clean(l))
	}
	if more := t.bad() - int64(len(t.lines)); more > 0 {
		errs.Warn("and %s more", screen.Grouped(uint64(more)))
	}
	if t.failed > 0 {
		errs.Warn("what failed is safe to publish again: events that were stored count once")
	}
}
