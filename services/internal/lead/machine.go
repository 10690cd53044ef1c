// Package lead is the fold of leads: engagement events, and what Baton's own services report, become scores with their
// explanation, stages, identities, and the facts of the LEADS stream. It is pure and deterministic: equal logs give equal
// states, byte for byte, and equal facts.
package lead

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/leadbaton/baton/api/cloudevent"
	engagementv1 "github.com/leadbaton/baton/api/gen/baton/engagement/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/agreement"
	"github.com/leadbaton/baton/services/internal/condition"
	"github.com/leadbaton/baton/services/internal/event"
	"github.com/leadbaton/baton/services/internal/fold"
)

// tolerance is how far ahead of its arrival an event may be dated; further ahead, it is taken at its arrival.
const tolerance = int64(5 * time.Minute)

// maxHops is how often a message is passed on from alias to lead.
const maxHops = 8

// Machine is the fold of one shard's leads. It implements fold.Machine.
type Machine struct {
	shard    string
	producer string
	// watch sees what becomes of each message; nil unless a story is told.
	watch *watch

	// While a message is folded:
	tx  *fold.Tx
	log *Log

	// words are those of the shard's leads.
	words vocabulary

	// Room that is used again.
	matched []int
	scope   condition.Scope
}

// New returns the fold of a shard: one lower-case hex digit.
func New(shard string) *Machine {
	return &Machine{shard: shard, producer: subject.ShardProducer(shard), words: vocabulary{}}
}

// Load implements fold.Machine. The state of key "" is a *Log, every other a *Lead.
func (m *Machine) Load(key string, main []byte) (fold.State, []string, error) {
	if key == "" {
		return stateOf(loadLog(main))
	}
	return stateOf(loadLead(key, main, m.words))
}

// stateOf keeps a nil pointer from becoming a State that is not nil.
func stateOf[S fold.State](s S, parts []string, err error) (fold.State, []string, error) {
	if err != nil {
		return nil, nil, err
	}
	return s, parts, nil
}

// input is a decoded message. Its texts are views into the message.
type input struct {
	message fold.Message
	keys    [1]string
	nkeys   int

	// Of an engagement event, published or passed on by an alias.
	event   event.Event
	isEvent bool
	raw     []byte // as published
	source  string // source token of the subject that it was published on
	arrived int64  // in Baton
	hash    uint64
	others  []string // keys of its other identities, if it carries an address
	hops    uint32

	// Of a message of Baton's own.
	inbound   *shardv1.Inbound
	agreement *agreement.Agreement
	version   uint32 // that it puts in force; 0 = none

	rejected *event.Error
}

// Keys implements fold.Input.
func (in *input) Keys() []string { return in.keys[:in.nkeys] }

// Message implements fold.Input.
func (in *input) Message() *fold.Message { return &in.message }

func (in *input) key() string { return in.keys[0] }

func (in *input) setKey(key string) { in.keys[0], in.nkeys = key, 1 }

// traceparent is the event's own trace context, else its message's; "" if that is not of its form.
func (in *input) traceparent() string {
	t := in.message.Traceparent
	switch {
	case in.isEvent && in.event.TraceParent != "":
		t = in.event.TraceParent
	case in.inbound.GetTraceparent() != "":
		t = in.inbound.GetTraceparent()
	}
	if !cloudevent.ValidTraceParent(t) {
		return ""
	}
	return t
}

// inputs are used again once they are folded: decoding allocates next to nothing.
var inputs = sync.Pool{New: func() any { return new(input) }}

// release gives an input back. Nothing of it is kept elsewhere but views into its message. The event stays as it is:
// decoding the next one clears it, and uses its room again.
func (in *input) release() {
	in.message = fold.Message{}
	in.keys[0], in.nkeys = "", 0
	in.isEvent, in.raw, in.source, in.arrived, in.hash, in.hops = false, nil, "", 0, 0, 0
	clear(in.others)
	in.others = in.others[:0]
	in.inbound, in.agreement, in.version, in.rejected = nil, nil, 0, nil
	inputs.Put(in)
}

// Decode implements fold.Machine. It uses nothing of the Machine that changes. The Input is folded at most once, and is
// of no use after that.
func (m *Machine) Decode(msg fold.Message) fold.Input {
	in, _ := inputs.Get().(*input)
	in.message = msg
	s, ok := subject.ParseEngagement(msg.Subject)
	if !ok || s.Shard != m.shard {
		in.reject(engagementv1.Rejection_REASON_WRONG_KEY, "the subject is not one of this shard: publish to baton.engagement.SOURCE.SHARD.BUCKET")
		return in
	}
	in.source = s.Source
	if s.Own() && s.Source != subject.Operator {
		in.decodeInbound(s)
		return in
	}
	in.arrived = msg.Time
	if in.decodeEvent(msg.Data); in.rejected != nil {
		return in
	}
	if err := event.Check(&in.event, s); err != nil {
		in.fail(err)
		return in
	}
	in.setKey(string(in.event.Key))
	return in
}

