package simulation_test

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
)

// model says what must become of the messages of one shard. It shares nothing with the code under test but their encoding:
// it is the agreement of testdata by hand, on whole points.
type model struct {
	leads   map[string]*person
	origins map[string]fold.Origin // of the last message of each producer
	twice   map[string]int         // messages of each producer that were there before
	reached map[string]string      // the lead that each event was published to, by its id
	poison  int
}

// person is a lead.
type person struct {
	key                          string
	counted                      map[string]uint64 // the message of each event that counts
	newest                       []kept            // of the events that were taken, by time
	tooOld                       map[string]int    // how often each event came that is older than all of these
	views, pricing, careers, dem int
	clicks                       []int64 // when: their points fade
	clock                        int64   // the newest event that counts
	title                        string
	titled                       int64 // when
	withdrawn                    bool

	claims        map[string]bool // by alias: whether its history is on its way
	open, never   bool
	outcome       string
	act, demo     int64 // the newest by their own time, history and what came before a closing left out; 0 = none
	closed, again int64
	loaded        bool // history came after the newest act
	claimant      string
	next          map[string]string // the claimant that each event went on to, by its id
	merged        string            // into whom, as LEADS must say each time; "" while it has nothing at sales
	episode       int
	qualified     []qualification
	reachable     bool
}

// qualification is one that must be in LEADS, by the message that caused it.
type qualification struct {
	sequence uint64
	episode  int
	path     string
	score    float64
}

// kept is an event that is remembered.
type kept struct {
	at int64
	id string
}

// mostKept is how many are.
const mostKept = 1024

func newModel() *model {
	return &model{leads: map[string]*person{}, origins: map[string]fold.Origin{}, twice: map[string]int{}, reached: map[string]string{}}
}

func (m *model) lead(key string) *person {
	p := m.leads[key]
	if p == nil {
		p = &person{key: key, counted: map[string]uint64{}, claims: map[string]bool{}, next: map[string]string{}, tooOld: map[string]int{}}
		m.leads[key] = p
	}
	return p
}

// engagement is an event as it was published.
type engagement struct {
	ID, Type string
	Time     time.Time
	History  bool
	Data     struct {
		From string // of a merge: the key of the lead that becomes an alias
		Lead struct {
			Key, Email, AnonymousID, Title string
			IDs                            map[string]string
		}
		Properties struct{ Path, Form string }
	}
}

func (e *engagement) key() string {
	if e.Data.Lead.Key != "" {
		return e.Data.Lead.Key
	}
	k, _ := leadkey.Of(e.Data.Lead.Email, e.Data.Lead.IDs, e.Data.Lead.AnonymousID)
	return string(k)
}

// fold takes one message of the shard.
func (m *model) fold(msg fold.Message) {
	s, _ := subject.ParseEngagement(msg.Subject)
	if !s.Own() || s.Source == subject.Operator {
		e := &engagement{}
		if json.Unmarshal(msg.Data, e) != nil {
			m.poison++
			return
		}
		m.published(e, msg)
		return
	}
	in := &shardv1.Inbound{}
	if proto.Unmarshal(msg.Data, in) != nil {
		m.poison++
		return
	}
	o := fold.Origin{Incarnation: in.GetOrigin().GetIncarnation(), Sequence: in.GetOrigin().GetSequence(), Ordinal: in.GetOrigin().GetOrdinal()}
	if last, ok := m.origins[s.Producer()]; ok && !o.After(last) {
		m.twice[s.Producer()]++
		return
	}
	m.origins[s.Producer()] = o
	if in.GetLeadKey() == "" {
		return
	}
	p := m.lead(in.GetLeadKey())
	switch {
	case in.GetIdentityClaim() != nil:
		p.claimed(in.GetIdentityClaim().GetClaimant())
	case in.GetForwardedEvent() != nil:
		e := &engagement{}
		if json.Unmarshal(in.GetForwardedEvent().GetEvent(), e) == nil {
			p.reached(e, msg.Sequence, in.GetForwardedEvent().GetArrivedAt().AsTime().UnixNano(), false)
		}
	case in.GetClaimDone() != nil:
		p.done(in.GetClaimDone(), msg.Sequence)
	case in.GetAliasReleased() != nil:
		delete(p.claims, in.GetAliasReleased().GetAlias())
	case in.GetHandoffMoved().GetClosed() && p.claimant == "":
		p.close(in.GetHandoffMoved().GetMoved(), in.GetHandoffMoved().GetAt().AsTime().UnixNano())
	}
}

