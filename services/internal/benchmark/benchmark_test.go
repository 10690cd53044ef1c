package benchmark_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/leadbaton/baton/services/internal/agreement"
	"github.com/leadbaton/baton/services/internal/benchmark"
	"github.com/leadbaton/baton/services/internal/event"
	"github.com/leadbaton/baton/services/internal/roster"
	"github.com/leadbaton/baton/services/internal/servertest"
)

// command builds the real binary once and returns `baton bench` with flags, in a temporary folder of its own.
func command(t *testing.T, dir string, flags ...string) *exec.Cmd {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "baton")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/leadbaton/baton/services/cmd/baton").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c := exec.Command(binary, append([]string{"bench"}, flags...)...)
	c.Env = append(os.Environ(), "TMPDIR="+dir, "BATON_TEST_NATS_SERVER="+servertest.NATSProgram(t), "BATON_TEST_REDIS_SERVER="+servertest.RedisProgram(t))
	return c
}

// TestBench runs every part over a small backlog: the figures mean little, but each is there.
func TestBench(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts servers")
	}
	dir := t.TempDir()
	c := command(t, dir, "--events", "60000", "--leads", "2000", "--rounds", "1", "-o", "json")
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	var r benchmark.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Parts) != len(benchmark.Parts)-1 { // latency stands apart
		t.Fatalf("the report has %d parts: %s", len(r.Parts), out.String())
	}
	for _, p := range r.Parts {
		cpu := 0.0
		for _, v := range p.CPU {
			cpu += v
		}
		if p.Rate <= 0 || p.Share <= 0 || cpu <= 0 || len(p.Memory) == 0 {
			t.Errorf("%s has no figures: %+v", p.Name, p)
		}
		if p.Name == "scorer" && (p.PerLead < 100 || p.Growth <= 0) {
			t.Errorf("memory was not measured: %+v", p)
		}
	}
	if len(r.Latency) != 2 {
		t.Fatalf("%d latencies", len(r.Latency))
	}
	for _, l := range r.Latency {
		if l.Offers < 250 || l.P50 <= 0 || l.P99 < l.P50 || l.Max < l.P99 {
			t.Errorf("latency: %+v", l)
		}
	}
	if len(r.Goals) != 6 {
		t.Errorf("%d goals", len(r.Goals))
	}
	leavesNothing(t, dir)
}

// leavesNothing fails if a folder of the benchmark is there, or a process that works in one.
func leavesNothing(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("%s is left", left[0].Name())
	}
	processes, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		line, _ := os.ReadFile(filepath.Join("/proc", p.Name(), "cmdline"))
		if strings.Contains(string(line), dir) {
			t.Errorf("process %s is left: %q", p.Name(), line)
		}
	}
}

// TestInterrupted ends a run as Ctrl-C does, while its servers and services work.
func TestInterrupted(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts servers")
	}
	dir := t.TempDir()
	c := command(t, dir, "--events", "200000")
	said := &waiting{text: "round 1", seen: make(chan struct{})}
	c.Stderr = said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case <-said.seen:
	case err := <-ended:
		t.Fatalf("it ended by itself: %v\n%s", err, said.all.String())
	case <-time.After(3 * time.Minute):
		t.Fatal("it does not begin")
	}
	if err := c.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("it ended well")
		}
	case <-time.After(time.Minute):
		_ = c.Process.Kill()
		t.Fatal("it does not end")
	}
	if code := c.ProcessState.ExitCode(); code != 1 || !strings.Contains(said.all.String(), "interrupted") {
		t.Errorf("exit code %d:\n%s", code, said.all.String())
	}
	leavesNothing(t, dir)
}

// waiting tells when a text was written.
type waiting struct {
	text string
	all  bytes.Buffer
	seen chan struct{}
	told bool
}

func (w *waiting) Write(p []byte) (int, error) {
	w.all.Write(p)
	if !w.told && strings.Contains(w.all.String(), w.text) {
		w.told = true
		close(w.seen)
	}
	return len(p), nil
}

// TestMissingServers says how to get what is not there, before anything is started.
func TestMissingServers(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	for _, o := range []benchmark.Options{{}, {NATSServer: filepath.Join(dir, "none")}, {NATSServer: "/proc/self/exe"}} {
		_, err := benchmark.Run(context.Background(), o)
		if err == nil || !strings.Contains(err.Error(), "-server PATH") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	leavesNothing(t, dir)
}

// TestDocumentsAndEvents holds the benchmark's own input to what Baton takes.
func TestDocumentsAndEvents(t *testing.T) {
	a, findings := agreement.Parse(benchmark.Agreement())
	if a == nil {
		t.Fatalf("the agreement: %v", findings)
	}
	if r, findings := roster.Parse(benchmark.Roster()); r == nil {
		t.Fatalf("the roster: %v", findings)
	}
	events := benchmark.NewEvents(1000, time.Unix(1_800_000_000, 0))
	leads, bytes := map[string]bool{}, 0
	const n = 20_000
	for range n {
		body := events.Next()
		var e event.Event
		if err := event.Decode(body, &e); err != nil {
			t.Fatalf("%v:\n%s", err, body)
		}
		leads[string(e.Key)] = true
		bytes += len(body)
	}
	if len(leads) < 500 || bytes/n < 300 {
		t.Errorf("%d leads, %d bytes an event", len(leads), bytes/n)
	}
}
