package simulation_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/handoff"
	"github.com/leadbaton/baton/services/scorer"
)

// What the judge must have seen.
const (
	verifiedUnderway point = "judge: verified while things went wrong"
	explainedThen    point = "judge: a past score was explained"
	qualifiedHand    point = "judge: a lead asked for sales"
	qualifiedScore   point = "judge: a lead qualified by its score"
	qualifiedAgain   point = "judge: a lead qualified again"
	windowMissed     point = "judge: a window was missed"
	joined           point = "judge: a qualification joined an open handoff"
	toldTooOld       point = "judge: an event was too old to tell"
	againTooOld      point = "judge: the repetition of an event that counts was too old to tell"
	fadedNow         point = "judge: points had faded"
	mergedLead       point = "judge: a lead became part of another"
	mergedShard      point = "judge: a lead became part of one in another shard"
	mergedOpen       point = "judge: two leads with open handoffs became one"
)

// read returns all messages of a stream.
func (w *world) read(stream string) []fold.Message {
	var out []fold.Message
	for m, err := range w.conn.Log(stream).Messages(w.t.Context(), "baton.>") {
		if err != nil {
			w.fail("", "reading %s: %v", stream, err)
			return out
		}
		out = append(out, m)
	}
	return out
}

// verify is P2: the store is the fold of the log, byte for byte, now. It returns an error if that cannot be told.
func (w *world) verify() error {
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	v, err := scorer.Verify(ctx, w.conn, w.store, false)
	if err != nil {
		return err
	}
	for _, d := range v.GetDifferences() {
		w.fail("", "P2: %s", d)
		_, rest, _ := strings.Cut(d, "shard ")
		w.suspect(rest[:1])
	}
	return nil
}

// judge holds what came out against the model and the promises.
func (w *world) judge() {
	if err := w.verify(); err != nil {
		w.fail("", "P2: %v", err)
	}
	shards := map[string][]fold.Message{}
	models := map[string]*model{}
	for _, id := range subject.Shards {
		shards[id], models[id] = w.read(subject.EngagementStream(id)), newModel()
		for _, msg := range shards[id] {
			models[id].fold(msg)
		}
	}
	facts := w.judgeFacts(models)
	w.judgeEvents(models)
	w.judgeMerges(models)
	w.judgeHandoffs(facts, models)
	w.judgeScores(shards, models)
	w.judgeRejected(models)
}

// judgeEvents is P1: each event that was accepted counts for exactly one lead, the one that the model says.
func (w *world) judgeEvents(models map[string]*model) {
	if n := len(w.load.stored); n != w.load.next {
		w.fail("", "P1: %d of %d events are stored", n, w.load.next)
	}
	by := map[string][]string{}
	for shard, m := range models {
		for key, p := range m.leads {
			for id := range p.counted {
				if p.claimant == "" {
					by[id] = append(by[id], key)
				}
			}
		}
		for producer, n := range m.twice {
			if !w.echoes[producer+" "+shard] {
				w.fail(shard, "P1: %d messages of %s are in shard %s a second time", n, producer, shard)
			}
		}
	}
	for shard, m := range models {
		for id, key := range m.reached {
			owner := whose(models, key, id)
			late := models[owner[:1]].lead(owner).tooOld[id]
			if late > 0 {
				w.chance.note(toldTooOld)
			}
			if late > 0 && len(by[id]) > 0 {
				w.chance.note(againTooOld)
			}
			if late > 0 && len(by[id]) == 0 {
			} else if len(by[id]) != 1 || by[id][0] != owner {
				w.fail("", "P1: event %s to shard %s counts for %d leads: %v; the model says %s", id, shard, len(by[id]), by[id], owner)
				w.suspect(append(by[id], owner)...)
			}
			delete(w.load.stored, id)
		}
	}
	for id := range w.load.stored {
		w.fail("", "P1: event %s was accepted and is in no shard", id)
	}
}

// whose returns the lead that an event ended up with: on from alias to claimant, as each shard's own order has it.
func whose(models map[string]*model, key, id string) string {
	for range maxAliases {
		next, ok := models[key[:1]].lead(key).next[id]
		if !ok {
			break
		}
		key = next
	}
	return key
}

// root returns the lead that a key is part of.
func root(models map[string]*model, key string) string {
	for range maxAliases {
		claimant := models[key[:1]].lead(key).claimant
		if claimant == "" {
			break
		}
		key = claimant
	}
	return key
}

