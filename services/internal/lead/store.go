package lead

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
)

// encoding is the first byte of every main record.
const encoding = 1

// claimsPart is the part that holds a lead's claims.
const claimsPart = "claims"

func chunkPart(chunk uint) string {
	return idParts[chunk]
}

var idParts = func() (names [idChunks]string) {
	for i := range names {
		names[i] = fmt.Sprintf("ids-%02d", i)
	}
	return names
}()

// rooms are what records are encoded in.
var rooms = sync.Pool{New: func() any {
	b := make([]byte, 0, 4096)
	return &b
}}

// Changes implements fold.State. A value is valid until put returns.
func (l *Lead) Changes(put func(part string, value []byte)) {
	room, _ := rooms.Get().(*[]byte)
	defer rooms.Put(room)
	if l.changed || l.claimsChanged {
		*room = l.appendMain((*room)[:0])
		put("", *room)
	}
	if l.claimsChanged && (len(l.claims) > 0 || l.hadClaims) {
		var b []byte
		for _, c := range l.claims {
			b = append(b, c.alias...)
			b = appendBool(b, c.open)
		}
		put(claimsPart, b)
		l.hadClaims = len(l.claims) > 0
	}
	if l.ids.dirty != 0 && l.ids.chunked() {
		for chunk := range uint(idChunks) {
			if l.ids.dirty&(1<<chunk) == 0 {
				continue
			}
			*room = l.ids.appendChunk((*room)[:0], chunk)
			if len(*room) == 0 {
				put(chunkPart(chunk), nil)
			} else {
				put(chunkPart(chunk), *room)
			}
		}
	}
	l.changed, l.claimsChanged, l.ids.dirty = false, false, 0
}

// LoadPart implements fold.State.
func (l *Lead) LoadPart(part string, value []byte) error {
	if part != claimsPart {
		if len(part) != len(idParts[0]) || part[:4] != "ids-" {
			return errDamaged
		}
		if len(value) == 0 {
			return errors.New("lead: a part of a stored state is missing: " + part)
		}
		return l.ids.readChunk(value)
	}
	const size = 33
	if len(value) == 0 || len(value)%size != 0 {
		return errDamaged
	}
	for ; len(value) > 0; value = value[size:] {
		l.claims = append(l.claims, claim{string(value[:size-1]), value[size-1] != 0})
	}
	l.hadClaims = true
	return nil
}

func (l *Lead) appendMain(b []byte) []byte {
	b = append(b, encoding)
	b = appendInt(b, l.clock)
	b = appendUint(b, l.events)
	b = appendUint(b, l.tooOld)
	b = appendUint(b, l.unreadable)
	b = appendText(b, l.claimant)
	b = appendBool(b, len(l.claims) > 0)
	if l.ids.chunked() {
		b = appendUint(append(b, 1), uint64(l.ids.chunks()))
	} else {
		b = l.ids.appendAll(append(b, 0))
	}
	var sourceRoom [8]string
	sources := l.sources(sourceRoom[:0])
	b = appendUint(b, uint64(len(sources)))
	for _, s := range sources {
		b = appendText(b, s)
	}
	for space := range l.attributes {
		b = appendUint(b, uint64(len(l.attributes[space])))
		for i := range l.attributes[space] {
			a := &l.attributes[space][i]
			b = appendText(b, a.name)
			b = appendValue(b, a.raw)
			b = appendUint(b, uint64(indexOf(sources, a.source)))
			// Most attributes were said last by one of the newest events.
			b = appendInt(b, l.clock-a.time)
			b = appendBool(b, a.foreign)
		}
	}
	var actRoom [8]*act
	acts := l.acts(actRoom[:0])
	b = appendUint(b, uint64(len(acts)))
	for _, a := range acts {
		b = appendAct(b, a)
	}
	b = appendUint(b, uint64(len(l.standings)))
	for _, s := range l.standings {
		b = s.append(b, acts)
	}
	return b
}

// sources appends the sources of all attributes to list, each once, in the order of their first use.
func (l *Lead) sources(list []string) []string {
	for space := range l.attributes {
		for i := range l.attributes[space] {
			if s := l.attributes[space][i].source; indexOf(list, s) < 0 {
				list = append(list, s)
			}
		}
	}
	return list
}

func indexOf(list []string, s string) int {
	for i := range list {
		if list[i] == s {
			return i
		}
	}
	return -1
}

