package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/leadbaton/baton/services/internal/fold"
)

// Log is one stream as a fold.Log.
type Log struct {
	c    *Conn
	name string
}

var _ fold.Log = (*Log)(nil)

// Log returns a stream as a log.
func (c *Conn) Log(stream string) *Log { return &Log{c: c, name: stream} }

// Info implements fold.Log.
func (l *Log) Info(ctx context.Context) (fold.LogInfo, error) {
	s, err := l.c.js.Stream(ctx, l.name)
	if err != nil {
		return fold.LogInfo{}, l.explain(err)
	}
	i := s.CachedInfo()
	in, err := incarnationsOf(i)
	if err != nil {
		return fold.LogInfo{}, err
	}
	erased := uint64(0)
	if i.State.LastSeq > i.State.Msgs {
		erased = i.State.LastSeq - i.State.Msgs
	}
	return fold.LogInfo{Created: created(i), Last: i.State.LastSeq, Bytes: i.State.Bytes, Incarnation: in[len(in)-1].Incarnation, Erased: erased}, nil
}

func (l *Log) explain(err error) error {
	if errors.Is(err, nats.ErrReconnectBufExceeded) { // nothing is kept for when the connection is back
		return errors.New("NATS is not connected")
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, nats.ErrStreamNotFound) {
		return fmt.Errorf("stream %s is gone: restore it from its backup (or restart Baton to create it anew, then decide with `baton shard adopt`): %w", l.name, err)
	}
	return err
}

// TimeAt implements fold.Log.
func (l *Log) TimeAt(ctx context.Context, sequence uint64) (int64, error) {
	asking, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	m, err := l.c.old.GetMsg(l.name, sequence, nats.Context(asking))
	switch {
	case errors.Is(err, nats.ErrMsgNotFound):
		return 0, fold.ErrErased
	case err != nil:
		return 0, l.explain(err)
	}
	return m.Time.UnixNano(), nil
}

// createdKey is the stream's metadata that says when Baton created it, in Unix nanoseconds. NATS dates a stream that is
// restored through its API anew (`nats stream restore`), though it is the same one: its metadata tell.
const createdKey = "baton.created"

// created is when a stream was created: by Baton, else, for one that an operator made, as NATS says.
func created(i *jetstream.StreamInfo) int64 {
	if ns, err := strconv.ParseInt(i.Config.Metadata[createdKey], 10, 64); err == nil {
		return ns
	}
	return i.Created.UnixNano()
}

// incarnationsKey is the stream's metadata that remembers adoptions: `[{"After": 17, "Incarnation": 1790…}]`.
const incarnationsKey = "baton.incarnations"

// incarnation is one adoption: messages after a sequence belong to it.
type incarnation struct {
	After       uint64
	Incarnation int64
	// History is up to where messages were there before the adoption and are folded anew.
	History uint64 `json:",omitempty"`
}

// incarnations are those of one stream, oldest first; the first is the stream's creation.
type incarnations []incarnation

func incarnationsOf(i *jetstream.StreamInfo) (incarnations, error) {
	out := incarnations{{Incarnation: created(i)}}
	if s := i.Config.Metadata[incarnationsKey]; s != "" {
		var more incarnations
		if err := json.Unmarshal([]byte(s), &more); err != nil {
			return nil, fmt.Errorf("stream %s: metadata %s is damaged: %w", i.Config.Name, incarnationsKey, err)
		}
		out = append(out, more...)
	}
	return out, nil
}

// at returns the incarnation that a message belongs to, and whether it counts as history.
func (in incarnations) at(sequence uint64) (id int64, history bool) {
	for i := len(in) - 1; i > 0; i-- {
		if sequence > in[i].After {
			return in[i].Incarnation, sequence <= in[i].History
		}
	}
	return in[0].Incarnation, false
}

// Adopt begins a new incarnation of the log after a sequence, so that what is caused by later messages can never be taken
// for what was caused by messages of the same sequence that are lost. Messages up to history (0 = none) count as history:
// they score and hand nothing off.
func (l *Log) Adopt(ctx context.Context, after, history uint64, now time.Time) error {
	s, err := l.c.js.Stream(ctx, l.name)
	if err != nil {
		return l.explain(err)
	}
	cfg := s.CachedInfo().Config
	in, err := incarnationsOf(s.CachedInfo())
	if err != nil {
		return err
	}
	if cfg.Metadata == nil {
		cfg.Metadata = map[string]string{}
	}
	// Origins ascend with incarnations, also where the clock that names them does not.
	id := max(now.UnixNano(), in[len(in)-1].Incarnation+1)
	b, err := json.Marshal(append(in[1:], incarnation{after, id, history}))
	if err != nil {
		return err
	}
	cfg.Metadata[incarnationsKey] = string(b)
	_, err = l.c.js.UpdateStream(ctx, cfg)
	return err
}

