package lead

import (
	"fmt"
	"iter"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/leadbaton/baton/api/cloudevent"
	engagementv1 "github.com/leadbaton/baton/api/gen/baton/engagement/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
)

// How identities become one lead. An event that carries an address and other identities is folded at the address's lead,
// the claimant. It claims each of the others, its aliases, at the alias's shard; the alias answers with its history, then
// Done, and passes on whatever reaches it later. The claimant is not judged while a claim is open.

// send puts a message to a lead into the outbox, to that lead's shard.
func (m *Machine) send(in *input, guard fold.Guard, key string, hops uint32, body *shardv1.Inbound) {
	body.Origin = &shardv1.Origin{
		Producer: m.producer, Incarnation: in.message.Incarnation, Sequence: in.message.Sequence, Ordinal: m.tx.NextOrdinal(),
	}
	body.LeadKey, body.Hops, body.Traceparent = key, hops, in.traceparent()
	m.tx.Emit(ordered(guard, body))
}

// ordered makes a message to a lead a record.
func ordered(guard fold.Guard, body *shardv1.Inbound) fold.Record {
	k := leadkey.Key(body.GetLeadKey())
	producer := body.GetOrigin().GetProducer()
	return fold.Record{
		Guard:       guard,
		Stream:      subject.EngagementStream(k.Shard()),
		Subject:     subject.Inbound(producer, k),
		Prefix:      subject.ProducerPrefix(producer, k.Shard()),
		Data:        marshal(body),
		Traceparent: body.GetTraceparent(),
	}
}

// tie claims the other identities that an event carries beside an address, and what an operator merges.
func (m *Machine) tie(l *Lead, in *input) {
	for _, key := range in.others {
		m.claim(l, in, key, false)
	}
	if from := in.event.MergeFrom; from != "" {
		m.claim(l, in, from, true)
	}
}

func (m *Machine) claim(l *Lead, in *input, alias string, operator bool) {
	if alias == l.key || l.findClaim(alias) != nil {
		return
	}
	l.setClaim(keep(alias), true)
	m.send(in, fold.Ordered, alias, 0, &shardv1.Inbound{Body: &shardv1.Inbound_IdentityClaim{
		IdentityClaim: &shardv1.IdentityClaim{Claimant: l.key, Operator: operator},
	}})
	m.watch.identity(in, "claimed", "another identity of this lead; its history is on its way")
}

// forward passes on what reaches an alias to the lead that it is part of.
func (m *Machine) forward(l *Lead, in *input) {
	if in.hops >= maxHops {
		in.reject(engagementv1.Rejection_REASON_MERGE_CYCLE,
			"the event was passed on from alias to lead too often: an operator merged leads in a circle")
		m.emitRejection(in)
		return
	}
	body := &shardv1.Inbound{}
	if in.isEvent {
		body.Body = forwardedEvent(in)
	} else {
		body.Body = in.inbound.GetBody()
	}
	m.send(in, fold.Ordered, l.claimant, in.hops+1, body)
	m.watch.identity(in, "passed on", "to the lead that this identity is part of")
}

// forwardedEvent is the event as it was published; where it counts as history for where it was read, it says so.
func forwardedEvent(in *input) *shardv1.Inbound_ForwardedEvent {
	raw := in.raw
	if in.message.History {
		if said := cloudevent.Amend(raw, "", true); len(said) <= cloudevent.MaxSize {
			raw = said
		}
	}
	return &shardv1.Inbound_ForwardedEvent{ForwardedEvent: &shardv1.ForwardedEvent{
		Event: raw, Source: in.source, ArrivedAt: stamp(in.arrived),
	}}
}

