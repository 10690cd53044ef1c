// Package benchmark measures Baton beside its limit and beside the usual way, in one run on the machine it is on, with a
// real nats-server and a real redis-server, and every consumer in a process of its own.
package benchmark

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/stream"
)

// The parts of a run.
const (
	partConsume  = "consume"  // the limit: ordered push, nothing done
	partScorer   = "scorer"   // one scorer process
	partScorers  = "scorers"  // two
	partWrite    = "write"    // the bytes that a scorer writes, by variadic HSET
	partTextbook = "textbook" // one script and one acknowledgement for each message
	partAgainst  = "against"  // another program that does the textbook's job
	partUp       = "up"       // baton up: everything embedded in one process
	partLatency  = "latency"  // from publishing to the offer
)

// Parts are the names of all parts that need nothing else, in the order in which they run.
var Parts = []string{partConsume, partScorer, partScorers, partWrite, partTextbook, partUp, partLatency}

// Options of a run.
type Options struct {
	Events, Leads int
	// Rounds is how often each part of the backlog is measured.
	Rounds int
	// Only are the parts to be measured; empty = all.
	Only []string
	// NATSServer and RedisServer are the servers' programs; empty = those of $PATH.
	NATSServer, RedisServer string
	// Against is a program to be measured beside: it is given --nats, --redis and --events as a Worker is.
	Against string
	// Baton is the program of Baton.
	Baton string
	// Say is told what is being done.
	Say func(format string, args ...any)
}

// run is one run.
type run struct {
	Options
	bed    *bed
	report *Report
}

// Run measures. Whatever happens, it leaves no process and no folder.
func Run(ctx context.Context, o Options) (*Report, error) {
	nats, err := find(o.NATSServer, natsHint, natsServer)
	if err != nil {
		return nil, err
	}
	redis, err := find(o.RedisServer, redisHint, redisServer, "valkey-server")
	if err != nil {
		return nil, err
	}
	o.NATSServer, o.RedisServer = nats, redis
	if o.Against != "" { // it is started in another folder
		if o.Against, err = find(o.Against, "name the program to be measured beside with --against PROGRAM"); err != nil {
			return nil, err
		}
	}
	r := &run{Options: o, report: &Report{
		Events: o.Events, Leads: o.Leads, Rounds: o.Rounds, Processors: runtime.GOMAXPROCS(0), System: runtime.GOOS + "/" + runtime.GOARCH,
	}}
	if r.bed, err = newBed(); err != nil {
		return nil, err
	}
	err = r.measure(ctx)
	if e := r.bed.close(); err == nil {
		err = e
	}
	if err != nil {
		return nil, err
	}
	r.report.judge()
	return r.report, nil
}

func (r *run) wants(part string) bool {
	if part == partAgainst {
		return r.Against != ""
	}
	return len(r.Only) == 0 || slices.Contains(r.Only, part)
}

func (r *run) measure(ctx context.Context) error {
	if slices.ContainsFunc([]string{partConsume, partScorer, partScorers, partWrite, partTextbook, partAgainst, partUp}, r.wants) {
		if err := r.backlog(ctx); err != nil {
			return err
		}
	}
	if !r.wants(partLatency) {
		return nil
	}
	for _, sync := range []string{"always", "2m"} {
		l, err := r.latency(ctx, sync)
		if err != nil {
			return fmt.Errorf("latency with sync_interval %s: %w", sync, err)
		}
		r.report.Latency = append(r.report.Latency, l)
	}
	return nil
}

// backlog stores the events once and lets each part work through them, in turn, several times.
func (r *run) backlog(ctx context.Context) error {
	st, err := r.store(ctx)
	if err != nil {
		return err
	}
	defer func() { st.close() }()
	for n := range r.Rounds {
		for _, part := range []string{partConsume, partScorer, partWrite, partTextbook, partAgainst, partScorers, partUp} {
			if !r.wants(part) && !(part == partScorer && r.wants(partWrite)) {
				continue
			}
			r.Say("round %d of %d: %s", n+1, r.Rounds, partTitles[part])
			sample, err := r.part(ctx, st, part)
			if err != nil {
				return fmt.Errorf("%s: %w", partTitles[part], err)
			}
			r.report.add(part, sample)
		}
	}
	return nil
}

