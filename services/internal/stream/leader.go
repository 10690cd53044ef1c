package stream

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/leadbaton/baton/api/subject"
)

// leaderBucket is the key-value bucket of elections. It is in memory: when NATS starts anew, it is made anew.
const leaderBucket = "BATON_LEADERS"

// Times of an election. A leader that dies is followed within leaderTTL; one that resigns, at once.
const (
	leaderTTL   = 5 * time.Second         // how long an entry stays that is not renewed, by the server's clock
	leaderRenew = 1200 * time.Millisecond // how often the leader renews, and the others look
	leaderSpare = 500 * time.Millisecond  // a leader stops this much before the server forgets it
	leaderCall  = time.Second             // how long the server has to answer
	// leaderVacant is how long after a leader's resigning the others look at short intervals.
	leaderVacant = 500 * time.Millisecond
)

// Leader is a member of an election.
type Leader struct {
	Member string `json:"member"`
	// Address is where its gRPC services are reached; it goes to the other members.
	Address string `json:"address"`
}

// Election chooses one member of several to do some work. It only chooses: for a moment two may believe that they lead,
// or none, so the work itself needs a fence.
type Election struct {
	c   *Conn
	key string
	me  ballot

	mu      sync.Mutex
	stands  bool
	until   time.Time // this member leads until then unless it renews; zero = it does not lead
	leader  ballot    // who leads, as seen last
	seen    time.Time
	vacated time.Time     // when the leader was seen to resign
	changed chan struct{} // closed and replaced at each change

	wake     chan struct{}
	kv       jetstream.KeyValue
	revision uint64 // of this member's entry
}

// ballot is what the entry of an election says.
type ballot struct {
	Leader
	// Nonce is this Election's own: the same member started again is another one.
	Nonce string `json:"nonce"`
}

// Election returns an election by its key, a NATS subject token, for a member. It begins with Run.
func (c *Conn) Election(key string, me Leader) *Election {
	return &Election{
		c: c, key: key, me: ballot{Leader: me, Nonce: nuid.Next()},
		changed: make(chan struct{}), wake: make(chan struct{}, 1),
	}
}

// Stand says whether this member is a candidate; at first it only watches. One that leads and stands no more resigns.
func (e *Election) Stand(yes bool) {
	e.mu.Lock()
	e.stands = yes
	e.mu.Unlock()
	e.rouse()
}

// Leading says whether this member leads now, as far as it can know.
func (e *Election) Leading() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Now().Before(e.until)
}

// Leader returns who leads now; false if nobody is known to.
func (e *Election) Leader() (Leader, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if now.Before(e.until) {
		return e.me.Leader, true
	}
	if e.leader.Nonce == "" || now.Sub(e.seen) > leaderTTL {
		return Leader{}, false
	}
	return e.leader.Leader, true
}

// Changed returns a channel that is closed when what Leading or Leader say changes next.
func (e *Election) Changed() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changed
}

// Run takes part until ctx ends, and then resigns. It returns ctx.Err().
func (e *Election) Run(ctx context.Context) error {
	// The bucket's subject carries every entry as it is made: the end of a leader is known at once, without asking.
	sub, err := e.c.nc.Subscribe("$KV."+leaderBucket+"."+e.key, func(m *nats.Msg) {
		var b ballot
		if m.Header.Get("KV-Operation") == "" && json.Unmarshal(m.Data, &b) == nil {
			e.sight(b)
			return
		}
		e.forget()
		e.mu.Lock()
		e.vacated = time.Now()
		e.mu.Unlock()
		e.rouse()
	})
	if err == nil {
		defer func() { _ = sub.Unsubscribe() }()
	} // else the connection is closed, and every step below says so
	for ctx.Err() == nil {
		reconnected := e.c.nextReconnect()
		timer := time.NewTimer(e.step(ctx))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-e.wake:
		case <-reconnected:
		}
		timer.Stop()
	}
	e.resign()
	return ctx.Err()
}

func (e *Election) rouse() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// step does what is to be done now, and returns when to look again.
func (e *Election) step(ctx context.Context) time.Duration {
	e.mu.Lock()
	stands, until := e.stands, e.until
	e.mu.Unlock()
	leads := time.Now().Before(until)
	if !leads && !until.IsZero() {
		e.lead(time.Time{})
	}
	switch {
	case leads && !stands:
		e.resign()
	case leads:
		if !e.renew(ctx, min(leaderCall, time.Until(until))) {
			return min(leaderRenew/4, time.Until(until)) // soon again, while there is time
		}
	default:
		e.look(ctx, stands)
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.until.IsZero() && time.Since(e.vacated) < leaderVacant {
			return leaderVacant / 20 // the word of it travels faster than the bucket stores it
		}
	}
	return leaderRenew
}

