package scorer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/natsbatch"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/lead"
)

// leadService answers from the store, and from the log for what was. Every scorer answers for every lead.
type leadService struct {
	leadv1.UnimplementedLeadServiceServer
	*Scorer
}

// known is one lead and what holds for its shard.
type known struct {
	lead *lead.Lead
	log  *lead.Log
	at   time.Time
}

// Get implements LeadService.
func (s *leadService) Get(ctx context.Context, r *leadv1.GetRequest) (*leadv1.GetResponse, error) {
	k, err := s.find(ctx, r.GetLead(), r.GetAt())
	if err != nil {
		return nil, err
	}
	return &leadv1.GetResponse{Lead: lead.View(k.lead, k.log, k.at)}, nil
}

// Explain implements LeadService.
func (s *leadService) Explain(ctx context.Context, r *leadv1.ExplainRequest) (*leadv1.ExplainResponse, error) {
	k, err := s.find(ctx, r.GetLead(), r.GetAt())
	if err != nil {
		return nil, err
	}
	return &leadv1.ExplainResponse{Lead: lead.View(k.lead, k.log, k.at), Explanations: lead.Explain(k.lead, k.log, k.at)}, nil
}

// Timeline implements LeadService.
func (s *leadService) Timeline(ctx context.Context, r *leadv1.TimelineRequest) (*leadv1.TimelineResponse, error) {
	k, err := s.find(ctx, r.GetLead(), nil)
	if err != nil {
		return nil, err
	}
	story, err := s.story(ctx, leadkey.Key(k.lead.Key()), s.o.Now())
	if err != nil {
		return nil, err
	}
	limit := int(r.GetLimit())
	if limit == 0 {
		limit = 1000
	}
	entries := story.Entries
	return &leadv1.TimelineResponse{Entries: entries[max(0, len(entries)-limit):]}, nil
}

// The instants that Unix nanoseconds hold, on the safe side.
var (
	firstInstant = time.Unix(0, 0)
	lastInstant  = time.Date(2261, time.January, 1, 0, 0, 0, 0, time.UTC)
)

// maxAliases bounds how far an alias is followed to the lead that it is part of.
const maxAliases = 9

// find returns the lead that a person or program named, now or as it was.
func (s *leadService) find(ctx context.Context, name string, at *timestamppb.Timestamp) (*known, error) {
	key, err := resolve(name)
	if err != nil {
		return nil, err
	}
	instant, past := s.o.Now(), false
	if at != nil {
		if t := at.AsTime(); at.CheckValid() != nil || t.Before(firstInstant) || t.After(lastInstant) {
			return nil, status.Error(codes.InvalidArgument, "`at` is not a time between 1970 and 2261")
		}
		past = at.AsTime().Before(instant)
		instant = at.AsTime()
	}
	for range maxAliases {
		k := &known{at: instant}
		if past {
			story, err := s.story(ctx, key, instant)
			if err != nil {
				return nil, err
			}
			k.lead, k.log = story.Lead, story.Log
		} else if k.lead, k.log, err = s.load(ctx, key); err != nil {
			return nil, err
		}
		if !k.lead.Known() {
			return nil, status.Error(codes.NotFound, "no lead is known by that name"+when(past)+": check its spelling (address, SYSTEM:ID or lead key)")
		}
		if k.lead.Claimant() == "" {
			return k, nil
		}
		key = leadkey.Key(k.lead.Claimant())
	}
	return nil, status.Error(codes.FailedPrecondition, "the lead is an alias of an alias too many times: merges go round in a circle")
}

func when(past bool) string {
	if past {
		return " at that time"
	}
	return ""
}

func resolve(name string) (leadkey.Key, error) {
	key, err := leadkey.Resolve(name)
	if err != nil {
		return "", status.Error(codes.InvalidArgument, "name the lead by its address, by SYSTEM:ID, or by its lead key of 32 hex digits")
	}
	return key, nil
}