// published takes an event as it came from outside.
func (m *model) published(e *engagement, msg fold.Message) {
	if _, known := m.reached[e.ID]; !known {
		m.reached[e.ID] = e.key()
	}
	m.lead(e.key()).reached(e, msg.Sequence, msg.Time, true)
}

// reached takes an event that is the lead's, or of whoever has claimed that last, where it is looked up again.
func (p *person) reached(e *engagement, sequence uint64, arrived int64, outside bool) {
	t := e.Time.UnixNano()
	if t > arrived+int64(5*time.Minute) {
		t = arrived
	}
	if (p.claimant == "" || outside) && !p.takes(kept{t, e.ID}) {
		return
	}
	if p.claimant == "" {
		p.happened(e, sequence, t)
	} else if _, known := p.next[e.ID]; !known {
		p.next[e.ID] = p.claimant
	}
}

// takes says whether an event was not there before, as far as that can be told. Of two at one time it does not matter which is
// kept: the oldest are hours old, and each has its own time.
func (p *person) takes(k kept) bool {
	for _, x := range p.newest {
		if x.id == k.id {
			return false
		}
	}
	if len(p.newest) == mostKept {
		if k.at < p.newest[0].at {
			p.tooOld[k.id]++
			return false
		}
		p.newest = p.newest[1:]
	}
	i, _ := slices.BinarySearchFunc(p.newest, k, func(a, b kept) int { return cmp.Compare(a.at, b.at) })
	p.newest = slices.Insert(p.newest, i, k)
	return true
}

// claimed gives an identity to a lead; its history goes to the first that claims it. Of two that claim each other, the lower
// key stays a lead.
func (p *person) claimed(claimant string) {
	if open, mine := p.claims[claimant]; mine && (!open || p.key < claimant) {
		return
	}
	if p.claimant == "" {
		for id := range p.counted {
			p.next[id] = claimant
		}
		if p.episode > 0 {
			p.merged = claimant
		}
	}
	p.claimant = claimant
}

// done takes note that the history of an alias is there, and takes over how its newest episode stands.
func (p *person) done(d *shardv1.ClaimDone, sequence uint64) {
	if _, mine := p.claims[d.GetAlias()]; mine && d.GetRefused() {
		delete(p.claims, d.GetAlias())
	} else if mine {
		p.claims[d.GetAlias()] = false
	}
	if p.claimant != "" {
		if len(d.GetEpisodes()) > 0 && p.episode == 0 {
			p.merged += p.claimant
		}
		return
	}
	for _, e := range d.GetEpisodes() {
		closed := e.GetClosedAt().AsTime().UnixNano()
		later := e.GetOutcome() != "" && (p.outcome == "" || closed > p.closed)
		if p.open || !later && !e.GetOpen() {
			continue
		}
		if later {
			p.end(e.GetOutcome(), closed)
		}
		p.open, p.episode = e.GetOpen(), max(p.episode, int(e.GetNumber()))
	}
	p.judge(sequence)
}

