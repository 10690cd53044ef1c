package lead

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/leadbaton/baton/api/leadkey"
)

// TestIDsAreTheNewest compares an idSet with a plain sorted list, and its records with those of a set that was loaded.
func TestIDsAreTheNewest(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var s idSet
		var kept []eventID
		records := map[string][]byte{}
		n := rapid.SampledFrom([]int{5, 40, 200, 1100}).Draw(r, "n")
		spread := rapid.SampledFrom([]int64{0, 3, 1 << 40}).Draw(r, "spread")
		seed := rapid.Uint64().Draw(r, "seed")
		l := newLead("k")
		for i := range n {
			e := eventID{0, (seed + uint64(i)*0x9e3779b97f4a7c15) ^ (seed << 7)}
			if spread > 0 {
				e.time = int64(e.hash>>3) % spread
			}
			if i%7 == 3 {
				e.hash = kept[len(kept)/2].hash
			}
			want := unseen
			switch {
			case slices.ContainsFunc(kept, func(k eventID) bool { return k.hash == e.hash }):
				want = counted
			case len(kept) == maxIDs && e.compare(kept[0]) < 0:
				want = tooOldToTell
			default:
				kept = append(kept, e)
				slices.SortFunc(kept, eventID.compare)
				kept = kept[max(0, len(kept)-maxIDs):]
			}
			if got := s.add(e.time, e.hash); got != want {
				r.Fatalf("event %d: %d, want %d", i, got, want)
			}
			l.ids = s
			if seed>>(i%64)&1 == 0 {
				l.changed = true
				l.Changes(func(part string, v []byte) {
					if v == nil {
						delete(records, part)
					} else {
						records[part] = bytes.Clone(v)
					}
				})
				s = l.ids
			}
		}
		if !slices.Equal(s.list, kept) {
			r.Fatal("the kept ids are not the newest")
		}
		l.ids, l.changed = s, true
		l.Changes(func(part string, v []byte) {
			if v == nil {
				delete(records, part)
			} else {
				records[part] = bytes.Clone(v)
			}
		})
		back, parts, err := loadLead("k", records[""], vocabulary{})
		if err != nil {
			r.Fatal(err)
		}
		if len(parts) != len(records)-1 {
			r.Fatalf("%d parts are stored, %d are asked for", len(records)-1, len(parts))
		}
		for _, p := range parts {
			if err := back.LoadPart(p, records[p]); err != nil {
				r.Fatal(err)
			}
		}
		if !slices.Equal(back.ids.list, kept) {
			r.Fatal("the loaded ids are others")
		}
		if d := difference(records, encoded(back)); d != "" {
			r.Fatal(d)
		}
	})
}

// encoded returns all records of a lead.
func encoded(l *Lead) map[string][]byte {
	l.changed, l.claimsChanged, l.ids.dirty = true, true, 1<<idChunks-1
	m := map[string][]byte{}
	l.Changes(func(part string, v []byte) {
		if v != nil {
			m[part] = bytes.Clone(v)
		}
	})
	return m
}

// TestManyEventsOfOneLeadSurviveRestarts goes through all forms of a lead's records.
func TestManyEventsOfOneLeadSurviveRestarts(t *testing.T) {
	a := propertyAgreement(t, true)
	const n = 1100
	for _, every := range []int{1, 37, 400} {
		whole, split := newWorld(nil), newWorld(nil)
		store := map[string][]byte{}
		for _, w := range []*world{whole, split} {
			w.activate(t, a, 1)
		}
		for i := range n {
			e := published{lead: person, id: fmt.Sprint(i), source: "web", kind: "page.viewed",
				at: now.Add(-timeOf(i)), properties: map[string]any{"path": "/pricing"}}
			for _, w := range []*world{whole, split} {
				key, err := w.publishEvent(e.body(), arrivals)
				if err == nil {
					err = w.settle()
				}
				if err != nil {
					t.Fatal(err)
				}
				if s := w.shard(key.Shard()); w == split && i%every == 0 {
					s.commit(store)
					s.restart(t, store, string(key))
				}
			}
		}
		for _, s := range split.shards {
			s.commit(store)
		}
		if d := difference(stored(whole), store); d != "" {
			t.Fatal(d)
		}
	}
}

// TestCapsHoldForLeadsWithManyEvents: the stretches that an event may still come for are remembered.
func TestCapsHoldForLeadsWithManyEvents(t *testing.T) {
	a := propertyAgreement(t, true)
	var events []published
	add := func(at time.Duration) {
		events = append(events, published{lead: person, id: fmt.Sprint(len(events)), source: "web", kind: "page.viewed",
			at: now.Add(at), properties: map[string]any{"path": "/"}})
	}
	for i := range 1500 {
		add(time.Duration(i) * 80 * time.Minute)
	}
	// The oldest id that is kept is that of event 476 or later.
	for i := range 50 {
		add(time.Duration(700+10*i)*80*time.Minute + time.Minute)
	}
	w := foldAll(t, a, events)
	key := leadkey.FromEmail("p@acme.example")
	if n := w.lead(key).events; n != uint64(len(events)) {
		t.Fatalf("%d of %d events counted", n, len(events))
	}
	at := now.Add(84 * 24 * time.Hour)
	want, _ := model(a, events, at).Float64()
	if got := Explain(w.lead(key), w.log(key), at)[0].GetScore().GetEngagement(); got-want > 0.01 || want-got > 0.01 {
		t.Errorf("engagement is %v, the model says %v", got, want)
	}
	if n := len(w.lead(key).standings[0].spends[0].granted); n > 32 {
		t.Errorf("%d stretches are remembered", n)
	}
}
