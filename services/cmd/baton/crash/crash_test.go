package crash_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/servertest"
)

// setup is a topology with the faults that it is tried with. weight is its part of all rounds, and their number in
// `make test`.
type setup struct {
	name   string
	weight int
	start  func(t *testing.T) *stack
}

var setups = []setup{
	{"single", 4, single},
	{"up", 3, up},
	{"nats-cluster", 4, natsCluster},
	{"redis-sentinel", 3, redisSentinel},
	{"redis-cluster", 3, redisCluster},
	{"redis-snapshot", 3, redisSnapshot},
	{"nats-copy", 3, natsCopy},
}

// TestCrash breaks every set-up under load. Nothing is lost, nothing is counted or handed off twice, and nothing is skipped.
func TestCrash(t *testing.T) {
	all, before := 0, 0
	for _, u := range setups {
		all += u.weight
	}
	for _, u := range setups {
		n := share(t, u.weight, before, all)
		before += u.weight
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			u.start(t).rounds(n)
		})
	}
}

// single is every service on one NATS server and one Redis, which loses up to its last second when it is killed.
func single(t *testing.T) *stack {
	ns, rs := servertest.NATS(t), servertest.Redis(t)
	s := newStack(t, ns.URL())
	s.servers = []service{{ns, "nats-server"}, {rs, "redis-server"}}
	s.mortal = append(s.mortal, s.servers...)
	s.launch(3, rs.RedisURL())
	s.faults = []fault{
		{"some processes", s.killSome},
		{"some processes, again", s.killSome},
		{"Redis is emptied", func() { rs.FlushAll(t) }},
		{"the whole machine", func() { s.killAll(s.mortal) }},
	}
	return s
}

// killAll kills everything and starts it again, servers first or last.
func (s *stack) killAll(all []service) {
	for _, v := range all {
		v.Kill()
	}
	order := s.rng.Perm(len(all))
	for _, i := range order {
		all[i].Start(s.t)
	}
}

// up is all in one process.
func up(t *testing.T) *stack {
	grpcPort, natsPort := servertest.FreePort(t), servertest.FreePort(t)
	at, nats := fmt.Sprintf("127.0.0.1:%d", grpcPort), fmt.Sprintf("127.0.0.1:%d", natsPort)
	s := newStack(t, "nats://"+nats)
	p := servertest.Command(t, grpcPort, binary, "up", "--data", t.TempDir(), "--grpc", at, "--nats-listen", nats, "--http", "off",
		"--agreement", file(t, "agreement.yaml", agreementYAML), "--roster", file(t, "roster.yaml", rosterYAML))
	s.baton = []service{{p, "up"}}
	s.scorer, s.router = at, at
	s.begin(at)
	s.faults = []fault{{"the one process", s.killSome}}
	return s
}

// natsCluster is three NATS servers with three copies of every stream, of which any two are enough.
func natsCluster(t *testing.T) *stack {
	nodes, rs := servertest.NATSCluster(t), servertest.Redis(t)
	s := newStack(t, servertest.URLs(nodes))
	for i, n := range nodes {
		s.servers = append(s.servers, service{n, fmt.Sprintf("nats-server-%d", i)})
	}
	s.servers = append(s.servers, service{rs, "redis-server"})
	s.launch(2, rs.RedisURL())
	// back starts servers again after a while, so that the others work, or wait, without them.
	back := func(down ...int) {
		pause(s.ctx, between(s.rng, 0, 5*time.Second))
		for _, i := range down {
			nodes[i].Start(t)
		}
	}
	s.faults = []fault{
		{"the leader of a stream", func() {
			name := []string{"LEADS", "HANDOFFS", fmt.Sprintf("ENGAGEMENT_%X", s.rng.IntN(16)), "KV_BATON_LEADERS"}[s.rng.IntN(4)]
			i := servertest.LeaderOf(t, nodes, name)
			if i < 0 {
				i = s.rng.IntN(len(nodes))
			}
			t.Logf("  nats-server-%d, which leads %s, is killed", i, name)
			nodes[i].Kill()
			back(i)
		}},
		{"a server that does not lead LEADS", func() {
			i := (servertest.LeaderOf(t, nodes, "LEADS") + 1 + s.rng.IntN(2)) % len(nodes)
			t.Logf("  nats-server-%d is killed", i)
			nodes[i].Kill()
			back(i)
		}},
		{"two servers, so that none can write", func() {
			i := s.rng.IntN(len(nodes))
			j := (i + 1 + s.rng.IntN(2)) % len(nodes)
			t.Logf("  nats-server-%d and nats-server-%d are killed", i, j)
			nodes[i].Kill()
			pause(s.ctx, between(s.rng, 0, time.Second))
			nodes[j].Kill()
			back(j, i)
		}},
		{"a server hangs, and some processes", func() {
			i := s.rng.IntN(len(nodes))
			t.Logf("  nats-server-%d hangs", i)
			must(t, nodes[i].Pause())
			s.killSome()
			pause(s.ctx, between(s.rng, 0, 8*time.Second))
			must(t, nodes[i].Continue())
		}},
	}
	return s
}

