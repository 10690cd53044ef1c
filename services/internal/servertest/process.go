// Package servertest starts real servers for tests: nats-server and redis-server (or valkey-server) as processes of their
// own, on loopback. It never skips: what is missing fails the test and says how to install it.
package servertest

import (
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is one server process.
type Process struct {
	Addr string
	Port int
	Dir  string
	bin  string
	args []string
	cmd  *exec.Cmd
	done chan struct{}

	conf, text string // of NATS: its configuration without what a test adds
}

// ports are those that FreePort has given: a killed server gets its own back.
var ports = struct {
	sync.Mutex
	given map[int]bool
}{given: map[int]bool{}}

// FreePort returns a port of loopback that nobody listens on. It is below those that the system gives to connections: one
// of them might take, or even connect to itself on, the port of a server that is down for a moment.
func FreePort(t testing.TB) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range 1000 {
		port := 10000 + rand.IntN(22000)
		if ports.given[port] {
			continue
		}
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		_ = l.Close()
		ports.given[port] = true
		return port
	}
	t.Fatal("no port of loopback between 10000 and 32000 is free")
	return 0
}

// find returns a server's binary: from the environment variable, from .bin at the repository's top, or from PATH.
func find(t testing.TB, env, hint string, names ...string) string {
	t.Helper()
	if p := os.Getenv(env); p != "" {
		return p
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		for d := dir; d != filepath.Dir(d); d = filepath.Dir(d) {
			if p := filepath.Join(d, ".bin", n); executable(p) {
				return p
			}
		}
		if p, err := exec.LookPath(n); err == nil {
			return p
		}
	}
	t.Fatalf("%v is not installed, and this test needs the real one: %s", names, hint)
	return ""
}

func executable(p string) bool {
	i, err := os.Stat(p)
	return err == nil && i.Mode()&0o111 != 0 && !i.IsDir()
}

// start starts the process and waits until it listens; it is killed at the test's end.
func (p *Process) start(t testing.TB) {
	t.Helper()
	t.Cleanup(func() { p.Kill() })
	p.Start(t)
}

// Start starts the process (again) and waits until it listens.
func (p *Process) Start(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(p.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	p.cmd = exec.Command(p.bin, p.args...)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = log, log, p.Dir
	// The server goes with the test, also when the test is killed.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	p.done = done
	go func(cmd *exec.Cmd) {
		_ = cmd.Wait()
		close(done)
	}(p.cmd)
	for deadline := time.Now().Add(20 * time.Second); ; {
		c, err := net.DialTimeout("tcp", p.Addr, time.Second)
		if err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-done:
			b, _ := os.ReadFile(filepath.Join(p.Dir, "log"))
			t.Fatalf("%s ended at its start:\n%s", p.bin, tail(b))
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen on %s", p.bin, p.Addr)
		}
	}
}

func tail(b []byte) []byte {
	if len(b) > 2000 {
		b = b[len(b)-2000:]
	}
	return b
}

// Running says whether the process has been started and has not ended.
func (p *Process) Running() bool {
	if p.done == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Kill kills the process (SIGKILL) and waits for its end.
func (p *Process) Kill() { p.signal(syscall.SIGKILL) }

// Stop ends the process in order and waits for its end.
func (p *Process) Stop() { p.signal(syscall.SIGTERM) }

// Pause stops the process (SIGSTOP); Continue lets it go on.
func (p *Process) Pause() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Continue is the opposite of Pause.
func (p *Process) Continue() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

func (p *Process) signal(s os.Signal) {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	_ = p.cmd.Process.Signal(s)
	<-p.done
}

// RedisURL is the server's address for Redis clients.
func (p *Process) RedisURL() string { return "redis://" + p.Addr }

// Command starts any program that listens on a port of loopback.
func Command(t testing.TB, port int, bin string, args ...string) *Process {
	t.Helper()
	p := &Process{bin: bin, args: args, Addr: "127.0.0.1:" + strconv.Itoa(port), Port: port, Dir: t.TempDir()}
	p.start(t)
	return p
}

// Log returns what the process has written to its standard output and error output so far.
func (p *Process) Log(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(p.Dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
