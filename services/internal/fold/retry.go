package fold

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// retry repeats f until it succeeds, refuses for good, or ctx ends.
func retry(ctx context.Context, log *slog.Logger, what string, f func() error) error {
	backoff := newBackoff()
	for {
		err := f()
		var stop *StopError
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrFenced), errors.Is(err, ErrWentBack), errors.As(err, &stop):
			return err
		}
		log.Warn(what+" failed; it is tried again", "error", err)
		if err := backoff.wait(ctx); err != nil {
			return err
		}
	}
}

// backoff doubles from 10 ms to 1 s.
type backoff struct{ d time.Duration }

func newBackoff() *backoff { return &backoff{d: 10 * time.Millisecond} }

func (b *backoff) reset() { b.d = 10 * time.Millisecond }

func (b *backoff) wait(ctx context.Context) error {
	t := time.NewTimer(b.d)
	defer t.Stop()
	b.d = min(2*b.d, time.Second)
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