// redisSentinel is a Redis whose replica takes its place, and lacks what the master acknowledged last.
func redisSentinel(t *testing.T) *stack {
	ns, sen := servertest.NATS(t), servertest.RedisSentinel(t)
	s := newStack(t, ns.URL())
	s.servers = []service{{ns, "nats-server"}, {sen.Redis[0], "redis-server-0"}, {sen.Redis[1], "redis-server-1"}}
	for i, g := range sen.Guards {
		s.servers = append(s.servers, service{g, fmt.Sprintf("sentinel-%d", i)})
	}
	s.mortal = append(s.mortal, s.servers[0])
	s.launch(2, sen.URL)
	lost := 0
	failOver := func(hang bool) {
		sen.Settled(t)
		m := sen.Master()
		sen.Lag(t, 1-m)
		ahead := func() int { return committed(t, sen.Redis[m]) - committed(t, sen.Redis[1-m]) }
		s.load.more(40 + s.rng.IntN(100))
		s.eventually(patience, func() error {
			if ahead() == 0 {
				return errors.New("the master has nothing that its replica has not")
			}
			return nil
		})
		pause(s.ctx, between(s.rng, 0, time.Second))
		n := ahead()
		t.Logf("  redis-server-%d, which is %d messages ahead of its replica, goes down", m, n)
		lost += n
		if hang {
			must(t, sen.Redis[m].Pause())
		} else {
			sen.Redis[m].Kill()
		}
		s.eventually(patience, func() error {
			if !sen.Redis[1-m].IsMaster() {
				return errors.New("the replica is not promoted")
			}
			return nil
		})
		sen.Unlag(t, 1-m)
		pause(s.ctx, between(s.rng, 0, 2*time.Second))
		if hang { // it believes to be the master still
			must(t, sen.Redis[m].Continue())
		} else {
			sen.Redis[m].Start(t)
		}
	}
	s.faults = []fault{
		{"the master is killed", func() { failOver(false) }},
		{"the master hangs, and comes back as one of two", func() { failOver(true) }},
		{"some processes", s.killSome},
	}
	s.done = func() { t.Logf("fail-overs lost %d commits' messages, which were folded again", lost) }
	return s
}

// committed is how many messages the shards' states in a Redis are of.
func committed(t *testing.T, p *servertest.Process) int {
	sum := 0
	for _, position := range p.Fields(t, shardMetas, "position") {
		var created, sequence int
		if _, err := fmt.Sscan(position, &created, &sequence); err == nil {
			sum += sequence
		}
	}
	return sum
}

var shardMetas = func() (keys []string) {
	for _, digit := range "0123456789abcdef" {
		keys = append(keys, fmt.Sprintf("baton:{%c}:meta", digit))
	}
	return keys
}()

// redisCluster is a Cluster of three masters, each with a replica that takes its place.
func redisCluster(t *testing.T) *stack {
	ns := servertest.NATS(t)
	url, nodes := servertest.RedisClusterReplicated(t)
	s := newStack(t, ns.URL())
	s.servers = []service{{ns, "nats-server"}}
	for i, n := range nodes {
		s.servers = append(s.servers, service{n, fmt.Sprintf("redis-server-%d", i)})
	}
	s.mortal = append(s.mortal, s.servers[0])
	s.launch(2, url)
	failOver := func(hang bool) {
		servertest.ClusterSettled(t, nodes)
		masters := 0
		victim := -1
		for i, n := range nodes {
			if n.IsMaster() {
				if masters++; s.rng.IntN(masters) == 0 {
					victim = i
				}
			}
		}
		s.load.more(40 + s.rng.IntN(100))
		pause(s.ctx, between(s.rng, 0, time.Second))
		t.Logf("  redis-server-%d, a master, goes down", victim)
		if hang {
			must(t, nodes[victim].Pause())
		} else {
			nodes[victim].Kill()
		}
		if s.rng.IntN(4) > 0 { // else it may be back before its replica is promoted
			s.eventually(patience, func() error {
				n := 0
				for i, p := range nodes {
					if i != victim && p.IsMaster() {
						n++
					}
				}
				if n != 3 {
					return fmt.Errorf("%d masters", n)
				}
				return nil
			})
		}
		pause(s.ctx, between(s.rng, 0, 2*time.Second))
		if hang {
			must(t, nodes[victim].Continue())
		} else {
			nodes[victim].Start(t)
		}
	}
	s.faults = []fault{
		{"a master is killed", func() { failOver(false) }},
		{"a master hangs, and comes back as one of two", func() { failOver(true) }},
		{"some processes", s.killSome},
	}
	return s
}

