package fold

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"sync"
	"time"
)

// Memory is a Store in this process's memory. It keeps the same promises as the others while the process lives; after a start
// the shards go on from their snapshots.
type Memory struct {
	mu      sync.Mutex // of the maps
	now     func() time.Time
	shards  map[string]*memoryShard
	members map[string]time.Time
}

type memoryShard struct {
	mu sync.Mutex
	contents
}

type contents struct {
	head   Head
	token  string
	nonce  string
	owner  string
	until  time.Time
	fields map[string][]byte // whose values are never changed in place
	outbox map[string][]byte
}

// NewMemory returns an empty Memory.
func NewMemory() *Memory {
	return &Memory{now: time.Now, shards: map[string]*memoryShard{}, members: map[string]time.Time{}}
}

var _ Store = (*Memory)(nil)

// shard returns a shard, locked.
func (m *Memory) shard(id string) *memoryShard {
	m.mu.Lock()
	s := m.shards[id]
	if s == nil {
		s = &memoryShard{contents: contents{fields: map[string][]byte{}, outbox: map[string][]byte{}}}
		m.shards[id] = s
	}
	m.mu.Unlock()
	s.mu.Lock()
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
	s, now := m.shard(shard), m.now()
	defer s.mu.Unlock()
	if s.owner != "" && s.owner != member && s.until.After(now) {
		return Lease{}, false, nil
	}
	s.owner, s.until, s.token = member, now.Add(ttl), rand.Text()
	return Lease{Shard: shard, Owner: member, Token: s.token}, true, nil
}

// Renew implements Leases.
func (m *Memory) Renew(_ context.Context, l Lease, ttl time.Duration) (uint64, error) {
	s := m.shard(l.Shard)
	defer s.mu.Unlock()
	if s.token != l.Token {
		return 0, ErrFenced
	}
	s.owner, s.until = l.Owner, m.now().Add(ttl)
	return s.head.Commits, nil
}

// Release implements Leases.
func (m *Memory) Release(_ context.Context, l Lease) error {
	s := m.shard(l.Shard)
	defer s.mu.Unlock()
	if s.token == l.Token {
		s.owner, s.token = "", ""
	}
	return nil
}

// Owners implements Leases.
func (m *Memory) Owners(_ context.Context, shards []string) (map[string]string, error) {
	out := map[string]string{}
	for _, id := range shards {
		s := m.shard(id)
		if s.owner != "" && s.until.After(m.now()) {
			out[id] = s.owner
		}
		s.mu.Unlock()
	}
	return out, nil
}

// Head implements Store.
func (m *Memory) Head(_ context.Context, shard string) (Head, error) {
	s := m.shard(shard)
	defer s.mu.Unlock()
	head := s.head
	head.Outbox = len(s.outbox)
	return head, nil
}

// Load implements Store.
func (m *Memory) Load(_ context.Context, shard string, h Held, fields []string) ([][]byte, error) {
	s := m.shard(shard)
	defer s.mu.Unlock()
	if err := h.check(s.token, s.head.Commits); err != nil {
		return nil, err
	}
	out := make([][]byte, len(fields))
	for i, f := range fields {
		out[i] = s.fields[f]
	}
	return out, nil
}

// Scan implements Store.
func (m *Memory) Scan(_ context.Context, shard string, h Held, fn func(string, []byte) bool) error {
	s := m.shard(shard)
	names := slices.Collect(maps.Keys(s.fields))
	err := h.check(s.token, s.head.Commits)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	for some := range slices.Chunk(names, 1000) {
		values := make([][]byte, len(some))
		s := m.shard(shard)
		err := h.check(s.token, s.head.Commits)
		for i, name := range some {
			values[i] = s.fields[name]
		}
		s.mu.Unlock()
		if err != nil {
			return err
		}
		for i, name := range some {
			if values[i] != nil && !fn(name, values[i]) {
				return nil
			}
		}
	}
	return nil
}

// Outbox implements Store.
func (m *Memory) Outbox(_ context.Context, shard string, h Held) ([]Record, error) {
	s := m.shard(shard)
	defer s.mu.Unlock()
	if err := h.check(s.token, s.head.Commits); err != nil {
		return nil, err
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
	s := m.shard(c.Lease.Shard)
	defer s.mu.Unlock()
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
	s := m.shard(shard)
	defer s.mu.Unlock()
	records, err := sortedRecords(s.outbox)
	fields := make(map[string][]byte, len(s.fields))
	for k, v := range s.fields {
		fields[k] = slices.Clone(v)
	}
	return Dump{Head: s.head, Fields: fields, Outbox: records}, err
}

// Reset implements Store.
func (m *Memory) Reset(_ context.Context, shard string, to Position, wipe bool) error {
	s := m.shard(shard)
	defer s.mu.Unlock()
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
	saved := map[string]contents{}
	m.each(func(id string, s *memoryShard) { saved[id] = s.copy() })
	return func() {
		m.each(func(id string, s *memoryShard) {
			was := saved[id]
			s.contents = was.copy()
		})
	}
}

// Flush forgets everything, as FLUSHALL does.
func (m *Memory) Flush() {
	m.each(func(_ string, s *memoryShard) {
		var none contents
		s.contents = none.copy()
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.members)
}

// each calls fn for every shard, while nobody else has any.
func (m *Memory) each(fn func(id string, s *memoryShard)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.shards {
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	for id, s := range m.shards {
		fn(id, s)
	}
}

func (c *contents) copy() contents {
	out := *c
	out.fields, out.outbox = maps.Clone(c.fields), maps.Clone(c.outbox)
	if out.fields == nil {
		out.fields, out.outbox = map[string][]byte{}, map[string][]byte{}
	}
	return out
}