// acts appends all acts of the lead to list, each once: agreements and paths share them.
func (l *Lead) acts(list []*act) []*act {
	for _, s := range l.standings {
		list = withAct(list, s.act)
		for i := range s.byRule {
			list = withAct(list, s.byRule[i].act)
		}
	}
	return list
}

func withAct(list []*act, a *act) []*act {
	if a == nil || actIndex(list, a) > 0 {
		return list
	}
	return append(list, a)
}

// actIndex returns an act's place in a list, from 1; 0 for none.
func actIndex(list []*act, a *act) int {
	for i := range list {
		if list[i] == a {
			return i + 1
		}
	}
	return 0
}

func appendAct(b []byte, a *act) []byte {
	b = appendText(b, a.source)
	b = appendText(b, a.id)
	b = appendText(b, a.kind)
	b = appendInt(b, a.time)
	b = appendInt(b, a.arrived)
	b = appendText(b, a.properties)
	return appendText(b, a.campaign)
}

func readAct(r *reader) *act {
	return &act{
		source: r.text(), id: r.text(), kind: r.text(), time: r.int(), arrived: r.int(),
		properties: r.text(), campaign: r.text(),
	}
}

func (s *standing) append(b []byte, acts []*act) []byte {
	b = appendText(b, s.agreement)
	b = appendText(b, s.stage)
	b = appendUint(b, uint64(s.episode))
	b = appendBool(b, s.open)
	b = appendText(b, s.path)
	b = appendText(b, s.outcome)
	if s.outcome != "" {
		b = appendInt(b, s.closed)
		b = appendInt(b, s.again)
		b = appendBool(b, s.never)
	}
	b = appendBool(b, s.resets)
	if s.resets {
		b = appendInt(b, s.reset)
	}
	b = appendUint(b, uint64(len(s.consent)))
	for _, c := range s.consent {
		b = appendText(b, c)
	}
	b = appendUint(b, uint64(len(s.sums)))
	for i := range s.sums {
		b = s.sums[i].append(b)
	}
	b = appendUint(b, uint64(len(s.spends)))
	for i := range s.spends {
		b = s.spends[i].append(b)
	}
	b = appendUint(b, s.fitEpoch)
	if s.fitEpoch != 0 {
		b = appendUint(b, uint64(len(s.fit)))
		for i := 0; i < len(s.fit); i += 8 {
			var bits byte
			for j, v := range s.fit[i:min(i+8, len(s.fit))] {
				if v {
					bits |= 1 << j
				}
			}
			b = append(b, bits)
		}
	}
	b = append(b, s.told)
	b = appendText(b, s.toldBy)
	b = appendUint(b, uint64(actIndex(acts, s.act)))
	b = appendBool(b, s.loaded)
	b = appendUint(b, uint64(len(s.byRule)))
	for _, x := range s.byRule {
		b = appendText(b, x.rule)
		b = appendUint(b, uint64(actIndex(acts, x.act)))
	}
	b = appendUint(b, uint64(len(s.tail)))
	for _, c := range s.tail {
		b = appendText(b, c.rule)
		b = appendInt(b, c.halfLife)
		b = appendInt(b, c.points)
		b = appendInt(b, c.time)
	}
	return b
}

func (s *ruleSums) append(b []byte) []byte {
	b = appendText(b, s.rule)
	b = appendInt(b, s.halfLife)
	b = appendInt(b, s.gross)
	b = appendInt(b, s.cut)
	b = appendUint(b, s.count)
	b = appendInt(b, s.first)
	b = appendInt(b, s.last-s.first)
	b = appendUint(b, uint64(len(s.stretches)))
	var index int64
	for i := range s.stretches {
		x := &s.stretches[i]
		b = appendInt(b, x.index-index)
		b = appendWide(b, x.gross)
		b = appendWide(b, x.cut)
		index = x.index
	}
	return b
}

func (s *spend) append(b []byte) []byte {
	b = appendText(b, s.rule)
	b = appendInt(b, s.per)
	b = appendUint(b, uint64(len(s.granted)))
	var index int64
	for _, g := range s.granted {
		b = appendInt(b, g.index-index)
		b = appendInt(b, g.points)
		index = g.index
	}
	return b
}