// foldClaim answers another lead that says that this identity is its own.
func (m *Machine) foldClaim(l *Lead, in *input, c *shardv1.IdentityClaim) {
	claimant := c.GetClaimant()
	done := &shardv1.ClaimDone{Alias: l.key}
	answer := &shardv1.Inbound{Body: &shardv1.Inbound_ClaimDone{ClaimDone: done}}
	if own := l.findClaim(claimant); own != nil && (!own.open || l.key < claimant) {
		// Each claims the other. The lower key stays a lead; of a lead that is an alias already, no claim is taken.
		done.Refused = true
		m.send(in, fold.Ordered, claimant, 0, answer)
		return
	}
	before := l.claimant
	l.claimant = keep(claimant)
	l.changed = true
	if before != "" && before != claimant {
		// The history went to the first claimant, and the episodes with it.
		m.send(in, fold.Ordered, claimant, 0, answer)
		m.send(in, fold.Ordered, before, 0, &shardv1.Inbound{Body: &shardv1.Inbound_AliasReleased{
			AliasReleased: &shardv1.AliasReleased{Alias: l.key},
		}})
		m.watch.identity(in, "claimed", "by another lead: what follows goes there")
		return
	}
	// Who claims what is its own already has lost what it was sent: its shard's stream was made anew.
	done.Again = before == claimant
	for _, s := range l.standings {
		// What is open here may have been closed there since: only closings are told again.
		if s.episode == 0 || done.GetAgain() && s.open {
			continue
		}
		done.Episodes = append(done.Episodes, s.episodeProto())
		if f := m.log.agreement(s.agreement); f != nil && !done.GetAgain() {
			m.emitFact(l, f, in, &leadv1.Fact{Fact: &leadv1.Fact_LeadMerged{LeadMerged: &leadv1.LeadMerged{Into: claimant}}})
		}
	}
	guard := fold.Expand
	if l.events == 0 && l.tooOld == 0 && !done.GetAgain() {
		guard = fold.Ordered // there is no history
	}
	// What a record expands to takes the ordinals from its own on, so it is the message's last.
	m.send(in, guard, claimant, 0, answer)
	m.watch.identity(in, "claimed", "this identity is part of another lead from here on")
}

func (s *standing) episodeProto() *shardv1.Episode {
	e := &shardv1.Episode{
		Agreement: s.agreement, Number: s.episode, Open: s.open, Outcome: s.outcome, Stage: s.stage, Path: s.path,
	}
	if s.outcome != "" {
		e.ClosedAt = stamp(s.closed)
	}
	return e
}

// foldDone takes note that a claimed identity has sent its history, and judges the lead if that was the last.
func (m *Machine) foldDone(l *Lead, in *input, d *shardv1.ClaimDone) {
	alias := d.GetAlias()
	if l.findClaim(alias) != nil {
		if d.GetRefused() {
			l.dropClaim(alias)
		} else {
			l.setClaim(alias, false)
		}
	}
	if l.claimant != "" {
		// Merged meanwhile: what the alias had open belongs to the lead that this one is part of.
		if len(d.GetEpisodes()) > 0 && in.hops < maxHops {
			m.tellMerged(l, in, d)
			m.forward(l, in)
		}
		return
	}
	for _, e := range d.GetEpisodes() {
		if f := m.log.agreement(e.GetAgreement()); f != nil {
			l.adopt(f, e)
		}
	}
	if !l.awaits() {
		for _, s := range l.standings {
			if !s.open {
				s.tail = nil
			}
		}
	}
	l.changed = true
	m.watch.identity(in, "merged", "the history of another identity is complete")
	m.judgeAll(l, &occasion{in: in, merged: true})
}

// tellMerged tells, of a lead that had nothing at sales when it was merged, where that of its own alias goes on to.
func (m *Machine) tellMerged(l *Lead, in *input, d *shardv1.ClaimDone) {
	for _, e := range d.GetEpisodes() {
		f := m.log.agreement(e.GetAgreement())
		if s := l.standing(e.GetAgreement()); f != nil && (s == nil || s.episode == 0) {
			m.emitFact(l, f, in, &leadv1.Fact{Fact: &leadv1.Fact_LeadMerged{LeadMerged: &leadv1.LeadMerged{Into: l.claimant}}})
		}
	}
}

func (m *Machine) judgeAll(l *Lead, o *occasion) {
	if l.events == 0 {
		return
	}
	l.refresh(m.log)
	for _, s := range l.standings {
		if f := m.log.agreement(s.agreement); f != nil {
			m.judge(l, s, f, o)
		}
	}
}