// maxAliases is more than are ever part of each other in a row.
const maxAliases = 8

// judgeMerges is P1 of an operator's word: those who were to become one lead are one.
func (w *world) judgeMerges(models map[string]*model) {
	for _, r := range w.operator.taken {
		from, into := string(leadkey.FromEmail(r.GetFrom())), string(leadkey.FromEmail(r.GetInto()))
		if a, b := root(models, from), root(models, into); a != b {
			w.fail(from, "P1: %s was taken, and %s is part of %s, %s of %s", r.GetRequestId(), from, a, into, b)
		}
	}
	for who := range people {
		key := string(leadkey.FromEmail(address(who)))
		if claimant := models[key[:1]].lead(key).claimant; claimant != "" {
			w.chance.note(mergedLead)
			if claimant[0] != key[0] {
				w.chance.note(mergedShard)
			}
		}
	}
}

// judgeFacts is P3 as far as scorers go: every qualification of the model is a fact, once, and there is no other. It returns
// the facts by their ids, in order.
func (w *world) judgeFacts(models map[string]*model) []*leadv1.Fact {
	var facts []*leadv1.Fact
	found, merged := map[string][]*leadv1.Fact{}, map[string]string{}
	for _, m := range w.read(subject.LeadsStream) {
		f := &leadv1.Fact{}
		if err := proto.Unmarshal(m.Data, f); err != nil {
			w.fail("", "message %d of LEADS: %v", m.Sequence, err)
			continue
		}
		facts = append(facts, f)
		if f.GetLeadQualified() != nil {
			found[f.GetLeadKey()] = append(found[f.GetLeadKey()], f)
		}
		if f.GetLeadMerged() != nil {
			merged[f.GetLeadKey()] += f.GetLeadMerged().GetInto()
		}
	}
	for _, m := range models {
		for key, p := range m.leads {
			got := found[key]
			delete(found, key)
			if merged[key] != p.merged {
				w.fail(key, "P3: LEADS says that %s was merged into %q, the model says %q", key, merged[key], p.merged)
			}
			if len(got) != len(p.qualified) {
				w.fail(key, "P3: %s qualified %d times, the model says %d: %v", key, len(got), len(p.qualified), p.qualified)
				continue
			}
			for _, want := range p.qualified {
				w.judgeQualified(key, got, want)
			}
		}
	}
	for key := range found {
		w.fail(key, "P3: %s qualified; the model does not know it", key)
	}
	return facts
}

// judgeQualified finds the fact of an episode among a lead's.
func (w *world) judgeQualified(key string, got []*leadv1.Fact, want qualification) {
	episode := uint32(want.episode)
	w.chance.note(map[string]point{"hand-raise": qualifiedHand, "scored": qualifiedScore}[want.path])
	if episode > 1 {
		w.chance.note(qualifiedAgain)
	}
	for _, f := range got {
		q := f.GetLeadQualified()
		if q.GetEpisode() != episode {
			continue
		}
		if q.GetPath() != want.path || !same(q.GetScore().GetTotal(), want.score) || !strings.Contains(f.GetId(), fmt.Sprintf("-%d-", want.sequence)) {
			w.fail(key, "P3: episode %d of %s is %s with %v points by %s; the model says %+v", episode, key, q.GetPath(), q.GetScore().GetTotal(), f.GetId(), want)
		}
		if err := addsUp(q.GetScore(), q.GetContributions()); err != nil {
			w.fail(key, "P7: %s: %v", f.GetId(), err)
		}
		return
	}
	w.fail(key, "P3: %s has no episode %d", key, episode)
}

// addsUp is P7: contributions are the score, exactly.
func addsUp(s *leadv1.Score, cs []*leadv1.Contribution) error {
	sum := int64(0)
	for _, c := range cs {
		sum += int64(math.Round(1000 * c.GetPoints()))
	}
	if total := int64(math.Round(1000 * s.GetTotal())); sum != total {
		return fmt.Errorf("the contributions add up to %d thousandths, the score is %d: %v", sum, total, cs)
	}
	return nil
}