// LastBefore returns the position of the last message that was stored at or before an instant (Unix nanoseconds).
func (l *Log) LastBefore(ctx context.Context, instant int64) (fold.Position, error) {
	s, err := l.c.js.Stream(ctx, l.name)
	if err != nil {
		return fold.Position{}, l.explain(err)
	}
	i := s.CachedInfo()
	p := fold.Position{Created: created(i)}
	// Binary search over sequences: times ascend with them. Erased messages are stepped over towards the start.
	lo, hi := i.State.FirstSeq, i.State.LastSeq
	for lo <= hi && hi > 0 {
		mid := lo + (hi-lo)/2
		at, t := mid, int64(0)
		for ; at >= lo && at > 0; at-- {
			if t, err = l.TimeAt(ctx, at); !errors.Is(err, fold.ErrErased) {
				break
			}
		}
		switch {
		case err != nil && !errors.Is(err, fold.ErrErased):
			return p, err
		case errors.Is(err, fold.ErrErased), t <= instant:
			if err == nil {
				p.Sequence, p.Time = at, t
			}
			lo = mid + 1
		default:
			hi = at - 1
		}
	}
	return p, nil
}

// TimeAfter returns when the first message after a sequence was stored, in Unix nanoseconds; 0 if there is none.
func (l *Log) TimeAfter(ctx context.Context, sequence uint64) (int64, error) {
	s, err := l.c.js.Stream(ctx, l.name)
	if err != nil {
		return 0, l.explain(err)
	}
	m, err := s.GetMsg(ctx, sequence+1, jetstream.WithGetMsgSubject(">"))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return 0, nil
	case err != nil:
		return 0, l.explain(err)
	}
	return m.Time.UnixNano(), nil
}

// Read implements fold.Log, by a pull consumer without acknowledgements: the server sends in order what was asked for, and is
// asked for more once fn has taken it.
func (l *Log) Read(ctx context.Context, after uint64, fn func(fold.Message)) error {
	return l.read(ctx, after, nil, func(m fold.Message) bool {
		fn(m)
		return true
	})
}

// Scan calls fn for each message that matches one of the filters, in order, from the start up to what is there now,
// until fn returns false.
func (l *Log) Scan(ctx context.Context, filters []string, fn func(fold.Message) bool) error {
	return l.ScanAfter(ctx, 0, filters, fn)
}

// ScanAfter is Scan from the message after a sequence.
func (l *Log) ScanAfter(ctx context.Context, after uint64, filters []string, fn func(fold.Message) bool) error {
	// What is there now is for the stream's leader to say: a consumer may be at a server that has not got all of it yet, and
	// counts as pending what it has.
	end, err := l.lastOf(ctx, filters)
	if err != nil || end <= after {
		return err
	}
	err = l.read(ctx, after, filters, func(m fold.Message) bool { return fn(m) && m.Sequence < end })
	if errors.Is(err, errScanned) {
		return nil
	}
	return err
}

// lastOf returns the sequence of the last message that matches one of the filters; 0 if there is none.
func (l *Log) lastOf(ctx context.Context, filters []string) (last uint64, err error) {
	for _, f := range filters {
		m, err := l.c.lastOn(ctx, l.name, f)
		switch {
		case errors.Is(err, nats.ErrMsgNotFound):
		case err != nil:
			return 0, l.explain(err)
		default:
			last = max(last, m.Sequence)
		}
	}
	return last, nil
}

// errScanned ends a Scan.
var errScanned = errors.New("stream: scanned")

const (
	heartbeat = 2 * time.Second
	// What is asked for at once. A server cuts off a connection that 64 MiB wait for, and one connection reads every shard.
	askedMessages = 2000
	askedBytes    = 2 << 20
	askedFor      = time.Minute // then it is asked for again
	askAgain      = 20 * time.Millisecond
)

// asks are the questions for more, and for one message alone that is larger than askedBytes.
var asks = func() (out struct{ more, large []byte }) {
	out.more = fmt.Appendf(nil, `{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d}`, askedMessages, askedBytes, askedFor, heartbeat)
	out.large = fmt.Appendf(nil, `{"batch":1,"expires":%d,"idle_heartbeat":%d}`, askedFor, heartbeat)
	return out
}()

