package scorer

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/lead"
)

// shardService is the operator's view. Every scorer answers for every shard.
type shardService struct {
	shardv1.UnimplementedShardServiceServer
	*Scorer
}

// List implements ShardService.
func (s *shardService) List(ctx context.Context, _ *shardv1.ListRequest) (*shardv1.ListResponse, error) {
	owners, err := s.o.Store.Owners(ctx, subject.Shards[:])
	if err != nil {
		return nil, unavailable(fmt.Errorf("asking Redis who owns them: %w", err))
	}
	out := &shardv1.ListResponse{}
	for _, id := range subject.Shards {
		sh, err := s.shard(ctx, id, owners[id])
		if err != nil {
			return nil, unavailable(err)
		}
		out.Shards = append(out.Shards, sh)
	}
	return out, nil
}

func (s *Scorer) shard(ctx context.Context, id, owner string) (*shardv1.Shard, error) {
	head, err := s.o.Store.Head(ctx, id)
	if err != nil {
		return nil, err
	}
	l, err := s.lag(ctx, id, head.Position.Sequence)
	if err != nil {
		return nil, err
	}
	out := &shardv1.Shard{
		Id: id, Owner: owner, Sequence: head.Position.Sequence, Stopped: s.group.Status()[id].Stopped,
		Last: l.Last, Lag: l.messages, Outbox: uint64(head.Outbox), Bytes: l.Bytes,
	}
	if !l.oldest.IsZero() {
		out.OldestWaitingAt = timestamppb.New(l.oldest)
	}
	if out.Agreements, err = s.versionsInForce(ctx, id); err != nil {
		return nil, err
	}
	if out.GetStopped() == "" { // another member may have stopped it: the cause is there to be seen
		var stop *fold.StopError
		err := fold.CheckPosition(ctx, s.log(id), head.Position)
		if err != nil && !errors.As(err, &stop) {
			return nil, err
		}
		if stop != nil {
			out.Stopped = stop.Reason
		}
	}
	return out, nil
}

// versionsInForce reads which versions are in force in a shard, and not their documents.
func (s *Scorer) versionsInForce(ctx context.Context, id string) ([]*shardv1.VersionInForce, error) {
	got, err := s.o.Store.Load(ctx, id, fold.Held{}, []string{""})
	if err != nil {
		return nil, err
	}
	state, _, err := lead.New(id).Load("", got[0])
	if err != nil {
		return nil, nil //nolint:nilerr // a state of another version or a damaged one: it is shown all the same, and verify says why
	}
	return state.(*lead.Log).VersionsInForce(), nil
}

// Verify implements ShardService.
func (s *shardService) Verify(ctx context.Context, r *shardv1.VerifyRequest) (*shardv1.VerifyResponse, error) {
	shards, err := named(r.GetShards())
	if err != nil {
		return nil, err
	}
	out := &shardv1.VerifyResponse{}
	for _, id := range shards {
		v := &verification{Stream: s.o.Stream, Store: s.o.Store, fromSnapshot: r.GetFromSnapshot(), out: out}
		if err := v.shard(ctx, id); err != nil {
			return nil, unavailable(err)
		}
	}
	return out, nil
}

func named(ids []string) ([]string, error) {
	if len(ids) == 0 {
		return subject.Shards[:], nil
	}
	for _, id := range ids {
		if subject.ShardNumber(id) < 0 {
			return nil, status.Errorf(codes.InvalidArgument, "%q is not a shard: they are 0 to 9 and a to f", id)
		}
	}
	return ids, nil
}

// Adopt implements ShardService. It may be repeated: a shard that stands where its stream is keeps nothing anew, and one
// that is replayed twice comes to the same. A shard that works may be replayed too: after all streams were restored, what
// left it in the time that is lost has to leave it again, though its own stream lost nothing.
func (s *shardService) Adopt(ctx context.Context, r *shardv1.AdoptRequest) (*shardv1.AdoptResponse, error) {
	id := r.GetShard()
	switch {
	case r.GetRequestId() == "":
		return nil, status.Error(codes.InvalidArgument, "`request_id` is needed: the same id twice adopts once")
	case subject.ShardNumber(id) < 0:
		return nil, status.Errorf(codes.InvalidArgument, "%q is not a shard: they are 0 to 9 and a to f", id)
	case r.GetMode() == shardv1.AdoptRequest_MODE_UNSPECIFIED:
		return nil, status.Error(codes.InvalidArgument, "say what becomes of the scores: keep or replay")
	}
	head, err := s.o.Store.Head(ctx, id)
	if err != nil {
		return nil, unavailable(err)
	}
	sh, err := s.shard(ctx, id, "")
	if err != nil {
		return nil, unavailable(err)
	}
	if sh.GetStopped() == "" && r.GetMode() == shardv1.AdoptRequest_MODE_KEEP {
		return nil, status.Errorf(codes.FailedPrecondition, "shard %s does not stand still: there is nothing to adopt", id)
	}
	if err := s.adopt(ctx, id, head.Position, r.GetMode()); err != nil {
		return nil, unavailable(err)
	}
	s.o.Logger.Warn("a shard was adopted by an operator", "shard", id, "mode", r.GetMode().String(), "request", r.GetRequestId())
	if sh, err = s.shard(ctx, id, ""); err != nil {
		return nil, unavailable(err)
	}
	sh.Stopped = ""
	return &shardv1.AdoptResponse{Shard: sh}, nil
}

func (s *Scorer) adopt(ctx context.Context, id string, was fold.Position, mode shardv1.AdoptRequest_Mode) error {
	log := s.log(id)
	now := s.o.Now()
	info, err := log.Info(ctx)
	if err != nil {
		return err
	}
	// What was stored after the last message that was read is new; the rest is in the scores, or lost with the old stream.
	at, err := log.LastBefore(ctx, was.Time)
	if err != nil {
		return err
	}
	// What the shard was before must not come back.
	if err := s.forgetSnapshots(ctx, id); err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	if mode == shardv1.AdoptRequest_MODE_REPLAY {
		var another *fold.StopError
		err := fold.CheckPosition(ctx, log, was)
		switch {
		case err == nil:
			// The same stream: what its messages cause has the same ids as before, and is in the ledger once.
		case !errors.As(err, &another):
			return err
		case info.Created == was.Created && at.Sequence < was.Sequence:
			// An older copy of it: what is new has the sequences of what was lost, and must not be taken for it.
			err = log.Adopt(ctx, at.Sequence, 0, now)
		default:
			// Another stream: what its messages cause may be in the ledger under other ids, so they count as history.
			err = log.Adopt(ctx, 0, info.Last, now)
		}
		if err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		// The start of this stream, and not nowhere: from there it would go on from a snapshot, and one may have been under way.
		return s.o.Store.Reset(ctx, id, fold.Position{Created: info.Created}, true)
	}
	if err := log.Adopt(ctx, at.Sequence, 0, now); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	return s.o.Store.Reset(ctx, id, at, false)
}

func (s *Scorer) forgetSnapshots(ctx context.Context, id string) error {
	snapshots := s.o.Stream.Snapshots()
	list, err := snapshots.List(ctx, id)
	for _, i := range list {
		err = errors.Join(err, snapshots.Forget(ctx, id, i.Name))
	}
	return err
}
