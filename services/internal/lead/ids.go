package lead

import (
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/leadbaton/baton/api/cloudevent"
)

const (
	// maxIDs is how many ids of events are kept with a lead: the newest.
	maxIDs = 1024
	// inlineIDs is how many of them stand in the main record; when there are more, all stand in chunks.
	inlineIDs = 32
	// idChunks is how many chunks there are. A chunk holds the ids whose hash begins with its number.
	idChunks = 32
)

// idHash is what is kept of an event's identity.
func idHash(source, id string) uint64 {
	var room [cloudevent.MaxID + 64]byte
	b := append(room[:0], source...)
	b = append(b, 0)
	return xxhash.Sum64(append(b, id...))
}

// eventID is one kept id: when the event happened, and its hash.
type eventID struct {
	time int64
	hash uint64
}

func (a eventID) compare(b eventID) int {
	switch {
	case a.time < b.time:
		return -1
	case a.time > b.time:
		return 1
	case a.hash < b.hash:
		return -1
	case a.hash > b.hash:
		return 1
	}
	return 0
}

// idSet is the newest ids of a lead's events.
type idSet struct {
	list []eventID // ascending
	// index finds a hash in a list too long to be searched; nil while it is not.
	index map[uint64]struct{}
	// dirty marks the chunks whose content changed since they were last written.
	dirty uint32
}

// seen is what an idSet says of an event.
type seen uint8

const (
	unseen seen = iota
	counted
	tooOldToTell
)

// add says whether an event has been counted; it is from now on if it was unseen.
func (s *idSet) add(time int64, hash uint64) seen {
	if s.holds(hash) {
		return counted
	}
	e := eventID{time, hash}
	if len(s.list) >= maxIDs {
		if e.compare(s.list[0]) < 0 {
			return tooOldToTell
		}
		s.drop()
	}
	s.insert(e)
	return unseen
}

func (s *idSet) holds(hash uint64) bool {
	if s.index != nil {
		_, ok := s.index[hash]
		return ok
	}
	for i := range s.list {
		if s.list[i].hash == hash {
			return true
		}
	}
	return false
}

func (s *idSet) drop() {
	oldest := s.list[0]
	s.list = s.list[1:]
	delete(s.index, oldest.hash)
	s.dirty |= 1 << chunkOf(oldest.hash)
}

func (s *idSet) insert(e eventID) {
	if n := len(s.list); n == 0 || s.list[n-1].compare(e) < 0 {
		s.list = append(s.list, e)
	} else {
		at, _ := slices.BinarySearchFunc(s.list, e, eventID.compare)
		s.list = slices.Insert(s.list, at, e)
	}
	switch {
	case len(s.list) == inlineIDs+1:
		s.dirty = 1<<idChunks - 1 // all move out of the main record
	default:
		s.dirty |= 1 << chunkOf(e.hash)
	}
	s.reindex(e)
}

func (s *idSet) reindex(e eventID) {
	switch {
	case s.index != nil:
		s.index[e.hash] = struct{}{}
	case len(s.list) > 2*inlineIDs:
		s.index = make(map[uint64]struct{}, 4*inlineIDs)
		for _, k := range s.list {
			s.index[k.hash] = struct{}{}
		}
	}
}

func (s *idSet) chunked() bool { return len(s.list) > inlineIDs }

// oldest returns the time before which no event counts any more; ok is false while every event may.
func (s *idSet) oldest() (time int64, ok bool) {
	if len(s.list) < maxIDs {
		return 0, false
	}
	return s.list[0].time, true
}

func chunkOf(hash uint64) uint { return uint(hash >> 59) }

// appendAll writes the ids of the main record.
func (s *idSet) appendAll(b []byte) []byte {
	b = appendUint(b, uint64(len(s.list)))
	var t int64
	for _, e := range s.list {
		b = appendInt(b, e.time-t)
		b = appendFixed(b, e.hash)
		t = e.time
	}
	return b
}

// appendChunk writes one chunk's ids; nothing if it has none.
func (s *idSet) appendChunk(b []byte, chunk uint) []byte {
	var t int64
	for _, e := range s.list {
		if chunkOf(e.hash) == chunk {
			b = appendInt(b, e.time-t)
			b = appendFixed(b, e.hash)
			t = e.time
		}
	}
	return b
}

// chunks returns a bit for each chunk that has ids.
func (s *idSet) chunks() (set uint32) {
	for _, e := range s.list {
		set |= 1 << chunkOf(e.hash)
	}
	return set
}

func (s *idSet) readAll(r *reader) {
	n := r.count(9)
	var t int64
	for range n {
		t += r.int()
		s.list = append(s.list, eventID{t, r.fixed()})
	}
}

// readChunk takes the ids of a chunk in. Chunks come in any order.
func (s *idSet) readChunk(b []byte) error {
	r := reader{b: b}
	var t int64
	for len(r.b) > 0 && r.err == nil {
		t += r.int()
		e := eventID{t, r.fixed()}
		if r.err == nil {
			at, _ := slices.BinarySearchFunc(s.list, e, eventID.compare)
			s.list = slices.Insert(s.list, at, e)
			s.reindex(e)
		}
	}
	return r.err
}
