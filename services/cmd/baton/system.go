package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/protobuf/proto"

	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
)

// system is what a command has of the outside world.
type system struct {
	ctx    context.Context // ends at the first Ctrl-C or SIGTERM
	cancel context.CancelFunc
	in     io.Reader
	out    io.Writer
	errors io.Writer
	now    func() time.Time
	spans  sdktrace.SpanExporter // gets every span that leaves, besides; nil = nobody
	// Whether out and errors are terminals, and whether colour is wanted there.
	outTerminal, errTerminal bool
	color                    bool
}

func thisProcess() *system {
	ctx, cancel := context.WithCancel(context.Background())
	s := &system{
		ctx: ctx, cancel: cancel, in: os.Stdin, out: os.Stdout, errors: os.Stderr, now: time.Now,
		outTerminal: terminal(os.Stdout), errTerminal: terminal(os.Stderr),
	}
	// https://no-color.org: set and not empty means none.
	s.color = s.outTerminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return s
}

func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// handleSignals ends s.ctx at the first Ctrl-C or SIGTERM, and the process at the second.
func (s *system) handleSignals() (stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case <-signals:
				if n > 0 {
					os.Exit(exitFailed)
				}
				s.cancel()
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
		s.cancel()
	}
}

// page returns a page on the standard output.
func (s *system) page() *screen.Page { return screen.New(s.out, s.now(), s.color) }

// errorPage returns a page on the standard error output.
func (s *system) errorPage() *screen.Page {
	return screen.New(s.errors, s.now(), s.errTerminal && s.color)
}

// maxDocument is the greatest size of an agreement or a roster.
const maxDocument = 256 << 10

// readDocument reads a document from a file, or from the standard input for "-".
func (s *system) readDocument(file string) ([]byte, error) {
	f := s.in
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer opened.Close()
		f = opened
	}
	b, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxDocument {
		return nil, fmt.Errorf("%s is larger than 256 KiB: a document is at most that long", file)
	}
	return b, nil
}

// outputFlag chooses between people and programs.
type outputFlag struct {
	Output string `short:"o" enum:"text,json" default:"text" placeholder:"text|json" help:"How to write: text for people, json for programs."`
}

// write writes a message as JSON, or as text does.
func (o outputFlag) write(s *system, m proto.Message, text func(p *screen.Page)) error {
	if o.Output == "json" {
		return writeJSON(s.out, m)
	}
	p := s.page()
	text(p)
	return p.Err()
}
