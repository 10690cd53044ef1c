package scorer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/lead"
	"github.com/leadbaton/baton/services/internal/stream"
)

// maxDifferences bounds what one verification says; the count goes on.
const maxDifferences = 20

// Verify folds every shard from its stream's start, or from its newest snapshot, and compares the result with the ledger, and
// with the store unless it is nil (then up to the stream's end: for data that no service runs on).
func Verify(ctx context.Context, c *stream.Conn, store fold.Store, fromSnapshot bool) (*shardv1.VerifyResponse, error) {
	out := &shardv1.VerifyResponse{}
	for _, id := range subject.Shards {
		v := &verification{Stream: c, Store: store, fromSnapshot: fromSnapshot, out: out}
		if err := v.shard(ctx, id); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// verification compares one shard.
type verification struct {
	Stream *stream.Conn
	Store  fold.Store
	// fromSnapshot says to fold from the newest snapshot; a shard without one is folded from its start.
	fromSnapshot bool
	out          *shardv1.VerifyResponse
	id           string
	found        int
}

func (v *verification) differs(format string, args ...any) {
	if v.found++; v.found <= maxDifferences {
		v.out.Differences = append(v.out.Differences, "shard "+v.id+": "+fmt.Sprintf(format, args...))
	}
}

func (v *verification) shard(ctx context.Context, id string) error {
	v.id = id
	log := v.Stream.Log(subject.EngagementStream(id))
	var dump fold.Dump
	if v.Store != nil {
		var err error
		if dump, err = v.Store.Dump(ctx, id); err != nil {
			return err
		}
		var stop *fold.StopError
		if err := fold.CheckPosition(ctx, log, dump.Position); errors.As(err, &stop) {
			v.differs("%s", stop.Reason)
			return nil
		} else if err != nil {
			return err
		}
	} else {
		info, err := log.Info(ctx)
		if err != nil {
			return err
		}
		dump.Position.Sequence = info.Last
	}
	var from fold.Dump
	if v.fromSnapshot {
		s := fold.Shard{ID: id, Log: log, Machine: lead.New(id), Snapshots: v.Stream.Snapshots()}
		var err error
		if from, _, err = fold.LoadSnapshot(ctx, s, dump.Position.Sequence); err != nil {
			return err
		}
	}
	want, err := fold.Rebuild(ctx, log, lead.New(id), from, dump.Position.Sequence)
	if err != nil {
		return err
	}
	v.out.Messages += want.Messages
	if v.Store != nil {
		v.states(want.Fields, dump.Fields)
	}
	if err := v.facts(ctx, append(from.Outbox, want.Records...), from.Position.Sequence, dump); err != nil {
		return err
	}
	return v.erased(ctx, log, from)
}

// erased says why what was found may be no fault.
func (v *verification) erased(ctx context.Context, log *stream.Log, from fold.Dump) error {
	if v.found == 0 || from.Position.Sequence > 0 {
		return nil
	}
	info, err := log.Info(ctx)
	if err == nil && info.Erased > 0 {
		v.differs("%d messages of its stream were erased, and what they gave cannot be folded again: compare with --from-snapshot", info.Erased)
	}
	return err
}

// states compares byte for byte. Keys are lead keys, so differences are told by number and not by name.
func (v *verification) states(want, got map[string][]byte) {
	var missing, extra, other int
	for k, b := range want {
		switch g, ok := got[k]; {
		case !ok:
			missing++
		case !bytes.Equal(b, g):
			other++
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			extra++
		}
	}
	v.out.States += uint64(len(want))
	if missing+extra+other > 0 {
		v.differs("of %d records of states, %d are missing, %d are not as the log says, and %d are not from the log", len(want), missing, other, extra)
	}
}

// facts compares the ledger with what the log causes after a sequence and up to the position: each once, none left out but
// what is in the outbox.
func (v *verification) facts(ctx context.Context, records []fold.Record, after uint64, dump fold.Dump) error {
	waiting := map[string]bool{}
	for i := range dump.Outbox {
		waiting[dump.Outbox[i].ID()] = true
	}
	leads := map[string]fold.Record{}
	rejected := map[string]fold.Record{}
	for _, r := range records {
		switch {
		case r.Guard != fold.Once:
		case r.Stream == subject.LeadsStream:
			leads[r.Subject] = r
		default:
			rejected[r.Subject] = r
		}
	}
	for _, part := range []struct {
		stream, filter string
		want           map[string]fold.Record
	}{
		{subject.LeadsStream, subject.LeadsOfShard(v.id), leads},
		{subject.RejectedStream, subject.Rejected(v.id, "*"), rejected},
	} {
		v.out.Facts += uint64(len(part.want))
		seen := map[string]bool{}
		for m, err := range v.Stream.Log(part.stream).Messages(ctx, part.filter) {
			if err != nil {
				return err
			}
			r, ok := part.want[m.Subject]
			switch {
			case seen[m.Subject]:
				v.differs("message %d of %s is there twice", m.Sequence, part.stream)
			case ok && !sameFact(m.Data, r.Data):
				v.differs("message %d of %s is not what the log says", m.Sequence, part.stream)
			case !ok && !causedUpTo(m, after) && causedUpTo(m, dump.Position.Sequence):
				v.differs("message %d of %s is not from the log", m.Sequence, part.stream)
			}
			seen[m.Subject] = true
		}
		for s, r := range part.want {
			if !seen[s] && !waiting[r.ID()] {
				v.differs("%s lacks what message %d of the shard's stream causes", part.stream, r.Sequence)
			}
		}
	}
	return nil
}

// causedUpTo says whether a record's cause is at or before a sequence: later ones may have left since the store was read.
// Subjects end in INCARNATION-SEQUENCE, and facts' in -ORDINAL as well.
func causedUpTo(m fold.Message, sequence uint64) bool {
	token := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	var incarnation int64
	var n uint64
	if k, err := fmt.Sscanf(token, "%d-%d", &incarnation, &n); k != 2 || err != nil {
		return true
	}
	return n <= sequence
}