// read runs one consumer. It ends with errScanned when fn returns false, and with filters when nothing is there that could
// still come.
func (l *Log) read(ctx context.Context, after uint64, filters []string, fn func(fold.Message) bool) error {
	reading, cancel := context.WithCancelCause(ctx) // ended by the handler, maybe before its consumer's creation is answered
	defer cancel(nil)
	reconnected := l.c.nextReconnect()
	// A reader with a deadline far away does not wait that long for an answer that was lost with a connection.
	asking, answered := context.WithTimeout(ctx, answerWait)
	defer answered()
	s, err := l.c.js.Stream(asking, l.name)
	if err != nil {
		return l.explain(err)
	}
	in, err := incarnationsOf(s.CachedInfo())
	if err != nil {
		return err
	}
	r := &reader{fn: fn, in: in, at: after, begun: time.Now(), cancel: cancel, nc: l.c.nc, inbox: l.c.nc.NewInbox(), turn: make(chan struct{}, 1), idle: make(chan uint64, 1)}
	r.alive.Store(true)
	sub, err := l.c.nc.Subscribe(r.inbox, r.handle)
	if err != nil {
		return err
	}
	// fn is never called after read has returned: whoever reads on would see messages twice.
	defer func() {
		_ = sub.Unsubscribe()
		r.turn <- struct{}{}
		r.ended = true
		<-r.turn
	}()
	if err := sub.SetPendingLimits(-1, -1); err != nil { // what is asked for bounds it
		return err
	}
	cons, err := l.c.js.CreateConsumer(asking, l.name, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1,
		FilterSubjects: filters, AckPolicy: jetstream.AckNonePolicy, MaxDeliver: 1,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: 5 * time.Minute,
	})
	if err != nil {
		return l.explain(err)
	}
	name := cons.CachedInfo().Name
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if l.c.nc.IsConnected() { // else the server deletes it after InactiveThreshold
			_ = l.c.js.DeleteConsumer(ctx, l.name, name)
		}
	}()
	r.next = "$JS.API.CONSUMER.MSG.NEXT." + l.name + "." + name
	if err := r.ask(asks.more, askedMessages); err != nil {
		return l.explain(err)
	}
	watch := time.NewTicker(3 * heartbeat)
	defer watch.Stop()
	for {
		select {
		case <-reading.Done():
			return context.Cause(reading)
		case <-reconnected:
			return errors.New("stream: reconnected: the stream is checked again")
		case at := <-r.idle:
			// What was to come may have been erased after the message before it was sent.
			if len(filters) == 0 {
				continue
			}
			if last, err := l.lastOf(ctx, filters); err == nil && last <= at {
				return errScanned
			}
		case <-watch.C:
			if !r.alive.Swap(false) && !r.busy.Load() {
				return fmt.Errorf("stream %s: the server has sent nothing for %s", l.name, 3*heartbeat)
			}
		}
	}
}

// reader is the state of one consumer's handler.
type reader struct {
	fn     func(fold.Message) bool
	in     incarnations
	nc     *nats.Conn
	inbox  string
	next   string // subject that more is asked for on
	left   int    // messages that were asked for and have not come
	bytes  int    // that may come of what was asked for
	begun  time.Time
	cancel context.CancelCauseFunc
	// turn is taken while a message is handled. It is no sync.Mutex, since fn may wait for long: simulated time stands still
	// while somebody waits for one.
	turn  chan struct{}
	ended bool
	last  uint64      // of the consumer's own sequence
	at    uint64      // the stream's sequence of that message
	idle  chan uint64 // at, when the server says that it has nothing to send
	alive atomic.Bool
	busy  atomic.Bool
}

func (r *reader) handle(m *nats.Msg) {
	r.turn <- struct{}{}
	defer func() { <-r.turn }()
	if r.ended {
		return
	}
	r.alive.Store(true)
	if m.Reply == "" { // a stored message has one, which says where it is stored
		r.control(m.Header)
		return
	}
	meta, ok := parseReply(m.Reply)
	if !ok {
		r.end(fmt.Errorf("stream: a message came with the unreadable reply subject %q", m.Reply))
		return
	}
	if meta.consumer != r.last+1 {
		r.end(fmt.Errorf("stream: a gap in what the server sent: %d after %d", meta.consumer, r.last))
		return
	}
	r.last, r.at = meta.consumer, meta.stream
	r.busy.Store(true)
	id, history := r.in.at(meta.stream)
	goOn := r.fn(fold.Message{
		Subject: m.Subject, Data: m.Data, Incarnation: id, Sequence: meta.stream, Time: meta.time, History: history,
		Traceparent: Traceparent(m.Header), Pending: meta.pending,
	})
	r.alive.Store(true)
	r.busy.Store(false)
	if !goOn {
		r.end(errScanned)
		return
	}
	r.left--
	r.bytes -= m.Size() // as the server counts
	if r.left == 0 || r.bytes == 0 {
		r.goOn(asks.more, askedMessages)
	}
}

