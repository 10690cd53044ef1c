// Package stream is Baton's only way to NATS: the shards' logs, the ledger, and how records leave exactly once.
package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/telemetry"
)

// Options say how to reach NATS.
type Options struct {
	// URL is nats://[user:password@]host:port, several separated by commas. Ignored with InProcess.
	URL string
	// InProcess is an embedded server.
	InProcess nats.InProcessConnProvider
	// Name shows in the server's list of connections.
	Name string
	// Wait is how long to wait for the server at the start; 0 = 10 s.
	Wait   time.Duration
	Logger *slog.Logger
	// Signals are where it measures; the zero value is nowhere.
	Signals telemetry.Signals
}

// Conn is one connection. It reconnects by itself for as long as it is open.
type Conn struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	old nats.JetStreamContext // reads single messages from the stream's leader, never from a lagging replica
	log *slog.Logger

	metrics *metrics

	mu          sync.Mutex
	reconnected chan struct{} // closed and replaced at each reconnect

	violations violations
}

// Connect connects, and waits for JetStream to answer.
func Connect(ctx context.Context, o Options) (*Conn, error) {
	if o.Wait == 0 {
		o.Wait = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	c := &Conn{
		log: o.Logger, metrics: newMetrics(o.Signals), reconnected: make(chan struct{}),
		violations: violations{awaited: map[string]chan struct{}{}, news: make(chan struct{}, 1)},
	}
	opts := []nats.Option{
		nats.Name(o.Name), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, time.Second),
		nats.Timeout(2 * time.Second), nats.PingInterval(5 * time.Second), nats.MaxPingsOutstanding(3), nats.ReconnectBufSize(-1),
		// A server that refuses the password today may take it when its operator has looked: the connection is never given up.
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectHandler(func(*nats.Conn) { c.onReconnect() }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				c.metrics.disconnects.Add(context.Background(), 1)
				o.Logger.Warn("the connection to NATS was lost; reconnecting", "error", err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if f := forbidden(err); f != nil {
				if !c.violations.saw(f) {
					o.Logger.Error(f.Error())
				}
				return
			}
			o.Logger.Warn("NATS reports an error", "error", err)
		}),
	}
	where := "the embedded server"
	if o.InProcess != nil {
		opts = append(opts, nats.InProcessServer(o.InProcess))
	} else {
		where = redact(o.URL)
	}
	deadline := time.Now().Add(o.Wait)
	for {
		nc, err := nats.Connect(o.URL, opts...)
		if err == nil {
			if err = c.use(ctx, nc); err == nil {
				c.metrics.observe(nc)
				return c, nil
			}
			nc.Close()
			if errors.Is(err, errUnfit) {
				return nil, fmt.Errorf("NATS at %s: %w", where, err)
			}
		}
		if errors.Is(err, nats.ErrAuthorization) {
			return nil, fmt.Errorf("NATS at %s refuses the user or password: %w", where, err)
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return nil, fmt.Errorf("NATS at %s cannot be reached: %w; is it running, and is the address right (--nats)?", where, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// errUnfit marks what no waiting changes.
var errUnfit = errors.New("unfit")

// use checks that the server is one that Baton can work with.
func (c *Conn) use(ctx context.Context, nc *nats.Conn) (err error) {
	if v := nc.ConnectedServerVersion(); !newEnough(v) {
		return fmt.Errorf("%w: server version %s is too old: Baton needs 2.12 or newer, best 2.14", errUnfit, v)
	}
	if c.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(5*time.Second)); err != nil {
		return err
	}
	if c.old, err = nc.JetStream(nats.MaxWait(5 * time.Second)); err != nil {
		return err
	}
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_, err = c.js.AccountInfo(ctx)
	if err = c.violations.since(begun, err); errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return fmt.Errorf("%w: JetStream is off: start the server with -js, or enable it for this account", errUnfit)
	}
	if f := (*ForbiddenError)(nil); errors.As(err, &f) {
		return fmt.Errorf("%w: %w", errUnfit, err)
	}
	c.nc = nc
	return err
}

func newEnough(version string) bool {
	part := strings.SplitN(version, ".", 3)
	if len(part) < 2 {
		return true // a development build
	}
	major, err1 := strconv.Atoi(part[0])
	minor, err2 := strconv.Atoi(part[1])
	return err1 != nil || err2 != nil || major > 2 || major == 2 && minor >= 12
}

func redact(urls string) string {
	parts := strings.Split(urls, ",")
	for i, p := range parts {
		if u, err := url.Parse(strings.TrimSpace(p)); err == nil && u.User != nil {
			u.User = url.User("…")
			parts[i] = u.String()
		}
	}
	return strings.Join(parts, ",")
}

// Close closes the connection.
func (c *Conn) Close() {
	c.metrics.stop()
	c.nc.Close()
}

// NATS returns the connection, for the group-committing publisher of api.
func (c *Conn) NATS() *nats.Conn { return c.nc }

// Connected says whether the server is reachable now.
func (c *Conn) Connected() bool { return c.nc.IsConnected() }

func (c *Conn) onReconnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.reconnected)
	c.reconnected = make(chan struct{})
	c.metrics.reconnects.Add(context.Background(), 1)
	c.log.Info("reconnected to NATS")
}