// story folds one lead from its messages up to an instant.
func (s *Scorer) story(ctx context.Context, key leadkey.Key, until time.Time) (*lead.Story, error) {
	story, err := lead.Replay(key, s.log(key.Shard()).Messages(ctx, lead.Filters(key)...), until)
	if err != nil {
		return nil, unavailable(err)
	}
	return story, nil
}

// unavailable is the answer to a failure of NATS or Redis: the same call may succeed later.
func unavailable(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	return status.Errorf(codes.Unavailable, "%v; try again", err)
}

// load reads a lead's state, and that of its shard, from the store.
func (s *Scorer) load(ctx context.Context, key leadkey.Key) (*lead.Lead, *lead.Log, error) {
	m := lead.New(key.Shard())
	l, err := s.loadState(ctx, m, key.Shard(), string(key))
	if err != nil {
		return nil, nil, err
	}
	g, err := s.loadState(ctx, m, key.Shard(), "")
	if err != nil {
		return nil, nil, err
	}
	return l.(*lead.Lead), g.(*lead.Log), nil
}

// loadState reads one state. Its records are read in two steps, so they are read again if it changed in between.
func (s *Scorer) loadState(ctx context.Context, m *lead.Machine, shard, key string) (fold.State, error) {
	var main []byte
	for attempt := 0; ; attempt++ {
		got, err := s.o.Store.Load(ctx, shard, fold.Held{}, []string{key})
		if err != nil {
			return nil, unavailable(err)
		}
		main = got[0]
		state, parts, err := m.Load(key, main)
		if err != nil {
			return nil, status.Errorf(codes.DataLoss, "the state cannot be read: %v; run `baton verify`", err)
		}
		if len(parts) == 0 {
			return state, nil
		}
		fields := []string{key}
		for _, p := range parts {
			fields = append(fields, fold.Field(key, p))
		}
		if got, err = s.o.Store.Load(ctx, shard, fold.Held{}, fields); err != nil {
			return nil, unavailable(err)
		}
		if string(got[0]) != string(main) && attempt < 5 {
			continue
		}
		for i, p := range parts {
			if err := state.LoadPart(p, got[i+1]); err != nil {
				return nil, status.Errorf(codes.DataLoss, "the state cannot be read: %v; run `baton verify`", err)
			}
		}
		return state, nil
	}
}

// List implements LeadService.
func (s *leadService) List(ctx context.Context, r *leadv1.ListRequest) (*leadv1.ListResponse, error) {
	limit := int(r.GetLimit())
	switch {
	case limit == 0:
		limit = 100
	case limit > 10_000:
		return nil, status.Error(codes.InvalidArgument, "`limit` is at most 10000")
	}
	type hit struct {
		key   leadkey.Key
		score float64
	}
	var hits []hit
	logs := map[string]*lead.Log{} // by shard
	now := s.o.Now()
	for _, shard := range subject.Shards {
		m := lead.New(shard)
		g, err := s.loadState(ctx, m, shard, "")
		if err != nil {
			return nil, err
		}
		logs[shard] = g.(*lead.Log)
		var bad error
		err = s.o.Store.Scan(ctx, shard, fold.Held{}, func(field string, value []byte) bool {
			if field == "" || strings.Contains(field, "/") {
				return true
			}
			st, _, err := m.Load(field, value)
			if err != nil {
				bad = err
				return false
			}
			l := st.(*lead.Lead)
			if l.Claimant() != "" {
				return true
			}
			if score, ok := matches(lead.View(l, logs[shard], now), r); ok {
				hits = append(hits, hit{leadkey.Key(field), score})
			}
			return ctx.Err() == nil
		})
		if bad != nil {
			return nil, status.Errorf(codes.DataLoss, "a state cannot be read: %v; run `baton verify`", bad)
		}
		if err != nil {
			return nil, unavailable(err)
		}
	}
	// A scan may meet a record twice.
	slices.SortFunc(hits, func(a, b hit) int { return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.key, b.key)) })
	hits = slices.CompactFunc(hits, func(a, b hit) bool { return a.key == b.key })
	out := &leadv1.ListResponse{Total: uint64(len(hits))}
	for _, h := range hits[:min(limit, len(hits))] {
		l, err := s.loadState(ctx, lead.New(h.key.Shard()), h.key.Shard(), string(h.key))
		if err != nil {
			return nil, err
		}
		out.Leads = append(out.Leads, lead.View(l.(*lead.Lead), logs[h.key.Shard()], now))
	}
	return out, nil
}

