// Package crash_test kills the real binary and the servers that it stands on.
package crash_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/services/internal/servertest"
)

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "baton-crash")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "baton")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/leadbaton/baton/services/cmd/baton").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building baton: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// rounds is how often something is killed.
func rounds(t *testing.T, normal int) int {
	s := os.Getenv("BATON_CRASH_ROUNDS")
	if s == "" {
		return normal
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("BATON_CRASH_ROUNDS=%q is not a number of rounds", s)
	}
	return n
}

func seeded(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("BATON_CRASH_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("BATON_CRASH_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// service is one process of the binary.
type service struct {
	*servertest.Process
	name string
}

// TestCrashServices kills every kind of process, in turn and at random.
func TestCrashServices(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	rng := seeded(t)
	ns, rs := servertest.NATS(t), servertest.Redis(t)
	var all []service
	launch := func(name string, port int, args ...string) {
		args = append(args, "--nats", ns.URL(), "--grpc", fmt.Sprintf("127.0.0.1:%d", port))
		all = append(all, service{servertest.Command(t, port, binary, args...), name})
	}
	ports := map[string]int{}
	for _, name := range []string{"scorer-1", "scorer-2", "scorer-3", "router-1", "router-2", "notifier"} {
		ports[name] = servertest.FreePort(t)
	}
	at := func(name string) string { return fmt.Sprintf("127.0.0.1:%d", ports[name]) }
	launch("notifier", ports["notifier"], "notifier")
	for _, n := range []string{"scorer-1", "scorer-2", "scorer-3"} {
		launch(n, ports[n], "scorer", "--redis", rs.RedisURL())
	}
	for _, n := range []string{"router-1", "router-2"} {
		launch(n, ports[n], "router", "--notifier", at("notifier"), "--advertise", at(n))
	}
	all = append(all, service{ns, "nats-server"}, service{rs, "redis-server"})

	l := newLoad(t, ctx, rng, ns.URL(), at("notifier"))
	documents(t, at("router-1"))
	l.start()
	rdb := redis.NewClient(&redis.Options{Addr: rs.Addr})
	defer func() { _ = rdb.Close() }()
	n := rounds(t, len(all)+3)
	for i := range n {
		l.more(40 + rng.IntN(200))
		pause(ctx, time.Duration(rng.IntN(700))*time.Millisecond)
		switch victim := i % (len(all) + 2); {
		case victim < len(all):
			v := all[victim]
			t.Logf("round %d: %s is killed", i, v.name)
			v.Kill()
			pause(ctx, time.Duration(rng.IntN(400))*time.Millisecond)
			v.Start(t)
		case victim == len(all):
			t.Logf("round %d: Redis is emptied", i)
			if err := rdb.FlushAll(ctx).Err(); err != nil {
				t.Fatal(err)
			}
		default:
			t.Logf("round %d: scorer-1 is paused for longer than its lease", i)
			p := all[1]
			if err := p.Pause(); err != nil {
				t.Fatal(err)
			}
			pause(ctx, 6*time.Second)
			if err := p.Continue(); err != nil {
				t.Fatal(err)
			}
		}
	}
	l.finish()
	l.judge(at("scorer-2"), at("router-2"))
	for _, v := range all {
		l.keepsSecrets(v.name, v.Log(t))
	}
}

// TestCrashUp kills all in one.
func TestCrashUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	rng := seeded(t)
	grpcPort, natsPort := servertest.FreePort(t), servertest.FreePort(t)
	grpc, nats := fmt.Sprintf("127.0.0.1:%d", grpcPort), fmt.Sprintf("127.0.0.1:%d", natsPort)
	up := servertest.Command(t, grpcPort, binary, "up", "--data", t.TempDir(), "--grpc", grpc, "--nats-listen", nats,
		"--agreement", file(t, "agreement.yaml", agreementYAML), "--roster", file(t, "roster.yaml", rosterYAML))
	l := newLoad(t, ctx, rng, "nats://"+nats, grpc)
	documents(t, grpc) // the answer comes when every shard has them
	l.start()
	for i := range rounds(t, 4) {
		l.more(100 + rng.IntN(300))
		pause(ctx, time.Duration(rng.IntN(900))*time.Millisecond)
		t.Logf("round %d: killed", i)
		up.Kill()
		up.Start(t)
	}
	l.finish()
	l.judge(grpc, grpc)
	l.keepsSecrets("up", up.Log(t))
}

// keepsSecrets fails if a log names a person, by address or by lead key.
func (l *load) keepsSecrets(name, log string) {
	l.t.Helper()
	for who := range l.model.points {
		if strings.Contains(log, who) || strings.Contains(log, string(leadkey.FromEmail(who))) {
			l.t.Errorf("the log of %s names a person", name)
			return
		}
	}
}

// pause lets the load go on for a while before the next fault.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// documents puts the agreement and the roster in force; the router may still be starting.
func documents(t *testing.T, router string) {
	t.Helper()
	a, r := file(t, "agreement.yaml", agreementYAML), file(t, "roster.yaml", rosterYAML)
	eventually(t, time.Minute, func() error { _, err := baton("agreement", "activate", a, "--grpc", router); return err })
	eventually(t, time.Minute, func() error { _, err := baton("roster", "apply", r, "--grpc", router); return err })
}

func baton(args ...string) (string, error) {
	out, err := exec.Command(binary, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("baton %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// eventually repeats f until it succeeds.
func eventually(t *testing.T, within time.Duration, f func() error) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(within)
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("not within %s: %v", within, err)
		}
	}
}

const agreementYAML = `apiVersion: baton/v1
kind: Agreement
name: crash
engagement:
  halfLife: 0s
  rules:
    - {id: view, on: page.viewed, points: 1}
    - {id: demo, on: form.submitted, when: 'event.form == "demo"', points: 100}
qualification:
  require: [lead.email]
  paths:
    - {id: hand-raise, rule: demo}
`

const rosterYAML = `apiVersion: baton/v1
kind: Roster
channels:
  desk: {grpc: {}}
teams:
  - id: all
    pick: fair
    reps: [one, two]
    hours: {zone: UTC, shifts: [{days: mon-sun, from: "00:00", to: "24:00"}]}
reps:
  - {id: one, name: One, email: one@example.com, channels: [{use: desk}]}
  - {id: two, name: Two, email: two@example.com, channels: [{use: desk}]}
`

// model is what must come out: points and demos by address, whatever was killed.
type model struct {
	mu     sync.Mutex
	points map[string]int
	demo   map[string]bool
}

func (m *model) view(who string) {
	m.mu.Lock()
	m.points[who]++
	m.mu.Unlock()
}

func (m *model) raise(who string) {
	m.mu.Lock()
	m.points[who] += 100
	m.demo[who] = true
	m.mu.Unlock()
}

type leadJSON struct {
	Lead struct {
		Standings []struct {
			Score    struct{ Total float64 } `json:"score"`
			Episodes int                     `json:"episodes"`
		} `json:"standings"`
	} `json:"lead"`
}

type handoffsJSON struct {
	Total    string `json:"total"`
	Handoffs []struct {
		ID          string `json:"id"`
		DeliveredAt string `json:"deliveredAt"`
		Qualified   struct {
			Profile struct{ Lead map[string]string } `json:"profile"`
		} `json:"qualified"`
	} `json:"handoffs"`
}

// judge compares what Baton says with the model.
func (l *load) judge(scorer, router string) {
	t := l.t
	defer func() {
		if t.Failed() {
			l.tell(scorer)
		}
	}()
	eventually(t, time.Minute, func() error { return l.delivered(router) })
	for who, want := range l.model.points {
		eventually(t, time.Minute, func() error {
			out, err := baton("lead", "get", who, "-o", "json", "--grpc", scorer)
			if err != nil {
				return err
			}
			var got leadJSON
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				return err
			}
			if len(got.Lead.Standings) != 1 || got.Lead.Standings[0].Score.Total != float64(want) {
				return fmt.Errorf("%s stands at %+v, the model says %d", who, got.Lead.Standings, want)
			}
			if want := l.model.demo[who]; (got.Lead.Standings[0].Episodes == 1) != want {
				return fmt.Errorf("%s qualified %d times", who, got.Lead.Standings[0].Episodes)
			}
			return nil
		})
	}
	out, err := baton("verify", "--grpc", scorer)
	if err != nil {
		t.Error(err)
	}
	t.Logf("verify: %s", strings.TrimSpace(out))
	t.Logf("%d leads, %d handoffs, %d events published, %d offers shown", len(l.model.points), len(l.model.demo), l.events, l.offers())
}