// judgeScores is P1 and P7: what a scorer says is the model, now and at an earlier instant.
func (w *world) judgeScores(shards map[string][]fold.Message, models map[string]*model) {
	conn, err := w.dial(nil, "scorer-1")
	if err != nil {
		w.fail("", "%v", err)
		return
	}
	defer conn.Close()
	for who := range people {
		key := string(leadkey.FromEmail(address(who)))
		w.explain(conn, who, models, nil)
		all := shards[key[:1]]
		if who%4 != int(w.seed%4) || len(all) == 0 {
			continue
		}
		at := time.Unix(0, all[w.chance.intN(len(all))].Time)
		then := map[string]*model{}
		for next := key; next != ""; next = then[key[:1]].lead(key).claimant {
			if key = next; then[key[:1]] != nil {
				continue
			}
			then[key[:1]] = newModel()
			for _, msg := range shards[key[:1]] {
				if msg.Time <= at.UnixNano() {
					then[key[:1]].fold(msg)
				}
			}
		}
		if p := then[key[:1]].lead(key); len(p.counted) > 0 {
			w.chance.note(explainedThen)
			w.explain(conn, who, then, timestamppb.New(at))
		}
	}
}

func (w *world) explain(conn *grpc.ClientConn, who int, models map[string]*model, at *timestamppb.Timestamp) {
	key := root(models, string(leadkey.FromEmail(address(who))))
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	begun := time.Now()
	got, err := leadv1.NewLeadServiceClient(conn).Explain(ctx, &leadv1.ExplainRequest{Lead: address(who), At: at})
	if err != nil {
		w.fail(key, "P7: %s at %v: %v", key, at.AsTime(), err)
		return
	}
	p, score := models[key[:1]].lead(key), 0.0
	for _, e := range got.GetExplanations() {
		score = e.GetScore().GetTotal()
		if err := addsUp(e.GetScore(), e.GetContributions()); err != nil {
			w.fail(key, "P7: %s: %v", key, err)
		}
	}
	var standing *leadv1.Standing
	if s := got.GetLead().GetStandings(); len(s) > 0 {
		standing = s[0]
	}
	shown := got.GetLead().GetAt().AsTime()
	first, last := begun, time.Now() // asked for now
	if at != nil {
		first, last = at.AsTime(), at.AsTime()
	}
	if t := shown.UnixNano(); t < max(first.UnixNano(), p.clock) || t > max(last.UnixNano(), p.clock) {
		w.fail(key, "P7: %s is shown as it is at %v, asked at %v to %v", key, shown, first, last)
	}
	late := 0
	for _, n := range p.tooOld {
		late += n
	}
	want := p.score(shown.UnixNano())
	if p.score(p.clock) > want {
		w.chance.note(fadedNow)
	}
	if l := got.GetLead(); !same(score, want) || l.GetEvents() != uint64(len(p.counted)) || l.GetTooOldToTell() != uint64(late) {
		w.fail(key, "P1: %s has %v points of %d events, and %d too old to tell, at %v, the model says %v of %d, and %d", key,
			score, l.GetEvents(), l.GetTooOldToTell(), shown, want, len(p.counted), late)
	}
	if standing.GetOpen() != p.open || int(standing.GetEpisodes()) != p.episode || standing.GetOutcome() != p.outcome {
		w.fail(key, "P3: %s is open=%t in episode %d after %q, the model says %t, %d, %q", key,
			standing.GetOpen(), standing.GetEpisodes(), standing.GetOutcome(), p.open, p.episode, p.outcome)
	}
}

// judgeRejected is P10 in the stream: what nobody can read is in REJECTED, once.
func (w *world) judgeRejected(models map[string]*model) {
	want := 0
	for _, m := range models {
		want += m.poison
	}
	if got := len(w.read(subject.RejectedStream)); got != want {
		w.fail("", "P10: %d inputs are recorded as rejected, %d came", got, want)
	}
}

// suspect adds leads, or whole shards, to what is told of a failure.
func (w *world) suspect(about ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.suspects = append(w.suspects, about...)
}

// ledger is HANDOFFS, decoded: the facts of each message.
func (w *world) ledger() [][]*handoffv1.Fact {
	var out [][]*handoffv1.Fact
	for _, m := range w.read(subject.HandoffsStream) {
		out = append(out, w.decode(m))
	}
	return out
}

func (w *world) decode(m fold.Message) []*handoffv1.Fact {
	facts, err := handoff.Decode(m.Data)
	if err != nil {
		w.fail("", "message %d of HANDOFFS: %v", m.Sequence, err)
	}
	return facts
}
