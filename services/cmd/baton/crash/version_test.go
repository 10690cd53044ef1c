package crash_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
)

// TestCrashNewerVersion: a shard is told of a version of the fold that this program is too old for. Its owner commits what
// comes before and nothing after, says so, and is not ready; the other shards go on.
func TestCrashNewerVersion(t *testing.T) {
	t.Parallel()
	s, _ := plain(t)
	s.load.more(200)
	s.load.tie()
	s.settled()
	shard := leadkey.FromEmail(address(s.rng.IntN(s.load.people))).Shard()
	at := tellVersion(t, s.nats, shard, 99)
	s.load.views(300)
	s.load.sending.Wait()
	const says = "fold version lead-99 is newer than this program's lead-1: update this scorer"
	s.eventually(patience, func() error {
		all, err := s.shards()
		if err != nil {
			return err
		}
		for id, sh := range all {
			switch {
			case id == shard && sh.GetSequence() >= at:
				t.Fatalf("shard %s was folded up to message %d, beyond the version's marker at %d", id, sh.GetSequence(), at)
			case id == shard && sh.GetSequence() != at-1:
				return fmt.Errorf("shard %s is folded up to message %d, want %d", id, sh.GetSequence(), at-1)
			case id == shard && sh.GetLag() < 2:
				return fmt.Errorf("shard %s: no event has come after the marker", id)
			case id != shard && sh.GetLag() > 0:
				return fmt.Errorf("shard %s lags by %d", id, sh.GetLag())
			}
		}
		for _, v := range s.named("scorer") {
			// One of the two may not have met the marker: it is as able as it was.
			if strings.Contains(v.Log(t), says) {
				return nil
			}
		}
		return fmt.Errorf("no scorer says %q", says)
	})
	s.eventually(patience, func() error {
		answer, err := healthv1.NewHealthClient(s.conn(s.scorer)).Check(s.ctx, &healthv1.HealthCheckRequest{})
		if err != nil {
			return err
		}
		if answer.GetStatus() != healthv1.HealthCheckResponse_NOT_SERVING {
			return fmt.Errorf("the scorer's health is %s", answer.GetStatus())
		}
		return nil
	})
}

// tellVersion puts the marker of a version of the fold into a shard, as the router of a newer program does, and returns its
// sequence.
func tellVersion(t *testing.T, url, shard string, version uint32) uint64 {
	t.Helper()
	body, err := proto.Marshal(&shardv1.Inbound{
		Origin: &shardv1.Origin{Producer: "router", Incarnation: math.MaxInt64, Sequence: 1},
		Body:   &shardv1.Inbound_FoldVersionInForce{FoldVersionInForce: &shardv1.FoldVersionInForce{Version: version}},
	})
	must(t, err)
	nc, err := nats.Connect(url)
	must(t, err)
	defer nc.Close()
	js, err := nc.JetStream()
	must(t, err)
	ack, err := js.Publish(subject.InboundAll("router", shard), body)
	must(t, err)
	return ack.Sequence
}
