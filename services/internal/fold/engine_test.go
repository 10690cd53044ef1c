package fold_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/fold/foldtest"
)

// world is some members over shared logs, one store and one ledger.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	mu      sync.Mutex // guards rng
	shards  []string
	logs    map[string]*foldtest.Log
	store   *fold.Memory
	saved   *foldtest.Snapshots
	ledger  *foldtest.Ledger
	faults  bool
	happens map[string]int
	logger  *slog.Logger
	trace   *bytes.Buffer
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), shards: []string{"0", "1", "2", "3"}, logs: map[string]*foldtest.Log{},
		store: fold.NewMemory(), saved: foldtest.NewSnapshots(), ledger: foldtest.NewLedger(), happens: map[string]int{}, trace: &bytes.Buffer{},
	}
	w.logger = slog.New(&noted{Handler: slog.NewTextHandler(w.trace, nil), w: w})
	w.saved.Fault = func() error {
		if w.roll(30, "a snapshot failed while it was written or read") {
			return errors.New("no connection")
		}
		return nil
	}
	for i, s := range w.shards {
		w.logs[s] = foldtest.NewLog(int64(i + 1))
		w.logs[s].Break = func(uint64) error {
			if w.roll(200, "the log was interrupted") {
				return errors.New("interrupted")
			}
			return nil
		}
	}
	w.ledger.Fault = func() string {
		if w.roll(20, "a publish failed") {
			return "before"
		}
		if w.roll(20, "a publish was stored and its answer lost") {
			return "after"
		}
		return ""
	}
	return w
}

// noted counts what the engine says.
type noted struct {
	slog.Handler
	w *world
}

func (n *noted) Handle(_ context.Context, r slog.Record) error {
	n.w.note(r.Message)
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.Handler.Handle(context.Background(), r)
}

// roll is true once in n, while there are faults.
func (w *world) roll(n int, what string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.faults || w.rng.IntN(n) != 0 {
		return false
	}
	w.happens[what]++
	return true
}

func (w *world) intN(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

// faulty is one member's way to the store.
type faulty struct {
	fold.Store
	w *world
	// gate holds every call while it is shut: the member is paused, as by SIGSTOP.
	gate *gate
}

// gate blocks on a channel and not on a mutex, so that the bubble's time goes on.
type gate struct {
	mu   sync.Mutex
	open chan struct{}
}

func newGate() *gate {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	return g
}

func (g *gate) pass() {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	<-open
}

func (g *gate) shut() {
	g.mu.Lock()
	g.open = make(chan struct{})
	g.mu.Unlock()
}

func (g *gate) reopen() { close(g.open) }

func (f *faulty) Commit(ctx context.Context, c *fold.Commit) error {
	f.gate.pass()
	if f.w.roll(15, "a commit failed") {
		return errors.New("no connection")
	}
	err := f.Store.Commit(ctx, c)
	if errors.Is(err, fold.ErrFenced) {
		f.w.note("the fence refused a token")
	}
	if errors.Is(err, fold.ErrWentBack) {
		f.w.note("the fence refused a number")
	}
	if f.w.roll(15, "a commit was applied and its answer lost") {
		return errors.New("connection lost")
	}
	return err
}

// Scan takes its time, as over a network: what it has not come to yet may change meanwhile.
func (f *faulty) Scan(ctx context.Context, shard string, h fold.Held, fn func(string, []byte) bool) error {
	var names []string
	if err := f.Store.Scan(ctx, shard, h, func(name string, _ []byte) bool {
		names = append(names, name)
		return true
	}); err != nil {
		return err
	}
	for _, name := range names {
		f.gate.pass()
		time.Sleep(time.Duration(f.w.intN(200)) * time.Millisecond)
		if f.w.roll(200, "a scan failed") {
			return errors.New("no connection")
		}
		v, err := f.Store.Load(ctx, shard, h, []string{name})
		if err != nil {
			return err
		}
		if v[0] != nil && !fn(name, v[0]) {
			return nil
		}
	}
	return ctx.Err()
}

func (f *faulty) Renew(ctx context.Context, l fold.Lease, ttl time.Duration) (uint64, error) {
	f.gate.pass()
	return f.Store.Renew(ctx, l, ttl)
}

func (f *faulty) Beat(ctx context.Context, m string, ttl time.Duration) ([]string, error) {
	f.gate.pass()
	return f.Store.Beat(ctx, m, ttl)
}

func (w *world) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.happens[what]++
}

