// Package embedded is what `baton up` stands on: a NATS server with JetStream on disk, inside this process.
package embedded

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// NATS is an embedded server.
type NATS struct{ *server.Server }

// NATSOptions say where it keeps its data and listens.
type NATSOptions struct {
	// Dir is the folder of its data; it is created.
	Dir string
	// Listen is host:port for clients outside this process; "" = none. Port 0 takes a free one.
	Listen string
}

// StartNATS starts a server whose JetStream syncs every message to disk before it is acknowledged.
func StartNATS(o NATSOptions) (*NATS, error) {
	opts := &server.Options{
		ServerName: "baton", DontListen: o.Listen == "", JetStream: true, StoreDir: filepath.Join(o.Dir, "nats"), SyncAlways: true,
		NoSigs: true, NoLog: true, MaxPayload: 1 << 20, DisableShortFirstPing: true,
	}
	if o.Listen != "" {
		host, port, err := net.SplitHostPort(o.Listen)
		if err != nil {
			return nil, fmt.Errorf("NATS address %q: want HOST:PORT", o.Listen)
		}
		if opts.Port, err = strconv.Atoi(port); err != nil {
			return nil, fmt.Errorf("NATS address %q: want HOST:PORT", o.Listen)
		}
		if opts.Port == 0 {
			opts.Port = server.RANDOM_PORT
		}
		opts.Host = host
	}
	if err := os.MkdirAll(opts.StoreDir, 0o755); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	logs := &lastError{}
	s.SetLoggerV2(logs, false, false, false)
	s.Start()
	if !s.ReadyForConnections(15 * time.Second) {
		s.Shutdown()
		return nil, fmt.Errorf("embedded NATS server does not start on %s with its data in %s: %s; is another one running there?", o.Listen, opts.StoreDir, logs.text())
	}
	return &NATS{s}, nil
}

// Stop stops it and waits until its files are closed.
func (n *NATS) Stop() {
	// JetStream first: else the server sleeps for a moment with a lock held, which simulated time does not survive.
	_ = n.ShutdownJetStream()
	n.Shutdown()
	n.WaitForShutdown()
}

// lastError keeps what the server said last before it failed; its ordinary log would drown ours.
type lastError struct{ said atomic.Pointer[string] }

func (l *lastError) Noticef(string, ...any) {}
func (l *lastError) Warnf(string, ...any)   {}
func (l *lastError) Debugf(string, ...any)  {}
func (l *lastError) Tracef(string, ...any)  {}

func (l *lastError) Errorf(format string, v ...any) {
	s := strings.TrimSpace(fmt.Sprintf(format, v...))
	l.said.Store(&s)
}

func (l *lastError) Fatalf(format string, v ...any) { l.Errorf(format, v...) }

func (l *lastError) text() string {
	if s := l.said.Load(); s != nil && *s != "" {
		return *s
	}
	return "no reason given"
}

// Port is the port that it listens on.
func (n *NATS) Port() int {
	if a, ok := n.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}
