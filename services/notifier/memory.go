package notifier

import "time"

// memory keeps the newest values, at most a number of them and for a while. It is not for concurrent use.
type memory[K comparable, V any] struct {
	most  int
	age   time.Duration
	byKey map[K]*kept[K, V]
	order []*kept[K, V] // oldest first; may hold what was forgotten or replaced
}

type kept[K comparable, V any] struct {
	key   K
	value V
	at    time.Time
}

func newMemory[K comparable, V any](most int, age time.Duration) *memory[K, V] {
	return &memory[K, V]{most: most, age: age, byKey: map[K]*kept[K, V]{}}
}

// put keeps a value in place of the one that the key had.
func (m *memory[K, V]) put(key K, value V, now time.Time) {
	k := &kept[K, V]{key, value, now}
	m.byKey[key] = k
	m.order = append(m.order, k)
	for len(m.order) > m.most || now.Sub(m.order[0].at) > m.age {
		if old := m.order[0]; m.byKey[old.key] == old {
			delete(m.byKey, old.key)
		}
		m.order[0] = nil
		m.order = m.order[1:]
	}
}

// get returns the value of a key.
func (m *memory[K, V]) get(key K, now time.Time) (v V, ok bool) {
	k := m.byKey[key]
	if k == nil || now.Sub(k.at) > m.age {
		return v, false
	}
	return k.value, true
}

// forget drops a key.
func (m *memory[K, V]) forget(key K) { delete(m.byKey, key) }