// happened says how often something was said or done so far.
func (w *world) happened(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.happens[what]
}

// said returns what the engine said since the last call.
func (w *world) said() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.trace.String()
	w.trace.Reset()
	return s
}

type member struct {
	group  *fold.Group
	gate   *gate
	cancel context.CancelFunc
	done   chan struct{}
}

func (w *world) join(name string) *member { return w.joinAs(name, 1, nil) }

func (w *world) joinAble(name string, able func() bool) *member { return w.joinAs(name, 1, able) }

// joinAs starts a member that folds up to a version.
func (w *world) joinAs(name string, newest int, able func() bool) *member {
	m := &member{gate: newGate(), done: make(chan struct{})}
	store := &faulty{Store: w.store, w: w, gate: m.gate}
	m.group = &fold.Group{
		Member: name, Shards: w.shards, Store: store, Able: able, Logger: w.logger,
		Open: func(id string) fold.Shard {
			return fold.Shard{
				ID: id, Log: w.logs[id], Store: store, Outlet: prefixed{w.ledger, id}, Machine: foldtest.Machine{Newest: newest}, Logger: w.logger,
				Expand: expand, Snapshots: w.saved,
			}
		},
	}
	m.group.SnapshotOften(20, 5*time.Second)
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	go func() {
		defer close(m.done)
		_ = m.group.Run(ctx)
	}()
	return m
}

// prefixed tells the producers of different shards apart, as their subjects do in JetStream.
type prefixed struct {
	*foldtest.Ledger
	shard string
}

func (p prefixed) Ordered(ctx context.Context, rs []fold.Record) error {
	rs = slices.Clone(rs)
	for i := range rs {
		rs[i].Prefix = p.shard + rs[i].Prefix
	}
	return p.Ledger.Ordered(ctx, rs)
}

func expand(_ context.Context, r fold.Record, send func([]fold.Record) error) error {
	for i := range 2 {
		c := r
		c.Ordinal += uint32(i)
		c.Data = fmt.Appendf(nil, "%s, part %d", r.Data, i)
		if err := send([]fold.Record{c}); err != nil {
			return err
		}
	}
	return nil
}

// model is what must come out, computed without any of the machinery: messages in order, counted by name.
type model struct {
	counts map[string]int
	facts  map[string]string
	told   []string
	// upgraded says of each counter whether it was touched since version 2 was put in force.
	upgraded map[string]bool
}

func modelOf(msgs []string) model {
	m := model{counts: map[string]int{}, facts: map[string]string{}, upgraded: map[string]bool{}}
	facts := 3
	for i, text := range msgs {
		ordinal := 0
		m.counts[""]++
		if text == "!2" {
			facts, text = 2, ""
		}
		m.upgraded[""] = facts == 2
		for k := range strings.FieldsSeq(text) {
			m.counts[k]++
			m.upgraded[k] = facts == 2
			n := m.counts[k]
			says := fmt.Sprintf("%s reached %d", k, n)
			if n%facts == 0 {
				m.facts[fmt.Sprintf("f.%s.%d.%d", k, i+1, ordinal)] = says
				ordinal++
			}
			if n%5 == 0 {
				m.told = append(m.told, says)
				ordinal++
			}
			if n%7 == 0 {
				m.told = append(m.told, says+", part 0", says+", part 1")
				break
			}
		}
	}
	return m
}