// loadLead reads a main record; nil stands for a lead that nothing is known of.
func loadLead(key string, main []byte, words vocabulary) (*Lead, []string, error) {
	l := newLead(key)
	if main == nil {
		return l, nil, nil
	}
	r := &reader{b: main}
	if v := r.byte(); v != encoding {
		return nil, nil, errors.New("lead: a stored state has the unknown encoding " + strconv.Itoa(int(v)))
	}
	l.clock, l.events, l.tooOld, l.unreadable = r.int(), r.uint(), r.uint(), r.uint()
	l.claimant = r.text()
	var parts []string
	if r.bool() {
		parts = append(parts, claimsPart)
	}
	if r.bool() {
		set := r.uint()
		for chunk := range uint(idChunks) {
			if set&(1<<chunk) != 0 {
				parts = append(parts, chunkPart(chunk))
			}
		}
	} else {
		l.ids.readAll(r)
	}
	sources := make([]string, r.count(1))
	for i := range sources {
		sources[i] = r.word(words)
	}
	for space := range l.attributes {
		list := make([]attr, r.count(5))
		for i := range list {
			list[i] = attr{name: r.word(words), raw: r.value()}
			if s := r.uint(); s < uint64(len(sources)) {
				list[i].source = sources[s]
			} else {
				r.fail()
			}
			list[i].time = l.clock - r.int()
			list[i].foreign = r.bool()
		}
		l.attributes[space] = list
	}
	acts := make([]*act, r.count(7))
	for i := range acts {
		acts[i] = readAct(r)
	}
	l.standings = make([]*standing, r.count(10))
	for i := range l.standings {
		l.standings[i] = readStanding(r, acts)
	}
	if r.err == nil && len(r.b) > 0 {
		r.fail()
	}
	return l, parts, r.err
}

func readStanding(r *reader, acts []*act) *standing {
	actAt := func() *act {
		n := r.uint()
		if n > uint64(len(acts)) {
			r.fail()
			return nil
		}
		if n == 0 {
			return nil
		}
		return acts[n-1]
	}
	s := &standing{
		agreement: r.text(), stage: r.text(), episode: uint32(r.uint()), open: r.bool(), path: r.text(), outcome: r.text(),
	}
	if s.outcome != "" {
		s.closed, s.again, s.never = r.int(), r.int(), r.bool()
	}
	if s.resets = r.bool(); s.resets {
		s.reset = r.int()
	}
	s.consent = make([]string, r.count(1))
	for i := range s.consent {
		s.consent[i] = r.text()
	}
	s.sums = make([]ruleSums, r.count(8))
	for i := range s.sums {
		s.sums[i].read(r)
	}
	s.spends = make([]spend, r.count(3))
	for i := range s.spends {
		s.spends[i].read(r)
	}
	if s.fitEpoch = r.uint(); s.fitEpoch != 0 {
		n := r.uint()
		if n > 8*uint64(len(r.b)) {
			r.fail()
			n = 0
		}
		s.fit = make([]bool, n)
		var bits byte
		for i := range s.fit {
			if i%8 == 0 {
				bits = r.byte()
			}
			s.fit[i] = bits&(1<<(i%8)) != 0
		}
	}
	s.told, s.toldBy = r.byte(), r.text()
	s.act, s.loaded = actAt(), r.bool()
	s.byRule = make([]ruleAct, r.count(2))
	for i := range s.byRule {
		s.byRule[i] = ruleAct{r.text(), actAt()}
		if s.byRule[i].act == nil {
			r.fail()
		}
	}
	s.tail = make([]credit, r.count(4))
	for i := range s.tail {
		s.tail[i] = credit{r.text(), r.int(), r.int(), r.int()}
	}
	return s
}

func (s *ruleSums) read(r *reader) {
	s.rule, s.halfLife = r.text(), r.int()
	s.gross, s.cut, s.count = r.int(), r.int(), r.uint()
	s.first = r.int()
	s.last = s.first + r.int()
	s.stretches = make([]stretch, r.count(3))
	var index int64
	for i := range s.stretches {
		index += r.int()
		s.stretches[i] = stretch{index, r.wide(), r.wide()}
	}
}

func (s *spend) read(r *reader) {
	s.rule, s.per = r.text(), r.int()
	s.granted = make([]granted, r.count(2))
	var index int64
	for i := range s.granted {
		index += r.int()
		s.granted[i] = granted{index, r.int()}
	}
}
