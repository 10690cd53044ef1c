package crash_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	shardv1 "github.com/leadbaton/baton/api/gen/baton/shard/v1"
	"github.com/leadbaton/baton/api/leadkey"
)

// model is what must come out: points and demos by address, whatever was killed.
type model struct {
	mu     sync.Mutex
	points map[string]int
	demo   map[string]bool
}

func (m *model) view(who string) {
	m.mu.Lock()
	m.points[who]++
	m.mu.Unlock()
}

func (m *model) raise(who string) {
	m.mu.Lock()
	m.points[who] += 100
	m.demo[who] = true
	m.mu.Unlock()
}

// patience is how long what must come may take, with the servers' own fail-overs and a machine that others use too.
const patience = 2 * time.Minute

// judge compares all that Baton says with the model, and its states with its streams.
func (s *stack) judge() {
	s.judgeModel()
	r := s.verify()
	for _, d := range r.GetDifferences() {
		s.t.Errorf("verify: %s", d)
	}
}

// judgeModel compares leads and handoffs with the model, and looks for persons in the logs.
func (s *stack) judgeModel() {
	s.t.Helper()
	s.eventually(patience, s.delivered)
	for who := range s.load.model.points {
		s.eventually(patience, func() error { return s.standing(who) })
	}
	for _, v := range slices.Concat(s.baton, s.servers) {
		s.keepsSecrets(v.name, v.Log(s.t))
	}
	s.t.Logf("%d leads, %d handoffs, %d events published, %d offers shown",
		len(s.load.model.points), len(s.load.model.demo), s.load.events, s.load.offers())
}

// standing says whether a lead has the points and the episode that the model says.
func (s *stack) standing(who string) error {
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	r, err := leadv1.NewLeadServiceClient(s.conn(s.scorer)).Get(ctx, &leadv1.GetRequest{Lead: who})
	if err != nil {
		return fmt.Errorf("%s: %w", who, err)
	}
	all := r.GetLead().GetStandings()
	if want := s.load.model.points[who]; len(all) != 1 || all[0].GetScore().GetTotal() != float64(want) {
		return fmt.Errorf("%s stands at %v, the model says %d", who, all, want)
	}
	if want := s.load.model.demo[who]; (all[0].GetEpisodes() == 1) != want {
		return fmt.Errorf("%s qualified %d times", who, all[0].GetEpisodes())
	}
	return nil
}

// verify folds the streams again.
func (s *stack) verify() (r *shardv1.VerifyResponse) {
	s.t.Helper()
	s.eventually(patience, func() (err error) {
		ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
		defer cancel()
		r, err = shardv1.NewShardServiceClient(s.conn(s.scorer)).Verify(ctx, &shardv1.VerifyRequest{})
		return err
	})
	s.t.Logf("verify: %d messages, %d states, %d facts", r.GetMessages(), r.GetStates(), r.GetFacts())
	return r
}

// delivered says whether each expected handoff is there once and was delivered.
func (s *stack) delivered() error {
	got, err := s.handoffs()
	if err != nil {
		return err
	}
	seen := map[string]int{}
	waiting := 0
	for _, h := range got {
		seen[h.GetQualified().GetProfile().GetLead()["email"]]++
		if h.GetDeliveredAt() == nil {
			waiting++
		}
	}
	var missing []string
	for who := range s.load.model.demo {
		switch {
		case seen[who] > 1:
			s.t.Fatalf("%s was handed off %d times", who, seen[who])
		case seen[who] == 0:
			missing = append(missing, who)
		}
	}
	if len(seen) != len(s.load.model.demo) || waiting > 0 {
		return fmt.Errorf("%d of %d handoffs, %d of them not delivered; missing: %v", len(seen), len(s.load.model.demo), waiting, missing)
	}
	return nil
}

func (s *stack) handoffs() ([]*handoffv1.Handoff, error) {
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
	defer cancel()
	r, err := handoffv1.NewHandoffServiceClient(s.conn(s.router)).List(ctx, &handoffv1.ListRequest{Limit: 10_000})
	return r.GetHandoffs(), err
}

// shards returns how far each shard is, by its digit.
func (s *stack) shards() (map[string]*shardv1.Shard, error) {
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
	defer cancel()
	r, err := shardv1.NewShardServiceClient(s.conn(s.scorer)).List(ctx, &shardv1.ListRequest{})
	out := map[string]*shardv1.Shard{}
	for _, sh := range r.GetShards() {
		out[sh.GetId()] = sh
	}
	return out, err
}

// keepsSecrets fails if a log names a person, by address or by lead key.
func (s *stack) keepsSecrets(name, log string) {
	for who := range s.load.model.points {
		if strings.Contains(log, who) || strings.Contains(log, string(leadkey.FromEmail(who))) {
			s.t.Errorf("the log of %s names a person", name)
			return
		}
	}
}
