package crash_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/services/internal/servertest"
)

// TestCrashKeep: the streams are restored from an older copy. Shards that lost messages stand still, those that lost none go
// on, and no message that came since is skipped. With --keep the scores stay, and what is published again counts no second
// time.
func TestCrashKeep(t *testing.T) {
	t.Parallel()
	s, ns := plain(t)
	s.load.more(200)
	s.load.tie()
	s.settled()
	at, err := s.shards()
	must(t, err)
	mark, older := s.load.mark(), ns.CopyStore(t)
	s.load.views(20)
	s.settled()
	was, err := s.shards()
	must(t, err)
	ns.RestoreStore(t, older)
	s.load.views(100) // takes the sequences of what was lost, and goes beyond
	s.load.sending.Wait()
	var stopped []string
	s.eventually(patience, func() error {
		stopped = nil
		now, err := s.shards()
		if err != nil {
			return err
		}
		for id, sh := range now {
			lost := was[id].GetSequence() > at[id].GetSequence()
			switch {
			case lost != (sh.GetStopped() != ""):
				return fmt.Errorf("shard %s lost messages: %v; it stands still: %q", id, lost, sh.GetStopped())
			case lost && sh.GetSequence() != was[id].GetSequence():
				t.Fatalf("shard %s went on from message %d to %d of another order", id, was[id].GetSequence(), sh.GetSequence())
			case lost:
				stopped = append(stopped, id)
			}
		}
		return nil
	})
	t.Logf("shards %v stand still", stopped)
	if len(stopped) == 0 || len(stopped) == 16 {
		t.Errorf("%d shards stand still; some should, and others not", len(stopped))
	}
	restart(t, s.named("router"))
	restart(t, s.named("notifier"))
	for _, id := range stopped {
		s.adopt(id, "--keep")
	}
	s.load.again(mark)
	s.load.more(200)
	s.load.finish()
	s.judgeModel()
	s.differOnlyIn(stopped)
}

// TestCrashRecreatedKeep: a shard's stream is deleted and created anew, empty. The shard stands still and says so; with
// --keep its scores stay and what comes counts.
func TestCrashRecreatedKeep(t *testing.T) {
	t.Parallel()
	s, _ := plain(t)
	s.load.more(200)
	s.load.tie()
	s.settled()
	shard := s.recreate()
	s.adopt(shard, "--keep")
	s.load.more(200)
	s.load.finish()
	s.judgeModel()
	s.differOnlyIn([]string{shard})
}

// TestCrashRecreatedReplay: the same with --replay of every shard, after all was published again. Scores are then those of
// all events; the leads of the new stream are not handed off a second time.
func TestCrashRecreatedReplay(t *testing.T) {
	t.Parallel()
	recreatedReplay(t, func(s *stack, _ string) { s.adoptAll("--replay") })
}

// TestCrashRecreatedReplayAlone: the same with --replay of that shard alone, once the others have folded what was published
// again. They count it no second time, and send its leads what their aliases had.
func TestCrashRecreatedReplayAlone(t *testing.T) {
	t.Parallel()
	recreatedReplay(t, func(s *stack, shard string) { s.adopt(shard, "--replay") })
}

func recreatedReplay(t *testing.T, adopt func(s *stack, shard string)) {
	s, _ := plain(t)
	s.load.more(200)
	s.load.tie()
	s.settled()
	shard := s.recreate()
	s.load.again(0)
	s.load.sending.Wait()
	adopt(s, shard)
	s.load.views(100)
	s.load.tie()
	s.settled()
	for who := range s.load.model.points {
		if leadkey.FromEmail(who).Shard() == shard {
			s.load.model.demo[who] = false // it qualified, and was handed off, in the time of the stream that is gone
		}
		s.eventually(patience, func() error { return s.standing(who) })
	}
}

// TestCrashOlderHandoffs: HANDOFFS alone is restored from an older copy. The routers stand still and say so, also those
// that are started anew, since a shard knows of what is lost, and write nothing until the newest copy is back.
func TestCrashOlderHandoffs(t *testing.T) {
	t.Parallel()
	olderLedger(t, "HANDOFFS")
}

// TestCrashOlderLeads: the same with LEADS, when it has grown past what was decided, too.
func TestCrashOlderLeads(t *testing.T) {
	t.Parallel()
	olderLedger(t, "LEADS")
}

