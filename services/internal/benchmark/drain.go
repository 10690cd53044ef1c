package benchmark

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/leadbaton/baton/api/client"
	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
)

// patience is how long JetStream may take to answer: it may be busy with sending what others consume.
const patience = time.Minute

func withJetStream(url string, do func(jetstream.JetStream) error) error {
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(patience))
	if err != nil {
		return err
	}
	return do(js)
}

// publish stores the backlog: three months of events, as a marketing platform publishes them.
func (r *run) publish(ctx context.Context, url string) error {
	p, err := client.Connect(url, client.PublisherOptions{})
	if err != nil {
		return err
	}
	events := NewEvents(r.Leads, time.Now().Add(-time.Duration(r.Events)*30*time.Second))
	const atOnce = 10_000
	pending := make([]*client.Pending, 0, atOnce)
	for n := range r.Events {
		body := events.Next()
		r.report.EventBytes += len(body)
		pending = append(pending, p.PublishAsync(ctx, body))
		if len(pending) == atOnce || n == r.Events-1 {
			for _, s := range pending {
				if res := s.Wait(ctx); res.Outcome != client.Accepted {
					return errors.Join(fmt.Errorf("an event of the backlog is %s: %w", res.Outcome, res.Err), p.Close(ctx))
				}
			}
			pending = pending[:0]
		}
	}
	r.report.EventBytes /= r.Events
	return p.Close(ctx)
}

// note remembers what is stored.
func (st *site) note(ctx context.Context) error {
	return withJetStream(st.natsURL, func(js jetstream.JetStream) error {
		if st.streams == nil {
			names := js.StreamNames(ctx)
			for n := range names.Name() {
				st.streams = append(st.streams, n)
			}
			if err := names.Err(); err != nil {
				return err
			}
		}
		st.last, st.messages = map[string]uint64{}, 0
		for _, id := range subject.Shards {
			s, err := js.Stream(ctx, subject.EngagementStream(id))
			if err != nil {
				return err
			}
			st.last[id] = s.CachedInfo().State.LastSeq
			st.messages += int(st.last[id])
		}
		return nil
	})
}

// meter adds up what processes use from its beginning on.
type meter struct {
	all   []*process
	since []usage
	peak  map[string]uint64
	last  []usage
}

func newMeter(all ...*process) (*meter, error) {
	m := &meter{all: all, peak: map[string]uint64{}}
	for _, p := range all {
		u, err := usageOf(p.pid)
		if err != nil {
			return nil, err
		}
		m.since = append(m.since, u)
	}
	return m, m.look()
}

// look reads what is used now.
func (m *meter) look() error {
	m.last = m.last[:0]
	resident := map[string]uint64{}
	for _, p := range m.all {
		u, err := usageOf(p.pid)
		if err != nil {
			return err
		}
		m.last = append(m.last, u)
		resident[p.name] += u.resident
	}
	for name, n := range resident {
		m.peak[name] = max(m.peak[name], n)
	}
	return nil
}

func (m *meter) cpu() map[string]time.Duration {
	sum := map[string]time.Duration{}
	for i, p := range m.all {
		sum[p.name] += m.last[i].cpu - m.since[i].cpu
	}
	return sum
}

// resident are the bytes of the processes of one name, at the last look.
func (m *meter) resident(name string) (sum uint64) {
	for i, p := range m.all {
		if p.name == name {
			sum += m.last[i].resident
		}
	}
	return sum
}

// lookEvery is how often a part that is under way is looked at.
const lookEvery = 25 * time.Millisecond

// progress tells how many messages of the backlog are folded and committed.
type progress func(ctx context.Context) (int, error)

// follow looks on from the start of the processes until the whole backlog is folded. Starting is measured with the rest: from
// the first commit on would leave out what was folded before it, which is a part of the backlog that depends on the size of
// commits.
func (st *site) follow(ctx context.Context, baton []*process, start time.Time, folded progress) (sample, error) {
	m, err := newMeter(append(slices.Clone(baton), st.servers()...)...)
	if err != nil {
		return sample{}, err
	}
	var out sample
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return sample{}, ctx.Err()
		case <-baton[0].done:
			return sample{}, baton[0].ended()
		}
		n, err := folded(ctx)
		if err != nil {
			return sample{}, err
		}
		now := time.Now()
		if err := m.look(); err != nil {
			return sample{}, err
		}
		if out.Half == 0 && n >= st.messages/2 {
			out.Half = m.resident(baton[0].name)
		}
		if n >= st.messages {
			out.Events, out.Seconds, out.CPU, out.Peak, out.End = n, now.Sub(start).Seconds(), m.cpu(), m.peak, m.resident(baton[0].name)
			return out, nil
		}
	}
}