// ask asks for so many messages.
func (r *reader) ask(question []byte, messages int) error {
	r.left, r.bytes = messages, askedBytes
	return r.nc.PublishRequest(r.next, r.inbox, question)
}

// goOn is ask for the handler.
func (r *reader) goOn(question []byte, messages int) {
	if err := r.ask(question, messages); err != nil {
		r.end(err)
	}
}

// control handles what the server says beside messages: that it is alive, or that it sends no more of what was asked for.
func (r *reader) control(h nats.Header) {
	status, what := h.Get("Status"), h.Get("Description")
	switch {
	case status == "100": // a heartbeat, whose count shows messages that were lost on the way
		if s := h.Get("Nats-Last-Consumer"); s != "" && s != strconv.FormatUint(r.last, 10) {
			r.end(fmt.Errorf("stream: the server sent %s messages, of which %d came", s, r.last))
			return
		}
		select {
		case r.idle <- r.at:
		default:
		}
	case h.Get("Nats-Pending-Messages") == "0": // all of it has come
	case status == "503" && r.last == 0 && time.Since(r.begun) < answerWait:
		// In a cluster, word of a consumer that was made at another server may come after the answer that it is there.
		time.AfterFunc(askAgain, func() { _ = r.nc.PublishRequest(r.next, r.inbox, asks.more) }) // if it fails, silence ends it
	case status == "408": // nothing came for long
		r.goOn(asks.more, askedMessages)
	case what == "Message Size Exceeds MaxBytes" && r.left == askedMessages: // the first alone does
		r.goOn(asks.large, 1)
	case what == "Message Size Exceeds MaxBytes":
		r.goOn(asks.more, askedMessages)
	default: // it was refused, the consumer is gone, or its server goes
		r.end(fmt.Errorf("stream: the server sends no more: %s %s", status, what))
	}
}

func (r *reader) end(err error) {
	r.ended = true
	r.cancel(err)
}

type replyMeta struct {
	stream, consumer, pending uint64
	time                      int64
}

// parseReply reads $JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>[.<token>].
func parseReply(s string) (m replyMeta, ok bool) {
	var dots [16]int
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] == '.' {
			if n == len(dots) {
				return m, false
			}
			dots[n] = i
			n++
		}
	}
	first := 5 // index of the token <stream seq>, for the short form of 9 tokens
	switch {
	case n == 8:
	case n >= 10:
		first = 7
	default:
		return m, false
	}
	token := func(i int) string {
		from, to := dots[i-1]+1, len(s)
		if i < n {
			to = dots[i]
		}
		return s[from:to]
	}
	var t uint64
	ok = strings.HasPrefix(s, "$JS.ACK.") && number(token(first), &m.stream) && number(token(first+1), &m.consumer) &&
		number(token(first+2), &t) && number(token(first+3), &m.pending)
	m.time = int64(t)
	return m, ok
}

func number(s string, n *uint64) bool {
	if s == "" || len(s) > 19 {
		return false
	}
	var v uint64
	for i := 0; i < len(s); i++ {
		c := s[i] - '0'
		if c > 9 {
			return false
		}
		v = v*10 + uint64(c)
	}
	*n = v
	return true
}

// traceparentKey is W3C's header. NATS headers are case-sensitive; others write it capitalised.
const traceparentKey = "traceparent"

// Traceparent reads the trace context from a message's header in any spelling.
func Traceparent(h nats.Header) string {
	for k, v := range h {
		if len(k) == len(traceparentKey) && len(v) > 0 && strings.EqualFold(k, traceparentKey) {
			return v[0]
		}
	}
	return ""
}

// Messages returns the messages that match one of the filters, in order, from the start up to what is there now.
// An error ends it and is the last value. Whoever iterates may stop at any time.
func (l *Log) Messages(ctx context.Context, filters ...string) iter.Seq2[fold.Message, error] {
	return func(yield func(fold.Message, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		msgs := make(chan fold.Message, 256)
		var err error
		go func() {
			defer close(msgs)
			err = l.Scan(ctx, filters, func(m fold.Message) bool {
				select {
				case msgs <- m:
					return true
				case <-ctx.Done():
					return false
				}
			})
		}()
		defer func() {
			cancel()
			for range msgs { // until the reader has ended
			}
		}()
		for m := range msgs {
			if !yield(m, nil) {
				return
			}
		}
		if err != nil {
			yield(fold.Message{}, err)
		}
	}
}