func olderLedger(t *testing.T, name string) {
	s, ns := plain(t)
	s.load.more(100)
	s.load.tie()
	s.settled()
	older := ns.CopyStore(t)
	s.load.more(100)
	s.load.tie()
	s.settled()
	all, err := s.handoffs()
	must(t, err)
	s.eventually(patience, func() error {
		_, err := baton("handoff", "answer", all[0].GetId(), "accept", "--request-id", "accept", "--grpc", s.router)
		return err
	})
	s.settled()
	newest := ns.CopyStore(t)
	ns.RestoreStore(t, older, name)
	s.routersStandStill(name)
	last := servertest.LastSequence(t, s.nats, "HANDOFFS")
	mark := s.load.mark()
	s.load.more(400)
	s.load.sending.Wait()
	restart(t, s.named("router"))
	s.routersStandStill("from one backup")
	if now := servertest.LastSequence(t, s.nats, "HANDOFFS"); now != last {
		t.Errorf("a router that must stand still has written %d messages to HANDOFFS", now-last)
	}
	for _, r := range s.named("router") {
		if !strings.Contains(r.Log(t), "the router stands still") {
			t.Errorf("the log of %s does not say that it stands still", r.name)
		}
	}
	// The newest copy of all: what came since is published again.
	ns.RestoreStore(t, newest)
	restart(t, s.named("router"))
	restart(t, s.named("notifier"))
	s.adoptAll("--replay")
	s.load.again(mark)
	s.load.finish()
	s.judge()
}

// plain is two scorers, two routers and a notifier on one NATS server and one Redis.
func plain(t *testing.T) (*stack, *servertest.Process) {
	ns, rs := servertest.NATS(t), servertest.Redis(t)
	s := newStack(t, ns.URL())
	s.servers = []service{{ns, "nats-server"}, {rs, "redis-server"}}
	s.launch(2, rs.RedisURL())
	return s, ns
}

// recreate deletes the stream of some lead's shard, and starts Baton's processes anew, one of which creates it. It returns
// the shard when it stands still, and the router has told it of the agreement again.
func (s *stack) recreate() string {
	shard := leadkey.FromEmail(address(s.rng.IntN(s.load.people))).Shard()
	name := "ENGAGEMENT_" + strings.ToUpper(shard)
	servertest.DeleteStream(s.t, s.nats, name)
	restart(s.t, s.named("scorer-2"))
	restart(s.t, s.named("router"))
	restart(s.t, s.named("notifier"))
	s.eventually(patience, func() error {
		all, err := s.shards()
		if err != nil {
			return err
		}
		for id, sh := range all {
			if (id == shard) != strings.Contains(sh.GetStopped(), "created") {
				return fmt.Errorf("shard %s, of which stream %s was created anew, says %q", id, shard, sh.GetStopped())
			}
		}
		if servertest.LastSequence(s.t, s.nats, name) == 0 {
			return errors.New("the router has not told the new stream of the agreement")
		}
		return nil
	})
	return shard
}

// settled waits until all that was published is folded and handed off, and nothing moves any more.
func (s *stack) settled() {
	s.t.Helper()
	s.load.sending.Wait()
	sum, quiet := uint64(0), 0
	s.eventually(patience, func() error {
		all, err := s.shards()
		if err != nil {
			return err
		}
		now := uint64(0)
		for id, sh := range all {
			if now += sh.GetSequence(); sh.GetLag() > 0 || sh.GetStopped() != "" || sh.GetOwner() == "" {
				quiet = 0
				return fmt.Errorf("shard %s lags by %d, is owned by %q, stands still: %q", id, sh.GetLag(), sh.GetOwner(), sh.GetStopped())
			}
		}
		if quiet++; now != sum {
			sum, quiet = now, 0
		}
		if quiet < 5 {
			return errors.New("the shards still move")
		}
		return s.delivered()
	})
}

// routersStandStill waits until the routers say that they stand still, and why.
func (s *stack) routersStandStill(says string) {
	s.t.Helper()
	s.eventually(patience, func() error {
		all, err := s.handoffs()
		if st := status.Convert(err); st.Code() != codes.FailedPrecondition || !strings.Contains(st.Message(), says) {
			return fmt.Errorf("the router must stand still and say %q; it shows %d handoffs, and says %q", says, len(all), st.Message())
		}
		return nil
	})
}

// differOnlyIn fails if verify finds a difference in a shard whose states were not kept against its stream.
func (s *stack) differOnlyIn(kept []string) {
	s.t.Helper()
	for _, d := range s.verify().GetDifferences() {
		if !slices.ContainsFunc(kept, func(id string) bool { return strings.HasPrefix(d, "shard "+id+":") }) {
			s.t.Errorf("verify: %s", d)
		}
	}
}
