package benchmark

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// bed is a folder and the processes that work in it. Both are gone after close.
type bed struct {
	dir string

	mu  sync.Mutex
	all []*process
}

func newBed() (*bed, error) {
	dir, err := os.MkdirTemp("", "baton-bench-")
	return &bed{dir: dir}, err
}

// close kills what still runs and removes the folder.
func (b *bed) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.all {
		p.kill()
	}
	return os.RemoveAll(b.dir)
}

// process is one child.
type process struct {
	name string // as the report groups it: nats, redis, or the part of Baton
	pid  int
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // after done
}

// start starts a program whose output goes to a file; out, if not nil, takes its standard output instead.
func (b *bed) start(name string, out *bytes.Buffer, program string, args ...string) (*process, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &process{name: name, log: filepath.Join(b.dir, fmt.Sprintf("%s-%d.log", name, len(b.all))), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(program, args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = b.dir, log, log
	if out != nil {
		p.cmd.Stdout = out
	}
	p.cmd.SysProcAttr = goWithParent()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s cannot be started: %w", name, err)
	}
	p.pid = p.cmd.Process.Pid
	b.all = append(b.all, p)
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// self is the benchmark's own process, to be looked at.
func self() *process { return &process{name: "publisher", pid: os.Getpid()} }

// stop ends the process in order, and at once after ten seconds.
func (p *process) stop() {
	if p.cmd.Process.Signal(syscall.SIGTERM) == nil {
		timer := time.NewTimer(10 * time.Second)
		defer timer.Stop()
		select {
		case <-p.done:
			return
		case <-timer.C:
		}
	}
	p.kill()
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// ended says how a process ended that should not have.
func (p *process) ended() error {
	b, _ := os.ReadFile(p.log)
	if len(b) > 2000 {
		b = b[len(b)-2000:]
	}
	err := p.err
	if err == nil {
		err = errors.New("without an error")
	}
	return fmt.Errorf("%s ended: %w; its last words:\n%s", p.name, err, bytes.TrimSpace(b))
}

// until waits for a condition that p brings about.
func (p *process) until(ctx context.Context, what string, ok func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.done:
			return p.ended()
		case <-late.C:
			return fmt.Errorf("%s: %s did not happen within a minute", p.name, what)
		}
	}
	return nil
}

// freeAddress returns an address of loopback that nobody listens on. Its port is below those that the system gives to
// connections, one of which could take it before the server does.
func freeAddress() (string, error) {
	var err error
	for range 100 {
		var l net.Listener
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(22_000)))
		if l, err = net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address, nil
		}
	}
	return "", fmt.Errorf("no port of loopback between 10000 and 32000 is free: %w", err)
}

// startNATS starts a nats-server with JetStream in a folder and returns its URL. sync is its sync_interval.
func (b *bed) startNATS(ctx context.Context, program, dir, sync string) (*process, string, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, "", err
	}
	conf := filepath.Join(b.dir, "nats.conf")
	text := fmt.Sprintf("listen: %s\njetstream { store_dir: %q, sync_interval: %s }\n", address, dir, sync)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	p, err := b.start("nats", nil, program, "-c", conf)
	if err != nil {
		return nil, "", err
	}
	return p, "nats://" + address, p.until(ctx, "listening", func() bool { return listens(address) })
}

// startRedis starts a redis-server that appends to a file synced every second, and returns its URL.
func (b *bed) startRedis(ctx context.Context, program string) (*process, string, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, "", err
	}
	_, port, _ := net.SplitHostPort(address)
	dir, err := os.MkdirTemp(b.dir, "redis-")
	if err != nil {
		return nil, "", err
	}
	p, err := b.start("redis", nil, program, "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--daemonize", "no",
		"--appendonly", "yes", "--appendfsync", "everysec")
	if err != nil {
		return nil, "", err
	}
	return p, "redis://" + address, p.until(ctx, "listening", func() bool { return listens(address) })
}

func listens(address string) bool {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// Server programs, and what to do where they are missing.
const (
	natsServer  = "nats-server"
	natsHint    = "`make .bin/nats-server` builds it in Baton's repository, https://nats.io/download has it; or name it with --nats-server PATH"
	redisServer = "redis-server"
	redisHint   = "install redis-server 7.0 or newer (Debian: apt-get install redis-server); or name it with --redis-server PATH"
)

// find returns the path of a server's program: the one that was named, or that of $PATH.
func find(named, hint string, names ...string) (string, error) {
	if named != "" {
		p, err := exec.LookPath(named)
		if err != nil {
			return "", fmt.Errorf("%s cannot be run: %w; %s", named, err, hint)
		}
		return filepath.Abs(p)
	}
	for _, n := range names {
		if p, err := exec.LookPath(n); err == nil {
			return filepath.Abs(p)
		}
	}
	return "", fmt.Errorf("%s is not in $PATH, and the benchmark measures a real one: %s", names[0], hint)
}
