package fold

import (
	"maps"
)

// Snapshot returns a function that takes the store back to what it is now: states, positions, outbox, leases and tokens.
func (m *Memory) Snapshot() (restore func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	copyOf := func(in map[string]*memoryShard) map[string]*memoryShard {
		out := map[string]*memoryShard{}
		for id, s := range in {
			c := *s
			c.fields, c.outbox = maps.Clone(s.fields), maps.Clone(s.outbox)
			out[id] = &c
		}
		return out
	}
	saved := copyOf(m.shards)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.shards = copyOf(saved)
	}
}

// Flush forgets everything.
func (m *Memory) Flush() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.shards)
	clear(m.members)
}
