package simulation_test

import (
	"cmp"
	"encoding/json"
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
	owner   map[string]string      // whose each event is, by its id
	poison  int
}

// person is a lead.
type person struct {
	counted                              map[string]uint64 // the message of each event that counts
	views, pricing, careers, clicks, dem int
	title                                string
	withdrawn                            bool

	claims        map[string]bool // by alias: whether its history is on its way
	open, never   bool
	outcome       string
	act, demo     int64 // the newest by their own time, history and what came before a closing left out; 0 = none
	closed, again int64
	loaded        bool // history came after the newest act
	claimant      string
	qualified     []qualification
	reachable     bool
}

// qualification is one that must be in LEADS, by the message that caused it.
type qualification struct {
	sequence uint64
	path     string
	score    int
}

func newModel() *model {
	return &model{leads: map[string]*person{}, origins: map[string]fold.Origin{}, twice: map[string]int{}, owner: map[string]string{}}
}

func (m *model) lead(key string) *person {
	p := m.leads[key]
	if p == nil {
		p = &person{counted: map[string]uint64{}, claims: map[string]bool{}}
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
		Lead struct {
			Email, AnonymousID, Title string
			IDs                       map[string]string
		}
		Properties struct{ Path, Form string }
	}
}

func (e *engagement) key() string {
	k, _ := leadkey.Of(e.Data.Lead.Email, e.Data.Lead.IDs, e.Data.Lead.AnonymousID)
	return string(k)
}

// fold takes one message of the shard.
func (m *model) fold(msg fold.Message) {
	s, _ := subject.ParseEngagement(msg.Subject)
	if !s.Own() {
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
		m.claimed(p, in.GetIdentityClaim().GetClaimant())
	case in.GetForwardedEvent() != nil:
		e := &engagement{}
		if json.Unmarshal(in.GetForwardedEvent().GetEvent(), e) == nil {
			p.happened(e, msg.Sequence, in.GetForwardedEvent().GetArrivedAt().AsTime().UnixNano())
		}
	case in.GetClaimDone() != nil:
		p.claims[in.GetClaimDone().GetAlias()] = false
		p.judge(msg.Sequence)
	case in.GetAliasReleased() != nil:
		delete(p.claims, in.GetAliasReleased().GetAlias())
	case in.GetHandoffMoved().GetClosed():
		p.close(in.GetHandoffMoved().GetMoved(), in.GetHandoffMoved().GetAt().AsTime().UnixNano())
	}
}

// published takes an event as it came from outside: it is the lead's of its key, or of whoever has claimed that last.
func (m *model) published(e *engagement, msg fold.Message) {
	p := m.lead(e.key())
	if _, known := m.owner[e.ID]; !known {
		m.owner[e.ID] = cmp.Or(p.claimant, e.key())
	}
	if p.claimant == "" {
		p.happened(e, msg.Sequence, msg.Time)
	}
}

// claimed gives an identity to a lead; its history goes to the first that claims it.
func (m *model) claimed(p *person, claimant string) {
	if p.claimant == "" {
		for id := range p.counted {
			m.owner[id] = claimant
		}
	}
	p.claimant = claimant
}

// happened counts an event once.
func (p *person) happened(e *engagement, sequence uint64, arrived int64) {
	if _, ok := p.counted[e.ID]; ok {
		return
	}
	p.counted[e.ID] = sequence
	t := e.Time.UnixNano()
	if t > arrived+int64(5*time.Minute) {
		t = arrived
	}
	if e.Data.Lead.Title != "" {
		p.title = e.Data.Lead.Title
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
	net := p.points(e)
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
func (p *person) points(e *engagement) int {
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
		p.clicks++
		return 4
	case "form.submitted":
		p.dem++
		return 30
	}
	return 0
}

func (p *person) score() int {
	s := min(40, p.views+min(25, 10*p.pricing)) + 4*p.clicks + 30*p.dem - 3*p.careers
	if p.title == "Director" {
		s += 10
	}
	return s
}

func (p *person) tie(alias string) {
	if _, ok := p.claims[alias]; !ok {
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
	case p.score() >= 40 && p.act != 0 && !p.loaded:
		p.qualify("scored", sequence)
	}
}

func (p *person) qualify(path string, sequence uint64) {
	p.open = true
	p.qualified = append(p.qualified, qualification{sequence, path, p.score()})
}

// pauses are how long a lead waits after each outcome before it may qualify again.
var pauses = map[string]time.Duration{
	"rejected": 2 * time.Minute, "nurture": 2 * time.Minute, "lost": 5 * time.Minute, "disqualified": time.Hour, "recalled": 0,
}

func (p *person) close(outcome string, at int64) {
	pause, again := pauses[outcome]
	p.open, p.outcome, p.never, p.loaded = false, outcome, !again, false
	p.closed, p.again = at, at+int64(pause)
	if p.never || p.act < p.again {
		p.act = 0
	}
	if p.demo < at {
		p.demo = 0
	}
}
