package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/leadbaton/baton/api/natsbatch"
	"github.com/leadbaton/baton/services/internal/fold"
)

// originHeader carries the place of a message's cause in its producer's order.
const originHeader = "baton-origin"

const (
	// atomicBatch is how many messages go in one atomic batch: larger ones gain little and wait longer.
	atomicBatch = 200
	// fewOnce and fewOrdered are up to how many records are published singly, where nothing asks for one atom: a server
	// makes and removes a store on disk for each batch, which takes it about 4 ms. Ordered ones wait for each other.
	fewOnce, fewOrdered = 16, 4
)

// Outlet is a fold.Outlet into JetStream. One Outlet serves one producer and is used by one goroutine at a time.
type Outlet struct {
	c *Conn
	// Same says whether two records on one subject say the same; nil compares bytes.
	same  func(stored, mine []byte) bool
	tails map[string]tail // by prefix
}

var _ fold.Outlet = (*Outlet)(nil)

// tail is the last message of this producer in another shard.
type tail struct {
	sequence uint64
	origin   fold.Origin
	any      bool
}

// Outlet returns an outlet. It forgets nothing while it lives, so it is made anew for each lease.
func (c *Conn) Outlet(same func(stored, mine []byte) bool) *Outlet {
	if same == nil {
		same = bytes.Equal
	}
	return &Outlet{c: c, same: same, tails: map[string]tail{}}
}

