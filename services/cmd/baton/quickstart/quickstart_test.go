// Package quickstart_test runs the README's quick start as it is written there.
package quickstart_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestQuickStart follows the README in a clean folder: `make run`, a sales tool that confirms, the example events.
func TestQuickStart(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	dir := clone(t)
	steps := commands(t, dir)

	first := launch(t, ctx, dir, steps["first"])
	first.waits(t, "Baton is running")
	second := launch(t, ctx, dir, steps["second"])
	second.waits(t, "waiting for leads")
	publish, rest, _ := strings.Cut(steps["third"], "\n")
	out := run(t, ctx, dir, publish)
	second.waits(t, "d@acme.example") // who types the next line has seen them arrive
	second.waits(t, "n@globex.example")
	out += run(t, ctx, dir, rest)
	for _, want := range []string{"6 accepted", "1 duplicate", "pricing-page", "demo-requested", "accepted", "all equal"} {
		if !strings.Contains(out, want) {
			t.Errorf("the third terminal does not show %q:\n%s", want, out)
		}
	}
	shown := second.waits(t, "receipt given: delivered")
	for _, who := range []string{"d@acme.example", "n@globex.example"} {
		if n := strings.Count(shown, "lead      "+who); n != 1 {
			t.Errorf("%s was shown %d times:\n%s", who, n, shown)
		}
	}
	if n := strings.Count(shown, "hand-raise"); n < 2 {
		t.Errorf("the path hand-raise is shown %d times:\n%s", n, shown)
	}
	// The click that came under another system's id counts for the person it belongs to.
	if out := run(t, ctx, dir, ".bin/baton lead explain r@acme.example"); !regexp.MustCompile(`email-clicked\s+2 times`).MatchString(out) {
		t.Errorf("e-006 does not count for r@acme.example:\n%s", out)
	}
	second.interrupt(t)
	first.interrupt(t)

	// A second start hands nothing off again.
	first = launch(t, ctx, dir, steps["first"])
	first.waits(t, "Baton is running")
	out = run(t, ctx, dir, ".bin/baton handoff list -o json && .bin/baton verify")
	if !strings.Contains(out, `"total":"2"`) && !strings.Contains(out, `"total": "2"`) || !strings.Contains(out, "all equal") {
		t.Errorf("after a second start:\n%s", out)
	}
	first.interrupt(t)
}

// clone copies the repository as it stands, without what git ignores.
func clone(t *testing.T) string {
	t.Helper()
	top, err := exec.Command("git", "-c", "safe.directory=*", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		t.Fatalf("this test runs in a git checkout: %v", err)
	}
	from := strings.TrimSpace(string(top))
	list := exec.Command("git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", "-z")
	list.Dir = from
	files, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name := range strings.SplitSeq(strings.TrimRight(string(files), "\x00"), "\x00") {
		b, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, and not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var block = regexp.MustCompile("<!-- quick start: (\\w+) terminal -->\n```sh\n((?s:.*?))```")

// commands reads what the README says to type, by terminal.
func commands(t *testing.T, dir string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, m := range block.FindAllStringSubmatch(string(b), -1) {
		out[m[1]] += m[2]
	}
	for _, terminal := range []string{"first", "second", "third"} {
		if out[terminal] == "" {
			t.Fatalf("the README says nothing for the %s terminal", terminal)
		}
	}
	return out
}

// run types commands one after the other, as a person does, and waits for each.
func run(t *testing.T, ctx context.Context, dir, script string) string {
	t.Helper()
	c := exec.CommandContext(ctx, "bash", "-euc", script)
	c.Dir, c.Env = dir, environment()
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return string(out)
}

// environment is this one without what would lead Baton elsewhere.
func environment() []string {
	var out []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "BATON_") && !strings.HasPrefix(e, "MAKE") {
			out = append(out, e)
		}
	}
	return out
}

// terminal is a command that goes on until Ctrl-C.
type terminal struct {
	script string
	cmd    *exec.Cmd
	done   chan error
	mu     sync.Mutex
	out    bytes.Buffer
	more   chan struct{}
}

func (r *terminal) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out.Write(b)
	select {
	case r.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (r *terminal) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.String()
}

func launch(t *testing.T, ctx context.Context, dir, script string) *terminal {
	t.Helper()
	r := &terminal{script: script, done: make(chan error, 1), more: make(chan struct{}, 1)}
	r.cmd = exec.CommandContext(ctx, "bash", "-euc", script)
	r.cmd.Dir, r.cmd.Env, r.cmd.Stdout, r.cmd.Stderr = dir, environment(), r, r
	// A group of its own, so that Ctrl-C reaches make and what it runs, and nothing else.
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.cmd.Cancel = func() error { return syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL) }
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.done <- r.cmd.Wait() }()
	t.Cleanup(func() { _ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL) })
	return r
}

// waits returns all that was shown once it holds a text.
func (r *terminal) waits(t *testing.T, want string) string {
	t.Helper()
	timeout := time.After(5 * time.Minute) // the first one compiles
	for {
		if s := r.text(); strings.Contains(s, want) {
			return s
		}
		select {
		case <-r.more:
		case err := <-r.done:
			t.Fatalf("%s ended (%v) before it showed %q:\n%s", r.script, err, want, r.text())
		case <-timeout:
			t.Fatalf("%s does not show %q:\n%s", r.script, want, r.text())
		}
	}
}

// interrupt is Ctrl-C: it ends in order.
func (r *terminal) interrupt(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(-r.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-r.done:
		// The shell or make may report the signal; Baton itself must not have failed.
		if s := r.text(); strings.Contains(s, "panic") || strings.Contains(s, "Error 1\n") {
			t.Errorf("%s ended with %v:\n%s", r.script, err, s)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("%s does not end at Ctrl-C:\n%s", r.script, r.text())
	}
}