// check compares the world with the model.
func (w *world) check(published map[string][]string) {
	w.t.Helper()
	facts, told := map[string]string{}, map[string]bool{}
	order := w.ledger.Messages("O")
	for _, id := range w.shards {
		want := modelOf(published[id])
		d, err := w.store.Dump(context.Background(), id)
		if err != nil {
			w.t.Fatal(err)
		}
		if d.Position.Sequence != uint64(len(published[id])) || len(d.Outbox) != 0 {
			w.t.Fatalf("shard %s: folded to %d of %d, %d records in the outbox", id, d.Position.Sequence, len(published[id]), len(d.Outbox))
		}
		for k, n := range want.counts {
			b := d.Fields[k]
			if want.upgraded[k] {
				wanted := binary.AppendUvarint(binary.AppendUvarint([]byte{2}, uint64(n)), uint64(n/10))
				if part := d.Fields[k+"/tens"]; !bytes.Equal(b, wanted) || part != nil {
					w.t.Fatalf("shard %s: %q is %v and %v, want %v", id, k, b, part, wanted)
				}
				continue
			}
			if len(b) != 8 || int(b[7])+int(b[6])<<8 != n {
				w.t.Fatalf("shard %s: %q counted %v, want %d", id, k, b, n)
			}
			if part := d.Fields[k+"/tens"]; (n >= 10) != (part != nil) || part != nil && int(part[7])+int(part[6])<<8 != n/10 {
				w.t.Fatalf("shard %s: %q has tens %v, want %d", id, k, part, n/10)
			}
		}
		w.rebuilt(id, d)
		for s, text := range want.facts {
			facts[id+s] = text
		}
		var got []string
		for _, r := range order {
			if strings.HasPrefix(r.Prefix, id) {
				got = append(got, string(r.Data))
			}
		}
		if !slices.Equal(got, want.told) {
			w.t.Fatalf("shard %s told %d messages %q\nwant %d %q", id, len(got), got, len(want.told), want.told)
		}
		for _, s := range got {
			told[s] = true
		}
	}
	if got := w.ledger.Facts(); len(got) != len(facts) {
		w.t.Fatalf("%d facts, want %d", len(got), len(facts))
	}
}

// rebuilt compares a shard with its log folded from the start, and from its newest snapshot.
func (w *world) rebuilt(id string, d fold.Dump) {
	w.t.Helper()
	ctx, m := context.Background(), foldtest.Machine{Newest: 2}
	got, err := fold.Rebuild(ctx, w.logs[id], m, fold.Dump{}, d.Position.Sequence)
	if err != nil || !reflect.DeepEqual(got.Fields, d.Fields) {
		w.t.Fatalf("shard %s: folding from the start gives %v, %v; want %v", id, got, err, d.Fields)
	}
	from, ok, err := fold.LoadSnapshot(ctx, fold.Shard{ID: id, Log: w.logs[id], Machine: m, Snapshots: w.saved}, d.Position.Sequence)
	if err != nil {
		w.t.Fatal(err)
	}
	if !ok {
		return
	}
	w.note("a shard was compared with its snapshot")
	then, err := fold.Rebuild(ctx, w.logs[id], m, fold.Dump{}, from.Position.Sequence)
	if err != nil || !reflect.DeepEqual(then.Fields, from.Fields) {
		w.t.Fatalf("shard %s: the snapshot at %d holds %v; folding from the start gives %v, %v", id, from.Position.Sequence, from.Fields, then, err)
	}
	got, err = fold.Rebuild(ctx, w.logs[id], m, from, d.Position.Sequence)
	if err != nil || !reflect.DeepEqual(got.Fields, d.Fields) {
		w.t.Fatalf("shard %s: folding from the snapshot at %d gives %v, %v; want %v", id, from.Position.Sequence, got, err, d.Fields)
	}
}