// Once implements fold.Outlet.
func (o *Outlet) Once(ctx context.Context, records []fold.Record) error {
	for len(records) > 0 {
		n := 1
		for n < len(records) && n < atomicBatch && records[n].Stream == records[0].Stream {
			n++
		}
		if err := o.once(ctx, records[:n]); err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}

func (o *Outlet) once(ctx context.Context, records []fold.Record) error {
	if len(records) <= fewOnce {
		g, gctx := errgroup.WithContext(ctx)
		for _, bucket := range byBucket(records) {
			g.Go(func() error {
				for i := range bucket {
					if err := o.single(gctx, bucket[i:i+1]); err != nil {
						return err
					}
				}
				return nil
			})
		}
		return g.Wait()
	}
	err := o.publish(ctx, records, first)
	if !natsbatch.IsWrongLastSequence(err) {
		return err
	}
	// Some are there already: an owner before this one, or an attempt whose answer was lost. Find which, publish the rest.
	missing := make([]bool, len(records))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(64)
	for i := range records {
		g.Go(func() (err error) {
			missing[i], err = o.missing(gctx, &records[i])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	var rest []fold.Record
	for i := range records {
		if missing[i] {
			rest = append(rest, records[i])
		}
	}
	if len(rest) == 0 {
		return nil
	}
	return o.publish(ctx, rest, first)
}

// byBucket parts records by all of their subject but the place, which for a fact is the bucket of its lead. Those of one bucket
// leave one after another: that a lead was merged, or has withdrawn its consent, means another thing when it is read before the
// lead's qualification.
func byBucket(records []fold.Record) [][]fold.Record {
	var out [][]fold.Record
	at := map[string]int{}
	for _, r := range records {
		bucket := r.Subject[:strings.LastIndexByte(r.Subject, '.')+1]
		i, ok := at[bucket]
		if !ok {
			i = len(out)
			at[bucket] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], r)
	}
	return out
}

// first makes a message the first one on its subject, or none.
func first(m *nats.Msg, _ int) { m.Header.Set(nats.ExpectedLastSubjSeqHdr, "0") }

// single publishes one record, unless it is there already.
func (o *Outlet) single(ctx context.Context, record []fold.Record) error {
	err := o.publish(ctx, record, first)
	if !natsbatch.IsWrongLastSequence(err) {
		return err
	}
	missing, lookErr := o.missing(ctx, &record[0])
	if missing { // the server says that there is one, and that there is none: again
		return err
	}
	return lookErr
}

// missing says whether a record is not there yet; a *fold.StopError if another one is in its place.
func (o *Outlet) missing(ctx context.Context, r *fold.Record) (bool, error) {
	m, err := o.c.lastOn(ctx, r.Stream, r.Subject)
	switch {
	case errors.Is(err, nats.ErrMsgNotFound):
		return true, nil
	case err != nil:
		return false, err
	case !o.same(m.Data, r.Data):
		return false, &fold.StopError{Reason: fmt.Sprintf("stream %s holds another record at message %d than the one folded from message %d: "+
			"the shard's stream was restored or another program writes here; run `baton verify`, then decide with `baton shard adopt`", r.Stream, m.Sequence, r.Sequence)}
	}
	return false, nil
}

// Ordered implements fold.Outlet.
func (o *Outlet) Ordered(ctx context.Context, records []fold.Record) error {
	if len(records) == 0 {
		return nil
	}
	stream, prefix := records[0].Stream, records[0].Prefix
	t, ok := o.tails[prefix]
	if !ok {
		var err error
		if t, err = o.c.tail(ctx, stream, prefix); err != nil {
			return err
		}
	}
	for len(records) > 0 && t.any && !records[0].Origin().After(t.origin) {
		records = records[1:]
	}
	for len(records) > 0 {
		n := min(len(records), atomicBatch)
		if len(records) <= fewOrdered {
			n = 1
		}
		delete(o.tails, prefix) // unknown until the answer is here
		last, err := o.publishSeq(ctx, records[:n], func(m *nats.Msg, i int) {
			m.Header.Set(originHeader, records[i].Origin().String())
			if i == 0 {
				m.Header.Set(nats.ExpectedLastSubjSeqHdr, strconv.FormatUint(t.sequence, 10))
				m.Header.Set("Nats-Expected-Last-Subject-Sequence-Subject", prefix)
			}
		})
		if err != nil {
			return err // at the next attempt the tail is read again, and what is there is left out
		}
		t = tail{sequence: last, origin: records[n-1].Origin(), any: true}
		o.tails[prefix] = t
		records = records[n:]
	}
	o.tails[prefix] = t
	return nil
}

// lastOn returns the last message of a stream on a subject, or on those that a wildcard matches.
func (c *Conn) lastOn(ctx context.Context, stream, subject string) (*nats.RawStreamMsg, error) {
	asking, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	return c.old.GetLastMsg(stream, subject, nats.Context(asking))
}

// tail reads the last message of a producer in a shard.
func (c *Conn) tail(ctx context.Context, stream, prefix string) (tail, error) {
	m, err := c.lastOn(ctx, stream, prefix)
	switch {
	case errors.Is(err, nats.ErrMsgNotFound):
		return tail{}, nil
	case err != nil:
		return tail{}, err
	}
	origin, err := fold.ParseOrigin(m.Header.Get(originHeader))
	if err != nil {
		return tail{}, &fold.StopError{Reason: fmt.Sprintf("message %d of stream %s is on a subject that only Baton writes, but has no origin: %v", m.Sequence, stream, err)}
	}
	return tail{sequence: m.Sequence, origin: origin, any: true}, nil
}

// LastOrigin returns the origin of the last message that a producer put into a stream, by its prefix; false if there is none.
func (c *Conn) LastOrigin(ctx context.Context, stream, prefix string) (fold.Origin, bool, error) {
	t, err := c.tail(ctx, stream, prefix)
	return t.origin, t.any, err
}

func (o *Outlet) publish(ctx context.Context, records []fold.Record, guard func(*nats.Msg, int)) error {
	_, err := o.publishSeq(ctx, records, guard)
	return err
}

func (o *Outlet) publishSeq(ctx context.Context, records []fold.Record, guard func(*nats.Msg, int)) (uint64, error) {
	msgs := make([]*nats.Msg, len(records))
	for i := range records {
		m := &nats.Msg{Subject: records[i].Subject, Data: records[i].Data, Header: nats.Header{}}
		if records[i].Traceparent != "" {
			m.Header[traceparentKey] = []string{records[i].Traceparent}
		}
		guard(m, i)
		msgs[i] = m
	}
	return o.c.store(ctx, msgs)
}

// answerWait is how long the server has to answer: an answer that was lost with a connection never comes, and the client
// library waits for it as long as its context does.
const answerWait = 5 * time.Second

// store publishes messages of one stream as one atom and returns the last one's sequence.
func (c *Conn) store(ctx context.Context, msgs []*nats.Msg) (uint64, error) {
	last, err := c.storeNow(ctx, msgs)
	c.metrics.stored(msgs[0].Subject, len(msgs), err)
	return last, err
}

func (c *Conn) storeNow(ctx context.Context, msgs []*nats.Msg) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	if len(msgs) > 1 {
		ack, err := natsbatch.Publish(ctx, c.nc, msgs)
		return ack.Sequence, err
	}
	m, err := c.nc.RequestMsgWithContext(ctx, msgs[0])
	if err != nil {
		return 0, err
	}
	var ack struct {
		Sequence uint64 `json:"seq"`
		Error    *struct {
			Code        int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return 0, fmt.Errorf("stream: the server's answer cannot be read: %w", err)
	}
	if ack.Error != nil {
		return 0, &natsbatch.Error{Code: ack.Error.Code, Description: ack.Error.Description}
	}
	return ack.Sequence, nil
}

// ErrConflict says that a stream's last sequence is not the expected one: somebody else has written to it.
var ErrConflict = errors.New("stream: somebody else has written to the stream")

// Entry is one message to append.
type Entry struct {
	Subject     string
	Data        []byte
	Traceparent string
}

// Append appends entries to a stream as one atom, if its last sequence is the expected one; it returns the new last
// sequence. ErrConflict changes nothing; any other error means that the outcome is unknown. At most 1,000 entries.
func (c *Conn) Append(ctx context.Context, stream string, expected uint64, entries []Entry) (uint64, error) {
	msgs := make([]*nats.Msg, len(entries))
	for i, e := range entries {
		m := &nats.Msg{Subject: e.Subject, Data: e.Data, Header: nats.Header{}}
		if e.Traceparent != "" {
			m.Header[traceparentKey] = []string{e.Traceparent}
		}
		if i == 0 {
			m.Header.Set(nats.ExpectedLastSeqHdr, strconv.FormatUint(expected, 10))
		}
		msgs[i] = m
	}
	last, err := c.store(ctx, msgs)
	if natsbatch.IsWrongLastSequence(err) {
		return 0, ErrConflict
	}
	return last, err
}

// Put stores one message. The same id twice within the stream's window is refused as a duplicate (natsbatch.IsDuplicate)
// or taken as stored.
func (c *Conn) Put(ctx context.Context, subj, id string, data []byte) error {
	_, err := c.store(ctx, []*nats.Msg{{Subject: subj, Data: data, Header: nats.Header{nats.MsgIdHdr: []string{id}}}})
	return err
}