// drain lets scorers work through the backlog, from an empty Redis.
func (st *site) drain(ctx context.Context, scorers int) (sample, error) {
	if err := st.empty(ctx); err != nil {
		return sample{}, err
	}
	if err := st.note(ctx); err != nil {
		return sample{}, err
	}
	before, err := st.redisInfo(ctx)
	if err != nil {
		return sample{}, err
	}
	store, err := st.openStore()
	if err != nil {
		return sample{}, err
	}
	defer func() { _ = store.Close() }()
	var all []*process
	defer func() {
		for _, p := range all {
			p.stop()
		}
	}()
	start := time.Now()
	for range scorers {
		p, _, err := st.r.startScorer(st.natsURL, st.redisURL)
		if err != nil {
			return sample{}, err
		}
		all = append(all, p)
	}
	out, err := st.follow(ctx, all, start, func(ctx context.Context) (int, error) {
		n := 0
		for _, id := range subject.Shards {
			h, err := store.Head(ctx, id)
			if err != nil {
				return 0, err
			}
			n += int(min(h.Position.Sequence, st.last[id]))
		}
		return n, nil
	})
	if err != nil {
		return sample{}, err
	}
	after, err := st.redisInfo(ctx)
	if err != nil {
		return sample{}, err
	}
	st.written = after["total_net_input_bytes"] - before["total_net_input_bytes"]
	leads := 0
	for _, id := range subject.Shards {
		if err := store.Scan(ctx, id, fold.Held{}, func(name string, _ []byte) bool {
			if name != "" && !strings.Contains(name, "/") { // a lead's own record, not a part of one
				leads++
			}
			return true
		}); err != nil {
			return sample{}, err
		}
	}
	out.PerLead = float64(after["used_memory"]-before["used_memory"]) / float64(max(1, leads))
	return out, nil
}

func (st *site) redisInfo(ctx context.Context) (map[string]int, error) {
	opt, err := redis.ParseURL(st.redisURL)
	if err != nil {
		return nil, err
	}
	rdb := redis.NewClient(opt)
	defer func() { _ = rdb.Close() }()
	text, err := rdb.Info(ctx, "memory", "stats").Result()
	if err != nil {
		return nil, err
	}
	all := map[string]int{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			if n, err := strconv.Atoi(value); err == nil {
				all[name] = n
			}
		}
	}
	return all, nil
}

// worker runs a worker, or the program to be measured beside, over a number of events.
func (st *site) worker(ctx context.Context, part string, events, bytesToWrite int) (sample, error) {
	if err := st.note(ctx); err != nil {
		return sample{}, err
	}
	args := []string{"--nats", st.natsURL, "--redis", st.redisURL, "--events", strconv.Itoa(events)}
	program := st.r.Against
	if part != partAgainst {
		program = st.r.Baton
		args = append([]string{"bench-worker", part, "--bytes", strconv.Itoa(bytesToWrite)}, args...)
	}
	servers, err := newMeter(st.servers()...)
	if err != nil {
		return sample{}, err
	}
	var said bytes.Buffer
	p, err := st.r.bed.start("consumer", &said, program, args...)
	if err != nil {
		return sample{}, err
	}
	defer p.stop()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for running := true; running; {
		select {
		case <-tick.C:
			if err := servers.look(); err != nil {
				return sample{}, err
			}
			if u, err := usageOf(p.pid); err == nil { // it may have ended just now
				servers.peak[p.name] = max(servers.peak[p.name], u.resident)
			}
		case <-p.done:
			running = false
		case <-ctx.Done():
			return sample{}, ctx.Err()
		}
	}
	if p.err != nil {
		return sample{}, p.ended()
	}
	if err := servers.look(); err != nil {
		return sample{}, err
	}
	var o outcome
	if err := json.Unmarshal(said.Bytes(), &o); err != nil || o.Seconds <= 0 {
		return sample{}, fmt.Errorf("it says %q instead of how long it took", said.String())
	}
	cpu := servers.cpu()
	cpu[p.name] = p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	return sample{Events: o.Events, Seconds: o.Seconds, CPU: cpu, Peak: servers.peak}, nil
}

// up lets `baton up` work through the backlog, on its own servers: those beside it stand still meanwhile.
func (st *site) up(ctx context.Context) (sample, error) {
	if err := st.empty(ctx); err != nil {
		return sample{}, err
	}
	if err := st.note(ctx); err != nil {
		return sample{}, err
	}
	st.nats.stop()
	out, err := st.embedded(ctx)
	if err != nil {
		return sample{}, err
	}
	return out, st.startNATS(ctx)
}

func (st *site) embedded(ctx context.Context) (sample, error) {
	grpc, err := freeAddress()
	if err != nil {
		return sample{}, err
	}
	start := time.Now()
	p, err := st.r.bed.start("baton", nil, st.r.Baton, "up", "--data", st.data, "--grpc", grpc, "--http", "off", "--nats-listen", "127.0.0.1:0", "--log-level", "warn")
	if err != nil {
		return sample{}, err
	}
	defer p.stop()
	conn, err := client.Dial(grpc)
	if err != nil {
		return sample{}, err
	}
	defer conn.Close()
	alone := &site{r: st.r, messages: st.messages}
	return alone.follow(ctx, []*process{p}, start, func(ctx context.Context) (int, error) {
		// Without an answer it is starting: there are no shards then.
		answer, _ := shardv1.NewShardServiceClient(conn).List(ctx, &shardv1.ListRequest{})
		n := 0
		for _, s := range answer.GetShards() {
			n += int(min(s.GetSequence(), st.last[s.GetId()]))
		}
		return n, nil
	})
}