// adopt takes over what an alias had: its open episode if the lead has none open, else how its newest one closed if that
// was later.
func (l *Lead) adopt(f *inForce, e *shardv1.Episode) {
	s := l.stand(keep(f.Name))
	if s.open {
		return
	}
	closed := int64(0)
	if e.GetClosedAt() != nil {
		closed = e.GetClosedAt().AsTime().UnixNano()
	}
	later := e.GetOutcome() != "" && (s.outcome == "" || closed > s.closed)
	if later {
		again := f.Again[e.GetOutcome()]
		s.outcome, s.closed = e.GetOutcome(), closed
		s.never, s.again = again.Never, closed+int64(again.After)
		if s.act != nil && (s.never || s.act.time < s.again) {
			s.act = nil
		}
		s.dropRuleActs(closed)
		if f.Reset {
			s.restart(l, f, closed)
		}
	}
	if e.GetOpen() {
		s.open = true
	}
	if later || e.GetOpen() {
		s.episode = max(s.episode, e.GetNumber())
		s.path, s.stage = e.GetPath(), e.GetStage()
		s.told, s.toldBy = 0, ""
	}
}

// restart makes what is dated before an alias's closing count no more: the alias's history, and what this lead had then.
//
// Of a rule that gave points before and after the closing, only what the tail has is told apart, and counted again.
func (s *standing) restart(l *Lead, f *inForce, closed int64) {
	s.resets, s.reset = true, closed
	var mixed []string
	for i := range s.sums {
		if s.sums[i].first < closed {
			mixed = append(mixed, s.sums[i].rule)
		}
	}
	s.sums = slices.DeleteFunc(s.sums, func(x ruleSums) bool { return slices.Contains(mixed, x.rule) })
	s.spends = slices.DeleteFunc(s.spends, func(x spend) bool { return slices.Contains(mixed, x.rule) })
	for _, c := range s.tail {
		if i, ok := f.rule[c.rule]; ok && c.time >= closed && slices.Contains(mixed, c.rule) {
			s.credit(l, f, i, c.points, c.halfLife, c.time)
		}
	}
}

// foldReleased takes note that another lead has claimed this lead's alias: the next event that ties them claims it again.
func (m *Machine) foldReleased(l *Lead, in *input, r *shardv1.AliasReleased) {
	if l.findClaim(r.GetAlias()) == nil {
		return
	}
	l.dropClaim(r.GetAlias())
	m.watch.identity(in, "released", "an identity of this lead is now part of another")
}

// foldMoved takes note of what sales did.
func (m *Machine) foldMoved(l *Lead, in *input, h *shardv1.HandoffMoved) {
	if l.claimant != "" {
		m.forward(l, in)
		return
	}
	m.watch.handoff(in, h)
	f := m.log.agreement(h.GetAgreement())
	if f == nil {
		return
	}
	s := l.stand(f.Name)
	l.changed = true
	s.enter(f, h.GetMoved())
	if h.GetClosed() {
		s.close(l, f, h.GetMoved(), h.GetAt().AsTime().UnixNano())
	}
}

// Expansion is what a record guarded fold.Expand stands for: the history of an alias, then that its claim is done. When the
// same lead claims once more, the history is all that it was sent before: of an alias that others claimed in between, the
// rest counts with them.
type Expansion struct {
	// Filter is the wildcard of the subjects to read in Stream, from the start to before the message Before.
	Stream string
	Filter string
	Before uint64
	alias  string
	first  fold.Record
	done   *shardv1.Inbound
}

// ReadExpansion reads a record guarded fold.Expand.
func ReadExpansion(rec fold.Record) (*Expansion, error) {
	done := &shardv1.Inbound{}
	if err := proto.Unmarshal(rec.Data, done); err != nil {
		return nil, fmt.Errorf("lead: a record to expand is damaged: %w", err)
	}
	alias := leadkey.Key(done.GetClaimDone().GetAlias())
	if rec.Guard != fold.Expand || !leadkey.Valid(string(alias)) {
		return nil, fmt.Errorf("lead: the record %s does not answer a claim", rec.Subject)
	}
	return &Expansion{
		Stream: subject.EngagementStream(alias.Shard()), Filter: subject.LeadFilter(alias), Before: done.GetOrigin().GetSequence(),
		alias: string(alias), first: rec, done: done,
	}, nil
}