func (in *input) reject(reason engagementv1.Rejection_Reason, detail string) {
	in.rejected = &event.Error{Reason: reason, Detail: detail}
}

func (in *input) fail(err error) {
	if in.rejected = (*event.Error)(nil); !errors.As(err, &in.rejected) {
		in.reject(engagementv1.Rejection_REASON_MALFORMED, "the event could not be read")
	}
}

func (in *input) decodeEvent(body []byte) {
	in.isEvent, in.raw = true, body
	ev := &in.event
	if err := event.Decode(body, ev); err != nil {
		in.fail(err)
		return
	}
	ev.History = ev.History || in.message.History
	in.hash = idHash(ev.Source, ev.ID)
	if ev.Email != "" {
		for i := range ev.IDs {
			in.others = append(in.others, string(leadkey.FromID(ev.IDs[i].Name, ev.IDs[i].Text)))
		}
		if ev.AnonymousID != "" {
			in.others = append(in.others, string(leadkey.FromAnonymous(ev.AnonymousID)))
		}
	}
}

// time is when the event happened: its arrival if it does not say, or is dated too far ahead of that.
func (in *input) time() int64 {
	if t := in.event.Time; t != 0 && t <= in.arrived+tolerance {
		return t
	}
	return in.arrived
}

// decodeInbound reads a message of one of Baton's own producers.
func (in *input) decodeInbound(s subject.Engagement) {
	const reason = engagementv1.Rejection_REASON_MALFORMED_INTERNAL
	in.inbound = &shardv1.Inbound{}
	if err := proto.Unmarshal(in.message.Data, in.inbound); err != nil {
		in.inbound = nil
		in.reject(reason, "the message is not a baton.shard.v1.Inbound: only Baton's own services may publish on this subject")
		return
	}
	switch origin := in.inbound.GetOrigin(); {
	case origin == nil || origin.GetProducer() != s.Producer():
		in.reject(reason, "the message's producer is not the one that its subject names")
		return
	case in.inbound.GetAgreementInForce() != nil:
		in.decodeAgreement()
		return
	case in.inbound.GetFoldVersionInForce() != nil:
		if in.version = in.inbound.GetFoldVersionInForce().GetVersion(); in.version == 0 {
			in.reject(reason, "the message does not say which version of the fold takes force")
		}
		return
	case !leadkey.Valid(in.inbound.GetLeadKey()) || !s.Holds(leadkey.Key(in.inbound.GetLeadKey())):
		in.reject(reason, "the message's lead is not one of the shard and bucket of its subject")
		return
	}
	in.setKey(in.inbound.GetLeadKey())
	in.hops = in.inbound.GetHops()
	switch body := in.inbound.GetBody().(type) {
	case *shardv1.Inbound_ForwardedEvent:
		fe := body.ForwardedEvent
		if in.source = fe.GetSource(); fe.GetArrivedAt() == nil || fe.GetArrivedAt().CheckValid() != nil {
			in.reject(reason, "the passed-on event does not say when it arrived")
			return
		}
		in.arrived = fe.GetArrivedAt().AsTime().UnixNano()
		in.decodeEvent(fe.GetEvent())
	case *shardv1.Inbound_IdentityClaim:
		if c := body.IdentityClaim.GetClaimant(); !leadkey.Valid(c) || c == in.key() {
			in.reject(reason, "the claiming lead's key is not a lead key, or is that of the claimed lead")
		}
	case *shardv1.Inbound_ClaimDone:
		if !leadkey.Valid(body.ClaimDone.GetAlias()) {
			in.reject(reason, "the alias's key is not a lead key")
		}
	case *shardv1.Inbound_AliasReleased:
		if !leadkey.Valid(body.AliasReleased.GetAlias()) {
			in.reject(reason, "the alias's key is not a lead key")
		}
	case *shardv1.Inbound_HandoffMoved:
		if body.HandoffMoved.GetAt() == nil || body.HandoffMoved.GetMoved() == "" {
			in.reject(reason, "the message does not say what moved, or when")
		}
	default:
		in.reject(reason, "the message says nothing that this version knows: update the scorers before the router")
	}
}

