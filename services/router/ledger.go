package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/handoff"
	"github.com/leadbaton/baton/services/internal/stream"
)

// ledger is HANDOFFS, folded. Its fields are guarded by lock, which is held over I/O too and so can be given up on.
//
// The leader evolves the state by what it is about to write, under the lock, so that nobody sees what is not stored.
// If that turns out not to be stored, the state is thrown away and folded from the stream's start.
type ledger struct {
	conn   *stream.Conn
	log    *stream.Log
	logger *slog.Logger
	lock   chan struct{}

	state    *handoff.State
	ids      *leadIDs
	reached  milestones
	base     uint64 // the stream's last sequence, as far as it is folded
	position fold.Position
	outbox   *outbox
	epoch    int                // counts resets
	reading  context.CancelFunc // ends the read that follows; never nil
}

func newLedger(c *stream.Conn, logger *slog.Logger) *ledger {
	l := &ledger{
		conn: c, log: c.Log(subject.HandoffsStream), logger: logger, lock: make(chan struct{}, 1), outbox: newOutbox(),
		reading: func() {},
	}
	l.state, l.ids, l.reached = handoff.New(), newLeadIDs(), milestones{}
	return l
}

// acquire takes the lock, or returns why ctx ended before.
func (l *ledger) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case l.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *ledger) release() { <-l.lock }

// reset forgets what is folded. The lock is held.
func (l *ledger) reset() {
	l.state, l.ids, l.reached, l.base = handoff.New(), newLeadIDs(), milestones{}, 0
	l.outbox.reset()
	l.epoch++
	l.reading()
}

// check says whether the stream is still the one that was read; a *fold.StopError if not. The lock is held.
func (l *ledger) check(ctx context.Context) (fold.LogInfo, error) {
	info, err := l.log.Info(ctx)
	if err != nil {
		return info, err
	}
	if l.position.Created == 0 {
		l.position.Created = info.Created
	}
	if err := checkPosition(ctx, subject.HandoffsStream, l.log, l.position); err != nil {
		return info, err
	}
	if info.Last < l.base {
		return info, &fold.StopError{Reason: fmt.Sprintf(
			"stream HANDOFFS ends at message %d, but message %d was written: it was restored from an older copy; restore the newest copy", info.Last, l.base)}
	}
	return info, nil
}

// checkPosition is fold.CheckPosition for a stream that is no shard's.
func checkPosition(ctx context.Context, name string, log fold.Log, p fold.Position) error {
	err := fold.CheckPosition(ctx, log, p)
	var stop *fold.StopError
	if errors.As(err, &stop) {
		reason, _, _ := strings.Cut(stop.Reason, "; decide with")
		return &fold.StopError{Reason: fmt.Sprintf("stream %s: %s; restore LEADS, HANDOFFS and the shards' streams from one backup",
			name, strings.ReplaceAll(reason, "the shard's stream", "the stream"))}
	}
	return err
}

// leadsPosition is where LEADS is used up; where the time of that message is not known, only the stream itself. The lock is held.
func (l *ledger) leadsPosition() fold.Position {
	created, sequence := l.state.Leads()
	if stored := l.state.LeadsStored(); stored != 0 {
		return fold.Position{Created: created, Sequence: sequence, Time: stored}
	}
	return fold.Position{Created: created}
}

// fold folds one message. The lock is held.
func (l *ledger) fold(m fold.Message) error {
	if m.Sequence > l.position.Sequence {
		l.position.Sequence, l.position.Time = m.Sequence, m.Time
	}
	if m.Sequence <= l.base {
		return nil
	}
	facts, err := handoff.Decode(m.Data)
	if err != nil {
		return &fold.StopError{Reason: fmt.Sprintf("message %d of HANDOFFS cannot be read: %v; only the router may write there", m.Sequence, err)}
	}
	out, _, err := l.evolve(facts, m.Sequence)
	if err != nil {
		return err
	}
	l.base = m.Sequence
	l.outbox.add(out)
	return nil
}

// evolve folds the facts of one message, and returns what they mean for the shards and what each of them ends. The lock is
// held.
func (l *ledger) evolve(facts []*handoffv1.Fact, sequence uint64) ([]handoff.Message, []passed, error) {
	out, err := l.state.Evolve(facts, sequence, l.position.Created)
	if err != nil {
		return nil, nil, &fold.StopError{Reason: err.Error()}
	}
	ended := make([]passed, len(facts))
	for i, f := range facts {
		l.ids.fold(f)
		ended[i] = l.reached.fold(f)
	}
	return out, ended, nil
}

// catchUp folds all that is in the stream. The lock is held.
func (l *ledger) catchUp(ctx context.Context) error {
	info, err := l.check(ctx)
	if err != nil {
		return err
	}
	var failed error
	err = l.log.ScanAfter(ctx, l.base, []string{subject.AllHandoffs}, func(m fold.Message) bool {
		failed = l.fold(m)
		return failed == nil && ctx.Err() == nil
	})
	if err := errors.Join(failed, err, ctx.Err()); err != nil {
		return err
	}
	l.base = max(l.base, info.Last) // the last messages may have been erased
	return nil
}

// stopIfMust stops the router for an error after which it must not go on; true if it is one.
func (r *Router) stopIfMust(err error) bool {
	var stop *fold.StopError
	if errors.As(err, &stop) {
		r.stop(stop)
		return true
	}
	return false
}

// catchUp reads HANDOFFS to its end for the first time; false if that failed.
func (r *Router) catchUp(ctx context.Context) bool {
	l := r.ledger
	if l.acquire(ctx) != nil {
		return false
	}
	defer l.release()
	err := l.readOrigins(ctx)
	if err == nil {
		err = l.catchUp(ctx)
	}
	if err == nil {
		return true
	}
	if !r.stopIfMust(err) && ctx.Err() == nil {
		r.log.Warn("HANDOFFS cannot be read; trying again", "error", err)
	}
	return false
}

// follow folds what is written to HANDOFFS, by whomever.
func (r *Router) follow(ctx context.Context) {
	pause := retry
	for ctx.Err() == nil {
		begun := time.Now()
		err := r.read(ctx)
		if r.stopIfMust(err) || ctx.Err() != nil {
			return
		}
		if time.Since(begun) > longestRetry || errors.Is(err, errThrownAway) {
			pause = retry
		}
		r.log.Warn("reading HANDOFFS was interrupted; it goes on in a moment", "error", err)
		sleep(ctx, pause)
		pause = min(2*pause, longestRetry)
	}
}

// errThrownAway ends a read of HANDOFFS when the state that it adds to is given up.
var errThrownAway = errors.New("what was folded was thrown away")

// read runs one read of HANDOFFS from where it is folded to.
func (r *Router) read(ctx context.Context) error {
	l := r.ledger
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := l.acquire(ctx); err != nil {
		return err
	}
	l.reading = func() { cancel(errThrownAway) }
	epoch, after := l.epoch, l.base
	_, err := l.check(ctx)
	l.release()
	if err != nil {
		return err
	}
	return l.log.Read(ctx, after, func(m fold.Message) {
		if l.acquire(ctx) != nil {
			return
		}
		defer l.release()
		if l.epoch != epoch || ctx.Err() != nil {
			return
		}
		if err := l.fold(m); err != nil {
			cancel(err)
		}
	})
}