// Records returns the messages in order, from those that Filter finds, which may be read twice. Messages from Before on are
// left out, so the caller may stop there. Their ordinals follow that of the record. An error of the messages is passed on and
// ends it.
func (e *Expansion) Records(messages iter.Seq2[fold.Message, error]) iter.Seq2[fold.Record, error] {
	return func(yield func(fold.Record, error) bool) {
		ordinal := e.done.GetOrigin().GetOrdinal()
		next := func(body *shardv1.Inbound) bool {
			origin := e.done.GetOrigin()
			body.Origin = &shardv1.Origin{
				Producer: origin.GetProducer(), Incarnation: origin.GetIncarnation(), Sequence: origin.GetSequence(), Ordinal: ordinal,
			}
			body.LeadKey = e.done.GetLeadKey()
			r := ordered(fold.Ordered, body)
			r.Incarnation, r.Sequence, r.Ordinal = origin.GetIncarnation(), origin.GetSequence(), ordinal
			ordinal++
			return yield(r, nil)
		}
		again := e.done.GetClaimDone().GetAgain()
		claimant, first := e.done.GetLeadKey(), e.done.GetLeadKey()
		if again {
			for went, err := range e.told(messages) {
				if err != nil {
					yield(fold.Record{}, err)
					return
				}
				if went.claimant != "" {
					first = went.claimant
					break
				}
			}
		}
		for went, err := range e.told(messages) {
			if err != nil {
				yield(fold.Record{}, err)
				return
			}
			to := went.to
			if to == "" {
				to = first
			}
			if went.event == nil || again && to != claimant {
				continue
			}
			if !next(went.event) {
				return
			}
		}
		if first != claimant {
			e.done.GetClaimDone().Episodes = nil
		}
		next(&shardv1.Inbound{Traceparent: e.done.GetTraceparent(), Body: e.done.GetBody()})
	}
}

// told is what became of a message of an alias.
type told struct {
	// event is what its claimant is sent of it; nil if it is no event, or was not passed on.
	event *shardv1.Inbound
	// to is the claimant that the event was passed on to; "" if it came before the first claim.
	to string
	// claimant is the alias's, once the message is folded.
	claimant string
}

// told tells of the alias's messages up to Before. Only of an alias that was claimed before need they be folded: no agreement
// takes part in whom an alias belongs to.
func (e *Expansion) told(messages iter.Seq2[fold.Message, error]) iter.Seq2[told, error] {
	return func(yield func(told, error) bool) {
		m, log, alias := New(leadkey.Key(e.alias).Shard()), &Log{version: 1}, newLead(e.alias)
		log.declare()
		left := 0
		tx := fold.NewTx(func(key string) fold.State {
			if key == "" {
				return log
			}
			return alias
		}, func(fold.Record) { left++ })
		again := e.done.GetClaimDone().GetAgain()
		for msg, err := range messages {
			if err != nil {
				yield(told{}, err)
				return
			}
			if msg.Sequence >= e.Before {
				return
			}
			in, ok := m.Decode(msg).(*input)
			if !ok || in.rejected != nil || in.key() != e.alias {
				continue
			}
			went := told{to: alias.claimant}
			if in.isEvent && in.hops < maxHops {
				// What was sent before has handed off what it could.
				in.message.History = in.message.History || again
				went.event = &shardv1.Inbound{Hops: in.hops + 1, Traceparent: in.traceparent(), Body: forwardedEvent(in)}
			}
			if again {
				left = 0
				tx.Begin()
				if err := m.Fold(tx, in); err != nil {
					yield(told{}, err)
					return
				}
				if went.to != "" && left == 0 {
					went.event = nil // a repetition: it is where it was sent first
				}
				went.claimant = alias.claimant
			}
			if !yield(went, nil) {
				return
			}
		}
	}
}
