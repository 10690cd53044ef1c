package notifier

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/leadbaton/baton/services/internal/fold"
)

func TestMemoryIsBounded(t *testing.T) {
	m := newMemory[string, int](2, time.Hour)
	now := time.Unix(0, 0)
	want := func(key string, value int, there bool) {
		t.Helper()
		if v, ok := m.get(key, now); v != value || ok != there {
			t.Fatalf("%s is %d, %v; want %d, %v", key, v, ok, value, there)
		}
	}
	m.put("a", 1, now)
	m.put("b", 2, now)
	m.put("c", 3, now)
	want("a", 0, false) // pushed out
	want("b", 2, true)
	m.put("c", 4, now)
	want("b", 0, false)
	want("c", 4, true)
	m.forget("c")
	want("c", 0, false)
	m.put("d", 5, now)
	now = now.Add(time.Hour + 1)
	want("d", 0, false) // too old
	m.put("e", 6, now)
	if len(m.order) != 1 || len(m.byKey) != 1 {
		t.Fatalf("%d and %d are kept, want 1", len(m.order), len(m.byKey))
	}
}

func TestTokenRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := fold.Position{Created: rapid.Int64().Draw(t, "created"), Sequence: rapid.Uint64().Draw(t, "sequence"), Time: rapid.Int64().Draw(t, "time")}
		token := encodeToken(p)
		if got, err := decodeToken(token); err != nil || got != p {
			t.Fatalf("got %v, %v; want %v", got, err, p)
		}
		// No part of a token, and nothing longer, is one.
		cut := rapid.IntRange(0, len(token)-1).Draw(t, "cut")
		if _, err := decodeToken(token[:cut]); err == nil {
			t.Fatalf("%q was taken", token[:cut])
		}
		if _, err := decodeToken(token + "AAAA"); err == nil {
			t.Fatal("a longer one was taken")
		}
	})
}
