package simulation_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// trace is what happened, for whoever has to find out why something is wrong.
type trace struct {
	mu    sync.Mutex
	lines []line
}

// line is one thing that happened; about a shard, a lead, a handoff, or all.
type line struct {
	at    time.Time
	about string
	text  string
}

func (t *trace) add(about, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, line{time.Now(), about, fmt.Sprintf(format, args...)})
}

// insert adds what the streams say of a moment (Unix nanoseconds).
func (t *trace) insert(at int64, about, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, line{time.Unix(0, at), about, text})
}

// about returns what is known of some subjects, and what concerned all.
func (t *trace) about(subjects ...string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.SortStableFunc(t.lines, func(a, b line) int { return a.at.Compare(b.at) })
	var b strings.Builder
	for _, l := range t.lines {
		for _, s := range append(subjects, "") {
			if l.about == s {
				fmt.Fprintf(&b, "%s %s\n", l.at.UTC().Format("02 15:04:05.000"), l.text)
				break
			}
		}
	}
	return b.String()
}

// log is a process's log: its warnings and errors belong to the trace.
func (w *world) log(name string) *slog.Logger {
	return slog.New(&logHandler{trace: w.trace, name: name})
}

type logHandler struct {
	trace *trace
	name  string
	attrs []slog.Attr
}

// Enabled implements slog.Handler.
func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

// Handle implements slog.Handler.
func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	shard := ""
	say := func(a slog.Attr) bool {
		if a.Key == "shard" && len(a.Value.String()) == 1 {
			shard = a.Value.String()
		}
		fmt.Fprintf(&b, " %s=%q", a.Key, a.Value.String())
		return true
	}
	for _, a := range h.attrs {
		say(a)
	}
	r.Attrs(say)
	h.trace.add(shard, "%s: %s: %s%s", h.name, r.Level, r.Message, b.String())
	return nil
}

// WithAttrs implements slog.Handler.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{h.trace, h.name, append(append([]slog.Attr{}, h.attrs...), attrs...)}
}

// WithGroup implements slog.Handler.
func (h *logHandler) WithGroup(string) slog.Handler { return h }

// fail says that something is wrong with a lead; "" = with all.
func (w *world) fail(lead, format string, args ...any) {
	w.t.Helper()
	w.mu.Lock()
	if lead != "" {
		w.suspects = append(w.suspects, lead)
	}
	w.mu.Unlock()
	w.t.Errorf(format, args...)
}