func (c *Conn) nextReconnect() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reconnected
}

// duplicates is the window in which JetStream drops a repeated Nats-Msg-Id. The fold's own memory is the lead's; this one
// only saves work, and costs about 120 B of server memory for each message in it.
const duplicates = 2 * time.Minute

// EnsureStreams creates the streams that are missing. It refuses one that may lose messages by a limit.
func (c *Conn) EnsureStreams(ctx context.Context) error {
	want := map[string]string{
		subject.LeadsStream:    subject.AllLeads,
		subject.HandoffsStream: subject.AllHandoffs,
		subject.RejectedStream: subject.AllRejected,
	}
	for _, s := range subject.Shards {
		want[subject.EngagementStream(s)] = subject.EngagementFilter(s)
	}
	begun := time.Now()
	for name, filter := range want {
		if err := c.ensureStream(ctx, name, filter); err != nil {
			return c.violations.since(begun, err)
		}
	}
	return c.ensureSnapshots(ctx)
}

func (c *Conn) ensureStream(ctx context.Context, name, filter string) error {
	for attempt := 0; ; attempt++ {
		s, err := c.js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			s, err = c.js.CreateStream(ctx, jetstream.StreamConfig{
				Name: name, Subjects: []string{filter}, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
				Duplicates: duplicates, AllowAtomicPublish: true, AllowDirect: true, Replicas: c.replicas(),
				Metadata: map[string]string{createdKey: strconv.FormatInt(time.Now().UnixNano(), 10)},
			})
			if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) && attempt < 5 {
				continue // another service was faster
			}
			if e := (*jetstream.APIError)(nil); errors.As(err, &e) && e.ErrorCode == noSuitablePeers {
				return fmt.Errorf("stream %s: the NATS cluster has fewer than %d servers with JetStream that are up: start them, or create the stream "+
					"with fewer replicas yourself (`nats stream add`): %w", name, clusterReplicas, err)
			}
		}
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return fmt.Errorf("stream %s: NATS does not answer for it; in a cluster, are most of its servers up? %w", name, err)
		}
		if err != nil {
			return fmt.Errorf("stream %s: %w", name, err)
		}
		return checkStream(s.CachedInfo().Config)
	}
}

// clusterReplicas is how many servers of a cluster keep each stream that Baton creates: one may be lost for good.
const clusterReplicas = 3

// noSuitablePeers is the server's code for too few servers to keep a stream.
const noSuitablePeers = 10005

func (c *Conn) replicas() int {
	if c.nc.ConnectedClusterName() == "" {
		return 1
	}
	return clusterReplicas
}

// checkStream refuses a stream that may lose messages or lacks what Baton writes with.
func checkStream(cfg jetstream.StreamConfig) error {
	var bad []string
	if cfg.MaxAge != 0 {
		bad = append(bad, fmt.Sprintf("max age %s (want none)", cfg.MaxAge))
	}
	if cfg.MaxBytes > 0 {
		bad = append(bad, fmt.Sprintf("max bytes %d (want none)", cfg.MaxBytes))
	}
	if cfg.MaxMsgs > 0 {
		bad = append(bad, fmt.Sprintf("max messages %d (want none)", cfg.MaxMsgs))
	}
	if cfg.MaxMsgsPerSubject > 0 {
		bad = append(bad, fmt.Sprintf("max messages per subject %d (want none)", cfg.MaxMsgsPerSubject))
	}
	if cfg.Retention != jetstream.LimitsPolicy {
		bad = append(bad, fmt.Sprintf("retention %s (want limits)", cfg.Retention))
	}
	if !cfg.AllowAtomicPublish {
		bad = append(bad, "atomic batch publishing off (want on)")
	}
	if cfg.Storage != jetstream.FileStorage {
		bad = append(bad, "memory storage (want file)")
	}
	if len(bad) > 0 {
		return fmt.Errorf("stream %s could lose events: %s; change it with `nats stream edit %s` and start again",
			cfg.Name, strings.Join(bad, ", "), cfg.Name)
	}
	return nil
}
