package simulation_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
)

// live is one seed: everything runs, goes wrong, is left in peace, and is judged.
func (w *world) live() {
	for _, name := range names {
		w.start(name)
	}
	w.must(time.Minute, w.ready)
	w.chance.set(true)
	for phase := range 3 {
		if busy := int(w.seed / 10 % 2); w.seed%10 == 3 && phase == busy {
			w.load.busy()
		} else if w.seed%10 == 3 && phase == busy+1 {
			w.load.tooLate()
		}
		w.phase()
		w.load.age()
		w.operator.age()
		if phase < 2 {
			if w.chance.intN(2) == 0 {
				w.blackout(w.chance.between(10*time.Minute, 9*time.Hour))
			} else {
				<-time.After(w.chance.between(2*time.Minute, 3*time.Minute))
			}
		}
	}
	w.settle()
	w.judge()
}

// phase is half a minute of load and trouble.
func (w *world) phase() {
	c := w.chance
	w.echo()
	for range 6 + c.intN(6) {
		w.load.more(c.intN(25))
		w.operator.more()
		w.revive()
		if c.intN(2) == 0 {
			w.trouble()
		}
		if c.intN(12) == 0 && w.verify() == nil {
			c.note(verifiedUnderway)
		}
		<-time.After(c.between(100*time.Millisecond, 4*time.Second))
	}
}

// settle ends all faults and waits until everything that was begun is done: liveness.
func (w *world) settle() {
	w.background.Wait()
	w.chance.set(false)
	w.trace.add("", "nothing goes wrong any more")
	w.process("sales").crash("to see again what it ignored")
	w.revive()
	w.load.tie()
	w.must(3*time.Minute, func() error { return errors.Join(w.load.drained(), w.operator.drained()) })
	w.must(10*time.Minute, func() error { return errors.Join(w.folded(), w.delivered(), w.oneLeader()) })
	w.sales.rest()
	<-time.After(3 * time.Minute) // the last answers
	w.must(time.Minute, func() error { return errors.Join(w.folded(), w.delivered(), w.oneLeader()) })
}

func (w *world) must(d time.Duration, holds func() error) {
	if err := w.eventually(d, holds); err != nil {
		// Who waits, and for what, is seen by what every goroutine does.
		all := make([]byte, 8<<20)
		name := filepath.Join(os.TempDir(), fmt.Sprintf("baton-simulation-%d.goroutines", os.Getpid()))
		if err := os.WriteFile(name, all[:runtime.Stack(all, true)], 0o600); err == nil {
			w.t.Logf("all goroutines: %s", name)
		}
		w.fail("", "liveness: after %s still: %v", d, err)
	}
}

// ready says whether the agreement is in force in every shard.
func (w *world) ready() error {
	for _, id := range subject.Shards {
		if info, err := w.conn.Log(subject.EngagementStream(id)).Info(w.t.Context()); err != nil || info.Last == 0 {
			return fmt.Errorf("shard %s has no agreement (%w)", id, err)
		}
	}
	return nil
}

// folded says whether every shard is folded to its end and its outbox is empty.
func (w *world) folded() error {
	for _, id := range subject.Shards {
		info, err := w.conn.Log(subject.EngagementStream(id)).Info(w.t.Context())
		if err != nil {
			return err
		}
		head, err := w.store.Head(w.t.Context(), id)
		if err != nil {
			return err
		}
		left, err := w.store.Outbox(w.t.Context(), id, fold.Held{})
		if err != nil {
			return err
		}
		if head.Position.Sequence != info.Last || len(left) > 0 {
			w.suspect(id)
			return fmt.Errorf("shard %s is folded to %d of %d, with %d records in its outbox", id, head.Position.Sequence, info.Last, len(left))
		}
	}
	return nil
}

// delivered says whether the router has used all of LEADS, and each open handoff is delivered or held for a reason.
func (w *world) delivered() error {
	info, err := w.conn.Log(subject.LeadsStream).Info(w.t.Context())
	if err != nil {
		return err
	}
	used := uint64(0)
	open := map[string]string{}
	for _, f := range slices.Concat(w.ledger()...) {
		used = max(used, f.GetConsumed().GetLeadsSequence())
		id := f.GetHandoffId()
		switch {
		case f.GetHandoffOpened() != nil, f.GetHandoffAssigned() != nil:
			open[id] = "is not delivered"
		case f.GetHandoffDelivered() != nil, f.GetHandoffHeld() != nil, f.GetHandoffClosed() != nil:
			delete(open, id)
		}
	}
	if used != info.Last {
		return fmt.Errorf("HANDOFFS has used %d facts of %d in LEADS", used, info.Last)
	}
	for id, what := range open {
		return fmt.Errorf("%s %s", id, what)
	}
	return nil
}

func (w *world) oneLeader() error {
	n := 0
	for _, p := range w.all() {
		if p.leads() {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("%d routers lead", n)
	}
	return nil
}

// tell shows what happened to those with whom something is wrong.
func (w *world) tell() {
	w.mu.Lock()
	suspects := w.suspects
	w.mu.Unlock()
	// A shard was only waited for, perhaps; with a lead there is something wrong.
	slices.SortStableFunc(suspects, func(a, b string) int { return len(b) - len(a) })
	suspects = slices.Compact(suspects)
	if len(suspects) > 2 {
		suspects = suspects[:2]
	}
	about := suspects
	for _, s := range suspects {
		about = append(about, s[:1])
		w.remember(s)
	}
	w.t.Logf("make sim SEED=%d repeats the odds of this run, though not the moments to the microsecond. It was about %v:\n%s", w.seed, suspects, w.trace.about(about...))
}

// remember puts into the trace what the streams hold of a lead.
func (w *world) remember(lead string) {
	shard := lead[:1]
	for _, m := range w.read(subject.EngagementStream(shard)) {
		s, _ := subject.ParseEngagement(m.Subject)
		text := string(m.Data)
		if s.Own() && s.Source != subject.Operator {
			in := &shardv1.Inbound{}
			if proto.Unmarshal(m.Data, in) != nil || in.GetLeadKey() != lead {
				continue
			}
			text = in.String()
		} else if len(lead) == leadkey.Size && !s.Holds(leadkey.Key(lead)) {
			continue
		}
		w.trace.insert(m.Time, lead, fmt.Sprintf("stored as message %d: %s", m.Sequence, text))
	}
	for _, m := range w.read(subject.LeadsStream) {
		f := &leadv1.Fact{}
		if proto.Unmarshal(m.Data, f) == nil && f.GetLeadKey() == lead {
			w.trace.insert(m.Time, lead, fmt.Sprintf("stored as message %d of LEADS: %s", m.Sequence, f.String()))
		}
	}
	mine := map[string]bool{}
	for _, m := range w.read(subject.HandoffsStream) {
		for _, f := range w.decode(m) {
			if f.GetHandoffOpened().GetQualified().GetLeadKey() == lead {
				mine[f.GetHandoffId()] = true
			}
			if k := f.GetLeadRekeyed(); mine[f.GetHandoffId()] || k != nil && (k.GetFrom() == lead || k.GetInto() == lead) {
				w.trace.insert(m.Time, lead, "decision: "+f.String())
			}
		}
	}
}