// The keys of one shard never occur in another, so that facts' subjects do not clash.
func text(w *world, shard string) string {
	var out []string
	for range 1 + w.intN(3) {
		k := fmt.Sprintf("%s%c", shard, 'a'+rune(w.intN(6)))
		if !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return strings.Join(out, " ")
}

// TestFaults lets three members share four shards under every fault that the engine must bear, and compares with the model.
func TestFaults(t *testing.T) {
	happened := map[string]int{}
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, seed)
			var members []*member
			defer func() {
				if t.Failed() {
					t.Logf("seed %d; happened: %v", seed, w.happens)
					for _, m := range members {
						t.Logf("%s: %+v", m.group.Member, m.group.Status())
					}
				}
			}()
			w.faults = true
			members = []*member{w.join("a"), w.join("b"), w.join("c")}
			published := map[string][]string{}
			var saved func()
			for range 60 {
				for range w.intN(30) {
					id := w.shards[w.intN(len(w.shards))]
					s := text(w, id)
					w.logs[id].Append("x", []byte(s))
					published[id] = append(published[id], s)
				}
				switch w.intN(12) {
				case 0: // killed, and started anew under another name
					i := w.intN(len(members))
					members[i].cancel()
					<-members[i].done
					members[i] = w.join(fmt.Sprintf("m%d", w.intN(1<<30)))
					w.note("a member was replaced")
				case 1: // paused for longer than its lease
					m := members[w.intN(len(members))]
					m.gate.shut()
					time.Sleep(3 * fold.DefaultLeaseTTL)
					m.gate.reopen()
					w.note("a member was paused")
				case 2:
					saved = w.store.Save()
				case 3:
					if saved != nil { // a fail-over to a replica that lacks the newest writes, lease tokens included
						saved()
						w.note("the store went back in time")
					}
				case 4:
					if w.intN(3) == 0 {
						w.store.Flush()
						w.note("the store was flushed")
					}
				case 5:
					if w.saved.Damage(w.shards[w.intN(len(w.shards))], w.intN(1<<20)) {
						w.note("a snapshot was damaged")
					}
				case 6: // all die and their store with them, as an embedded one does
					w.store.Flush()
					for i := range members {
						members[i].cancel()
						<-members[i].done
						members[i] = w.join(fmt.Sprintf("m%d", w.intN(1<<30)))
					}
					w.note("everything was started anew")
				}
				time.Sleep(time.Duration(w.intN(1500)) * time.Millisecond)
			}
			w.mu.Lock()
			w.faults = false
			w.mu.Unlock()
			time.Sleep(2 * time.Minute)
			w.check(published)
			for _, m := range members {
				for id, s := range m.group.Status() {
					if s.Stopped != "" {
						t.Errorf("shard %s stopped: %s", id, s.Stopped)
					}
				}
				m.cancel()
				<-m.done
			}
			for k, n := range w.happens {
				happened[k] += n
			}
		})
	}
	for _, must := range []string{
		"a commit failed", "a commit was applied and its answer lost", "a publish failed", "a publish was stored and its answer lost",
		"the log was interrupted", "a member was replaced", "a member was paused", "the store went back in time", "the store was flushed",
		"the fence refused a token", "the fence refused a number", "a snapshot failed while it was written or read", "a snapshot was damaged", "a scan failed",
		"everything was started anew", "a shard was compared with its snapshot",
		"the store had nothing of a shard; it goes on from a snapshot", "a snapshot cannot be used; the one before it is tried",
		"a snapshot could not be taken; the next one is tried later", "reading a snapshot failed; it is tried again",
	} {
		if happened[must] == 0 {
			t.Errorf("%s: never happened, so this test proves less than it says", must)
		}
	}
	t.Logf("happened: %v", happened)
}

func TestMembersShareEvenlyAndTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		a := w.join("a")
		time.Sleep(fold.DefaultLeaseTTL)
		owns(t, a, 4)
		b := w.join("b")
		time.Sleep(2 * fold.DefaultLeaseTTL)
		owns(t, a, 2)
		owns(t, b, 2)
		b.gate.shut() // b hangs: a takes over as soon as its leases have run out
		time.Sleep(3 * fold.DefaultLeaseTTL)
		owns(t, a, 4)
		b.gate.reopen()
		time.Sleep(3 * fold.DefaultLeaseTTL)
		owns(t, a, 2)
		owns(t, b, 2)
		b.cancel() // b leaves in order: its shards are free at once
		<-b.done
		time.Sleep(fold.DefaultLeaseTTL)
		owns(t, a, 4)
		a.cancel()
		<-a.done
	})
}

