package embedded

import "sync"

// atomicText is a text that several goroutines set.
type atomicText struct {
	mu sync.Mutex
	s  string
}

func (a *atomicText) set(s string) {
	a.mu.Lock()
	a.s = s
	a.mu.Unlock()
}

func (a *atomicText) get() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.s
}
