package fold

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"sync"
	"time"
)

// Memory is a Store in this process's memory. It keeps the same promises as the others while the process lives.
type Memory struct {
	mu      sync.Mutex
	now     func() time.Time
	shards  map[string]*memoryShard
	members map[string]time.Time
}

type memoryShard struct {
	head   Head
	token  string
	nonce  string
	owner  string
	until  time.Time
	fields map[string][]byte
	outbox map[string][]byte
}

// NewMemory returns an empty Memory.
func NewMemory() *Memory {
	return &Memory{now: time.Now, shards: map[string]*memoryShard{}, members: map[string]time.Time{}}
}

var _ Store = (*Memory)(nil)

func (m *Memory) shard(id string) *memoryShard {
	s := m.shards[id]
	if s == nil {
		s = &memoryShard{fields: map[string][]byte{}, outbox: map[string][]byte{}}
		m.shards[id] = s
	}
	return s
}

// Beat implements Leases.
func (m *Memory) Beat(_ context.Context, member string, ttl time.Duration) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.members[member] = now.Add(ttl)
	maps.DeleteFunc(m.members, func(_ string, until time.Time) bool { return !until.After(now) })
	return slices.Sorted(maps.Keys(m.members)), nil
}

// Leave implements Leases.
func (m *Memory) Leave(_ context.Context, member string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.members, member)
	return nil
}

// Acquire implements Leases.
func (m *Memory) Acquire(_ context.Context, shard, member string, ttl time.Duration) (Lease, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, now := m.shard(shard), m.now()
	if s.owner != "" && s.owner != member && s.until.After(now) {
		return Lease{}, false, nil
	}
	s.owner, s.until, s.token = member, now.Add(ttl), rand.Text()
	return Lease{Shard: shard, Owner: member, Token: s.token}, true, nil
}

// Renew implements Leases.
func (m *Memory) Renew(_ context.Context, l Lease, ttl time.Duration) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.shard(l.Shard)
	if s.token != l.Token {
		return 0, ErrFenced
	}
	s.owner, s.until = l.Owner, m.now().Add(ttl)
	return s.head.Commits, nil
}

// Release implements Leases.
func (m *Memory) Release(_ context.Context, l Lease) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.shard(l.Shard); s.token == l.Token {
		s.owner, s.token = "", ""
	}
	return nil
}

// Owners implements Leases.
func (m *Memory) Owners(_ context.Context, shards []string) (map[string]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]string{}
	for _, id := range shards {
		if s := m.shard(id); s.owner != "" && s.until.After(m.now()) {
			out[id] = s.owner
		}
	}
	return out, nil
}

// Head implements Store.
func (m *Memory) Head(_ context.Context, shard string) (Head, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.shard(shard)
	head := s.head
	head.Outbox = len(s.outbox)
	return head, nil
}

// Load implements Store.
func (m *Memory) Load(_ context.Context, shard string, since uint64, fields []string) ([][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.shard(shard)
	if s.head.Commits < since {
		return nil, ErrWentBack
	}
	out := make([][]byte, len(fields))
	for i, f := range fields {
		out[i] = slices.Clone(s.fields[f])
	}
	return out, nil
}

// Scan implements Store.
func (m *Memory) Scan(_ context.Context, shard string, fn func(string, []byte) bool) error {
	m.mu.Lock()
	fields := maps.Clone(m.shard(shard).fields) // the values are never changed in place
	m.mu.Unlock()
	for k, v := range fields {
		if !fn(k, slices.Clone(v)) {
			return nil
		}
	}
	return nil
}

// Outbox implements Store.
func (m *Memory) Outbox(_ context.Context, shard string, since uint64) ([]Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.shard(shard)
	if s.head.Commits < since {
		return nil, ErrWentBack
	}
	return sortedRecords(s.outbox)
}

func sortedRecords(outbox map[string][]byte) ([]Record, error) {
	out := make([]Record, 0, len(outbox))
	for _, id := range slices.Sorted(maps.Keys(outbox)) {
		r, err := ParseRecord(outbox[id])
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// Commit implements Store.
func (m *Memory) Commit(_ context.Context, c *Commit) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.shard(c.Lease.Shard)
	switch {
	case s.nonce == c.Nonce:
		return nil
	case s.token == "" || s.token != c.Lease.Token:
		return ErrFenced
	case s.head.Commits+1 != c.Number:
		return ErrWentBack
	}
	for _, f := range c.Fields {
		s.fields[f.Name] = slices.Clone(f.Value)
	}
	for _, f := range c.Deleted {
		delete(s.fields, f)
	}
	for i := range c.Records {
		s.outbox[c.Records[i].ID()] = AppendRecord(nil, &c.Records[i])
	}
	for _, id := range c.Left {
		delete(s.outbox, id)
	}
	s.head, s.nonce = Head{Position: c.To, Version: c.Version, Commits: c.Number}, c.Nonce
	return nil
}

// Dump implements Store.
func (m *Memory) Dump(_ context.Context, shard string) (Dump, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.shard(shard)
	records, err := sortedRecords(s.outbox)
	fields := make(map[string][]byte, len(s.fields))
	for k, v := range s.fields {
		fields[k] = slices.Clone(v)
	}
	return Dump{Head: s.head, Fields: fields, Outbox: records}, err
}

// Reset implements Store.
func (m *Memory) Reset(_ context.Context, shard string, to Position, wipe bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.shard(shard)
	s.head.Position, s.token, s.owner, s.nonce = to, "", "", ""
	if wipe {
		clear(s.fields)
		clear(s.outbox)
		s.head.Version = ""
	}
	return nil
}

// Check implements Store.
func (m *Memory) Check(context.Context) error { return nil }

// Save returns a function that takes the store back to what it is now: states, positions, outbox, leases and tokens. It is
// what a fail-over to a replica does that lacks the newest writes.
func (m *Memory) Save() (restore func()) {
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

// Flush forgets everything, as FLUSHALL does.
func (m *Memory) Flush() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.shards)
	clear(m.members)
}
