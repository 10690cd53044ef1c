// Package scorer is the service that keeps the leads' scores: it folds the shards it owns and answers what is known of leads.
package scorer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/lead"
	"github.com/leadbaton/baton/services/internal/stream"
	"github.com/leadbaton/baton/services/internal/telemetry"
)

// Options are what a scorer works with.
type Options struct {
	Stream *stream.Conn
	Store  fold.Store
	// Member is this process's name among the scorers; empty = a random one.
	Member string
	Logger *slog.Logger
	// Now is the wall clock for what is shown; nil = time.Now. The fold itself reads no clock.
	Now func() time.Time
	// Signals are where it measures and traces; the zero value is nowhere.
	Signals telemetry.Signals
}

// Scorer is one member of the group that shares the shards.
type Scorer struct {
	o       Options
	metrics *metrics
	group   *fold.Group
	allowed *stream.Permissions
	ready   atomic.Bool
	behind  atomic.Pointer[string]          // why it has not caught up since its start; nil = it has
	unfit   atomic.Pointer[fold.UnfitError] // of the store, since it was set up otherwise under way
}

// New returns a scorer that does nothing yet.
func New(o Options) (*Scorer, error) {
	if o.Stream == nil || o.Store == nil {
		return nil, errors.New("scorer: a stream and a store are needed")
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Scorer{o: o, metrics: newMetrics(o.Signals), allowed: o.Stream.Permissions(needs()...)}
	s.behind.Store(&notBegun)
	s.group = &fold.Group{
		Member: o.Member, Shards: subject.Shards[:], Store: o.Store, Open: s.open, Able: o.Stream.Connected, Logger: o.Logger,
		Metrics: s.metrics.fold,
	}
	return s, nil
}

// Register adds LeadService and ShardService to a gRPC server.
func (s *Scorer) Register(r grpc.ServiceRegistrar) {
	leadv1.RegisterLeadServiceServer(r, &leadService{Scorer: s})
	shardv1.RegisterShardServiceServer(r, &shardService{Scorer: s})
}

// Run takes part in the group until ctx ends.
func (s *Scorer) Run(ctx context.Context) error {
	if err := s.storeFit(ctx); err != nil {
		return err
	}
	if err := s.o.Stream.EnsureStreams(ctx); err != nil {
		return err
	}
	s.ready.Store(true)
	defer s.ready.Store(false)
	watching, stop := context.WithCancel(ctx)
	var watched sync.WaitGroup
	watched.Go(func() { s.watchStore(watching) })
	watched.Go(func() { s.allowed.Run(watching) })
	watched.Go(func() { s.watchStart(watching) })
	defer watched.Wait()
	defer stop()
	return s.group.Run(ctx)
}

// storeWatch is how often the store's set-up is looked at again.
const storeWatch = 30 * time.Second

// watchStore says so if the store is set up under way in a manner that may lose scores. The scorer goes on: what is lost is
// folded again, but slowly, and an operator has to know.
func (s *Scorer) watchStore(ctx context.Context) {
	tick := time.NewTicker(storeWatch)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var unfit *fold.UnfitError
		if err := s.o.Store.Check(ctx); err != nil && !errors.As(err, &unfit) {
			continue // unreachable: that shows elsewhere
		}
		if unfit != nil {
			s.o.Logger.Error("the store may lose scores", "reason", unfit.Reason)
		}
		s.unfit.Store(unfit)
	}
}

// storeWait is how long the store may be unreachable at the start.
const storeWait = 10 * time.Second

// storeFit waits for the store and refuses one that may lose scores.
func (s *Scorer) storeFit(ctx context.Context) error {
	deadline := s.o.Now().Add(storeWait)
	for {
		err := s.o.Store.Check(ctx)
		var unfit *fold.UnfitError
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &unfit):
			return err
		case s.o.Now().After(deadline):
			return fmt.Errorf("redis cannot be reached: %w; is it running, and is the address right (--redis)?", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// Ready says whether the scorer does its work now.
func (s *Scorer) Ready() error {
	switch {
	case !s.ready.Load():
		return errors.New("the scorer is starting or stopping")
	case !s.o.Stream.Connected():
		return errors.New("NATS cannot be reached")
	case s.unfit.Load() != nil:
		return s.unfit.Load()
	case s.allowed.Err() != nil:
		return s.allowed.Err()
	}
	if err := s.group.Healthy(); err != nil {
		return err
	}
	if behind := s.behind.Load(); behind != nil {
		return errors.New(*behind)
	}
	return nil
}

// open returns what one shard's owner works with.
func (s *Scorer) open(shard string) fold.Shard {
	machine := lead.New(shard)
	return fold.Shard{
		ID: shard, Log: s.log(shard), Store: s.o.Store, Outlet: s.o.Stream.Outlet(sameFact), Machine: machine,
		Snapshots: s.o.Stream.Snapshots(), Logger: s.o.Logger, Expand: s.expand, Metrics: s.metrics.fold, Observer: &observer{metrics: s.metrics, machine: machine},
	}
}

func (s *Scorer) log(shard string) *stream.Log {
	return s.o.Stream.Log(subject.EngagementStream(shard))
}

// sameFact says whether a stored record says what ours says. Encodings of equal facts may differ between versions of the
// protobuf library; facts may not.
func sameFact(stored, mine []byte) bool {
	if bytes.Equal(stored, mine) {
		return true
	}
	var a, b leadv1.Fact
	return proto.Unmarshal(stored, &a) == nil && proto.Unmarshal(mine, &b) == nil && proto.Equal(&a, &b)
}

// expandBatch is how many messages of an alias's history leave at a time.
const expandBatch = 200

// expand reads an alias's history from its shard's stream and sends it to the lead that claimed it.
func (s *Scorer) expand(ctx context.Context, r fold.Record, send func([]fold.Record) error) error {
	e, err := lead.ReadExpansion(r)
	if err != nil {
		return &fold.StopError{Reason: fmt.Sprintf("an outbox record cannot be read: %v", err)}
	}
	var batch []fold.Record
	for rec, err := range e.Records(s.o.Stream.Log(e.Stream).Messages(ctx, e.Filter)) {
		if err != nil {
			return err
		}
		if batch = append(batch, rec); len(batch) == expandBatch {
			if err := send(batch); err != nil {
				return err
			}
			batch = nil
		}
	}
	if len(batch) == 0 {
		return nil
	}
	return send(batch)
}
