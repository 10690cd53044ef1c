package foldtest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/leadbaton/baton/services/internal/fold"
)

// Log is a fold.Log in memory.
type Log struct {
	mu      sync.Mutex
	created int64
	// incarnation of the messages to come.
	incarnation int64
	msgs        []fold.Message
	grown       chan struct{}
	erased      map[uint64]bool
	// Break, if set, is asked before each message is read; an error interrupts reading there.
	Break func(sequence uint64) error
}

// NewLog returns an empty log that was created at an instant (Unix nanoseconds).
func NewLog(created int64) *Log {
	return &Log{created: created, incarnation: created, grown: make(chan struct{})}
}

// Append stores a message.
func (l *Log) Append(subject string, data []byte) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := uint64(len(l.msgs) + 1)
	l.msgs = append(l.msgs, fold.Message{Subject: subject, Data: data, Incarnation: l.incarnation, Sequence: n, Time: l.created + int64(n)*1000})
	close(l.grown)
	l.grown = make(chan struct{})
	return n
}

// Recreate makes the log anew: what it held is gone.
func (l *Log) Recreate(created int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.created, l.incarnation, l.msgs = created, created, nil
}

// Erase erases a message: its sequence stays unused.
func (l *Log) Erase(sequence uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.erased == nil {
		l.erased = map[uint64]bool{}
	}
	l.erased[sequence] = true
}

// Truncate restores an older copy of the log, with its first n messages.
func (l *Log) Truncate(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.msgs = l.msgs[:n:n]
}

// Info implements fold.Log.
func (l *Log) Info(context.Context) (fold.LogInfo, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fold.LogInfo{Created: l.created, Incarnation: l.incarnation, Last: uint64(len(l.msgs)), Erased: uint64(len(l.erased))}, nil
}

// TimeAt implements fold.Log.
func (l *Log) TimeAt(_ context.Context, n uint64) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n == 0 || n > uint64(len(l.msgs)) || l.erased[n] {
		return 0, fold.ErrErased
	}
	return l.msgs[n-1].Time, nil
}

// Read implements fold.Log.
func (l *Log) Read(ctx context.Context, after uint64, fn func(fold.Message)) error {
	for at := after; ; {
		l.mu.Lock()
		grown := l.grown
		var m fold.Message
		for l.erased[at+1] {
			at++
		}
		ok := at < uint64(len(l.msgs))
		if ok {
			m = l.msgs[at]
		}
		l.mu.Unlock()
		if !ok {
			select {
			case <-grown:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if l.Break != nil {
			if err := l.Break(m.Sequence); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fn(m)
		at++
	}
}

// Ledger is a fold.Outlet in memory, shared by all producers: it keeps the promises of JetStream's expected sequences.
type Ledger struct {
	mu   sync.Mutex
	once map[string][]byte
	tail map[string]fold.Origin // by prefix
	// Inbox holds, by stream, what was published Ordered.
	Inbox map[string][]fold.Record
	// Fault, if set, is asked at each call; "before" fails it before anything is stored, "after" after.
	Fault func() string
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{once: map[string][]byte{}, tail: map[string]fold.Origin{}, Inbox: map[string][]fold.Record{}}
}

var errFault = errors.New("the answer was lost")

func (l *Ledger) fault() string {
	if l.Fault == nil {
		return ""
	}
	return l.Fault()
}

// Once implements fold.Outlet.
func (l *Ledger) Once(_ context.Context, records []fold.Record) error {
	f := l.fault()
	if f == "before" {
		return errFault
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		if b, ok := l.once[r.Subject]; ok && string(b) != string(r.Data) {
			return &fold.StopError{Reason: fmt.Sprintf("%s holds %q, not %q", r.Subject, b, r.Data)}
		}
		l.once[r.Subject] = r.Data
	}
	if f == "after" {
		return errFault
	}
	return nil
}

// Ordered implements fold.Outlet.
func (l *Ledger) Ordered(_ context.Context, records []fold.Record) error {
	f := l.fault()
	if f == "before" {
		return errFault
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		if t, ok := l.tail[r.Prefix]; ok && !r.Origin().After(t) {
			continue
		}
		l.tail[r.Prefix] = r.Origin()
		l.Inbox[r.Stream] = append(l.Inbox[r.Stream], r)
	}
	if f == "after" {
		return errFault
	}
	return nil
}

// Facts returns what was published Once, by subject.
func (l *Ledger) Facts() map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]string{}
	for k, v := range l.once {
		out[k] = string(v)
	}
	return out
}

// Messages returns what was published Ordered into a stream.
func (l *Ledger) Messages(stream string) []fold.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]fold.Record(nil), l.Inbox[stream]...)
}

// Shift moves every message's time by d nanoseconds, as another log's would be.
func (l *Log) Shift(d int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.msgs {
		l.msgs[i].Time += d
	}
}

// Adopt begins a new incarnation after a sequence.
func (l *Log) Adopt(after uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.incarnation++
	for i := range l.msgs[after:] {
		l.msgs[int(after)+i].Incarnation = l.incarnation
	}
}
