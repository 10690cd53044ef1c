package main

import (
	"context"
	"fmt"
	"iter"
	"time"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/api/leadkey"
	"github.com/leadbaton/baton/api/subject"
	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
	"github.com/leadbaton/baton/services/internal/agreement"
	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/lead"
	"github.com/leadbaton/baton/services/internal/stream"
)

type agreementTryCommand struct {
	fileArgument
	Lead leadName `required:"" placeholder:"LEAD" help:"The lead whose history to score: an e-mail address, SYSTEM:ID, anon:ID, or a lead key."`
	atFlag
	Exact bool `help:"Show points to the thousandth."`
	outputFlag
	natsFlag
}

// Run shows what a lead's score would be if the document had always been in force.
func (c *agreementTryCommand) Run(s *system) error {
	a, err := s.parseAgreement(c.File)
	if err != nil {
		return err
	}
	at := c.At.Time
	if at.IsZero() {
		at = s.now()
	}
	ctx, cancel := context.WithTimeout(s.ctx, longTimeout)
	defer cancel()
	conn, err := stream.Connect(ctx, stream.Options{URL: c.NATS, Name: "baton agreement try", Wait: 3 * time.Second, Logger: s.logger("error")})
	if err != nil {
		return fmt.Errorf("%w; start Baton (baton up), or say where its NATS server is with --nats or BATON_NATS", err)
	}
	defer conn.Close()
	story, err := replay(ctx, conn, a, c.Lead.key(), at)
	if err != nil {
		return err
	}
	if !story.Lead.Known() {
		return fmt.Errorf("no event of this lead had arrived by %s", at.UTC().Format(time.RFC3339))
	}
	r := &leadv1.ExplainResponse{Lead: lead.View(story.Lead, story.Log, at), Explanations: lead.Explain(story.Lead, story.Log, at)}
	return c.write(s, r, func(p *screen.Page) { p.Explain(r, c.Exact) })
}

// replay folds a lead under an agreement. An alias leads to the lead that it is part of.
func replay(ctx context.Context, conn *stream.Conn, a *agreement.Agreement, key leadkey.Key, until time.Time) (*lead.Story, error) {
	const hops = 8 // an alias is passed on at most as often
	for range hops {
		story, err := lead.Try(a, key, messages(ctx, conn, key), until)
		if err != nil || story.Lead.Claimant() == "" {
			return story, err
		}
		key = leadkey.Key(story.Lead.Claimant())
	}
	return nil, fmt.Errorf("the lead is an alias of an alias, more than %d times over", hops)
}

// messages are those of the lead's shard that its fold needs.
func messages(ctx context.Context, conn *stream.Conn, key leadkey.Key) iter.Seq2[fold.Message, error] {
	return func(yield func(fold.Message, error) bool) {
		more := true
		err := conn.Log(subject.EngagementStream(key.Shard())).Scan(ctx, lead.Filters(key), func(m fold.Message) bool {
			more = yield(m, nil)
			return more
		})
		if err != nil && more {
			yield(fold.Message{}, err)
		}
	}
}
