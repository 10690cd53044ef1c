package simulation_test

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
)

// names are those of the processes that may fail, with how each is started.
var names = []string{"scorer-1", "scorer-2", "router-1", "router-2", "notifier", "publisher", "sales", "channel", "operator"}

func (w *world) start(name string) {
	switch name {
	case "scorer-1", "scorer-2":
		w.startScorer(name)
	case "router-1", "router-2":
		w.startRouter(name)
	case "notifier":
		w.startNotifier(name)
	case "publisher":
		w.startLoad()
	case "sales":
		w.startSales()
	case "channel":
		w.startChannel()
	case "operator":
		w.startOperator()
	}
}

// revive starts anew what has crashed.
func (w *world) revive() {
	for _, name := range names {
		p := w.process(name)
		select {
		case <-p.dead:
			p.reap()
			w.start(name)
			w.trace.add("", "%s starts again", name)
		default:
		}
	}
}

// trouble makes one large fault. What takes time goes on in the background.
func (w *world) trouble() {
	c := w.chance
	switch p := w.process(names[c.intN(len(names))]); c.intN(13) {
	case 0, 1:
		p.crash("by itself")
	case 2:
		c.note(stoppedWell)
		w.trace.add("", "%s is stopped in order", p.name)
		p.reap()
	case 3:
		w.trace.add("", "%s loses its connection to NATS", p.name)
		p.cut()
	case 4, 5:
		w.pause(w.process(names[c.intN(2)]))
	case 6:
		w.saved = w.fence.save(w.store) // as a replica that lags behind
	case 7, 8:
		if w.saved != nil {
			c.note(storeBack)
			w.trace.add("", "the store goes back in time")
			w.saved()
		}
	case 9:
		c.note(storeFlushed)
		w.trace.add("", "the store is flushed")
		w.fence.flush(w.store)
	case 10:
		c.note(storeStalled)
		w.trace.add("", "the store stalls")
		w.stall.shut()
		w.later(c.between(time.Second, 9*time.Second), w.stall.reopen)
	case 11:
		w.restartNATS()
	default:
		w.echo()
	}
	if c.intN(4) == 0 {
		w.dispute()
	}
}

// pause holds a scorer for longer than its lease, as SIGSTOP does, and lets it go on.
func (w *world) pause(p *process) {
	w.chance.note(paused)
	w.trace.add("", "%s is paused", p.name)
	p.gate.shut()
	w.later(w.chance.between(fold.DefaultLeaseTTL, 3*fold.DefaultLeaseTTL), func() {
		w.trace.add("", "%s goes on", p.name)
		p.gate.reopen()
	})
}

// later does something after a while; settle waits for it.
func (w *world) later(d time.Duration, what func()) {
	w.background.Go(func() {
		<-time.After(d)
		what()
	})
}

// dispute makes two routers believe that they lead: the election loses its entry, and the leader hears nothing of it.
func (w *world) dispute() {
	js, err := jetstream.New(w.conn.NATS())
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Second)
	defer cancel()
	kv, err := js.KeyValue(ctx, "BATON_LEADERS")
	if err != nil {
		return
	}
	for _, p := range []*process{w.process("router-1"), w.process("router-2")} {
		if p.leads() {
			p.hearNothing(4 * time.Second)
		}
	}
	if kv.Delete(ctx, "router") != nil {
		return
	}
	w.chance.note(entryLost)
	w.trace.add("", "the election loses its entry")
	for range 12 {
		<-time.After(300 * time.Millisecond)
		w.load.more(2)
		if w.process("router-1").leads() && w.process("router-2").leads() {
			w.chance.note(twoLead)
			w.trace.add("", "two routers believe that they lead")
			w.load.more(20)
			<-time.After(time.Second)
			return
		}
	}
}

// echo stores a message of one of Baton's own producers a second time, in spite of its guard, as a stream that was restored
// beside the others may hold it: its origin says that it was told before. It takes one that would do harm: a claim that
// another one has followed, else the end of a handoff.
func (w *world) echo() {
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
	defer cancel()
	type told struct {
		fold.Message
		in *shardv1.Inbound
	}
	var ends, claims []told
	last := map[string]told{} // by alias
	for _, id := range subject.Shards {
		for m, err := range w.conn.Log(subject.EngagementStream(id)).Messages(ctx, subject.EngagementFilter(id)) {
			if err != nil {
				return
			}
			x := told{m, &shardv1.Inbound{}}
			if s, _ := subject.ParseEngagement(m.Subject); !s.Own() || proto.Unmarshal(m.Data, x.in) != nil {
				continue
			}
			alias, c := x.in.GetLeadKey(), x.in.GetIdentityClaim()
			if before, ok := last[alias]; c != nil && ok && before.in.GetIdentityClaim().GetClaimant() != c.GetClaimant() {
				claims = append(claims, before)
			}
			if c != nil {
				last[alias] = x
			}
			if x.in.GetHandoffMoved().GetClosed() {
				ends = append(ends, x)
			}
		}
	}
	if len(claims) == 0 || w.chance.intN(3) == 0 {
		claims = ends
	}
	if len(claims) == 0 {
		return
	}
	m := claims[w.chance.intN(len(claims))]
	s, _ := subject.ParseEngagement(m.Subject)
	o := m.in.GetOrigin()
	origin := fold.Origin{Incarnation: o.GetIncarnation(), Sequence: o.GetSequence(), Ordinal: o.GetOrdinal()}
	// From here on the producer takes this one for its last, and sends again what follows it.
	w.echoes[s.Producer()+" "+s.Shard] = true
	msg := &nats.Msg{Subject: m.Subject, Data: m.Data, Header: nats.Header{"baton-origin": {origin.String()}}}
	if _, err := w.conn.NATS().RequestMsgWithContext(ctx, msg); err == nil {
		w.chance.note(echoed)
		w.trace.add(m.in.GetLeadKey(), "message %d of shard %s is stored a second time", m.Sequence, s.Shard)
	}
}

// blackout ends all processes and NATS at once; time passes, and they start again.
func (w *world) blackout(d time.Duration) {
	w.chance.note(outage)
	w.trace.add("", "everything is down for %s", d)
	for _, name := range names {
		w.process(name).crash("with all others")
	}
	for _, name := range names {
		w.process(name).reap()
	}
	w.server.Stop()
	<-time.After(d)
	w.startNATS()
	for _, name := range names {
		w.start(name)
	}
}