func (in *input) decodeAgreement() {
	f := in.inbound.GetAgreementInForce()
	a, err := parse(f.GetDocument())
	switch {
	case err != nil:
		in.reject(engagementv1.Rejection_REASON_MALFORMED_INTERNAL, err.Error())
	case a.Name != f.GetName() || f.GetVersion() == 0:
		in.reject(engagementv1.Rejection_REASON_MALFORMED_INTERNAL, "the agreement's name or version is not that of its document")
	default:
		in.agreement = a
	}
}

// Fold implements fold.Machine.
func (m *Machine) Fold(tx *fold.Tx, decoded fold.Input) error {
	in, ok := decoded.(*input)
	if !ok {
		return fmt.Errorf("lead: folding a %T", decoded)
	}
	defer in.release()
	if in.rejected != nil {
		m.tx = tx
		m.emitRejection(in)
		return nil
	}
	g, ok := tx.Get("").(*Log)
	if !ok {
		return errors.New("lead: the shard's state is of another machine")
	}
	if in.version > Newest {
		return &fold.VersionError{Version: versionName(in.version), Newest: versionName(Newest)}
	}
	m.tx, m.log = tx, g
	if in.inbound != nil {
		o := in.inbound.GetOrigin()
		if !g.advance(o.GetProducer(), fold.Origin{Incarnation: o.GetIncarnation(), Sequence: o.GetSequence(), Ordinal: o.GetOrdinal()}) {
			return nil
		}
		if in.agreement != nil {
			g.enforce(in.agreement, in.inbound.GetAgreementInForce().GetVersion())
			m.watch.version(in)
			return nil
		}
		if in.version != 0 {
			g.foldAs(in.version)
			return nil
		}
	}
	l, ok := tx.Get(in.key()).(*Lead)
	if !ok {
		return errors.New("lead: the lead's state is of another machine")
	}
	if in.isEvent {
		m.foldEvent(l, in)
		return nil
	}
	switch body := in.inbound.GetBody().(type) {
	case *shardv1.Inbound_IdentityClaim:
		m.foldClaim(l, in, body.IdentityClaim)
	case *shardv1.Inbound_ClaimDone:
		m.foldDone(l, in, body.ClaimDone)
	case *shardv1.Inbound_AliasReleased:
		m.foldReleased(l, in, body.AliasReleased)
	case *shardv1.Inbound_HandoffMoved:
		m.foldMoved(l, in, body.HandoffMoved)
	}
	return nil
}

// emitRejection records that an input changed nothing, and why.
func (m *Machine) emitRejection(in *input) {
	r := &engagementv1.Rejection{
		Source: in.source, Shard: m.shard, Sequence: in.message.Sequence, ArrivedAt: stamp(in.message.Time),
		Reason: in.rejected.Reason, Detail: in.rejected.Detail,
	}
	if in.isEvent {
		r.EventId, r.EventType = in.event.ID, in.event.Type
	}
	id := strconv.FormatInt(in.message.Incarnation, 10) + "-" + strconv.FormatUint(in.message.Sequence, 10)
	m.tx.Emit(fold.Record{
		Guard: fold.Once, Stream: subject.RejectedStream, Subject: subject.Rejected(m.shard, id), Data: marshal(r),
		Traceparent: in.traceparent(),
	})
	m.watch.rejection(r)
}

// emitFact completes a fact and puts it into the ledger.
func (m *Machine) emitFact(l *Lead, f *inForce, in *input, fact *leadv1.Fact) {
	place := strconv.FormatInt(in.message.Incarnation, 10) + "-" + strconv.FormatUint(in.message.Sequence, 10) + "-" +
		strconv.FormatUint(uint64(m.tx.NextOrdinal()), 10)
	fact.Id = l.key + "-" + place
	fact.LeadKey = l.key
	fact.Agreement, fact.AgreementVersion = f.Name, f.version
	fact.At, fact.ArrivedAt = stamp(l.clock), stamp(in.message.Time)
	fact.Traceparent = in.traceparent()
	m.tx.Emit(fold.Record{
		Guard: fold.Once, Stream: subject.LeadsStream, Subject: subject.Leads(leadkey.Key(l.key), place), Data: marshal(fact),
		Traceparent: fact.Traceparent,
	})
	m.watch.fact(fact)
}

// marshal encodes what leaves. Facts are compared byte for byte when they are published again, so maps are sorted.
func marshal(msg proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(msg)
	if err != nil {
		// Only a text that is not UTF-8 can do this, and Decode lets none in.
		panic("lead: a fact cannot be encoded: " + err.Error())
	}
	return b
}

func stamp(ns int64) *timestamppb.Timestamp { return timestamppb.New(time.Unix(0, ns)) }