func (r *run) part(ctx context.Context, st *site, part string) (sample, error) {
	switch part {
	case partScorer:
		return st.drain(ctx, 1)
	case partScorers:
		return st.drain(ctx, 2)
	case partUp:
		return st.up(ctx)
	case partTextbook, partAgainst:
		if err := st.empty(ctx); err != nil {
			return sample{}, err
		}
		// A part of the backlog is enough: it takes as long for each event of it.
		return st.worker(ctx, part, max(1, st.messages/textbookShare), 0)
	case partWrite:
		return st.worker(ctx, part, st.messages, st.written)
	}
	return st.worker(ctx, part, st.messages, 0)
}

// textbookShare is how many times more events are stored than the textbook's consumer is given.
const textbookShare = 8

// site is the stored backlog with the servers around it.
type site struct {
	r           *run
	data        string // as `baton up` keeps it
	nats, redis *process
	natsURL     string
	redisURL    string
	streams     []string // those that belong to the backlog
	last        map[string]uint64
	messages    int
	written     int // bytes that the last drain wrote into Redis
}

// store starts the servers, puts the agreement in force and publishes the backlog.
func (r *run) store(ctx context.Context) (*site, error) {
	st := &site{r: r, data: filepath.Join(r.bed.dir, "backlog")}
	if err := os.MkdirAll(st.data, 0o755); err != nil {
		return nil, err
	}
	if err := st.startNATS(ctx); err != nil {
		return nil, err
	}
	var err error
	if st.redis, st.redisURL, err = r.bed.startRedis(ctx, r.RedisServer); err != nil {
		return nil, err
	}
	b, err := r.startBaton(ctx, st.natsURL, st.redisURL)
	if err != nil {
		return nil, err
	}
	defer b.stop()
	if err := b.enforce(ctx); err != nil {
		return nil, err
	}
	b.stop()
	r.Say("storing %d events of %d leads", r.Events, r.Leads)
	if err := r.publish(ctx, st.natsURL); err != nil {
		return nil, err
	}
	return st, st.note(ctx)
}

func (st *site) startNATS(ctx context.Context) (err error) {
	st.nats, st.natsURL, err = st.r.bed.startNATS(ctx, st.r.NATSServer, filepath.Join(st.data, "nats"), "always")
	return err
}

// servers are those that run beside what is measured.
func (st *site) servers() (all []*process) {
	for _, p := range []*process{st.nats, st.redis} {
		if p != nil {
			all = append(all, p)
		}
	}
	return all
}

func (st *site) close() {
	for _, p := range st.servers() {
		p.stop()
	}
}

// empty makes Redis forget everything, and the streams what an earlier part wrote beside the backlog.
func (st *site) empty(ctx context.Context) error {
	opt, err := redis.ParseURL(st.redisURL)
	if err != nil {
		return err
	}
	rdb := redis.NewClient(opt)
	defer func() { _ = rdb.Close() }()
	if err := rdb.FlushAll(ctx).Err(); err != nil {
		return err
	}
	return st.streamsAsNoted(ctx)
}

func (st *site) streamsAsNoted(ctx context.Context) error {
	return withJetStream(st.natsURL, func(js jetstream.JetStream) error {
		names := js.StreamNames(ctx)
		for n := range names.Name() {
			// A snapshot would spare the next scorer the work that is measured.
			if n == "OBJ_"+stream.SnapshotsBucket || !slices.Contains(st.streams, n) {
				if err := js.DeleteStream(ctx, n); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
					return err
				}
			}
		}
		return names.Err()
	})
}

// sample is one measurement of a part.
type sample struct {
	Events  int
	Seconds float64
	CPU     map[string]time.Duration // by process
	Peak    map[string]uint64        // resident bytes, by process
	// Half and End are a scorer's resident bytes after half of the backlog and after all of it.
	Half, End uint64
	// PerLead is the share of Redis's memory that a lead takes.
	PerLead float64
}

// openStore returns Baton's own view of Redis.
func (st *site) openStore() (*fold.Redis, error) {
	return fold.OpenRedis(fold.RedisOptions{URL: st.redisURL})
}
