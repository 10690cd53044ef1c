// Package crash_test kills the real binary and the servers that it stands on.
package crash_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
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

// seed is that of this run: BATON_CRASH_SEED, else another one each time.
var seed = sync.OnceValues(func() (uint64, error) {
	if s := os.Getenv("BATON_CRASH_SEED"); s != "" {
		return strconv.ParseUint(s, 10, 64)
	}
	return uint64(time.Now().UnixNano()), nil
})

// seeded returns the random choices of one test. They depend on its name too, so that it makes the same ones alone.
func seeded(t *testing.T) *rand.Rand {
	n, err := seed()
	must(t, err)
	t.Logf("BATON_CRASH_SEED=%d", n)
	h := fnv.New64a()
	_, _ = h.Write([]byte(t.Name()))
	return rand.New(rand.NewPCG(n, h.Sum64()))
}

// share returns how many of all rounds (BATON_CRASH_ROUNDS) a set-up gets, by its weight among all; without them, its weight.
func share(t *testing.T, weight, before, all int) int {
	s := os.Getenv("BATON_CRASH_ROUNDS")
	if s == "" {
		return weight
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("BATON_CRASH_ROUNDS=%q is not a number of rounds", s)
	}
	return max(1, n*(before+weight)/all-n*before/all)
}

// pause lets the load go on for a while before the next fault.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// between returns a random time.
func between(rng *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(rng.Int64N(int64(to-from)))
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
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

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
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