// matches says whether a lead is asked for, and its highest score under the agreements that are.
func matches(l *leadv1.Lead, r *leadv1.ListRequest) (score float64, ok bool) {
	for _, st := range l.GetStandings() {
		switch {
		case r.GetAgreement() != "" && st.GetAgreement() != r.GetAgreement(),
			r.GetStage() != "" && st.GetStage() != r.GetStage(),
			r.MinScore != nil && st.GetScore().GetTotal() < r.GetMinScore(),
			r.GetHeld() != leadv1.Held_HELD_UNSPECIFIED && st.GetHeld() != r.GetHeld():
			continue
		}
		if total := st.GetScore().GetTotal(); !ok || total > score {
			score = total
		}
		ok = true
	}
	if len(l.GetStandings()) == 0 { // known, and under no agreement
		ok = r.GetAgreement() == "" && r.GetStage() == "" && r.MinScore == nil && r.GetHeld() == leadv1.Held_HELD_UNSPECIFIED
	}
	return score, ok
}

// Merge implements LeadService.
func (s *leadService) Merge(ctx context.Context, r *leadv1.MergeRequest) (*leadv1.MergeResponse, error) {
	if r.GetRequestId() == "" {
		return nil, status.Error(codes.InvalidArgument, "`request_id` is needed: the same id twice merges once")
	}
	from, err := s.find(ctx, r.GetFrom(), nil)
	if err != nil {
		return nil, err
	}
	into, err := s.find(ctx, r.GetInto(), nil)
	if err != nil {
		return nil, err
	}
	fromKey, intoKey := leadkey.Key(from.lead.Key()), leadkey.Key(into.lead.Key())
	if fromKey == intoKey {
		return s.mergedBefore(ctx, r.GetRequestId(), intoKey)
	}
	body, err := json.Marshal(map[string]any{
		"specversion": "1.0", "id": r.GetRequestId(), "source": subject.Operator, "type": "lead.merged", "time": s.o.Now().UTC().Format(time.RFC3339Nano),
		"data": map[string]any{"lead": map[string]any{"key": intoKey}, "from": fromKey},
	})
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	// The request's id is the event's id: the fold counts it once, however often it is stored.
	if err := s.o.Stream.Put(ctx, subject.ForEvent(subject.Operator, intoKey), "merge-"+r.GetRequestId(), body); err != nil && !natsbatch.IsDuplicate(err) {
		return nil, unavailable(err)
	}
	return &leadv1.MergeResponse{FromKey: string(fromKey), IntoKey: string(intoKey)}, nil
}

// mergedBefore answers a request that comes again, since its answer was lost, after its merge has taken force.
func (s *leadService) mergedBefore(ctx context.Context, requestID string, into leadkey.Key) (*leadv1.MergeResponse, error) {
	log := s.o.Stream.Log(subject.EngagementStream(into.Shard()))
	for m, err := range log.Messages(ctx, subject.ForEvent(subject.Operator, into)) {
		if err != nil {
			return nil, unavailable(err)
		}
		var e struct {
			ID   string `json:"id"`
			Data struct {
				From string `json:"from"`
				Lead struct {
					Key string `json:"key"`
				} `json:"lead"`
			} `json:"data"`
		}
		if json.Unmarshal(m.Data, &e) == nil && e.ID == requestID && e.Data.Lead.Key == string(into) {
			return &leadv1.MergeResponse{FromKey: e.Data.From, IntoKey: e.Data.Lead.Key}, nil
		}
	}
	return nil, status.Error(codes.FailedPrecondition, "both names are the same lead already")
}