// happened counts an event.
func (p *person) happened(e *engagement, sequence uint64, t int64) {
	p.counted[e.ID] = sequence
	p.clock = max(p.clock, t)
	if title := e.Data.Lead.Title; title != "" && (p.title == "" || t >= p.titled) {
		p.title, p.titled = title, t
	}
	if e.Type == "lead.merged" {
		p.tie(e.Data.From)
	}
	if e.Data.Lead.Email != "" {
		p.reachable = true
		for system, id := range e.Data.Lead.IDs {
			p.tie(string(leadkey.FromID(system, id)))
		}
		if a := e.Data.Lead.AnonymousID; a != "" {
			p.tie(string(leadkey.FromAnonymous(a)))
		}
	}
	p.withdrawn = p.withdrawn || e.Type == "consent.withdrawn"
	net := p.points(e, t)
	demo := e.Type == "form.submitted"
	switch {
	case e.History:
		p.loaded = p.loaded || net > 0
		return // it hands nothing off
	case p.outcome != "" && t < p.closed, net <= 0:
	default:
		if demo {
			p.demo = max(p.demo, t)
		}
		if p.outcome == "" || !p.never && t >= p.again {
			if p.act == 0 || t >= p.act || p.loaded {
				p.act = t
			}
			p.loaded = false
		}
	}
	p.judge(sequence)
}

// points counts what an event is worth, and returns it.
func (p *person) points(e *engagement, t int64) int {
	switch e.Type {
	case "page.viewed":
		p.views++
		switch e.Data.Properties.Path {
		case "/pricing":
			before := min(25, 10*p.pricing)
			p.pricing++
			return 1 + min(25, 10*p.pricing) - before
		case "/careers":
			p.careers++
			return 1 - 3
		}
		return 1
	case "email.clicked":
		p.clicks = append(p.clicks, t)
		return 4
	case "form.submitted":
		p.dem++
		return 30
	}
	return 0
}

// score is what the person is worth at an instant, to a thousandth.
func (p *person) score(at int64) float64 {
	s := min(40, p.views+min(25, 10*p.pricing)) + 30*p.dem - 3*p.careers
	if p.title == "Director" {
		s += 10
	}
	faded := 0.0
	for _, t := range p.clicks {
		faded += 4 * math.Exp2(-float64(at-t)/float64(fades))
	}
	return float64(s) + math.Round(1000*faded)/1000
}

// fades is after how long a click is worth half.
const fades = 12 * time.Hour

// same says whether two scores differ in the last digit at most.
func same(a, b float64) bool { return math.Abs(a-b) < 0.0015 }

func (p *person) tie(alias string) {
	if _, ok := p.claims[alias]; !ok && alias != p.key {
		p.claims[alias] = true
	}
}

func (p *person) awaits() bool {
	for _, open := range p.claims {
		if open {
			return true
		}
	}
	return false
}

// judge opens an episode if the lead qualifies.
func (p *person) judge(sequence uint64) {
	switch {
	case p.open, p.awaits(), !p.reachable, p.title == "Student", p.withdrawn, p.outcome != "" && p.act == 0:
		return
	case p.demo != 0:
		p.qualify("hand-raise", sequence)
	case p.score(p.clock) >= 40 && p.act != 0 && !p.loaded:
		p.qualify("scored", sequence)
	}
}

func (p *person) qualify(path string, sequence uint64) {
	p.open = true
	p.episode++
	p.qualified = append(p.qualified, qualification{sequence, p.episode, path, p.score(p.clock)})
}

// pauses are how long a lead waits after each outcome before it may qualify again.
var pauses = map[string]time.Duration{
	"rejected": 2 * time.Minute, "nurture": 2 * time.Minute, "lost": 5 * time.Minute, "disqualified": time.Hour, "recalled": 0,
}

func (p *person) close(outcome string, at int64) {
	p.open, p.loaded = false, false
	p.end(outcome, at)
}

func (p *person) end(outcome string, at int64) {
	pause, again := pauses[outcome]
	p.outcome, p.never = outcome, !again
	p.closed, p.again = at, at+int64(pause)
	if p.never || p.act < p.again {
		p.act = 0
	}
	if p.demo < at {
		p.demo = 0
	}
}