// tell shows what became of some leads whose handoff is missing.
func (l *load) tell(scorer string) {
	told := 0
	for who := range l.model.demo {
		out, err := baton("lead", "get", who, "-o", "json", "--grpc", scorer)
		if (err != nil || !strings.Contains(out, `"open"`)) && told < 3 {
			story, _ := baton("lead", "timeline", who, "--grpc", scorer)
			l.t.Logf("%s: %v\n%s\n%s", who, err, out, story)
			told++
		}
	}
	out, err := baton("verify", "--grpc", scorer)
	l.t.Logf("verify: %v\n%s", err, out)
}

// delivered says whether each expected handoff is there once and was delivered.
func (l *load) delivered(router string) error {
	out, err := baton("handoff", "list", "--limit", "10000", "-o", "json", "--grpc", router)
	if err != nil {
		return err
	}
	var got handoffsJSON
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		return err
	}
	seen := map[string]int{}
	waiting := 0
	for _, h := range got.Handoffs {
		seen[h.Qualified.Profile.Lead["email"]]++
		if h.DeliveredAt == "" {
			waiting++
		}
	}
	for who := range l.model.demo {
		if seen[who] > 1 {
			l.t.Fatalf("%s was handed off %d times", who, seen[who])
		}
	}
	if len(seen) != len(l.model.demo) || waiting > 0 {
		var missing []string
		for who := range l.model.demo {
			if seen[who] == 0 {
				missing = append(missing, who)
			}
		}
		return fmt.Errorf("%d of %d handoffs, %d of them not delivered; missing: %v", len(seen), len(l.model.demo), waiting, missing)
	}
	return nil
}