func owns(t *testing.T, m *member, n int) {
	t.Helper()
	held := 0
	for _, s := range m.group.Status() {
		if s.Held {
			held++
		}
	}
	if held != n {
		t.Errorf("%s holds %d shards, want %d", m.group.Member, held, n)
	}
}

// TestAnotherStreamStopsTheShard: a log that was restored or created anew is never read on in silence.
func TestAnotherStreamStopsTheShard(t *testing.T) {
	for name, change := range map[string]func(*foldtest.Log){
		"created anew":                func(l *foldtest.Log) { l.Recreate(99) },
		"restored from an older copy": func(l *foldtest.Log) { l.Truncate(3) },
		"the stream is another one":   func(l *foldtest.Log) { l.Recreate(1); l.Append("y", nil); fill(l, 9) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1)
				w.shards = []string{"0"}
				l := foldtest.NewLog(1)
				w.logs["0"] = l
				fill(l, 5)
				m := w.join("a")
				time.Sleep(time.Second)
				m.cancel()
				<-m.done
				before, _ := w.store.Dump(context.Background(), "0")
				change(l)
				if name == "the stream is another one" {
					shift(l)
				}
				m = w.join("a")
				time.Sleep(10 * time.Second)
				got := m.group.Status()["0"].Stopped
				if !strings.Contains(got, name) || !strings.Contains(got, "baton shard adopt") {
					t.Errorf("Stopped = %q; want %q and what to do", got, name)
				}
				after, _ := w.store.Dump(context.Background(), "0")
				if fmt.Sprint(before) != fmt.Sprint(after) {
					t.Error("the shard was changed")
				}
				m.cancel()
				<-m.done
			})
		})
	}
}

// slow is a store that loads no state before something has happened.
type slow struct {
	fold.Store
	meanwhile func()
}

func (s slow) Load(ctx context.Context, shard string, h fold.Held, fields []string) ([][]byte, error) {
	s.meanwhile()
	return s.Store.Load(ctx, shard, h, fields)
}

// TestTheLogIsRestoredWhileAnOwnerBegins: an older copy that has grown past the shard's place is no longer known for it once
// reading has gone on from there.
func TestTheLogIsRestoredWhileAnOwnerBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		l := foldtest.NewLog(1)
		run := func(store fold.Store) string {
			g := &fold.Group{Shards: []string{"0"}, Store: store, Logger: w.logger, Open: func(id string) fold.Shard {
				return fold.Shard{ID: id, Log: l, Store: store, Outlet: prefixed{w.ledger, id}, Machine: foldtest.Machine{}, Logger: w.logger, Expand: expand}
			}}
			ctx, cancel := context.WithCancel(context.Background())
			var done sync.WaitGroup
			done.Go(func() { _ = g.Run(ctx) })
			time.Sleep(time.Second)
			stopped := g.Status()["0"].Stopped
			cancel()
			done.Wait()
			return stopped
		}
		fill(l, 5)
		if stopped := run(w.store); stopped != "" {
			t.Fatal(stopped)
		}
		var once sync.Once
		stopped := run(slow{w.store, func() { once.Do(func() { l.Truncate(3); l.Shift(5); fill(l, 1) }) }})
		if d, err := w.store.Dump(context.Background(), "0"); stopped == "" || err != nil || d.Position.Sequence != 5 {
			t.Errorf("Stopped = %q, and the shard is at message %d, %v; want it to stand still at message 5", stopped, d.Position.Sequence, err)
		}
	})
}

func fill(l *foldtest.Log, n int) {
	for range n {
		l.Append("x", []byte("k"))
	}
}

// shift makes the log's times others than those that were read.
func shift(l *foldtest.Log) { l.Shift(5) }