// renew lengthens this member's time; false if that is not known to have happened.
func (e *Election) renew(ctx context.Context, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	sent := time.Now()
	kv, err := e.bucket(ctx)
	if err != nil {
		return false
	}
	revision, err := kv.Update(ctx, e.key, e.value(), e.revision)
	switch {
	case err == nil:
		e.revision = revision
		e.lead(sent.Add(leaderTTL - leaderSpare))
		return true
	case errors.Is(err, jetstream.ErrKeyExists), errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		// Somebody else's entry is there, or none, or one of our own whose answer was lost.
		if entry, err := kv.Get(ctx, e.key); err == nil && e.mine(entry) {
			e.revision = entry.Revision()
			return false
		}
		e.lead(time.Time{})
		e.rouse()
	default:
		e.kv = nil // perhaps the bucket is gone
	}
	return false
}

// look finds out who leads, and takes the place if it is free and this member stands.
func (e *Election) look(ctx context.Context, stands bool) {
	ctx, cancel := context.WithTimeout(ctx, leaderCall)
	defer cancel()
	kv, err := e.bucket(ctx)
	if err != nil {
		return
	}
	sent := time.Now()
	entry, err := kv.Get(ctx, e.key)
	switch {
	case err == nil && e.mine(entry): // its answer was lost
		if stands {
			e.revision = entry.Revision()
			e.renew(ctx, leaderCall)
		}
	case err == nil:
		var b ballot
		if json.Unmarshal(entry.Value(), &b) == nil {
			e.sight(b)
		}
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		e.kv = nil
	case stands:
		if revision, err := kv.Create(ctx, e.key, e.value()); err == nil {
			e.revision = revision
			e.lead(sent.Add(leaderTTL - leaderSpare))
		}
	default:
		e.forget()
	}
}

// resign gives the place back, so that another takes it at once.
func (e *Election) resign() {
	e.mu.Lock()
	led := time.Now().Before(e.until)
	e.mu.Unlock()
	e.lead(time.Time{})
	if !led || e.kv == nil || !e.c.nc.IsConnected() {
		return // the entry runs out by itself
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaderCall)
	defer cancel()
	_ = e.kv.Delete(ctx, e.key, jetstream.LastRevision(e.revision))
}

// bucket returns the bucket, and creates it if it is not there.
func (e *Election) bucket(ctx context.Context) (jetstream.KeyValue, error) {
	if e.kv != nil {
		return e.kv, nil
	}
	kv, err := e.c.js.KeyValue(ctx, leaderBucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		replicas := 1
		if s, err := e.c.js.Stream(ctx, subject.HandoffsStream); err == nil {
			replicas = max(1, s.CachedInfo().Config.Replicas) // a cluster that loses a node must still be able to elect
		}
		kv, err = e.c.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: leaderBucket, Description: "Who leads. In memory, and made anew when it is gone.",
			TTL: leaderTTL, History: 1, Storage: jetstream.MemoryStorage, Replicas: replicas,
		})
	}
	if err != nil {
		return nil, err
	}
	e.kv = kv
	return kv, nil
}

func (e *Election) value() []byte {
	b, _ := json.Marshal(e.me) // strings only: it cannot fail
	return b
}

func (e *Election) mine(entry jetstream.KeyValueEntry) bool {
	var b ballot
	return json.Unmarshal(entry.Value(), &b) == nil && b.Nonce == e.me.Nonce
}

// lead sets until when this member leads.
func (e *Election) lead(until time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := !e.until.IsZero()
	e.until = until
	if before != !until.IsZero() {
		if until.IsZero() && e.leader.Nonce == e.me.Nonce {
			e.leader = ballot{}
		}
		e.tell()
	}
}

// sight takes note of who leads.
func (e *Election) sight(b ballot) {
	e.mu.Lock()
	defer e.mu.Unlock()
	stale := time.Since(e.seen) > leaderTTL
	e.seen = time.Now()
	if b.Nonce == e.me.Nonce {
		return // until tells
	}
	if e.leader != b || stale {
		e.leader = b
		e.tell()
	}
}

func (e *Election) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.leader.Nonce != "" {
		e.leader = ballot{}
		e.tell()
	}
}

func (e *Election) tell() {
	close(e.changed)
	e.changed = make(chan struct{})
}