// redisSnapshot is a Redis that is put back to what it was seconds ago.
func redisSnapshot(t *testing.T) *stack {
	ns, rs := servertest.NATS(t), servertest.RedisWithoutLog(t)
	s := newStack(t, ns.URL())
	s.servers = []service{{ns, "nats-server"}, {rs, "redis-server"}}
	s.mortal = append(s.mortal, s.servers...)
	s.launch(2, rs.RedisURL())
	// behind takes a snapshot and waits until the states have gone on from it.
	behind := func() string {
		snapshot, was := rs.Snapshot(t), committed(t, rs)
		s.load.more(40 + s.rng.IntN(200))
		s.eventually(patience, func() error {
			if committed(t, rs) <= was {
				return errors.New("nothing was committed since")
			}
			return nil
		})
		pause(s.ctx, between(s.rng, 0, 3*time.Second))
		t.Logf("  the snapshot is %d messages behind", committed(t, rs)-was)
		return snapshot
	}
	s.faults = []fault{
		{"Redis is restored while the scorers run", func() { rs.Restore(t, behind()) }},
		{"Redis is restored while no scorer runs", func() {
			snapshot := behind()
			for _, v := range s.named("scorer") {
				v.Kill()
			}
			rs.Restore(t, snapshot)
			for _, v := range s.named("scorer") {
				v.Start(t)
			}
		}},
		{"some processes", s.killSome},
	}
	return s
}

// natsCopy is a NATS server whose streams are put back to what they were seconds ago, while Baton is stopped. Then the
// operator replays every shard, and who publishes sends again what was sent since.
func natsCopy(t *testing.T) *stack {
	ns, rs := servertest.NATS(t), servertest.Redis(t)
	s := newStack(t, ns.URL())
	s.servers = []service{{ns, "nats-server"}, {rs, "redis-server"}}
	s.mortal = append(s.mortal, s.servers...)
	s.launch(2, rs.RedisURL())
	goOn := func() {
		was := committed(t, rs)
		s.load.more(40 + s.rng.IntN(200))
		s.eventually(patience, func() error {
			if committed(t, rs) < was+40 {
				return errors.New("the scorers have not gone on")
			}
			return nil
		})
		pause(s.ctx, between(s.rng, 0, 2*time.Second))
	}
	stop := func() {
		for _, v := range s.baton {
			v.Kill()
		}
	}
	s.faults = []fault{
		{"the server's disk is restored from a copy that was taken while Baton ran", func() {
			mark := s.load.mark()
			older := ns.CopyStore(t)
			goOn()
			stop()
			ns.RestoreStore(t, older)
			s.revive()
			s.eventually(patience, s.someStandStill)
			s.adoptAll("--replay")
			s.load.again(mark)
		}},
		{"every stream is restored from its backup, with Baton stopped for both", func() {
			mark := s.load.mark()
			stop()
			names := []string{subject.LeadsStream, subject.HandoffsStream, subject.RejectedStream}
			for _, shard := range subject.Shards {
				names = append(names, subject.EngagementStream(shard))
			}
			var backups []*servertest.Backup
			for _, name := range names {
				backups = append(backups, servertest.BackUp(t, s.nats, name))
			}
			s.revive()
			goOn()
			stop()
			for _, b := range backups {
				b.Restore(t, s.nats)
			}
			s.revive()
			s.eventually(patience, s.someStandStill)
			s.adoptAll("--replay")
			s.load.again(mark)
		}},
		{"some processes", s.killSome},
	}
	return s
}

// someStandStill says whether some shard stands still until an operator decides, as all do that were read beyond what
// their stream now holds.
func (s *stack) someStandStill() error {
	all, err := s.shards()
	if err != nil {
		return err
	}
	n := 0
	for _, sh := range all {
		if strings.Contains(sh.GetStopped(), "baton shard adopt") {
			n++
		}
	}
	if n == 0 {
		return errors.New("no shard stands still")
	}
	s.t.Logf("  %d shards stand still", n)
	return nil
}

// adoptAll is what an operator does for every shard.
func (s *stack) adoptAll(how string) {
	for _, digit := range "0123456789abcdef" {
		s.adopt(string(digit), how)
	}
}

func (s *stack) adopt(shard, how string) {
	s.eventually(patience, func() error {
		_, err := baton("shard", "adopt", shard, how, "--grpc", s.scorer)
		return err
	})
}
