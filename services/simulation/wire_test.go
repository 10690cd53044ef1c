package simulation_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// wire is a process's connection to NATS. It loses what is sent and what is answered, and holds all of it while its process
// is paused. Nobody ever waits for it in Write, since the client holds a lock then, and simulated time stands still while
// somebody waits for a lock.
type wire struct {
	net.Conn // the server's end
	p        *process

	// greeted says that the client has its connection. Until then nothing is held: it keeps its lock while it waits.
	greeted atomic.Bool

	mu      sync.Mutex
	sending []byte
	sent    chan struct{} // there is something to send

	in       chan []byte // from the server, ready to be read
	rest     []byte
	deadline time.Time // of Read
	closed   chan struct{}
	once     sync.Once
}

func newWire(p *process, c net.Conn) *wire {
	w := &wire{Conn: c, p: p, sent: make(chan struct{}, 1), in: make(chan []byte, 64), closed: make(chan struct{})}
	go w.send()
	go w.receive()
	return w
}

// Close implements net.Conn.
func (w *wire) Close() error {
	w.hangUp()
	return nil
}

func (w *wire) hangUp() {
	w.once.Do(func() {
		close(w.closed)
		_ = w.Conn.Close()
	})
}

// SetDeadline implements net.Conn.
func (w *wire) SetDeadline(t time.Time) error { return w.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn: writing takes no time.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (w *wire) SetReadDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = t
	return nil
}

// Read implements net.Conn.
func (w *wire) Read(b []byte) (int, error) {
	if len(w.rest) == 0 {
		var late <-chan time.Time
		w.mu.Lock()
		deadline := w.deadline
		w.mu.Unlock()
		if !deadline.IsZero() {
			timer := time.NewTimer(time.Until(deadline))
			defer timer.Stop()
			late = timer.C
		}
		select {
		case w.rest = <-w.in:
		case <-w.closed:
			return 0, io.EOF
		case <-late:
			return 0, os.ErrDeadlineExceeded
		}
	}
	n := copy(b, w.rest)
	w.rest = w.rest[n:]
	return n, nil
}

// Write implements net.Conn.
func (w *wire) Write(b []byte) (int, error) {
	select {
	case <-w.closed:
		return 0, net.ErrClosed
	default:
	}
	w.mu.Lock()
	w.sending = append(w.sending, b...)
	w.mu.Unlock()
	select {
	case w.sent <- struct{}{}:
	default:
	}
	return len(b), nil
}

// send passes on what the process writes, as long as nothing goes wrong.
func (w *wire) send() {
	defer w.hangUp()
	for {
		select {
		case <-w.sent:
		case <-w.closed:
			return
		}
		if w.greeted.Load() && !w.p.gate.pass(w.closed) {
			return
		}
		w.mu.Lock()
		b := w.sending
		w.sending = nil
		w.mu.Unlock()
		kind, c := trafficOf(b), w.p.w.chance
		switch {
		case kind == "":
		case c.roll(kind.lost()):
			return
		case c.roll(kind.torn()):
			_, _ = w.Conn.Write(b[:len(b)-c.intN(min(len(b), 40))-1])
			return
		case c.roll(kind.cut()):
			_, _ = w.Conn.Write(b)
			return
		}
		if _, err := w.Conn.Write(b); err != nil {
			return
		}
	}
}

// trafficOf says what is being published; "" if nothing of interest.
func trafficOf(b []byte) traffic {
	for {
		i := bytes.Index(b, []byte("PUB "))
		if i < 0 {
			return ""
		}
		b = b[i+len("PUB "):]
		for prefix, kind := range subjects {
			if bytes.HasPrefix(b, []byte(prefix)) {
				return kind
			}
		}
	}
}

var subjects = map[string]traffic{
	"baton.engagement._shard": inbound, "baton.engagement._router": inbound, "baton.engagement._operator": inbound, "baton.engagement.web": published,
	"baton.leads.": outbox, "baton.rejected.": outbox, "baton.handoffs.": handoffs, "$KV.BATON_LEADERS.": election,
}

// receive passes on what the server sends, frame by frame, but for the acknowledgements that get lost or come late.
func (w *wire) receive() {
	defer w.hangUp()
	var buf []byte
	chunk := make([]byte, 32<<10)
	for {
		n, err := w.Conn.Read(chunk)
		if err != nil {
			return
		}
		buf = append(buf, chunk[:n]...)
		var out []byte
		for {
			f := frame(buf)
			if f == nil {
				break
			}
			buf = buf[len(f):]
			if w.keep(f) {
				out = append(out, f...)
			}
		}
		if w.greeted.Load() && !w.p.gate.pass(w.closed) || len(out) > 0 && !w.give(out) {
			return
		}
		if !w.greeted.Load() && bytes.Contains(out, []byte("PONG\r\n")) {
			w.greeted.Store(true)
		}
	}
}

func (w *wire) give(b []byte) bool {
	select {
	case w.in <- b:
		return true
	case <-w.closed:
		return false
	}
}

// ackLate is later than anybody waits for the server's answer.
const lateBy = 6 * time.Second

// keep says whether a frame is passed on now.
func (w *wire) keep(f []byte) bool {
	kind, refused := w.acknowledged(f)
	if kind == "" {
		return true
	}
	c := w.p.w.chance
	if refused {
		c.note(kind.refused())
	}
	switch {
	case kind == election && w.p.deaf():
		return false
	case c.roll(kind.ackLost()):
		return false
	case c.roll(kind.ackLate()):
		held := bytes.Clone(f)
		time.AfterFunc(lateBy, func() { w.give(held) })
		return false
	}
	return true
}

// acknowledged says of what a frame is the answer to a publish; "" if it is none.
func (w *wire) acknowledged(f []byte) (kind traffic, refused bool) {
	if !bytes.HasPrefix(f, []byte("MSG _INBOX.")) && !bytes.HasPrefix(f, []byte("MSG _R_.")) {
		return "", false
	}
	_, payload, _ := bytes.Cut(f, []byte("\r\n"))
	refused = bytes.HasPrefix(payload, []byte(`{"error":`))
	if !refused && !bytes.HasPrefix(payload, []byte(`{"stream":`)) {
		return "", false
	}
	_, name, ok := bytes.Cut(payload, []byte(`"stream":"`))
	if !ok {
		return "", false
	}
	stream, _, _ := bytes.Cut(name, []byte(`"`))
	refused = refused && bytes.Contains(payload, []byte(`"err_code":10071`))
	switch s := string(stream); {
	case s == "LEADS" || s == "REJECTED":
		return outbox, refused
	case s == "HANDOFFS":
		return handoffs, refused
	case s == "KV_BATON_LEADERS":
		return election, refused
	case strings.HasPrefix(s, "ENGAGEMENT_") && w.p.kind == "publisher":
		return published, refused
	case strings.HasPrefix(s, "ENGAGEMENT_"):
		return inbound, refused
	}
	return "", false
}

// frame returns the first whole frame of the protocol; nil if there is none yet.
func frame(b []byte) []byte {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return nil
	}
	n := i + 1
	if bytes.HasPrefix(b, []byte("MSG ")) || bytes.HasPrefix(b, []byte("HMSG ")) {
		line := bytes.TrimSpace(b[:i])
		size, err := strconv.Atoi(string(line[bytes.LastIndexByte(line, ' ')+1:]))
		if err != nil {
			return b
		}
		n += size + 2
	}
	if len(b) < n {
		return nil
	}
	return b[:n:n]
}
