package router

import (
	"context"
	"slices"
	"sync"
	"time"
)

// slots bounds the calls that are made at once: in all, and of one channel. First calls go first, the urgent ones of them
// before the others, then by deadline. Repeated ones follow in the order in which they came: those that hang again and
// again, which are the oldest, would else leave no room for what can be delivered.
type slots struct {
	mu      sync.Mutex
	free    int
	each    int
	busy    map[string]int // by channel
	waiting []*slot        // in the order in which they are served
}

type slot struct {
	again    bool // it was called for before
	urgent   bool
	deadline time.Time
	channel  string
	granted  chan struct{}
}

func newSlots(all, each int) *slots {
	return &slots{free: all, each: each, busy: map[string]int{}}
}

// acquire waits for a slot; false if ctx ended before. Whoever has it calls release.
func (s *slots) acquire(ctx context.Context, again, urgent bool, deadline time.Time, channel string) (release func(), ok bool) {
	w := &slot{again: again, urgent: urgent, deadline: deadline, channel: channel, granted: make(chan struct{})}
	s.mu.Lock()
	at, _ := slices.BinarySearchFunc(s.waiting, w, func(e, w *slot) int {
		if w.before(e) {
			return 1
		}
		return -1 // behind those that are equal
	})
	s.waiting = slices.Insert(s.waiting, at, w)
	s.grant()
	s.mu.Unlock()
	release = func() {
		s.mu.Lock()
		s.give(w)
		s.mu.Unlock()
	}
	select {
	case <-w.granted:
		return release, true
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.waiting, w); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
	} else {
		s.give(w)
	}
	return nil, false
}

func (w *slot) before(o *slot) bool {
	switch {
	case w.again || o.again:
		return !w.again // of two repeated ones the later one stays behind
	case w.urgent != o.urgent:
		return w.urgent
	}
	return w.deadline.Before(o.deadline)
}

// give gives a slot back. The lock is held.
func (s *slots) give(w *slot) {
	s.free++
	if s.busy[w.channel]--; s.busy[w.channel] == 0 {
		delete(s.busy, w.channel)
	}
	s.grant()
}

// grant gives free slots to those that wait. The lock is held.
func (s *slots) grant() {
	for i := 0; i < len(s.waiting) && s.free > 0; {
		w := s.waiting[i]
		if s.busy[w.channel] >= s.each {
			i++
			continue
		}
		s.waiting = slices.Delete(s.waiting, i, i+1)
		s.free--
		s.busy[w.channel]++
		close(w.granted)
	}
}
