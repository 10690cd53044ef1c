package fold

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Log is one shard's ordered log.
type Log interface {
	// Info returns what the log is now.
	Info(ctx context.Context) (LogInfo, error)
	// TimeAt returns when a message was stored, in Unix nanoseconds; ErrErased if it is no longer there.
	TimeAt(ctx context.Context, sequence uint64) (int64, error)
	// Read calls fn for each message after a sequence, in order and without a gap, until ctx ends or reading fails.
	// fn may block: nothing is dropped. The message's data stays valid.
	Read(ctx context.Context, after uint64, fn func(Message)) error
}

// ErrErased says that a message was erased from its log.
var ErrErased = errors.New("fold: the message was erased")

// LogInfo is what a log is at one instant.
type LogInfo struct {
	// Created is when its stream was created, in Unix nanoseconds.
	Created int64
	// Last is the sequence of its last message; 0 = none ever.
	Last uint64
	// Bytes is its size.
	Bytes uint64
	// Incarnation is that of the messages to come: when its stream was created, or adopted last.
	Incarnation int64
	// Erased is how many messages are no longer there.
	Erased uint64
}

// Outlet is where records leave to. Both calls return nil only when every record is known to be stored; after any other
// error they may be called again with the same records, except after a *StopError.
type Outlet interface {
	// Once publishes records that are each guarded Once.
	Once(ctx context.Context, records []Record) error
	// Ordered publishes records of one stream and prefix in order. Those that are there already are left out.
	Ordered(ctx context.Context, records []Record) error
}

// StopError says that a shard must stand still until an operator decides. Nothing was changed.
type StopError struct{ Reason string }

// Error implements error.
func (e *StopError) Error() string { return e.Reason }

// CheckPosition says whether a log is still the one that a position was reached in. A *StopError says that it is not:
// reading on would silently skip or repeat messages.
func CheckPosition(ctx context.Context, log Log, p Position) error {
	differs, err := compare(ctx, log, p)
	if err == nil && differs != "" {
		err = &StopError{Reason: differs + "; decide with `baton shard adopt SHARD --keep` (keep the scores, read on with what is new) " +
			"or `--replay` (fold the stream from its start)"}
	}
	return err
}

// compare says in what a log differs from the one that a position was reached in; "" if it is the same.
func compare(ctx context.Context, log Log, p Position) (string, error) {
	if p == (Position{}) {
		return "", nil
	}
	info, err := log.Info(ctx)
	switch {
	case err != nil:
		return "", err
	case info.Created != p.Created:
		return fmt.Sprintf("the shard's stream was created at %s, but was read up to message %d when it was the one created at %s: it was restored or created anew",
			stamp(info.Created), p.Sequence, stamp(p.Created)), nil
	case info.Last < p.Sequence:
		return fmt.Sprintf("the shard's stream ends at message %d, but was read up to message %d: it was restored from an older copy", info.Last, p.Sequence), nil
	case p.Sequence == 0:
		return "", nil
	}
	t, err := log.TimeAt(ctx, p.Sequence)
	switch {
	case errors.Is(err, ErrErased):
		return "", nil
	case err != nil:
		return "", err
	case t != p.Time:
		return fmt.Sprintf("message %d of the shard's stream was stored at %s, but the message read there was stored at %s: the stream is another one",
			p.Sequence, stamp(t), stamp(p.Time)), nil
	}
	return "", nil
}

func stamp(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }
